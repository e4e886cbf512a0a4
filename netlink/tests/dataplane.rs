//! The table `inet twinwall` in a real kernel: built, changed, adopted, left, read back.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "shared by several test programs")]
mod common;

use std::collections::BTreeMap;
use std::net::UdpSocket;
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
    dataplane.settle().unwrap();
    dataplane.moved(|key, _| panic!("key {key} still has a successor")).unwrap();
}

#[test]
fn packets_of_hidden_keys_follow_the_switch_and_all_of_them_are_counted() {
    if !common::inside("packets_of_hidden_keys_follow_the_switch_and_all_of_them_are_counted") {
        return;
    }
    common::ip("link set lo up");
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    let accept = |key| (key, Decision::Accept);
    let settings = Settings { queues: 1, nat: vec![], ..settings() };
    dataplane.build(&settings, &[1, 2, 3].map(accept)).unwrap();
    // Sessions get these keys before the table's own chains see them.
    nft(&["table inet marks { chain output { type filter hook output priority 0; \
           ct mark != 0 accept; \
           ct mark set udp dport map { 1001 : 1, 1002 : 2, 1003 : 3 }; }; }"]);
    let server = |port: u16| {
        let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let servers = [1001, 1002, 1003].map(server);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    // How many of ten packets for each come.
    let send = || {
        servers.each_ref().map(|server| {
            let to = server.local_addr().unwrap();
            (0..10).for_each(|_| assert_eq!(client.send_to(b"x", to).unwrap(), 1));
            (0..20).filter(|_| server.recv(&mut [0; 8]).is_ok()).count()
        })
    };
    assert_eq!(send(), [10, 10, 10]);
    dataplane.add_keys(&[accept(4)]).unwrap();
    let switch = Switch { remove: &[1, 2], hold: &[2], successors: &[(1, 4)], ..Switch::default() };
    let mut counted = dataplane.switch(&switch).unwrap();
    counted.sort_unstable_by_key(|(key, _)| *key);
    let packets: Vec<_> = counted.iter().map(|(key, counter)| (*key, counter.packets)).collect();
    assert_eq!(packets, [(1, 10), (2, 10)]);
    assert_eq!(send(), [10, 0, 10], "one moved, one held, one as before");
    dataplane.settle().unwrap();
    assert_eq!(send(), [10, 10, 10], "nothing is held; without a key loopback passes as local");
    let mut live = BTreeMap::new();
    dataplane.counters(|key, counter| live.extend([(key, counter.packets)])).unwrap();
    assert_eq!(live, BTreeMap::from([(3, 30), (4, 20)]));
    let exceptions: BTreeMap<String, u64> =
        dataplane.exceptions().unwrap().into_iter().map(|(name, c)| (name, c.packets)).collect();
    assert_eq!((exceptions["local"], exceptions["asked"]), (10, 0));
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
    dataplane.settle().unwrap();
    dataplane.build(&settings(), &keys(2)).unwrap();
    dataplane.leave(true).unwrap();
    assert_eq!(nft(&["list", "table", "inet", "foreign"]), before);
    assert_eq!(nft(&["list", "tables"]).lines().count(), 2);
}
