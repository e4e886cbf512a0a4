//! The policy's NAT rules in the data plane's terms: zones become interface patterns, families
//! become rules of their own.

use crate::macvlan;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use twinwall_netlink::dataplane::nat::{
    Action, Addresses, MAX_COMBINATIONS, Pattern, Rule, Service,
};
use twinwall_netlink::link::Link;
use twinwall_policy::address::AddressSet;
use twinwall_policy::interfaces::InterfaceZones;
use twinwall_policy::ruleset::{NatRule, RuleSet, Translation};
use twinwall_policy::zone::{ZoneId, ZoneSet};

/// A NAT rule that would become too many rules in the kernel.
#[derive(Debug, thiserror::Error)]
#[error(
    "NAT rule '{rule}' would become {count} rules in the kernel, more than {MAX_COMBINATIONS}; \
     use fewer ranges, services or interfaces in it"
)]
pub(super) struct TooMany {
    rule: String,
    count: usize,
}

/// The rules, in their order.
///
/// # Errors
/// The first rule that becomes too many.
pub(super) fn rules(policy: &RuleSet, links: &[Link]) -> Result<Vec<Rule>, TooMany> {
    let names = Names::new(policy, links);
    let rules: Vec<Rule> =
        policy.nat.iter().flat_map(|rule| [v4(&names, rule), v6(&names, rule)]).flatten().collect();
    let too_many = rules.iter().find(|rule| rule.combinations() > MAX_COMBINATIONS);
    match too_many {
        Some(rule) => Err(TooMany { rule: rule.name.clone(), count: rule.combinations() }),
        None => Ok(rules),
    }
}

fn v4(names: &Names, rule: &NatRule) -> Option<Rule> {
    let action = match rule.translation {
        _ if !rule.families.v4 => return None,
        Translation::Masquerade => Action::Masquerade,
        Translation::Source { v4, .. } => Action::SourceV4(v4?),
        Translation::Destination { v4, port, .. } => Action::DestinationV4(v4?, port),
    };
    let ranges = |set: &AddressSet| {
        let range = |(low, high): &(u32, u32)| (Ipv4Addr::from(*low), Ipv4Addr::from(*high));
        unless_any(set.v4(), (0, u32::MAX), range)
    };
    let (src, dst) = (ranges(&rule.src)?, ranges(&rule.dst)?);
    Some(finish(names, rule, Addresses::V4 { src, dst }, action))
}

fn v6(names: &Names, rule: &NatRule) -> Option<Rule> {
    let action = match rule.translation {
        _ if !rule.families.v6 => return None,
        Translation::Masquerade => Action::Masquerade,
        Translation::Source { v6, .. } => Action::SourceV6(v6?),
        Translation::Destination { v6, port, .. } => Action::DestinationV6(v6?, port),
    };
    let ranges = |set: &AddressSet| {
        let range = |(low, high): &(u128, u128)| (Ipv6Addr::from(*low), Ipv6Addr::from(*high));
        unless_any(set.v6(), (0, u128::MAX), range)
    };
    let (src, dst) = (ranges(&rule.src)?, ranges(&rule.dst)?);
    Some(finish(names, rule, Addresses::V6 { src, dst }, action))
}

/// The ranges; empty for the one that is everything, `None` when there is no address of the family
/// and so no packet that could match.
fn unless_any<T: PartialEq, U>(ranges: &[T], any: T, convert: impl Fn(&T) -> U) -> Option<Vec<U>> {
    match ranges {
        [] => None,
        [only] if *only == any => Some(Vec::new()),
        ranges => Some(ranges.iter().map(convert).collect()),
    }
}

fn finish(names: &Names, rule: &NatRule, addresses: Addresses, action: Action) -> Rule {
    let pair = |ports: RangeInclusive<u16>| (*ports.start(), *ports.end());
    let anything = rule.services.iter().any(|service| service.protocol.is_none());
    let services = rule.services.iter().map(|service| Service {
        protocol: service.protocol,
        src: pair(service.src_port.range()),
        dst: pair(service.dst_port.range()),
    });
    Rule {
        name: rule.name.to_string(),
        ingress: names.patterns(rule.from),
        egress: names.patterns(rule.to),
        addresses,
        services: if anything { Vec::new() } else { services.collect() },
        action,
    }
}

/// The names and patterns of each zone's interfaces, with those macvlan interfaces of virtual
/// routers that are in the zone of the interface below.
struct Names(Vec<(ZoneId, Vec<String>)>);

impl Names {
    fn new(policy: &RuleSet, links: &[Link]) -> Self {
        let zones = InterfaceZones::new(&policy.zones);
        let named = (ZoneId::FIRST_NAMED..).map_while(ZoneId::new).zip(policy.zones.iter().skip(2));
        let all = named.map(|(id, zone)| {
            let inherits = |link: &&Link| macvlan::inherited(link, links, &zones) == Some(id);
            let listed = zone.interfaces.iter().map(ToString::to_string);
            let below = links.iter().filter(inherits).map(|link| link.name.clone());
            (id, listed.chain(below).collect())
        });
        Self(all.collect())
    }

    /// The interfaces of zones; none for any. A pattern leaves out the more specific names and
    /// patterns that belong to other zones.
    fn patterns(&self, zones: ZoneSet) -> Vec<Pattern> {
        if zones.covers(ZoneSet::ALL.without(ZoneId::SELF)) {
            return Vec::new();
        }
        let (own, others): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|(id, _)| zones.contains(*id));
        let others: Vec<&String> = others.into_iter().flat_map(|(_, names)| names).collect();
        own.into_iter()
            .flat_map(|(_, names)| names)
            .map(|name| Pattern {
                name: name.clone(),
                except: others
                    .iter()
                    .filter(|other| is_within(other, name))
                    .map(|other| (*other).clone())
                    .collect(),
            })
            .collect()
    }
}

/// Whether everything that `inner` stands for is of `outer` too, and more specific.
fn is_within(inner: &str, outer: &str) -> bool {
    outer
        .strip_suffix('*')
        .is_some_and(|prefix| inner != outer && inner.trim_end_matches('*').starts_with(prefix))
}
