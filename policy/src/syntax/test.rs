//! Tests of the policy: flows with the outcome that is expected.

use super::definitions::Entry;
use super::rule::entries;
use super::scalar::{self, Word};
use super::service::{icmp_type, single_port};
use crate::diag::{Fault, Faults, codes};
use crate::flow::protocol;
use crate::form::address::{self, Form, Range};
use crate::form::network;
use crate::form::{Keys, Record, missing, wrong_kind};
use crate::ruleset::Action;
use crate::source::Span;
use crate::yaml::Node;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A test as declared.
#[derive(Debug)]
pub(crate) struct Test<'t> {
    pub(crate) name: Word<'t>,
    /// Name of a zone, or `self`.
    pub(crate) from: Word<'t>,
    /// Name of a zone, or `self`; `None` when the test leaves it open.
    pub(crate) to: Option<Word<'t>>,
    pub(crate) src: IpAddr,
    pub(crate) dst: Destination,
    pub(crate) protocol: u8,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) expect: Action,
    /// Where the expected action stands.
    pub(crate) expect_span: Span,
    /// The rule that has to decide.
    pub(crate) rule: Option<Word<'t>>,
}

/// Where a test's packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To the gateway, whatever address of it.
    Gateway,
    /// To this address.
    Address(IpAddr),
}

/// The keys of a test.
pub(crate) const TEST: Keys<12> = Keys {
    of: "a test",
    known: [
        "name", "from", "to", "src", "dst", "proto", "sport", "dport", "icmp", "icmpv6", "expect",
        "rule",
    ],
    later: &["time"],
};

/// The source port of a test that names none: the first of the dynamic ports (RFC 6335).
const SOURCE_PORT: u16 = 49_152;

/// Reads `tests`.
pub(super) fn decode<'t>(section: Entry<'t>, out: &mut Vec<Test<'t>>, faults: &mut Faults) {
    let list = entries(section, "tests", faults);
    out.extend(list.iter().filter_map(|node| test(node, faults)));
}

fn test<'t>(node: &'t Node<'t>, faults: &mut Faults) -> Option<Test<'t>> {
    let record = Record::read(node, &TEST, faults)?;
    let start = record.start;
    let [name, from, to, src, dst, proto, sport, dport, icmp, icmpv6, expect, rule] = record.values;
    record.require(&["name", "from", "src", "dst", "expect"], faults);
    // Every part is read before the first fault ends the test, so that all faults are reported.
    let name = name.and_then(|(_, v)| scalar::name(v, "a test", faults));
    let from = from.map(|(_, v)| single(v, faults));
    let to = to.map(|(_, v)| single(v, faults));
    let source = src.and_then(|(_, v)| host(v, faults));
    let destination = dst.and_then(|(_, v)| match v.text() {
        Some("self") => Some(Destination::Gateway),
        _ => host(v, faults).map(Destination::Address),
    });
    let packet = upper_layer([proto, sport, dport, icmp, icmpv6], start, faults);
    let action =
        expect.and_then(|(_, v)| Some((scalar::word(v, &scalar::ACTIONS, faults)?, v.span)));
    let rule = rule.map(|(_, v)| single(v, faults));
    let (expect, expect_span) = action?;
    let (protocol, src_port, dst_port) = packet?;
    let test = Test {
        name: name?,
        from: from.flatten()?,
        // A faulty value was reported: then there is no test.
        to: to.map_or(Some(None), |word| word.map(Some))?,
        src: source?,
        dst: destination?,
        protocol,
        src_port,
        dst_port,
        expect,
        expect_span,
        rule: rule.map_or(Some(None), |word| word.map(Some))?,
    };
    let (_, dst) = dst?;
    test.families_agree(dst.span, faults).then_some(test)
}

impl Test<'_> {
    /// The destination address. For the gateway one that no rule names, of the source's family.
    pub(crate) fn destination(&self) -> IpAddr {
        match (self.dst, self.src) {
            (Destination::Address(address), _) => address,
            (Destination::Gateway, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (Destination::Gateway, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn families_agree(&self, span: Span, faults: &mut Faults) -> bool {
        let v4 = self.src.is_ipv4();
        if self.destination().is_ipv4() != v4 {
            let message = "source and destination are of different address families";
            faults.push(Fault::error(codes::TEST_INCOMPLETE, message).at(span, ""));
            return false;
        }
        let wrong = match self.protocol {
            protocol::ICMP if !v4 => Some("ICMP goes with IPv4; for IPv6 write `icmpv6`"),
            protocol::ICMPV6 if v4 => Some("ICMPv6 goes with IPv6; for IPv4 write `icmp`"),
            _ => None,
        };
        if let Some(message) = wrong {
            faults.push(Fault::error(codes::TEST_INCOMPLETE, message).at(span, ""));
        }
        wrong.is_none()
    }
}

/// Protocol, source port and destination port, or ICMP type and code, from the five keys.
fn upper_layer(
    [proto, sport, dport, icmp, icmpv6]: [Entry<'_>; 5],
    start: Span,
    faults: &mut Faults,
) -> Option<(u8, u16, u16)> {
    let incomplete =
        |message: String, span: Span| Fault::error(codes::TEST_INCOMPLETE, message).at(span, "");
    let number = match proto {
        Some((_, value)) => Some(network::protocol(single(value, faults)?, faults)?),
        None => None,
    };
    for (message, number_here) in [(icmp, protocol::ICMP), (icmpv6, protocol::ICMPV6)] {
        let Some((key, value)) = message else { continue };
        if number.is_some_and(|number| number != number_here) {
            let text = key.text().unwrap_or("");
            let message = format!("`{text}` does not go with this `proto`");
            faults.push(Fault::error(codes::CONFLICTING_KEYS, message).at(key.span, ""));
            return None;
        }
        let (kind, code) = icmp_type(single(value, faults)?, number_here, faults)?;
        if kind.low() != kind.high() {
            faults.push(incomplete("a test needs one ICMP type".into(), value.span));
            return None;
        }
        return Some((number_here, kind.low(), code.low()));
    }
    let Some(number) = number else {
        faults.push(missing(TEST.of, "proto", start).help("or give `icmp` or `icmpv6`"));
        return None;
    };
    let ports = matches!(
        number,
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP | protocol::UDPLITE
    );
    let mut port = |entry: Entry<'_>| match entry {
        Some((_, value)) => {
            single(value, faults).and_then(|word| single_port(word, faults)).map(Some)
        }
        None => Some(None),
    };
    let (source, destination) = (port(sport), port(dport));
    let (source, destination) = (source?, destination?);
    match (number, destination) {
        (protocol::ICMP, _) => {
            faults.push(incomplete(
                "a test with ICMP needs a type: `icmp: echo-request`".into(),
                start,
            ));
            None
        }
        (protocol::ICMPV6, _) => {
            let message = "a test with ICMPv6 needs a type: `icmpv6: echo-request`";
            faults.push(incomplete(message.into(), start));
            None
        }
        (_, Some(destination)) if ports => {
            Some((number, source.unwrap_or(SOURCE_PORT), destination))
        }
        (_, None) if ports => {
            faults.push(incomplete("a test with this protocol needs `dport`".into(), start));
            None
        }
        (_, None) if source.is_none() => Some((number, 0, 0)),
        _ => {
            let span = dport.or(sport).map_or(start, |(key, _)| key.span);
            let message = "this protocol has no ports";
            faults.push(Fault::error(codes::CONFLICTING_KEYS, message).at(span, ""));
            None
        }
    }
}

fn host(node: &Node<'_>, faults: &mut Faults) -> Option<IpAddr> {
    let word = single(node, faults)?;
    match address::parse(word.text, Form::Host, word.span) {
        Ok(Range::V4(address, _)) => Some(Ipv4Addr::from_bits(address).into()),
        Ok(Range::V6(address, _)) => Some(Ipv6Addr::from_bits(address).into()),
        Err(fault) => {
            faults.push(fault);
            None
        }
    }
}

fn single<'t>(node: &'t Node<'t>, faults: &mut Faults) -> Option<Word<'t>> {
    let word = Word::of(node).filter(|word| !word.text.is_empty());
    if word.is_none() {
        faults.push(wrong_kind(node, "a single value belongs here"));
    }
    word
}
