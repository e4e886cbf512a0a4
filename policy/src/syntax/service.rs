//! Services: protocols, ports, ICMP types and codes.

use super::scalar::{Word, decimal, one_or_more, shorten};
use crate::diag::{Fault, Faults, codes, suggest};
use crate::flow::protocol;
use crate::form::network;
use crate::form::{Keys, Record};
use crate::matching::{PortRange, Service};
use crate::yaml::Node;

/// The keys of a service.
pub(crate) const SERVICE: Keys<6> = Keys {
    of: "a service",
    known: ["tcp", "udp", "sctp", "icmp", "icmpv6", "protocol"],
    later: &[],
};

/// ICMP types by name (IANA, with the names that nft uses).
const ICMP_TYPES: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];

/// ICMPv6 types by name.
const ICMPV6_TYPES: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("mld2-listener-report", 143),
];

/// Reads the mapping of a service; `None` when something in it is wrong. The entries are
/// normalised.
pub(crate) fn decode(node: &Node<'_>, faults: &mut Faults) -> Option<Vec<Service>> {
    let record = Record::read(node, &SERVICE, faults)?;
    let [tcp, udp, sctp, icmp, icmpv6, protocols] = record.values;
    let mut good = true;
    let mut entries = Vec::new();
    let ported = [(tcp, protocol::TCP), (udp, protocol::UDP), (sctp, protocol::SCTP)];
    for (value, number) in ported {
        good &= each(value, "a port or a list of ports", faults, |word, faults| {
            let dst_port = port(word, faults)?;
            entries.push(Service { protocol: Some(number), src_port: PortRange::ANY, dst_port });
            Some(())
        });
    }
    for (value, number) in [(icmp, protocol::ICMP), (icmpv6, protocol::ICMPV6)] {
        good &= each(value, "an ICMP type or a list of them", faults, |word, faults| {
            let (src_port, dst_port) = icmp_type(word, number, faults)?;
            entries.push(Service { protocol: Some(number), src_port, dst_port });
            Some(())
        });
    }
    good &= each(protocols, "a protocol or a list of protocols", faults, |word, faults| {
        let number = network::protocol(word, faults)?;
        entries.push(Service { protocol: Some(number), ..Service::ANY });
        Some(())
    });
    if good && entries.is_empty() {
        let fault = Fault::error(codes::EMPTY, "this service is empty");
        faults.push(fault.at(record.start, format!("can have: {}", SERVICE.known.join(", "))));
        return None;
    }
    good.then(|| normalised(entries))
}

/// Calls `read` with each word of a value, if there is one; false when something was wrong.
fn each<'t>(
    value: Option<(&'t Node<'t>, &'t Node<'t>)>,
    of: &str,
    faults: &mut Faults,
    mut read: impl FnMut(Word<'t>, &mut Faults) -> Option<()>,
) -> bool {
    let Some((_, node)) = value else { return true };
    let Some(list) = one_or_more(node, of, faults) else { return false };
    let mut good = true;
    for word in list.iter().filter_map(Word::of) {
        good &= read(word, faults).is_some();
    }
    good
}

/// A port, a range of ports, or `any`.
fn port(word: Word<'_>, faults: &mut Faults) -> Option<PortRange> {
    if word.text == "any" {
        return Some(PortRange::ANY);
    }
    let number = |text: &str| {
        let number = decimal(text.trim())?;
        u16::try_from(number).ok().filter(|port| *port > 0)
    };
    let range = match word.text.split_once('-') {
        Some((low, high)) => {
            number(low).zip(number(high)).and_then(|(low, high)| PortRange::new(low, high))
        }
        None => number(word.text).map(PortRange::only),
    };
    if range.is_none() {
        let message = format!("`{}` is not a port or a range of ports", shorten(word.text));
        let label = "can be 1 to 65535, such as 443 or 1024-65535, or `any`";
        faults.push(Fault::error(codes::BAD_PORT, message).at(word.span, label));
    }
    range
}

/// A single port.
pub(super) fn single_port(word: Word<'_>, faults: &mut Faults) -> Option<u16> {
    let number = decimal(word.text).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    if number.is_none() {
        let message = format!("`{}` is not a port", shorten(word.text));
        faults.push(Fault::error(codes::BAD_PORT, message).at(word.span, "can be 1 to 65535"));
    }
    number
}

/// Type and code of an ICMP or ICMPv6 message: `any`, `TYPE` or `TYPE/CODE`.
pub(super) fn icmp_type(
    word: Word<'_>,
    number: u8,
    faults: &mut Faults,
) -> Option<(PortRange, PortRange)> {
    let (names, family) = match number {
        protocol::ICMP => (ICMP_TYPES, "ICMP"),
        _ => (ICMPV6_TYPES, "ICMPv6"),
    };
    if word.text == "any" {
        return Some((PortRange::ANY, PortRange::ANY));
    }
    let byte = |text: &str| decimal(text).and_then(|n| u8::try_from(n).ok());
    let (kind, code) = match word.text.split_once('/') {
        Some((kind, code)) => (kind, Some(code)),
        None => (word.text, None),
    };
    let kind_number =
        names.iter().find(|(name, _)| *name == kind).map(|(_, n)| *n).or_else(|| byte(kind));
    let codes = match code {
        Some(code) => byte(code).map(|code| PortRange::only(code.into())),
        None => Some(PortRange::ANY),
    };
    let result = kind_number.map(|kind| PortRange::only(kind.into())).zip(codes);
    if result.is_none() {
        let message = format!("`{}` is not an {family} type", shorten(word.text));
        let label = "a name, a number, or type/code such as 3/1";
        let fault = Fault::error(codes::BAD_ICMP, message).at(word.span, label);
        faults.push(match suggest::nearest(kind, names.iter().map(|(name, _)| *name)) {
            Some(near) if kind_number.is_none() => fault.did_you_mean(near, None),
            _ => fault,
        });
    }
    result
}

/// The same services in one way of writing: sorted, ranges joined, what others cover left out. So
/// two policies that mean the same compile to the same.
pub(crate) fn normalised(mut entries: Vec<Service>) -> Vec<Service> {
    if entries.len() < 2 {
        return entries;
    }
    if entries.contains(&Service::ANY) {
        return vec![Service::ANY];
    }
    entries.sort_unstable();
    let whole = |service: &Service| {
        service.src_port == PortRange::ANY && service.dst_port == PortRange::ANY
    };
    let covered: Vec<Option<u8>> =
        entries.iter().filter(|s| whole(s)).map(|s| s.protocol).collect();
    let mut joined: Vec<Service> = Vec::with_capacity(entries.len());
    for entry in entries {
        if !whole(&entry) && covered.contains(&entry.protocol) {
            continue;
        }
        match joined.last_mut() {
            Some(last)
                if last.protocol == entry.protocol
                    && last.src_port == entry.src_port
                    && u32::from(entry.dst_port.low()) <= u32::from(last.dst_port.high()) + 1 =>
            {
                let high = last.dst_port.high().max(entry.dst_port.high());
                if let Some(range) = PortRange::new(last.dst_port.low(), high) {
                    last.dst_port = range;
                }
            }
            _ => joined.push(entry),
        }
    }
    joined
}
