//! Explanations in an operator's words.

use crate::rules::{DMZ, LAN, WAN, lan_to_wan, matching, nets, policy, rule, tcp, tcp_port};
use std::net::Ipv4Addr;
use twinwall_policy::address::AddressSet;
use twinwall_policy::explain::{addresses_in_words, explain, service_in_words};
use twinwall_policy::flow::{Flow, Tuple, protocol};
use twinwall_policy::matching::{PortRange, Service};
use twinwall_policy::ruleset::{Families, NatRule, RuleIndex, Translation};
use twinwall_policy::zone::{ZoneId, ZoneSet};

#[test]
fn every_rule_up_to_the_deciding_one_says_why_it_did_not_match() {
    let mut web = rule("web", tcp_port(443));
    web.matches.src = nets(&["10.0.0.0/16", "2001:db8:10::/48"]);
    web.matches.to = ZoneSet::only(WAN).with(DMZ);
    let mut mail = rule("mail", tcp_port(25));
    mail.matches.from = ZoneSet::only(DMZ);
    mail.matches.dst = nets(&["192.0.2.1/32"]);
    let rules = policy([mail, web, rule("all", Service::ANY)]);
    let seen = explain(&rules, &lan_to_wan("10.9.0.5", "198.51.100.7", 443));
    assert_eq!(seen.rule, Some(RuleIndex(2)));
    let tried: Vec<_> = seen.tried.iter().map(|tried| tried.name.as_ref()).collect();
    assert_eq!(tried, ["mail", "web", "all"]);
    assert_eq!(
        seen.tried[0].reasons,
        [
            "from zone lan is not dmz",
            "destination 198.51.100.7 is not in 192.0.2.1",
            "tcp port 443 from port 40000 is not tcp port 25",
        ]
    );
    assert_eq!(seen.tried[1].reasons, ["source 10.9.0.5 is not in 10.0.0.0/16"]);
    assert!(seen.tried[2].matched());
    assert_eq!((seen.tried[2].seq, seen.nat.len()), (Some(30), 0));
}

#[test]
fn built_in_rule_decides_at_last_and_has_no_place() {
    let seen = explain(&policy([]), &lan_to_wan("10.0.0.1", "192.0.2.1", 80));
    assert_eq!(seen.tried[0].reasons, ["from zone lan is not self"]);
    assert_eq!(seen.tried[1].name.as_ref(), "(default)");
    assert_eq!(seen.tried[1].seq, None);
}

#[test]
fn zones_of_an_any_rule_are_called_any_interface() {
    let mut any = rule("any", Service::ANY);
    any.matches.from = ZoneSet::ALL.without(ZoneId::SELF);
    let flow = Flow { from: ZoneId::SELF, ..lan_to_wan("10.0.0.1", "192.0.2.1", 80) };
    let seen = explain(&policy([any]), &flow);
    assert_eq!(seen.tried[0].reasons, ["from zone self is not any interface"]);
}

#[test]
fn missing_family_is_named() {
    let mut web = rule("web", Service::ANY);
    web.matches.dst = nets(&["192.0.2.0/24"]);
    let seen = explain(&policy([web]), &lan_to_wan("2001:db8::1", "2001:db8::2", 80));
    let reason = "destination 2001:db8::2 is IPv6, the rule has no IPv6 destination";
    assert_eq!(seen.tried[0].reasons, [reason]);
}

#[test]
fn nat_is_told_and_rules_see_the_inside_address() {
    let mut rules = policy([rule("web", tcp_port(8443))]);
    rules.rules[0].matches.dst = nets(&["10.20.0.10/32"]);
    let nat = |name: &str, to, translation| NatRule {
        seq: 1,
        name: name.into(),
        from: ZoneSet::only(LAN),
        to,
        src: matching().src,
        dst: matching().dst,
        services: vec![Service::ANY],
        families: Families { v4: true, v6: true },
        translation,
    };
    let web = Some(Ipv4Addr::new(10, 20, 0, 10));
    let redirect = Translation::Destination { v4: web, v6: None, port: Some(8443) };
    rules.nat.push(nat("in-web", ZoneSet::ALL, redirect));
    rules.nat.push(nat("out", ZoneSet::only(WAN), Translation::Masquerade));
    let seen = explain(&rules, &lan_to_wan("10.0.0.1", "203.0.113.10", 443));
    assert_eq!(seen.rule, Some(RuleIndex(0)));
    assert_eq!(
        seen.nat,
        [
            "destination becomes 10.20.0.10:8443 by NAT rule `in-web`",
            "source becomes the address of the egress interface by NAT rule `out`",
        ]
    );
}

#[test]
fn sets_are_shown_as_networks_and_ranges_and_long_ones_are_cut() {
    let any4 = Ipv4Addr::UNSPECIFIED.into();
    let words = |set: &AddressSet| addresses_in_words(set, any4);
    assert_eq!(words(&AddressSet::any()), "0.0.0.0/0");
    assert_eq!(
        words(&AddressSet::from_ranges([(0x0a00_0001, 0x0a00_0009)], [])),
        "10.0.0.1-10.0.0.9"
    );
    let hosts = AddressSet::from_ranges((0..7).map(|n| (n * 2, n * 2)), []);
    assert_eq!(words(&hosts), "0.0.0.0, 0.0.0.2, 0.0.0.4 and 4 more");
    assert_eq!(words(&nets(&["10.0.0.0/8", "192.0.2.0/24"])), "10.0.0.0/8 or 192.0.2.0/24");
}

#[test]
fn services_are_called_by_protocol_and_field() {
    let icmp = Service {
        protocol: Some(protocol::ICMP),
        src_port: PortRange::only(8),
        dst_port: PortRange::ANY,
    };
    assert_eq!(service_in_words(&icmp), "icmp type 8");
    assert_eq!(service_in_words(&Service::ANY), "any service");
    assert_eq!(service_in_words(&tcp(PortRange::new(80, 90).unwrap())), "tcp port 80-90");
    let gre = Service { protocol: Some(47), ..Service::ANY };
    assert_eq!(service_in_words(&gre), "protocol 47");
}

#[test]
fn near_miss_names_the_services_of_the_packets_protocol() {
    let mut mixed = rule("mixed", tcp_port(22));
    let udp = |port| Service { protocol: Some(protocol::UDP), ..tcp_port(port) };
    mixed.matches.services = vec![tcp_port(22), udp(53), udp(123)];
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 80);
    let tuple = Tuple { protocol: protocol::UDP, ..flow.tuple };
    let seen = explain(&policy([mixed]), &Flow { tuple, ..flow });
    let reason = "udp port 80 from port 40000 is not udp port 53 or udp port 123";
    assert_eq!(seen.tried[0].reasons, [reason]);
}
