//! Rule sets written by hand.

use std::net::IpAddr;
use twinwall_policy::address::AddressSet;
use twinwall_policy::flow::{Flow, Tuple, protocol};
use twinwall_policy::matching::{Match, PortRange, Service};
use twinwall_policy::ruleset::{
    Action, DEFAULT_RULE, OnChange, QueueFailure, Rule, RuleSet, SELF_RULE, Zone,
};
use twinwall_policy::zone::{ZoneId, ZoneSet};

pub(crate) const LAN: ZoneId = ZoneId::new(2).unwrap();
pub(crate) const WAN: ZoneId = ZoneId::new(3).unwrap();
pub(crate) const DMZ: ZoneId = ZoneId::new(4).unwrap();

/// Every flow.
pub(crate) fn matching() -> Match {
    Match {
        from: ZoneSet::ALL,
        to: ZoneSet::ALL,
        src: AddressSet::any(),
        dst: AddressSet::any(),
        services: vec![Service::ANY],
    }
}

pub(crate) fn tcp(ports: PortRange) -> Service {
    Service { protocol: Some(protocol::TCP), src_port: PortRange::ANY, dst_port: ports }
}

pub(crate) fn tcp_port(port: u16) -> Service {
    tcp(PortRange::only(port))
}

/// An accepting rule from lan to wan.
pub(crate) fn rule(name: &str, service: Service) -> Rule {
    Rule {
        seq: 0,
        name: name.into(),
        matches: Match {
            from: ZoneSet::only(LAN),
            to: ZoneSet::only(WAN),
            services: vec![service],
            ..matching()
        },
        action: Action::Accept,
        log: false,
        on_change: OnChange::Rematch,
    }
}

/// A set of networks, each as `address/length`.
pub(crate) fn nets(networks: &[&str]) -> AddressSet {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for network in networks {
        let (address, len) = network.split_once('/').unwrap();
        let len: u32 = len.parse().unwrap();
        match address.parse().unwrap() {
            IpAddr::V4(address) => {
                let rest = u32::MAX.checked_shr(len).unwrap_or(0);
                v4.push((address.to_bits(), address.to_bits() | rest));
            }
            IpAddr::V6(address) => {
                let rest = u128::MAX.checked_shr(len).unwrap_or(0);
                v6.push((address.to_bits(), address.to_bits() | rest));
            }
        }
    }
    AddressSet::from_ranges(v4, v6)
}

/// Zones by name and interfaces, the fixed ones in front.
pub(crate) fn zones(named: &[(&str, &[&str])]) -> Vec<Zone> {
    let fixed = [("(outside)", &[][..]), ("self", &[][..])];
    let all = fixed.iter().chain(named);
    all.map(|(name, interfaces)| Zone {
        name: (*name).into(),
        interfaces: interfaces.iter().map(|interface| (*interface).into()).collect(),
    })
    .collect()
}

/// A policy of lan, wan and dmz with these rules and the built-in ones, numbered in tens.
pub(crate) fn policy(rules: impl IntoIterator<Item = Rule>) -> RuleSet {
    let mut rules: Vec<Rule> = rules.into_iter().collect();
    for (rule, seq) in rules.iter_mut().zip(1..) {
        rule.seq = seq * 10;
    }
    rules.extend(built_in());
    RuleSet {
        name: "test".into(),
        zones: zones(&[("lan", &["eth1"]), ("wan", &["eth0"]), ("dmz", &["eth2"])]),
        rules,
        nat: vec![],
        queue_failure: QueueFailure::Closed,
    }
}

/// The two last rules of every policy.
pub(crate) fn built_in() -> [Rule; 2] {
    let built_in = |name: &str, from, action| Rule {
        seq: u32::MAX,
        name: name.into(),
        matches: Match { from, ..matching() },
        action,
        log: false,
        on_change: OnChange::Rematch,
    };
    [
        built_in(SELF_RULE, ZoneSet::only(ZoneId::SELF), Action::Accept),
        built_in(DEFAULT_RULE, ZoneSet::ALL, Action::Drop),
    ]
}

/// Rules that match this and nothing else is said about.
pub(crate) fn rules_of(matches: impl IntoIterator<Item = Match>) -> RuleSet {
    let mut set = policy([]);
    set.rules = (0..)
        .zip(matches)
        .map(|(seq, matches)| Rule { seq, matches, ..rule(&format!("r{seq}"), Service::ANY) })
        .collect();
    set
}

/// A TCP flow from lan to wan.
pub(crate) fn lan_to_wan(src: &str, dst: &str, dst_port: u16) -> Flow {
    Flow {
        tuple: Tuple {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol: protocol::TCP,
            src_port: 40_000,
            dst_port,
        },
        from: LAN,
        to: WAN,
    }
}
