//! Which NAT rules apply, and what they make of a session.

use crate::rules::{DMZ, LAN, WAN, lan_to_wan, matching, nets, policy, rule, tcp_port};
use std::net::{Ipv4Addr, Ipv6Addr};
use twinwall_policy::flow::{Flow, Tuple, protocol};
use twinwall_policy::matching::Service;
use twinwall_policy::nat::{NewDestination, NewSource, translate};
use twinwall_policy::ruleset::{Families, NatRule, RuleSet, Translation};
use twinwall_policy::zone::{ZoneId, ZoneSet};

fn nat(name: &str, from: ZoneId, to: ZoneSet, translation: Translation) -> NatRule {
    NatRule {
        seq: 0,
        name: name.into(),
        from: ZoneSet::only(from),
        to,
        src: matching().src,
        dst: matching().dst,
        services: vec![Service::ANY],
        families: Families { v4: true, v6: true },
        translation,
    }
}

fn to_web(port: Option<u16>) -> Translation {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 0, 0x10);
    Translation::Destination { v4: Some(Ipv4Addr::new(10, 20, 0, 10)), v6: Some(v6), port }
}

fn with(nat: Vec<NatRule>) -> RuleSet {
    RuleSet { nat, ..policy([rule("all", Service::ANY)]) }
}

/// From wan to dmz, as it arrives at the gateway's own address.
fn arriving() -> Flow {
    Flow { from: WAN, to: DMZ, ..lan_to_wan("198.51.100.7", "203.0.113.10", 443) }
}

#[test]
fn filter_rules_and_source_nat_see_the_translated_destination() {
    let incoming = NatRule {
        dst: nets(&["203.0.113.10/32"]),
        services: vec![tcp_port(443)],
        ..nat("in", WAN, ZoneSet::ALL, to_web(Some(8443)))
    };
    let hairpin = NatRule {
        dst: nets(&["10.20.0.10/32"]),
        services: vec![tcp_port(8443)],
        ..nat("hairpin", WAN, ZoneSet::only(DMZ), Translation::Masquerade)
    };
    let rules = with(vec![incoming, hairpin]);
    let found = translate(&rules, &arriving());
    assert_eq!(found.destination.unwrap().name.as_ref(), "in");
    assert_eq!(found.source.unwrap().name.as_ref(), "hairpin");
    assert_eq!(found.inside.dst, Ipv4Addr::new(10, 20, 0, 10));
    assert_eq!(found.inside.dst_port, 8443);
    let address = Ipv4Addr::new(10, 20, 0, 10).into();
    let effect = found.effect();
    assert_eq!(effect.destination, Some(NewDestination { address, port: Some(8443) }));
    assert_eq!(effect.source, Some(NewSource::Masquerade));
}

#[test]
fn first_rule_of_each_kind_applies() {
    let fixed = |last| Translation::Source { v4: Some(Ipv4Addr::new(192, 0, 2, last)), v6: None };
    let rules = with(vec![
        nat("other zone", DMZ, ZoneSet::ALL, fixed(1)),
        nat("first", LAN, ZoneSet::only(WAN), fixed(2)),
        nat("second", LAN, ZoneSet::only(WAN), Translation::Masquerade),
    ]);
    let found = translate(&rules, &lan_to_wan("10.0.0.1", "198.51.100.7", 443));
    assert_eq!(found.effect().source, Some(NewSource::Address(Ipv4Addr::new(192, 0, 2, 2).into())));
    // It has no IPv6 address, so the next one applies.
    let found = translate(&rules, &lan_to_wan("2001:db8::1", "2001:db8:9::1", 443));
    assert_eq!(found.effect().source, Some(NewSource::Masquerade));
}

#[test]
fn family_limits_a_rule() {
    let only_v4 = NatRule {
        families: Families { v4: true, v6: false },
        ..nat("out", LAN, ZoneSet::only(WAN), Translation::Masquerade)
    };
    let rules = with(vec![only_v4]);
    assert!(translate(&rules, &lan_to_wan("10.0.0.1", "192.0.2.1", 1)).source.is_some());
    assert!(translate(&rules, &lan_to_wan("2001:db8::1", "2001:db8::2", 1)).source.is_none());
}

#[test]
fn gateway_itself_is_neither_redirected_nor_masqueraded_to() {
    let both = vec![
        nat("in", ZoneId::SELF, ZoneSet::ALL, to_web(None)),
        nat("out", LAN, ZoneSet::ALL, Translation::Masquerade),
    ];
    let rules = with(both);
    let from_self = Flow { from: ZoneId::SELF, ..lan_to_wan("10.0.0.1", "192.0.2.1", 1) };
    assert!(translate(&rules, &from_self).destination.is_none());
    let to_self = Flow { to: ZoneId::SELF, ..lan_to_wan("10.0.0.1", "192.0.2.1", 1) };
    assert!(translate(&rules, &to_self).source.is_none());
}

#[test]
fn port_is_not_set_where_there_is_none() {
    let rules = with(vec![nat("in", WAN, ZoneSet::ALL, to_web(Some(80)))]);
    let tuple = Tuple { protocol: protocol::ICMP, src_port: 8, dst_port: 0, ..arriving().tuple };
    let found = translate(&rules, &Flow { tuple, ..arriving() });
    assert_eq!((found.inside.src_port, found.inside.dst_port), (8, 0));
}
