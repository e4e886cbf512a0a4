//! Zones and rules of an interface hold for the virtual MAC address on it.

use crate::bed::Bed;
use std::collections::BTreeMap;
use std::fs;
use twinwall_control::{Request, report};
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::pair::Side;

/// Names say where a packet came from.
const POLICY: &str = "\
version: 1
name: zones
defaults: { action: drop, log: false, on_change: rematch }
zones:
  wan: { interfaces: [eth0] }
  lan: { interfaces: [eth1] }
  dmz: { interfaces: [eth2] }
services:
  ping: { icmp: [echo-request], icmpv6: [echo-request] }
rules:
  - { seq: 10, name: lan-self, from: lan, to: self, service: ping, action: accept }
  - { seq: 20, name: lan-wan, from: lan, to: wan, service: ping, action: accept }
  - { seq: 30, name: dmz-wan, from: dmz, to: wan, service: ping, action: accept }
  - { seq: 40, name: rest, from: any, to: any, action: reject }
";

fn packets(bed: &Bed) -> BTreeMap<String, u64> {
    let rules: report::Rules = bed.gateway(Side::A).unwrap().ask(&Request::Rules).unwrap();
    rules.rules.into_iter().map(|rule| (rule.name, rule.packets)).collect()
}

#[test]
fn what_comes_by_the_virtual_mac_address_is_of_its_parents_zone() {
    let Some(mut bed) = Bed::build("zones", Default::default(), Vrrp::default()) else { return };
    fs::write(&bed.testbed().record().policy, POLICY).unwrap();
    bed.start(Side::A).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait_active(Side::A).unwrap();
    for (from, to, rule) in [
        ("client", "10.0.0.1", "lan-self"),
        ("client", "2001:db8:10::1", "lan-self"),
        ("client", "198.51.100.7", "lan-wan"),
        ("client", "2001:db8:40::7", "lan-wan"),
        ("dmz", "198.51.100.7", "dmz-wan"),
        ("dmz", "2001:db8:40::7", "dmz-wan"),
    ] {
        let before = packets(&bed);
        assert!(bed.pings(from, to), "{from} to {to}");
        let after = packets(&bed);
        // What the gateway itself answers is not filtered.
        let packets = if rule == "lan-self" { 1 } else { 2 };
        assert_eq!(after[rule], before[rule] + packets, "{from} to {to} by {rule}: {after:?}");
    }
    let before = packets(&bed);
    assert!(!bed.pings("server", "203.0.113.1"), "the WAN may not");
    assert!(packets(&bed)["rest"] > before["rest"]);
    let known = bed.shell("client", "ip neighbour show 10.0.0.1");
    assert!(known.contains("00:00:5e:00:01:0a"), "it went by the virtual MAC address: {known}");
    let interfaces = bed.gateway(Side::A).unwrap().status().unwrap().interfaces;
    let zones: Vec<_> = interfaces.iter().filter(|i| i.name.starts_with("tw")).collect();
    assert_eq!(zones.len(), 6, "{interfaces:?}");
}
