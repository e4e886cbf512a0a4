//! Why a flow is decided as it is, in words.
//!
//! Goes in: a rule set and a flow as it arrives. Comes out: every rule up to the deciding one, the
//! fields by which each of the others did not match, and what NAT does. Not here: live sessions,
//! and how the words are laid out.

use crate::address::AddressSet;
use crate::flow::{Flow, protocol};
use crate::matching::{PortRange, Service};
use crate::nat::{self, NewSource};
use crate::prefix::{Prefix, Word};
use crate::ruleset::{Rule, RuleIndex, RuleSet};
use crate::zone::{ZoneId, ZoneSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Members of a set that are written out.
const SHOWN: usize = 3;

/// Why a flow is decided as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The flow as rules see it: with the destination after destination NAT.
    pub inside: Flow,
    /// Every rule that was tried; the last one decides, if any does.
    pub tried: Vec<Tried>,
    /// The rule that decides.
    pub rule: Option<RuleIndex>,
    /// What NAT does, one sentence for the destination and one for the source.
    pub nat: Vec<String>,
}

/// One rule that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its place.
    pub rule: RuleIndex,
    /// Its order; `None` for built-in rules.
    pub seq: Option<u32>,
    /// Its name.
    pub name: Arc<str>,
    /// Why it didn't match, field by field; empty when it did.
    pub reasons: Vec<String>,
}

impl Tried {
    /// Whether the rule matched.
    #[must_use]
    pub fn matched(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Explains the decision of a flow whose first packet arrives like this: with the destination
/// before any translation.
#[must_use]
pub fn explain(rules: &RuleSet, arriving: &Flow) -> Explanation {
    let translations = nat::translate(rules, arriving);
    let inside = Flow { tuple: translations.inside, ..*arriving };
    let mut tried = Vec::new();
    let mut decided = None;
    for (index, rule) in (0..).map(RuleIndex).zip(&rules.rules) {
        let reasons = reasons(rules, rule, &inside);
        let matched = reasons.is_empty();
        let seq = (!rule.name.starts_with('(')).then_some(rule.seq);
        tried.push(Tried { rule: index, seq, name: Arc::clone(&rule.name), reasons });
        if matched {
            decided = Some(index);
            break;
        }
    }
    Explanation { inside, tried, rule: decided, nat: nat_in_words(&translations) }
}

/// Up to three addresses, networks or ranges of the set, and how many more there are. `family` is
/// an address of the family that is wanted.
#[must_use]
pub fn addresses_in_words(set: &AddressSet, family: IpAddr) -> String {
    match family {
        IpAddr::V4(_) => {
            let ranges = set.v4().iter();
            list(ranges.map(|(low, high)| range_in_words(*low, *high, Ipv4Addr::from_bits)))
        }
        IpAddr::V6(_) => {
            let ranges = set.v6().iter();
            list(ranges.map(|(low, high)| range_in_words(*low, *high, Ipv6Addr::from_bits)))
        }
    }
}

/// A service as `tcp port 443`, `icmp type 8` or `any service`.
#[must_use]
pub fn service_in_words(service: &Service) -> String {
    let Some(number) = service.protocol else { return "any service".to_owned() };
    let mut words = protocol_in_words(number);
    for (name, range) in fields(number, service) {
        if range != PortRange::ANY {
            words = format!("{words} {name} {}", ports_in_words(range));
        }
    }
    words
}

/// The reasons why a rule does not match; none if it does.
fn reasons(rules: &RuleSet, rule: &Rule, flow: &Flow) -> Vec<String> {
    let wanted = &rule.matches;
    let tuple = &flow.tuple;
    let mut reasons = Vec::new();
    for (what, zone, zones) in [("from", flow.from, wanted.from), ("to", flow.to, wanted.to)] {
        if !zones.contains(zone) {
            let zone = zone_in_words(rules, zone);
            reasons.push(format!("{what} zone {zone} is not {}", zones_in_words(rules, zones)));
        }
    }
    for (what, address, set) in
        [("source", tuple.src, &wanted.src), ("destination", tuple.dst, &wanted.dst)]
    {
        if !set.contains(address) {
            reasons.push(match address {
                IpAddr::V4(_) if set.v4().is_empty() => {
                    format!("{what} {address} is IPv4, the rule has no IPv4 {what}")
                }
                IpAddr::V6(_) if set.v6().is_empty() => {
                    format!("{what} {address} is IPv6, the rule has no IPv6 {what}")
                }
                _ => format!("{what} {address} is not in {}", addresses_in_words(set, address)),
            });
        }
    }
    let fits = |s: &Service| s.contains(tuple.protocol, tuple.src_port, tuple.dst_port);
    if !wanted.services.iter().any(fits) {
        // Services of the packet's protocol say more about a near miss.
        let same = |s: &&Service| s.protocol == Some(tuple.protocol);
        let wanted = &wanted.services;
        let services = if wanted.iter().any(|service| same(&service)) {
            list(wanted.iter().filter(same).map(service_in_words))
        } else {
            list(wanted.iter().map(service_in_words))
        };
        reasons.push(format!("{} is not {services}", packet_in_words(flow)));
    }
    reasons
}

fn nat_in_words(translations: &nat::Translations<'_>) -> Vec<String> {
    let effect = translations.effect();
    let mut words = Vec::new();
    if let (Some(rule), Some(target)) = (translations.destination, effect.destination) {
        let target = match (target.address, target.port) {
            (address, None) => address.to_string(),
            (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        };
        words.push(format!("destination becomes {target} by NAT rule `{}`", rule.name));
    }
    if let (Some(rule), Some(source)) = (translations.source, effect.source) {
        let source = match source {
            NewSource::Masquerade => "the address of the egress interface".to_owned(),
            NewSource::Address(address) => address.to_string(),
        };
        words.push(format!("source becomes {source} by NAT rule `{}`", rule.name));
    }
    words
}

/// `a`, `a or b`, `a, b, c and 4 more`.
fn list<T: Display>(members: impl Iterator<Item = T>) -> String {
    let mut members = members.fuse();
    let shown: Vec<String> =
        members.by_ref().take(SHOWN).map(|member| member.to_string()).collect();
    match (shown.as_slice(), members.count()) {
        ([], _) => "anything: the rule has none".to_owned(),
        ([all @ .., last], 0) if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        (shown, 0) => shown.concat(),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn range_in_words<T: Word, A: Display>(low: T, high: T, address: impl Fn(T) -> A) -> String {
    match Prefix::exactly(low, high) {
        Some(prefix) if prefix.len == T::BITS => address(low).to_string(),
        Some(prefix) => format!("{}/{}", address(low), prefix.len),
        None => format!("{}-{}", address(low), address(high)),
    }
}

fn zone_in_words(rules: &RuleSet, zone: ZoneId) -> String {
    let name = rules.zones.get(usize::from(zone.index())).map(|zone| zone.name.as_ref());
    name.unwrap_or("(unknown)").to_owned()
}

fn zones_in_words(rules: &RuleSet, zones: ZoneSet) -> String {
    let existing = ZoneSet::first(rules.zones.len());
    if zones.and(existing) == existing.without(ZoneId::SELF) {
        return "any interface".to_owned();
    }
    list(zones.and(existing).iter().map(|zone| zone_in_words(rules, zone)))
}

/// Protocol and ports of a flow: `tcp port 443 from port 1024`, `icmp type 8 code 0`.
fn packet_in_words(flow: &Flow) -> String {
    let tuple = &flow.tuple;
    let name = protocol_in_words(tuple.protocol);
    match tuple.protocol {
        protocol::ICMP | protocol::ICMPV6 => {
            format!("{name} type {} code {}", tuple.src_port, tuple.dst_port)
        }
        _ if tuple.src_port == 0 && tuple.dst_port == 0 => name,
        _ if tuple.src_port == 0 => format!("{name} port {}", tuple.dst_port),
        _ => format!("{name} port {} from port {}", tuple.dst_port, tuple.src_port),
    }
}

fn protocol_in_words(number: u8) -> String {
    let name = match number {
        protocol::ICMP => "icmp",
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::DCCP => "dccp",
        protocol::ICMPV6 => "icmpv6",
        protocol::SCTP => "sctp",
        protocol::UDPLITE => "udplite",
        _ => return format!("protocol {number}"),
    };
    name.to_owned()
}

/// The two upper-layer fields of a service, the more telling one first, and what they are called.
fn fields(number: u8, service: &Service) -> [(&'static str, PortRange); 2] {
    match number {
        protocol::ICMP | protocol::ICMPV6 => {
            [("type", service.src_port), ("code", service.dst_port)]
        }
        _ => [("port", service.dst_port), ("from port", service.src_port)],
    }
}

fn ports_in_words(range: PortRange) -> String {
    if range.low() == range.high() {
        range.low().to_string()
    } else {
        format!("{}-{}", range.low(), range.high())
    }
}
