//! Zones by interface: patterns, interfaces that appear later, renamed ones.

use crate::bed::{Bed, policy};
use std::net::IpAddr;

/// Names say what they are, and each has rules of its own for its pings to the gateway.
const ZONES: &str = "\
version: 1
name: zones
defaults: { action: drop }
zones:
  any-vlan: { interfaces: [\"vlan*\"] }
  tens: { interfaces: [\"vlan1*\"] }
  ten: { interfaces: [vlan10] }
  lan: { interfaces: [eth1] }
rules:
  - { seq: 10, name: from-any-vlan, from: any-vlan, to: self, action: accept }
  - { seq: 20, name: from-tens, from: tens, to: self, action: accept }
  - { seq: 30, name: from-ten, from: ten, to: self, action: accept }
  - { seq: 40, name: from-lan, from: lan, to: self, action: accept }
  - { seq: 50, name: from-elsewhere, from: any, to: self, action: reject }
";

/// Joins a new interface of the gateway with a new one of `client2`, in a net of its own.
fn add_interface(bed: &Bed, name: &str, net: u8) {
    bed.shell(
        "gw-a",
        &format!(
            "ip link add {name} type veth peer name up{net} netns client2; \
             ip address add 10.66.{net}.1/24 dev {name}; \
             ip address add 2001:db8:66:{net}::1/64 dev {name} nodad; \
             ip link set {name} up"
        ),
    );
    bed.shell(
        "client2",
        &format!(
            "ip address add 10.66.{net}.2/24 dev up{net}; \
             ip address add 2001:db8:66:{net}::2/64 dev up{net} nodad; \
             ip link set up{net} up"
        ),
    );
    wait_for_link(bed, name, net);
}

/// Waits until both ends have noticed that the other is there. The kernel says so a moment before
/// it gives the interface a queue that takes packets.
fn wait_for_link(bed: &Bed, name: &str, net: u8) {
    for (node, interface) in [("gw-a", name), ("client2", &format!("up{net}"))] {
        let show = format!("ip -o link show dev {interface}");
        bed.wait(&format!("{interface} is up"), || {
            let shown = bed.shell(node, &show);
            (shown.contains("state UP") && !shown.contains("qdisc noop ")).then_some(())
        });
    }
}

/// The zone that the daemon sees an interface in.
fn zone_of(bed: &Bed, name: &str) -> Option<String> {
    let interfaces = bed.status().interfaces;
    interfaces.into_iter().find(|i| i.name == name).map(|i| i.zone)
}

fn wait_for_zone(bed: &Bed, name: &str, zone: &str) {
    bed.wait(&format!("{name} is in {zone}"), || {
        (zone_of(bed, name).as_deref() == Some(zone)).then_some(())
    });
}

/// The gateway's addresses in a net.
fn gateway(net: u8) -> [IpAddr; 2] {
    [format!("10.66.{net}.1"), format!("2001:db8:66:{net}::1")].map(|text| text.parse().unwrap())
}

/// Pings the gateway in a net with new sessions, and checks that only this rule counts them.
fn assert_decided_by(bed: &Bed, net: u8, rule: &str) {
    let before = bed.packets();
    for to in gateway(net) {
        let expected = if rule == "from-elsewhere" { 0 } else { 3 };
        assert_eq!(bed.ping("client2", to, 3).received(), expected, "{to} by {rule}");
    }
    for (name, packets) in bed.packets() {
        let expected = if name == rule { 6 } else { 0 };
        assert_eq!(packets - before[&name], expected, "net {net} by {rule}: {name}");
    }
}

#[test]
fn exact_name_beats_pattern_and_longer_pattern_beats_shorter() {
    let Some(bed) = Bed::without_daemon("zones: patterns", twinwall_testbed::Testbed::builder())
    else {
        return;
    };
    let all = [
        ("vlan10", 10, "from-ten"),
        ("vlan11", 11, "from-tens"),
        ("vlan1", 1, "from-tens"),
        ("vlan2", 2, "from-any-vlan"),
        ("other0", 99, "from-elsewhere"),
    ];
    for (name, net, _) in all {
        add_interface(&bed, name, net);
    }
    bed.write_policy(ZONES);
    bed.gateway.start().unwrap();
    for (_, net, rule) in all {
        assert_decided_by(&bed, net, rule);
    }
    for session in bed.sessions_of("from-tens") {
        assert_eq!(session.from.as_deref(), Some("tens"));
    }
    assert_eq!(zone_of(&bed, "other0").as_deref(), Some("(outside)"));
}

#[test]
fn an_interface_that_appears_later_gets_its_zone() {
    let Some(bed) = Bed::up("zones: later", ZONES) else { return };
    assert_eq!(zone_of(&bed, "vlan10"), None);
    add_interface(&bed, "vlan10", 10);
    add_interface(&bed, "vlan11", 11);
    // Not waiting until the daemon shows them: its first packet must be decided rightly too.
    assert_decided_by(&bed, 10, "from-ten");
    assert_decided_by(&bed, 11, "from-tens");
    wait_for_zone(&bed, "vlan10", "ten");
    wait_for_zone(&bed, "vlan11", "tens");
    bed.shell("gw-a", "ip link delete vlan10");
    bed.wait("it is gone", || zone_of(&bed, "vlan10").is_none().then_some(()));
    add_interface(&bed, "vlan10", 12);
    wait_for_zone(&bed, "vlan10", "ten");
    assert_decided_by(&bed, 12, "from-ten");
}

#[test]
fn a_renamed_interface_changes_its_zone() {
    let Some(bed) = Bed::up("zones: renamed", ZONES) else { return };
    add_interface(&bed, "vlan10", 10);
    wait_for_zone(&bed, "vlan10", "ten");
    assert_decided_by(&bed, 10, "from-ten");
    for (old, new, rule) in [
        ("vlan10", "vlan12", "from-tens"),
        ("vlan12", "vlan2", "from-any-vlan"),
        ("vlan2", "lost0", "from-elsewhere"),
    ] {
        rename(&bed, old, new, 10);
        let zone = rule.trim_start_matches("from-");
        wait_for_zone(&bed, new, if zone == "elsewhere" { "(outside)" } else { zone });
        assert_decided_by(&bed, 10, rule);
    }
    // What was denied there is remembered for some seconds.
    rename(&bed, "lost0", "vlan10", 10);
    for to in gateway(10) {
        let passes = || (bed.ping_in_vain("client2", to, 1).received() == 1).then_some(());
        bed.wait("it passes again", passes);
    }
}

fn rename(bed: &Bed, old: &str, new: &str, net: u8) {
    // It loses its IPv6 addresses while it is down.
    bed.shell(
        "gw-a",
        &format!(
            "ip link set {old} down; ip link set {old} name {new}; ip link set {new} up; \
             ip address replace 2001:db8:66:{net}::1/64 dev {new} nodad"
        ),
    );
    wait_for_link(bed, new, net);
}

#[test]
fn a_reload_that_moves_an_interface_to_another_zone_moves_its_sessions() {
    let rules = "seq: 10, name: in, from: lan, to: wan, action: accept";
    let Some(bed) = Bed::up("zones: moved", &policy(&[rules])) else { return };
    let to = crate::bed::at(crate::bed::OUTSIDE[0], 7000);
    let _server = bed.serve("server", &format!("udp-echo --listen {to}"));
    let _client = bed.start("client", &format!("udp-send --to {to} --rate 500 --count 1000000"));
    bed.wait("it flows", || (bed.rule("in").packets > 50).then_some(()));
    // The LAN and the DMZ change places.
    let swapped = policy(&[rules, "seq: 20, name: other, from: dmz, to: wan, action: accept"])
        .replace("lan: { interfaces: [eth1] }", "lan: { interfaces: [eth2] }")
        .replace("dmz: { interfaces: [eth2] }", "dmz: { interfaces: [eth1] }");
    bed.apply(&swapped);
    let before = bed.packets();
    bed.wait("it counts on the rule of its zone", || {
        (bed.rule("other").packets > before["other"] + 50).then_some(())
    });
    assert_eq!(bed.rule("in").packets, before["in"]);
    let sessions = bed.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].from.as_deref(), Some("dmz"), "{sessions:?}");
}

#[test]
fn two_zones_with_one_pattern_are_refused() {
    let Some(bed) = Bed::up("zones: twice", ZONES) else { return };
    for (was, twice) in [("[vlan10]", "[\"vlan1*\"]"), ("[vlan10]", "[eth1]")] {
        let refusal = bed.try_apply(&ZONES.replace(was, twice)).unwrap_err();
        assert!(refusal.contains("E0209"), "{refusal}");
        assert!(refusal.contains("generation 1 stays active"), "{refusal}");
    }
    assert_eq!(bed.status().generation, 1);
}
