//! NAT rules.

use super::definitions::Entry;
use super::rule::{ServiceRef, addresses, entries, sequence_number, service_ref, zones};
use super::scalar::{self, Word, Words};
use super::service::single_port;
use crate::diag::{Fault, Faults, codes};
use crate::form::{Keys, Record, missing, wrong_kind};
use crate::source::Span;
use crate::yaml::Node;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A NAT rule as declared. What is missing or faulty is `None` or empty.
#[derive(Debug)]
pub(crate) struct Nat<'t> {
    pub(crate) seq: Option<(u32, Span)>,
    pub(crate) name: Option<Word<'t>>,
    /// Names of zones; empty for any.
    pub(crate) from: &'t [Node<'t>],
    pub(crate) to: &'t [Node<'t>],
    /// Names of objects and groups, and addresses; empty for any.
    pub(crate) src: &'t [Node<'t>],
    /// `dst` of source NAT or `to_addr` of destination NAT.
    pub(crate) dst: &'t [Node<'t>],
    pub(crate) service: ServiceRef<'t>,
    pub(crate) family: Option<(Family, Span)>,
    pub(crate) target: Option<Target<'t>>,
}

/// What a NAT rule translates to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'t> {
    /// The address of the egress interface.
    Masquerade,
    /// A source: an object or an address.
    Source(Word<'t>),
    /// A destination: an object or an address, and perhaps a port.
    Destination(Word<'t>, Option<(u16, Span)>),
}

/// The keys of a NAT rule.
pub(crate) const NAT: Keys<11> = Keys {
    of: "a NAT rule",
    known: [
        "seq", "name", "from", "to", "src", "dst", "to_addr", "service", "family", "snat", "dnat",
    ],
    later: &["schedule"],
};

/// The keys of a `dnat` that is a mapping.
pub(crate) const DNAT: Keys<2> = Keys { of: "`dnat`", known: ["to", "port"], later: &[] };

const FAMILIES: Words<Family> = Words {
    of: "an address family",
    known: &[("ipv4", Family::V4), ("ipv6", Family::V6)],
    others: &[("inet", "ipv4"), ("v4", "ipv4"), ("inet6", "ipv6"), ("v6", "ipv6")],
};

/// Reads `nat`.
pub(super) fn decode<'t>(section: Entry<'t>, out: &mut Vec<Nat<'t>>, faults: &mut Faults) {
    let list = entries(section, "NAT rules", faults);
    out.extend(list.iter().filter_map(|node| nat(node, faults)));
}

fn nat<'t>(node: &'t Node<'t>, faults: &mut Faults) -> Option<Nat<'t>> {
    let record = Record::read(node, &NAT, faults)?;
    let [seq, name, from, to, src, dst, to_addr, service, family, snat, dnat] = record.values;
    record.require(&["seq", "name"], faults);
    let target = match (snat, dnat) {
        (Some((first, _)), Some((second, _))) => {
            let message = "a NAT rule has either `snat` or `dnat`";
            let fault = Fault::error(codes::CONFLICTING_KEYS, message);
            faults.push(fault.at(second.span, "").at(first.span, ""));
            None
        }
        (None, None) => {
            let message = "this NAT rule does not say what it translates to";
            let fault = Fault::error(codes::NO_TRANSLATION, message);
            faults.push(fault.at(record.start, "`snat` or `dnat` is missing"));
            None
        }
        (Some((_, value)), None) => source(value, faults),
        (None, Some((_, value))) => destination(value, faults),
    };
    // Destination NAT comes before routing: there is no egress zone yet, and the destination that
    // it matches has a key of its own, because rules mean the one after it by `dst`.
    let misplaced = if dnat.is_some() {
        [
            (to, "destination NAT happens before the egress zone is known"),
            (dst, "destination NAT matches the address before translation: write `to_addr`"),
        ]
    } else {
        [(to_addr, "source NAT matches the destination by `dst`"), (None, "")]
    };
    if snat.is_none() || dnat.is_none() {
        for (entry, label) in misplaced {
            if let Some((key, _)) = entry {
                let kind = if dnat.is_some() { "dnat" } else { "snat" };
                let text = key.text().unwrap_or("");
                let message = format!("`{text}` does not go with `{kind}`");
                let fault = Fault::error(codes::CONFLICTING_KEYS, message);
                faults.push(fault.at(key.span, label));
            }
        }
    }
    Some(Nat {
        seq: seq.and_then(|(_, v)| sequence_number(v, faults)),
        name: name.and_then(|(_, v)| scalar::name(v, "a NAT rule", faults)),
        from: zones(from, faults),
        to: zones(to, faults),
        src: addresses(src, faults),
        dst: addresses(if dnat.is_some() { to_addr } else { dst }, faults),
        service: service_ref(service, faults),
        family: family.and_then(|(_, v)| Some((scalar::word(v, &FAMILIES, faults)?, v.span))),
        target,
    })
}

fn source<'t>(node: &'t Node<'t>, faults: &mut Faults) -> Option<Target<'t>> {
    match Word::of(node).filter(|word| !word.text.is_empty()) {
        Some(word) if word.text == "masquerade" => Some(Target::Masquerade),
        Some(word) => Some(Target::Source(word)),
        None => {
            let of = "`masquerade`, an address or an object belongs here";
            faults.push(wrong_kind(node, of));
            None
        }
    }
}

/// An object or address and perhaps a port: `web-1`, `10.0.0.1:8080`, `[2001:db8::1]:8080`, or a
/// mapping `{ to: web-1, port: 8080 }`.
fn destination<'t>(node: &'t Node<'t>, faults: &mut Faults) -> Option<Target<'t>> {
    if node.map().is_some() {
        let record = Record::read(node, &DNAT, faults)?;
        let [to, port] = record.values;
        let port = match port {
            Some((_, value)) => {
                Some((single_port(scalar_word(value, faults)?, faults)?, value.span))
            }
            None => None,
        };
        let Some((_, to)) = to else {
            faults.push(missing(DNAT.of, "to", record.start));
            return None;
        };
        return Some(Target::Destination(scalar_word(to, faults)?, port));
    }
    let word = scalar_word(node, faults)?;
    let text = word.text;
    let (target, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            let message = format!("`{}` has no closing bracket", scalar::shorten(text));
            faults.push(Fault::error(codes::BAD_ADDRESS, message).at(word.span, ""));
            return None;
        };
        let port = after.strip_prefix(':');
        if port.is_none() && !after.is_empty() {
            let message = format!("`{}` is not an address and a port", scalar::shorten(text));
            let fault = Fault::error(codes::BAD_ADDRESS, message);
            faults.push(fault.at(word.span, "write it as [2001:db8::1]:8080"));
            return None;
        }
        (Word::part(node, 1, address.len() + 1)?, port)
    } else {
        match text.split_once(':') {
            // With a second colon it is an IPv6 address.
            Some((target, port)) if !port.contains(':') => {
                (Word::part(node, 0, target.len())?, Some(port))
            }
            _ => (word, None),
        }
    };
    let port = match port {
        Some(port) => {
            let word = Word::part(node, text.len() - port.len(), text.len())?;
            Some((single_port(word, faults)?, word.span))
        }
        None => None,
    };
    Some(Target::Destination(target, port))
}

fn scalar_word<'t>(node: &'t Node<'t>, faults: &mut Faults) -> Option<Word<'t>> {
    let word = Word::of(node).filter(|word| !word.text.is_empty());
    if word.is_none() {
        faults.push(wrong_kind(node, "a single value belongs here"));
    }
    word
}
