//! Filter rules: compiled, in order, with the built-in ones at the end.

use super::symbols::{Symbols, too_large};
use super::table::duplicate_name;
use super::zones::Zones;
use crate::address::AddressSet;
use crate::diag::{Fault, Faults, codes};
use crate::flow::protocol;
use crate::matching::{Match, Service};
use crate::parallel;
use crate::ruleset::{Action, DEFAULT_RULE, OnChange, Rule, SELF_RULE};
use crate::source::Span;
use crate::syntax::{self, Draft, ServiceRef, Word};
use crate::zone::{ZoneId, ZoneSet};
use ahash::AHashMap;

/// `any` as ingress zone: every interface, but not the gateway itself.
pub(super) const FROM_ANY: ZoneSet = ZoneSet::ALL.without(ZoneId::SELF);

/// Fewer rules than this are not worth a thread.
const LEAST: usize = 1000;

/// The rules in the order of decision, and for each that is not built in its index in the draft.
pub(super) fn resolve(
    draft: &Draft<'_>,
    zones: &Zones<'_>,
    symbols: &Symbols<'_>,
    threads: usize,
    faults: &mut Faults,
) -> (Vec<Rule>, Vec<usize>) {
    unique_names(draft.rules.iter().map(|rule| rule.name), "rule", faults);
    unique_seqs(draft.rules.iter().map(|rule| rule.seq), faults);
    let default = draft.defaults.on_change.unwrap_or(OnChange::Rematch);
    let was_too_large = symbols.is_too_large();
    let parts = parallel::run(parallel::chunks(&draft.rules, threads, LEAST), threads, |rules| {
        let mut faults = Faults::new();
        let compiled: Vec<_> =
            rules.iter().map(|rule| compile(rule, default, zones, symbols, &mut faults)).collect();
        (compiled, faults)
    });
    let mut compiled = Vec::with_capacity(draft.rules.len() + 2);
    for (rules, more) in parts {
        compiled.extend(rules);
        faults.append(more);
    }
    if symbols.is_too_large() && !was_too_large {
        faults.push(too_large());
    }
    let mut order: Vec<(usize, Rule)> =
        compiled.into_iter().enumerate().filter_map(|(i, rule)| Some((i, rule?))).collect();
    order.sort_by_key(|(_, rule)| rule.seq);
    let (origins, mut rules): (Vec<_>, Vec<_>) = order.into_iter().unzip();
    rules.extend(built_in(draft, default));
    (rules, origins)
}

/// A rule, unless a part of it is missing.
fn compile(
    rule: &syntax::Rule<'_>,
    default: OnChange,
    zones: &Zones<'_>,
    symbols: &Symbols<'_>,
    faults: &mut Faults,
) -> Option<Rule> {
    if faults.is_full() {
        return None;
    }
    let from = zones.set(rule.from, FROM_ANY, faults);
    let to = zones.set(rule.to, ZoneSet::ALL, faults);
    let mut src = symbols.addresses(rule.src, faults);
    let mut dst = symbols.addresses(rule.dst, faults);
    let services = services(&rule.service, symbols, faults);
    if let Some(protocol) = single_family(&services) {
        src = of_family(&src, protocol);
        dst = of_family(&dst, protocol);
    }
    Some(Rule {
        seq: rule.seq?.0,
        name: rule.name?.text.into(),
        matches: Match { from, to, src, dst, services },
        action: rule.action?,
        log: rule.log.unwrap_or(false),
        on_change: rule.on_change.unwrap_or(default),
    })
}

/// The compiled services of a rule.
pub(super) fn services(
    service: &ServiceRef<'_>,
    symbols: &Symbols<'_>,
    faults: &mut Faults,
) -> Vec<Service> {
    match service {
        ServiceRef::Any => vec![Service::ANY],
        ServiceRef::Names(nodes) => symbols.services(nodes, faults),
        ServiceRef::Inline(entries) => entries.clone(),
    }
}

/// The protocol of services that are all ICMP, or all ICMPv6: those go with one address family.
fn single_family(services: &[Service]) -> Option<u8> {
    let first = services.first()?.protocol?;
    let one = matches!(first, protocol::ICMP | protocol::ICMPV6);
    (one && services.iter().all(|service| service.protocol == Some(first))).then_some(first)
}

fn of_family(set: &AddressSet, protocol: u8) -> AddressSet {
    if protocol == protocol::ICMP {
        AddressSet::from_ranges(set.v4().iter().copied(), [])
    } else {
        AddressSet::from_ranges([], set.v6().iter().copied())
    }
}

/// What decides when no rule of the policy does.
fn built_in(draft: &Draft<'_>, on_change: OnChange) -> [Rule; 2] {
    let matches = |from| Match {
        from,
        to: ZoneSet::ALL,
        src: AddressSet::any(),
        dst: AddressSet::any(),
        services: vec![Service::ANY],
    };
    [
        Rule {
            seq: u32::MAX - 1,
            name: SELF_RULE.into(),
            matches: matches(ZoneSet::only(ZoneId::SELF)),
            action: Action::Accept,
            log: false,
            on_change,
        },
        Rule {
            seq: u32::MAX,
            name: DEFAULT_RULE.into(),
            matches: matches(ZoneSet::ALL),
            action: draft.defaults.action.unwrap_or(Action::Drop),
            log: draft.defaults.log.unwrap_or(false),
            on_change,
        },
    ]
}

/// Reports names that are used twice.
pub(crate) fn unique_names<'t>(
    names: impl ExactSizeIterator<Item = Option<Word<'t>>>,
    kind: &str,
    faults: &mut Faults,
) {
    let mut seen: AHashMap<&str, Span> = AHashMap::with_capacity(names.len());
    for name in names.flatten() {
        if let Some(first) = seen.get(name.text) {
            faults.push(duplicate_name(kind, name, *first));
        } else {
            seen.insert(name.text, name.span);
        }
    }
}

/// Reports every `seq` that is used twice.
pub(super) fn unique_seqs(seqs: impl Iterator<Item = Option<(u32, Span)>>, faults: &mut Faults) {
    let mut seqs: Vec<_> = seqs.flatten().collect();
    seqs.sort_unstable();
    for same in seqs.chunk_by(|(a, _), (b, _)| a == b) {
        let Some(((seq, first), others)) = same.split_first() else { continue };
        for (_, span) in others {
            let fault = Fault::error(codes::DUPLICATE_SEQ, format!("`seq` {seq} is used twice"));
            faults.push(fault.at(*span, "again here").at(*first, "first here"));
        }
    }
}
