//! NAT rules.

use super::rules::{FROM_ANY, services, unique_names, unique_seqs};
use super::symbols::Symbols;
use super::zones::Zones;
use crate::address::AddressSet;
use crate::diag::{Fault, Faults, codes};
use crate::flow::protocol;
use crate::form::address::{self, Form, looks_like_address};
use crate::matching::Service;
use crate::ruleset::{Families, NatRule, Translation};
use crate::source::Span;
use crate::syntax::{Draft, Family, Nat, Target, Word};
use crate::zone::ZoneSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The NAT rules in the order of `seq`.
pub(super) fn resolve(
    draft: &Draft<'_>,
    zones: &Zones<'_>,
    symbols: &Symbols<'_>,
    faults: &mut Faults,
) -> Vec<NatRule> {
    unique_names(draft.nat.iter().map(|rule| rule.name), "NAT rule", faults);
    unique_seqs(draft.nat.iter().map(|rule| rule.seq), faults);
    let mut rules: Vec<_> =
        draft.nat.iter().filter_map(|rule| compile(rule, zones, symbols, faults)).collect();
    rules.sort_by_key(|rule| rule.seq);
    rules
}

fn compile(
    rule: &Nat<'_>,
    zones: &Zones<'_>,
    symbols: &Symbols<'_>,
    faults: &mut Faults,
) -> Option<NatRule> {
    let from = zones.set(rule.from, FROM_ANY, faults);
    let to = zones.set(rule.to, ZoneSet::ALL, faults);
    let src = symbols.addresses(rule.src, faults);
    let dst = symbols.addresses(rule.dst, faults);
    let services = services(&rule.service, symbols, faults);
    let wanted = Families {
        v4: rule.family.is_none_or(|(family, _)| family == Family::V4),
        v6: rule.family.is_none_or(|(family, _)| family == Family::V6),
    };
    let (translation, present) = match rule.target? {
        Target::Masquerade => (Translation::Masquerade, Families { v4: true, v6: true }),
        Target::Source(word) => {
            let (v4, v6) = one_address(word, symbols, faults)?;
            let present = Families { v4: v4.is_some(), v6: v6.is_some() };
            (Translation::Source { v4, v6 }, present)
        }
        Target::Destination(word, port) => {
            let (v4, v6) = one_address(word, symbols, faults)?;
            if let Some((_, span)) = port {
                check_ports(&services, span, faults);
            }
            let present = Families { v4: v4.is_some(), v6: v6.is_some() };
            let port = port.map(|(port, _)| port);
            (Translation::Destination { v4, v6, port }, present)
        }
    };
    let families = Families { v4: wanted.v4 && present.v4, v6: wanted.v6 && present.v6 };
    if !families.v4 && !families.v6 {
        let message = "this NAT rule translates to an address of the other family";
        let span = rule.family.map_or_else(Span::default, |(_, span)| span);
        faults
            .push(Fault::error(codes::NO_FAMILY, message).at(span, "leaves nothing to translate"));
        return None;
    }
    Some(NatRule {
        seq: rule.seq?.0,
        name: rule.name?.text.into(),
        from,
        to,
        src,
        dst,
        services,
        families,
        translation,
    })
}

/// The address that an object or an address stands for, by family.
fn one_address(
    word: Word<'_>,
    symbols: &Symbols<'_>,
    faults: &mut Faults,
) -> Option<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
    let set = match symbols.objects.get(word.text) {
        Some(set) => set.clone(),
        None if looks_like_address(word.text) => {
            match address::parse(word.text, Form::Host, word.span) {
                Ok(address::Range::V4(low, high)) => AddressSet::from_ranges([(low, high)], []),
                Ok(address::Range::V6(low, high)) => AddressSet::from_ranges([], [(low, high)]),
                Err(fault) => {
                    faults.push(fault);
                    return None;
                }
            }
        }
        None => {
            faults.push(symbols.unknown_object(word));
            return None;
        }
    };
    let v4 = match set.v4() {
        [] => Some(None),
        [(low, high)] if low == high => Some(Some(Ipv4Addr::from_bits(*low))),
        _ => None,
    };
    let v6 = match set.v6() {
        [] => Some(None),
        [(low, high)] if low == high => Some(Some(Ipv6Addr::from_bits(*low))),
        _ => None,
    };
    match (v4, v6) {
        // An object without addresses is faulty, and was reported.
        (Some(None), Some(None)) => None,
        (Some(v4), Some(v6)) => Some((v4, v6)),
        _ => {
            let message = format!("`{}` is not one address", word.text);
            let fault = Fault::error(codes::NOT_ONE_ADDRESS, message);
            let label = "can have one IPv4 and one IPv6 address";
            faults.push(fault.at(word.span, label));
            None
        }
    }
}

/// A new port only makes sense for protocols with ports.
fn check_ports(services: &[Service], span: Span, faults: &mut Faults) {
    let ported = |service: &Service| {
        matches!(
            service.protocol,
            Some(
                protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP | protocol::UDPLITE
            )
        )
    };
    if !services.iter().all(ported) {
        let message = "a port is translated, but the service has packets without ports";
        let fault = Fault::error(codes::NO_PORTS, message).at(span, "");
        faults.push(fault.help("give a `service` of tcp, udp or sctp only"));
    }
}
