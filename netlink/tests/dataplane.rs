//! The table `inet twinwall` in a real kernel: built, changed, adopted, left, read back.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "shared by several test programs")]
mod common;

use std::process::Command;
use twinwall_netlink::dataplane::nat::{Action, Addresses, Pattern, Rule, Service};
use twinwall_netlink::dataplane::{Dataplane, Decision, Marks, Settings, Switch};

fn settings() -> Settings {
    Settings { first_queue: 0, queues: 2, open_on_failure: false, nat: nat_rules(), peer: None }
}

fn nat_rules() -> Vec<Rule> {
    let pattern = |name: &str, except: &[&str]| Pattern {
        name: name.into(),
        except: except.iter().map(ToString::to_string).collect(),
    };
    vec![
        Rule {
            name: "out".into(),
            ingress: vec![],
            egress: vec![pattern("eth0", &[])],
            addresses: Addresses::V4 {
                src: vec![("10.0.0.0".parse().unwrap(), "10.0.255.255".parse().unwrap())],
                dst: vec![],
            },
            services: vec![],
            action: Action::Masquerade,
        },
        Rule {
            name: "in-web".into(),
            ingress: vec![pattern("vlan1*", &["vlan10"])],
            egress: vec![],
            addresses: Addresses::V6 {
                src: vec![],
                dst: vec![("2001:db8::1".parse().unwrap(), "2001:db8::1".parse().unwrap())],
            },
            services: vec![Service { protocol: Some(6), src: (0, u16::MAX), dst: (80, 80) }],
            action: Action::DestinationV6("2001:db8:20::10".parse().unwrap(), Some(8080)),
        },
    ]
}

fn keys(count: u32) -> Vec<(u32, Decision)> {
    let decisions = [Decision::Accept, Decision::Drop, Decision::Reject];
    (1..=count).zip(decisions.into_iter().cycle()).collect()
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn present(dataplane: &mut Dataplane) -> Vec<(u32, Option<Decision>)> {
    let mut found: Vec<_> =
        dataplane.existing().unwrap().unwrap().iter().map(|e| (e.key, e.decision)).collect();
    found.sort_by_key(|(key, _)| *key);
    found
}

#[test]
fn a_table_reads_back_as_it_was_built() {
    if !common::inside("a_table_reads_back_as_it_was_built") {
        return;
    }
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    assert_eq!(dataplane.existing().unwrap(), None);
    dataplane.build(&settings(), &keys(9)).unwrap();
    let wanted: Vec<_> = keys(9).into_iter().map(|(key, d)| (key, Some(d))).collect();
    assert_eq!(present(&mut dataplane), wanted);
    assert_eq!(dataplane.exceptions().unwrap().len(), 6);
}

#[test]
fn a_table_with_other_marks_is_not_adopted() {
    if !common::inside("a_table_with_other_marks_is_not_adopted") {
        return;
    }
    Dataplane::open(Marks::default()).unwrap().build(&settings(), &keys(3)).unwrap();
    let marks = Marks::new(0x000f_ffff, 0xf000_0000).unwrap();
    assert_eq!(Dataplane::open(marks).unwrap().existing().unwrap(), None);
}

#[test]
fn a_switch_removes_keys_and_returns_a_count_for_each() {
    if !common::inside("a_switch_removes_keys_and_returns_a_count_for_each") {
        return;
    }
    // More than go into one transaction of a process that can't raise its buffers.
    const KEYS: u32 = 20_000;
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    dataplane.build(&settings(), &keys(KEYS)).unwrap();
    let remove: Vec<u32> = (1..=KEYS).step_by(2).collect();
    let successors: Vec<(u32, u32)> = remove.iter().map(|key| (*key, key + 1)).collect();
    let switch = Switch {
        remove: &remove,
        hold: &[],
        successors: &successors,
        nat: Some(&[]),
        open_on_failure: Some(true),
    };
    let mut counted: Vec<u32> =
        dataplane.switch(&switch).unwrap().iter().map(|(key, _)| *key).collect();
    counted.sort_unstable();
    assert_eq!(counted, remove);
    let left: Vec<u32> = present(&mut dataplane).iter().map(|(key, _)| *key).collect();
    assert_eq!(left, (2..=KEYS).step_by(2).collect::<Vec<_>>());
    let mut moved = 0;
    dataplane.moved(|_, sessions| moved += 1 + sessions).unwrap();
    assert_eq!(moved, remove.len() as u64);
    dataplane.clear_rekey().unwrap();
    dataplane.moved(|key, _| panic!("key {key} still has a successor")).unwrap();
}

#[test]
fn a_held_key_drops_until_it_is_removed() {
    if !common::inside("a_held_key_drops_until_it_is_removed") {
        return;
    }
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    dataplane.build(&settings(), &[(1, Decision::Accept), (2, Decision::Accept)]).unwrap();
    dataplane.switch(&Switch { remove: &[1, 2], hold: &[1], ..Switch::default() }).unwrap();
    assert_eq!(present(&mut dataplane), [(1, Some(Decision::Drop))]);
    dataplane.switch(&Switch { remove: &[1], ..Switch::default() }).unwrap();
    assert_eq!(present(&mut dataplane), []);
}

#[test]
fn a_switch_with_a_key_that_is_not_there_changes_nothing() {
    if !common::inside("a_switch_with_a_key_that_is_not_there_changes_nothing") {
        return;
    }
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    dataplane.build(&settings(), &keys(3)).unwrap();
    let before = present(&mut dataplane);
    let switch = Switch { remove: &[1, 99], ..Switch::default() };
    let error = dataplane.switch(&switch).unwrap_err().to_string();
    assert!(error.contains("change map decide"), "{error}");
    assert_eq!(present(&mut dataplane), before);
}

#[test]
fn an_adopted_table_keeps_its_keys_and_gets_new_chains() {
    if !common::inside("an_adopted_table_keeps_its_keys_and_gets_new_chains") {
        return;
    }
    let mut first = Dataplane::open(Marks::default()).unwrap();
    first.build(&settings(), &keys(5)).unwrap();
    first.leave(false).unwrap();
    let mut second = Dataplane::open(Marks::default()).unwrap();
    let before = present(&mut second);
    second.adopt(&Settings { nat: vec![], open_on_failure: true, ..settings() }).unwrap();
    assert_eq!(present(&mut second), before);
    second.leave(true).unwrap();
    let listing = nft(&["list", "table", "inet", "twinwall"]);
    assert!(!listing.contains("masquerade"), "{listing}");
    assert!(listing.contains("queue_failure open"), "{listing}");
}

#[test]
fn a_table_without_its_daemon_can_be_listed_by_nft() {
    if !common::inside("a_table_without_its_daemon_can_be_listed_by_nft") {
        return;
    }
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    dataplane.build(&settings(), &keys(5)).unwrap();
    dataplane.leave(false).unwrap();
    let listing = nft(&["list", "table", "inet", "twinwall"]);
    for expected in [
        "0x00000002 counter packets 0 bytes 0 : drop",
        "0x00000003 counter packets 0 bytes 0 : goto reject",
        "counter name \"unclassified\" drop comment \"no daemon answered, queue_failure closed\"",
        "oifname \"eth0\" ip saddr 10.0.0.0-10.0.255.255 masquerade comment \"out\"",
        "iifname != \"vlan10\" iifname \"vlan1*\" ip6 daddr 2001:db8::1",
        "dnat ip6 to [2001:db8:20::10]:8080",
    ] {
        assert!(listing.contains(expected), "no '{expected}' in\n{listing}");
    }
}

#[test]
fn other_tables_stay_as_they_are() {
    if !common::inside("other_tables_stay_as_they_are") {
        return;
    }
    nft(&["add table inet foreign { set s { type ipv4_addr; elements = { 192.0.2.1 } }; }"]);
    let before = nft(&["list", "table", "inet", "foreign"]);
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    dataplane.build(&settings(), &keys(5)).unwrap();
    dataplane.switch(&Switch { remove: &[1], ..Switch::default() }).unwrap();
    dataplane.build(&settings(), &keys(2)).unwrap();
    dataplane.leave(true).unwrap();
    assert_eq!(nft(&["list", "table", "inet", "foreign"]), before);
    assert_eq!(nft(&["list", "tables"]).lines().count(), 2);
}
