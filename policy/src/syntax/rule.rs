//! Filter rules.

use super::definitions::Entry;
use super::scalar::{self, Word, one_or_more};
use super::service;
use crate::diag::Faults;
use crate::form::{Keys, Record, wrong_kind};
use crate::matching::Service;
use crate::parallel;
use crate::ruleset::{Action, OnChange};
use crate::source::Span;
use crate::yaml::Node;

/// A rule as declared. What is missing or faulty is `None` or empty.
#[derive(Debug)]
pub(crate) struct Rule<'t> {
    /// The rule's first character.
    pub(crate) start: Span,
    pub(crate) seq: Option<(u32, Span)>,
    pub(crate) name: Option<Word<'t>>,
    /// Names of zones; empty for any.
    pub(crate) from: &'t [Node<'t>],
    pub(crate) to: &'t [Node<'t>],
    /// Names of objects and groups, and addresses; empty for any.
    pub(crate) src: &'t [Node<'t>],
    pub(crate) dst: &'t [Node<'t>],
    pub(crate) service: ServiceRef<'t>,
    pub(crate) action: Option<Action>,
    pub(crate) log: Option<bool>,
    pub(crate) on_change: Option<OnChange>,
}

/// The service of a rule.
#[derive(Debug)]
pub(crate) enum ServiceRef<'t> {
    /// Any.
    Any,
    /// Names of services.
    Names(&'t [Node<'t>]),
    /// Written in the rule.
    Inline(Vec<Service>),
}

/// The highest `seq` of a policy file; the two above it are the built-in rules'.
pub(crate) const SEQ_LIMIT: u32 = u32::MAX - 2;

/// The keys of a rule.
pub(crate) const RULE: Keys<10> = Keys {
    of: "a rule",
    known: ["seq", "name", "from", "to", "src", "dst", "service", "action", "log", "on_change"],
    later: &["schedule", "limit", "limits", "inspect"],
};

/// Fewer rules than this are not worth a thread.
const LEAST: usize = 2000;

/// Reads `rules`, on several threads if there are many.
pub(super) fn decode<'t>(
    section: Entry<'t>,
    threads: usize,
    out: &mut Vec<Rule<'t>>,
    faults: &mut Faults,
) {
    let list = entries(section, "rules", faults);
    let parts = parallel::run(parallel::chunks(list, threads, LEAST), threads, |nodes| {
        let mut faults = Faults::new();
        let rules: Vec<_> = nodes.iter().filter_map(|node| rule(node, &mut faults)).collect();
        (rules, faults)
    });
    for (rules, more) in parts {
        out.extend(rules);
        faults.append(more);
    }
}

/// The entries of a section that is a list. A section with nothing in it has none.
pub(super) fn entries<'t>(section: Entry<'t>, of: &str, faults: &mut Faults) -> &'t [Node<'t>] {
    match section {
        Some((_, value)) if !value.is_nothing() => value.list().unwrap_or_else(|| {
            faults.push(wrong_kind(value, &format!("a list of {of} belongs here")));
            &[]
        }),
        _ => &[],
    }
}

fn rule<'t>(node: &'t Node<'t>, faults: &mut Faults) -> Option<Rule<'t>> {
    let record = Record::read(node, &RULE, faults)?;
    let start = record.start;
    let [seq, name, from, to, src, dst, service, action, log, on_change] = record.values;
    record.require(&["seq", "name", "action"], faults);
    Some(Rule {
        start,
        seq: seq.and_then(|(_, v)| sequence_number(v, faults)),
        name: name.and_then(|(_, v)| scalar::name(v, "a rule", faults)),
        from: zones(from, faults),
        to: zones(to, faults),
        src: addresses(src, faults),
        dst: addresses(dst, faults),
        service: service_ref(service, faults),
        action: action.and_then(|(_, v)| scalar::word(v, &scalar::ACTIONS, faults)),
        log: log.and_then(|(_, v)| scalar::word(v, &scalar::LOG, faults)),
        on_change: on_change.and_then(|(_, v)| scalar::word(v, &scalar::ON_CHANGE, faults)),
    })
}

/// A `seq` and its place.
pub(super) fn sequence_number(node: &Node<'_>, faults: &mut Faults) -> Option<(u32, Span)> {
    Some((scalar::number(node, 0..=SEQ_LIMIT, faults)?, node.span))
}

/// The zones of a value; empty for any.
pub(super) fn zones<'t>(entry: Entry<'t>, faults: &mut Faults) -> &'t [Node<'t>] {
    let value = entry.and_then(|(_, v)| one_or_more(v, "a zone or a list of zones", faults));
    value.unwrap_or_default()
}

/// The addresses of a value; empty for any.
pub(super) fn addresses<'t>(entry: Entry<'t>, faults: &mut Faults) -> &'t [Node<'t>] {
    let of = "an object, a group, an address or a list of them";
    entry.and_then(|(_, v)| one_or_more(v, of, faults)).unwrap_or_default()
}

/// The service of a value.
pub(super) fn service_ref<'t>(entry: Entry<'t>, faults: &mut Faults) -> ServiceRef<'t> {
    let Some((_, value)) = entry else { return ServiceRef::Any };
    if value.map().is_some() {
        return service::decode(value, faults).map_or(ServiceRef::Any, ServiceRef::Inline);
    }
    let of = "a service, a list of services or a mapping such as { tcp: [443] }";
    one_or_more(value, of, faults).map_or(ServiceRef::Any, ServiceRef::Names)
}
