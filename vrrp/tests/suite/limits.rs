//! Floods, late timers, counters, and configurations that can't be used.

use crate::script::Script;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use twinwall_vrrp::action::State;
use twinwall_vrrp::addresses::{AddressError, VirtualAddresses};
use twinwall_vrrp::config::ConfigError;
use twinwall_vrrp::receive::{Discard, Warning};
use twinwall_vrrp::router::{PeerReport, Preemption};
use twinwall_vrrp::tally::{Kind, SAY_EVERY, Tally};
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::types::{Centiseconds, InterfaceId, Priority, Vrid};
use twinwall_vrrp::wire::{HeaderError, Malformed};

const FAST: &str = "
    group lan priority 100
    leg lan interface 2 vrid 7 primary 192.0.2.20 addresses 192.0.2.1 interval 10 repeats 50ms";

fn script(config: &str) -> Script {
    Script::new(config, false).unwrap()
}

fn count(came: &[String], what: &str) -> usize {
    came.iter().filter(|line| line.contains(what)).count()
}

#[test]
fn a_flood_of_adverts_is_answered_a_thousand_times_a_second_at_most() {
    for priority in [0, 50] {
        let mut script = script(FAST);
        script.run("start\npass 400ms").unwrap();
        let mut came = Vec::new();
        for _ in 0..10_000 {
            let flood = format!("pass 100us\nadvert lan from 192.0.2.30 priority {priority}");
            came.extend(script.run(&flood).unwrap());
        }
        let answers = count(&came, "send 100");
        assert!((900..=1001).contains(&answers), "{answers} answers to priority {priority}");
        // A series begins ten times a second, and each is announced twice.
        assert!(count(&came, "announce") <= 22, "{}", count(&came, "announce"));
        assert!(count(&came, "second-active") <= 1);
    }
}

#[test]
fn a_takeover_that_takes_the_system_long_is_no_pause_of_the_router() {
    let taken_over = || {
        let mut script = script(FAST);
        let came = script.run("start\ndue").unwrap();
        assert_eq!(count(&came, "send 100"), 1, "{came:?}");
        let asked = script.now;
        script.now = asked.after(Duration::from_millis(500));
        (script, asked)
    };
    let (mut script, asked) = taken_over();
    script.node.carried_out(asked, script.now);
    let came = script.run("poll").unwrap();
    assert_eq!(count(&came, "send 0"), 0, "{came:?}");
    let came = script.run("due").unwrap();
    assert_eq!(script.now.since(asked), Duration::from_millis(600), "the next advert");
    assert_eq!(count(&came, "send 100"), 1, "{came:?}");
    let (mut script, _) = taken_over();
    let came = script.run("poll").unwrap();
    assert_eq!(count(&came, "send 0"), 1, "a pause is one: {came:?}");
}

#[test]
fn a_flood_of_wrong_packets_is_said_once_a_minute_and_counted_whole() {
    let mut script = script(FAST);
    script.run("start").unwrap();
    let mut came = Vec::new();
    for _ in 0..3_000 {
        script.now = script.now.after(Duration::from_millis(50));
        let wrong = "packet 2 255 192.0.2.30 224.0.0.18 2107640100010000";
        came.extend(script.run(wrong).unwrap());
    }
    // 150 s: at 0, 60 and 120.
    assert_eq!(came.len() - count(&came, "not said"), 3);
    assert!(came.iter().any(|line| line.ends_with("(1199 more)")));
    let status = script.node.status(script.now);
    let [interface] = &status.discarded[..] else { panic!("{status:?}") };
    assert_eq!(interface.interface, Some(InterfaceId(2)));
    let [row] = &interface.discarded[..] else { panic!("{status:?}") };
    assert_eq!((row.name, row.count), ("version-2", 3_000));
    assert_eq!(row.last_from, Some("192.0.2.30".parse().unwrap()));
}

#[test]
fn packets_of_unknown_interfaces_share_one_row() {
    let mut script = script(FAST);
    for interface in 100..200 {
        script.run(&format!("packet {interface} 255 192.0.2.30 224.0.0.18 31")).unwrap();
    }
    let status = script.node.status(script.now);
    assert_eq!(status.discarded.len(), 1);
    assert_eq!(status.discarded[0].interface, None);
    assert_eq!(status.discarded[0].discarded[0].count, 100);
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let six = "fe80::1".parse().unwrap();
    let discards = [
        Discard::Header(HeaderError::NotIpv4),
        Discard::Interface,
        Discard::HopLimit(1),
        Discard::Malformed(Malformed::Empty),
        Discard::Malformed(Malformed::Version2),
        Discard::Malformed(Malformed::Carp),
        Discard::Malformed(Malformed::Version(4)),
        Discard::Malformed(Malformed::Type(2)),
        Discard::Malformed(Malformed::Truncated { length: 1, expected: 8 }),
        Discard::Malformed(Malformed::Checksum),
        Discard::Malformed(Malformed::VridZero),
        Discard::Malformed(Malformed::NoAddress),
        Discard::Malformed(Malformed::IntervalZero),
        Discard::Malformed(Malformed::FirstNotLinkLocal(six)),
        Discard::Vrid(Vrid::new(1).unwrap()),
        Discard::Destination(address),
        Discard::Source(address),
        Discard::OwnAddress(address),
        Discard::NotPeer(address),
    ];
    let names: BTreeSet<_> = discards.iter().map(Kind::name).collect();
    assert_eq!(names.len(), Discard::NAMES.len());
    let interval = Centiseconds::DEFAULT;
    let warnings = [
        Warning::Interval { theirs: interval, ours: interval },
        Warning::Addresses,
        Warning::SecondOwner,
        Warning::PseudoHeader,
        Warning::Trailing(1),
        Warning::SecondActive(Priority::LOWEST),
        Warning::BothActive,
        Warning::Late(Duration::ZERO),
        Warning::InVain(Duration::ZERO),
    ];
    let names: BTreeSet<_> = warnings.iter().map(Kind::name).collect();
    assert_eq!(names.len(), Warning::NAMES.len());
}

#[test]
fn a_tally_keeps_count_of_what_it_does_not_say() {
    let mut tally = Tally::default();
    let at = |seconds| Timestamp::new(Duration::from_secs(seconds));
    assert_eq!(tally.record(&Discard::Interface, None, at(0)), Some(0));
    assert_eq!(tally.record(&Discard::HopLimit(1), None, at(1)), Some(0));
    assert_eq!(tally.record(&Discard::Interface, None, at(59)), None);
    assert_eq!(tally.record(&Discard::Interface, None, at(SAY_EVERY.as_secs())), Some(1));
    assert_eq!(tally.count(&Discard::Interface), 3);
    assert_eq!(tally.rows().len(), 2);
}

#[test]
fn late_timers_neither_drift_nor_pile_up() {
    let mut script = script(FAST);
    script.run("start\npass 400ms").unwrap();
    let sent = |script: &Script| script.node.status(script.now).groups[0].legs[0].adverts.sent;
    let before = sent(&script);
    // Each poll comes 3 ms late; a hundred intervals hold a hundred adverts nevertheless.
    let end = script.now.after(Duration::from_secs(10));
    while let Some(due) = script.node.next_deadline().filter(|due| *due < end) {
        script.now = due.after(Duration::from_millis(3));
        script.run("poll").unwrap();
    }
    assert_eq!(sent(&script) - before, 100);
    // 250 ms late: told, counted, and one advert, not three.
    script.now = script.node.next_deadline().unwrap().after(Duration::from_millis(250));
    let came = script.run("poll").unwrap();
    assert_eq!((count(&came, "send"), count(&came, "late-advert")), (1, 1));
    assert_eq!(script.node.status(script.now).groups[0].legs[0].adverts.late, 1);
}

#[test]
fn to_poll_early_does_nothing() {
    let mut script = script(FAST);
    script.run("start").unwrap();
    for _ in 0..100 {
        let due = script.node.next_deadline().unwrap();
        script.now = Timestamp::new(due.since_origin() - Duration::from_nanos(1));
        assert!(script.run("poll").unwrap().is_empty());
        script.now = due;
        assert!(!script.run("poll").unwrap().is_empty());
    }
}

#[test]
fn time_that_goes_back_does_no_harm() {
    let mut script = script(FAST);
    script
        .run("at 100s\nstart\npass 1s\nat 5s\npoll\nadvert lan from 192.0.2.30 priority 50")
        .unwrap();
    script.run("advert lan from 192.0.2.30 priority 200\nat 0s\npoll\npass 200s").unwrap();
    assert_eq!(script.node.groups().next().unwrap().1.state(), State::Active);
}

#[test]
fn missed_adverts_are_counted() {
    let mut script = script(FAST);
    script.run("start\nadvert lan from 192.0.2.30 priority 200").unwrap();
    let missed = |script: &Script| script.node.status(script.now).groups[0].legs[0].adverts.missed;
    script.run("pass 110ms\nadvert lan from 192.0.2.30 priority 200").unwrap();
    assert_eq!(missed(&script), 0);
    script.run("pass 300ms\nadvert lan from 192.0.2.30 priority 200").unwrap();
    assert_eq!(missed(&script), 2);
    script.run("pass 361ms").unwrap();
    assert_eq!(missed(&script), 5);
}

#[test]
fn status_tells_who_is_heard_and_what_holds_preemption() {
    let mut script = script(&FAST.replace("priority 100", "priority 100 preempt-delay 1s"));
    script.run("start\nadvert lan from 192.0.2.30 priority 50\npass 50ms\npeer alive\npeer-state lan active").unwrap();
    let status = script.node.status(script.now);
    let leg = &status.groups[0].legs[0];
    let heard = leg.heard.unwrap();
    assert_eq!(heard.from, "192.0.2.30".parse::<IpAddr>().unwrap());
    assert_eq!(
        (heard.priority, leg.heard_ago),
        (Priority::new(50), Some(Duration::from_millis(50)))
    );
    assert_eq!(leg.preemption, Preemption::Held(Timestamp::new(Duration::from_secs(1))));
    assert_eq!(leg.peer, Some(PeerReport::Alive));
    assert_eq!(status.groups[0].peer, Some(State::Active));
    assert_eq!(leg.since, Timestamp::ZERO);
    assert_eq!((leg.takeovers, leg.adverts.received, leg.adverts.sent), (0, 1, 0));
}

#[test]
fn both_active_is_told_once_a_minute() {
    let mut script = script(FAST);
    script.run("start\npass 600ms").unwrap();
    let mut came = script.run("peer-state lan active").unwrap();
    came.extend(script.run("peer-state lan active").unwrap());
    assert_eq!(came, ["lan both-active: the peer is active, and so is this router"]);
}

#[test]
fn address_lists_that_no_virtual_router_has_are_refused() {
    let list = |text: &str| {
        let addresses = text.split_whitespace().map(|word| word.parse::<IpAddr>().unwrap());
        VirtualAddresses::new(addresses).unwrap_err()
    };
    assert_eq!(list(""), AddressError::Empty);
    assert!(matches!(list("192.0.2.1 fe80::1"), AddressError::Mixed { .. }));
    assert!(matches!(list("192.0.2.1 192.0.2.2 192.0.2.1"), AddressError::Duplicate(_)));
    assert!(matches!(list("2001:db8::1 fe80::1"), AddressError::FirstNotLinkLocal(_)));
    for odd in ["0.0.0.0", "127.0.0.1", "224.0.0.18", "255.255.255.255", "::", "::1", "ff02::1"] {
        assert!(matches!(list(odd), AddressError::NotUnicast(_)), "{odd}");
    }
    let many = |count: u32| (0..count).map(|n| IpAddr::V4((0x0a00_0000 + n).into()));
    assert!(VirtualAddresses::new(many(255)).is_ok());
    let error = VirtualAddresses::new(many(256)).unwrap_err();
    assert!(matches!(error, AddressError::TooMany { count: 256, limit: 255, .. }));
}

#[test]
fn configurations_that_cannot_work_are_refused_with_their_name() {
    let refused = |from: &str, to: &str| {
        let config = FAST.replace(from, to);
        assert_ne!(config, FAST);
        Script::new(&config, false).err().unwrap()
    };
    assert_eq!(refused("priority 100", "priority 0"), "group lan: the priority is 1 to 255");
    assert_eq!(
        refused("priority 100", "priority 255\ntrack queue lower 5"),
        "group lan: the priority of the addresses' owner can't be lowered by queue"
    );
    assert_eq!(
        refused("priority 100", "priority 100\ntrack a lower 5\ntrack a fault"),
        "group lan: a is tracked twice"
    );
    assert_eq!(
        refused("primary 192.0.2.20", "primary fe80::20"),
        "lan: adverts of an IPv4 virtual router can't come from fe80::20"
    );
    assert!(refused("repeats 50ms", "repeats 50ms,50ms").contains("rising times above zero"));
    assert!(refused("repeats 50ms", "repeats 0ms").contains("rising times above zero"));
    assert_eq!(
        refused("repeats", "unicast fe80::1 repeats"),
        "lan: fe80::1 can't be a peer of an IPv4 virtual router"
    );
    let twice = format!("{FAST}\n{}", FAST.replace("lan", "twin"));
    assert_eq!(
        Script::new(&twice, false).err().unwrap(),
        "twin: lan has the same VRID and family on the same interface"
    );
    assert_eq!(
        Script::new("group lan priority 100", false).err().unwrap(),
        "group lan has no virtual router"
    );
}

#[test]
fn a_priority_that_cannot_be_leaves_the_old_one() {
    let mut script = script(FAST);
    assert_eq!(script.run("priority lan 0").unwrap(), ["group lan: the priority is 1 to 255"]);
    assert_eq!(
        script.run("priority lan 255").unwrap(),
        ["group lan: whether this node owns the addresses can't change while it runs"]
    );
    let (id, group) = script.node.groups().next().unwrap();
    assert_eq!(group.base_priority(), Priority::DEFAULT);
    let router = group.legs()[0].id();
    let error = script.node.set_primary(router, "224.0.0.1".parse().unwrap()).unwrap_err();
    assert!(matches!(error, ConfigError::Primary { .. }));
    assert_eq!(script.node.group(id).unwrap().legs()[0].primary().to_string(), "192.0.2.20");
}

#[test]
fn another_primary_address_decides_between_equals() {
    let mut script = script(FAST);
    script.run("start\npass 400ms").unwrap();
    let router = script.node.groups().next().unwrap().1.legs()[0].id();
    script.node.set_primary(router, "192.0.2.50".parse().unwrap()).unwrap();
    script.run("advert lan from 192.0.2.30 priority 100").unwrap();
    assert_eq!(script.node.groups().next().unwrap().1.state(), State::Active);
}

#[test]
fn a_group_that_is_removed_says_goodbye_and_leaves_its_place() {
    let mut script = script(FAST);
    script.run("start\npass 400ms").unwrap();
    let id = script.node.groups().next().unwrap().0;
    let mut out = Vec::new();
    let group = script.node.remove(id, script.now, &mut out).unwrap();
    assert_eq!(out.len(), 3, "{out:?}");
    let router = &group.legs()[out[0].router.leg];
    let mut bytes = Vec::new();
    router.write_advert(Priority::RESIGN, router.destinations()[0], &mut bytes).unwrap();
    assert_eq!(bytes.len(), 12);
    assert_eq!(script.node.next_deadline(), None);
    assert!(
        script.run("packet 2 255 192.0.2.30 224.0.0.18 31").unwrap()[0]
            .starts_with("discard interface")
    );
}

#[test]
fn a_peer_that_is_reported_gone_again_and_again_is_relieved_once() {
    for report in ["gone", "silent"] {
        let mut script = script(FAST);
        script.run("start\nadvert lan from 192.0.2.30 priority 200").unwrap();
        let mut takeovers = 0;
        for _ in 0..100 {
            let came = script.run(&format!("peer {report}\npass 150ms")).unwrap();
            // The sync channel is mistaken: adverts come, if now and then one is missing.
            takeovers += count(&came, "backup -> active");
            script.run("pass 50ms\nadvert lan from 192.0.2.30 priority 200").unwrap();
        }
        assert_eq!(takeovers, usize::from(report == "gone"), "{report}");
    }
}

#[test]
fn the_owner_does_not_hand_over() {
    let mut script = script(&FAST.replace("priority 100", "priority 255"));
    assert_eq!(
        script.run("start\npass 1s\nhand-over lan 1s").unwrap().last().unwrap(),
        "cannot hand over group lan: this node owns the addresses and would take them back"
    );
}
