//! Addresses, batches and macvlans against the kernel.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::segment::{HOST4, Segment, index};
use common::{eventually, inside, ip};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use twinwall_netlink::address::{self, Address, Batch, Event, Step, Watcher};
use twinwall_netlink::frame::{self, multicast_mac};
use twinwall_netlink::link::{self, ChangeError, Link};
use twinwall_netlink::raw::{Family, Kind, Options, Receiver};
use twinwall_netlink::socket::{Error, Socket};

fn parse(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn of(interface: u32) -> Vec<Address> {
    address::list().unwrap().into_iter().filter(|found| found.interface == interface).collect()
}

/// Addresses of an interface with their prefix lengths, sorted.
fn addresses(interface: u32) -> Vec<(IpAddr, u8)> {
    let mut found = of(interface)
        .into_iter()
        .map(|found| (found.address, found.prefix_length))
        .collect::<Vec<_>>();
    found.sort();
    found
}

fn find(name: &str) -> Link {
    link::list().unwrap().into_iter().find(|link| link.name == name).unwrap()
}

fn conf(name: &str, setting: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/{setting}")).unwrap();
    text.trim().to_owned()
}

/// Interfaces a0 to a<count - 1>, switched on, without addresses.
fn cables(count: usize) -> Vec<u32> {
    (0..count)
        .map(|i| {
            ip(&format!("link add a{i} type veth peer b{i}"));
            ip(&format!("link set a{i} addrgenmode none up"));
            ip(&format!("link set b{i} addrgenmode none up"));
            index(&format!("a{i}"))
        })
        .collect()
}

#[test]
fn a_list_holds_every_address_with_its_properties() {
    if !inside("a_list_holds_every_address_with_its_properties") {
        return;
    }
    let a = cables(1)[0];
    ip("addr add 10.0.0.2/24 dev a0");
    ip("addr add 10.0.0.3/24 dev a0 label a0:x");
    ip("addr add 192.0.2.1 peer 192.0.2.2/32 dev a0 scope link");
    ip("addr add 2001:db8::2/64 dev a0 nodad preferred_lft 0");
    let found = of(a);
    let one = |text: &str| found.iter().find(|found| found.address == parse(text)).unwrap();
    let first = one("10.0.0.2");
    assert_eq!((first.prefix_length, first.scope, first.flags.secondary), (24, 0, false));
    assert_eq!(first.label.as_deref(), Some("a0"));
    let second = one("10.0.0.3");
    assert!(second.flags.secondary && !second.flags.temporary);
    assert_eq!(second.label.as_deref(), Some("a0:x"));
    assert_eq!((one("192.0.2.1").prefix_length, one("192.0.2.1").scope), (32, 253));
    let old = one("2001:db8::2");
    assert!(old.flags.deprecated && !old.flags.tentative);
    assert_eq!((old.prefix_length, &old.label), (64, &None));
    assert_eq!(found.len(), 4);
}

#[test]
fn every_change_of_an_address_is_heard() {
    if !inside("every_change_of_an_address_is_heard") {
        return;
    }
    let a = cables(1)[0];
    let mut watcher = Watcher::open().unwrap();
    for (text, length) in [("10.0.0.2", 24), ("2001:db8::2", 64)] {
        let heard = |watcher: &mut Watcher, added: bool| {
            eventually(&format!("news of {text}, added: {added}"), || {
                watcher.read_events().unwrap().into_iter().find(|event| match event {
                    Event::Added(found) | Event::Removed(found) => {
                        (found.interface, found.address, found.prefix_length)
                            == (a, parse(text), length)
                            && matches!(event, Event::Added(_)) == added
                    }
                })
            })
        };
        ip(&format!("addr add {text}/{length} dev a0"));
        heard(&mut watcher, true);
        ip(&format!("addr del {text}/{length} dev a0"));
        heard(&mut watcher, false);
    }
}

#[test]
fn a_watcher_that_was_too_slow_is_told_so_and_goes_on() {
    if !inside("a_watcher_that_was_too_slow_is_told_so_and_goes_on") {
        return;
    }
    cables(1);
    let mut watcher = Watcher::open().unwrap();
    let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let lines = "addr add 10.0.0.2/24 dev a0\naddr del 10.0.0.2/24 dev a0\n".repeat(10_000);
    batch.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(batch.wait().unwrap().success());
    let mut overruns = 0;
    loop {
        match watcher.read_events() {
            Ok(events) if events.is_empty() => break,
            Ok(_) => {}
            Err(Error::Overrun) => overruns += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(overruns > 0);
    ip("addr add 10.0.0.9/24 dev a0");
    let added = |event: &Event| matches!(event, Event::Added(a) if a.address == parse("10.0.0.9"));
    eventually("the next change", || {
        watcher.read_events().unwrap().iter().find(|e| added(e)).map(drop)
    });
}

#[test]
fn a_batch_changes_several_interfaces_and_can_be_repeated() {
    if !inside("a_batch_changes_several_interfaces_and_can_be_repeated") {
        return;
    }
    let cables = cables(2);
    let mut socket = Socket::open_route().unwrap();
    let virtual_addresses = [
        (cables[0], parse("10.0.0.1"), 32),
        (cables[0], parse("fe80::1"), 128),
        (cables[1], parse("10.1.0.1"), 32),
        (cables[1], parse("2001:db8::1"), 128),
    ];
    let own = |interface| {
        let ours = virtual_addresses.iter().filter(|(i, ..)| *i == interface);
        ours.map(|(_, address, length)| (*address, *length)).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let mut batch = Batch::new();
        cables.iter().for_each(|interface| batch.link_up(*interface));
        for (interface, address, length) in virtual_addresses {
            batch.add(interface, address, length);
        }
        assert_eq!(batch.steps().len(), 6);
        batch.commit(&mut socket).unwrap();
        assert_eq!((addresses(cables[0]), addresses(cables[1])), (own(cables[0]), own(cables[1])));
    }
    // They can be used at once, and bring no route.
    assert!(cables.iter().flat_map(|i| of(*i)).all(|found| !found.flags.tentative));
    let routes = Command::new("ip").args(["-6", "route", "show", "dev", "a1"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&routes.stdout).contains("2001:db8"));
    for _ in 0..2 {
        let mut batch = Batch::new();
        for (interface, address, length) in virtual_addresses {
            batch.remove(interface, address, length);
        }
        cables.iter().for_each(|interface| batch.link_down(*interface));
        batch.commit(&mut socket).unwrap();
        assert_eq!((addresses(cables[0]), addresses(cables[1])), (vec![], vec![]));
        assert!(!find("a0").up && !find("a1").up);
    }
}

#[test]
fn a_step_that_fails_is_named_and_the_others_are_done() {
    if !inside("a_step_that_fails_is_named_and_the_others_are_done") {
        return;
    }
    let a = cables(1)[0];
    let mut socket = Socket::open_route().unwrap();
    let mut batch = Batch::new();
    batch.add(a, parse("10.0.0.1"), 32);
    batch.add(a, parse("10.0.0.3"), 33);
    batch.add(9999, parse("2001:db8::1"), 128);
    batch.link_up(9999);
    // What isn't there needn't be removed.
    batch.remove(9999, parse("10.0.0.1"), 32);
    batch.remove(a, parse("2001:db8::7"), 128);
    batch.link_down(9999);
    batch.add(a, parse("10.0.0.2"), 32);
    let failed = batch.commit(&mut socket).unwrap_err();
    assert_eq!(addresses(a), [(parse("10.0.0.1"), 32), (parse("10.0.0.2"), 32)]);
    let steps = failed.iter().map(|error| error.step).collect::<Vec<_>>();
    let add = |interface, address, prefix_length| Step::Add {
        interface,
        address: parse(address),
        prefix_length,
    };
    let wanted = [add(a, "10.0.0.3", 33), add(9999, "2001:db8::1", 128), Step::Up(9999)];
    assert_eq!(steps, wanted);
    let text = failed[1].to_string();
    assert!(text.starts_with("cannot add address 2001:db8::1/128 to interface 9999: "), "{text}");
    assert_eq!(failed[2].source.errno(), Some(libc::ENODEV));
}

#[test]
fn a_batch_larger_than_a_receive_buffer_gets_every_answer() {
    if !inside("a_batch_larger_than_a_receive_buffer_gets_every_answer") {
        return;
    }
    let a = cables(1)[0];
    let mut socket = Socket::open_route().unwrap();
    let mut batch = Batch::new();
    for i in 0..1000u32 {
        let interface = if i % 4 == 3 { a } else { 9999 };
        batch.add(interface, Ipv4Addr::from(0x0a00_0000 + i).into(), 32);
    }
    let failed = batch.commit(&mut socket).unwrap_err();
    assert_eq!((failed.len(), addresses(a).len()), (750, 250));
    let refused = |e: &address::BatchError| e.source.errno() == Some(libc::ENODEV);
    assert!(failed.iter().all(refused));
}

#[test]
fn a_macvlan_is_made_quiet_and_taken_again_when_it_is_there() {
    if !inside("a_macvlan_is_made_quiet_and_taken_again_when_it_is_there") {
        return;
    }
    let parent = cables(2)[0];
    ip("link set a0 mtu 1400");
    let mac = [0, 0, 0x5e, 0, 1, 10];
    let mut socket = Socket::open_route().unwrap();
    let made = link::create_macvlan(&mut socket, parent, "tw4-10-2", mac).unwrap();
    let found = find("tw4-10-2");
    assert_eq!((found.index, found.kind.as_deref()), (made, Some("macvlan")));
    assert_eq!((found.parent, found.mac, found.up), (Some(parent), Some(mac), false));
    assert_eq!(
        (conf("tw4-10-2", "rp_filter"), conf("tw4-10-2", "arp_ignore")),
        ("2".into(), "1".into())
    );
    let details =
        Command::new("ip").args(["-d", "link", "show", "tw4-10-2"]).output().unwrap().stdout;
    let details = String::from_utf8(details).unwrap();
    assert!(details.contains("mtu 1400"), "{details}");
    assert!(details.contains("addrgenmode none") && details.contains("mode vepa"), "{details}");
    let mut batch = Batch::new();
    batch.link_up(made);
    batch.add(made, parse("10.0.0.1"), 32);
    batch.add(made, parse("10.0.0.1"), 24);
    batch.add(made, parse("fe80::1"), 128);
    batch.commit(&mut socket).unwrap();
    assert_eq!(addresses(made).len(), 3, "and none of its own");
    let again = link::create_macvlan(&mut socket, parent, "tw4-10-2", mac).unwrap();
    assert_eq!((again, addresses(again), find("tw4-10-2").up), (made, vec![], false));
    // Anything that differs is somebody else's.
    let other_mac = [0, 0, 0x5e, 0, 1, 11];
    for (parent, name, mac) in
        [(parent, "tw4-10-2", other_mac), (index("a1"), "tw4-10-2", mac), (parent, "b1", mac)]
    {
        let error = link::create_macvlan(&mut socket, parent, name, mac).unwrap_err();
        assert!(matches!(error, ChangeError::Taken { .. }), "{error}");
    }
    for name in ["", "sixteen-letters-", "a b", "a/b", ".."] {
        let error = link::create_macvlan(&mut socket, parent, name, other_mac).unwrap_err();
        assert!(matches!(error, ChangeError::Name { .. }), "{error}");
    }
    let error = link::create_macvlan(&mut socket, 9999, "new", mac).unwrap_err();
    assert!(error.to_string().starts_with("cannot make macvlan interface new on interface 9999: "));
    for _ in 0..2 {
        link::delete(&mut socket, made).unwrap();
        assert!(!link::list().unwrap().iter().any(|link| link.index == made));
    }
}

#[test]
fn an_advert_from_our_own_virtual_mac_reaches_the_parent() {
    if !inside("an_advert_from_our_own_virtual_mac_reaches_the_parent") {
        return;
    }
    let segment = Segment::new();
    let mac = [0, 0, 0x5e, 0, 1, 10];
    let mut socket = Socket::open_route().unwrap();
    let macvlan = link::create_macvlan(&mut socket, segment.node, "tw4-10-2", mac).unwrap();
    let mut batch = Batch::new();
    batch.link_up(macvlan);
    batch.add(macvlan, parse("10.0.0.1"), 32);
    batch.commit(&mut socket).unwrap();
    let options = Options {
        interface: segment.node,
        name: "a0",
        family: Family::V4,
        multicast: true,
        kind: Kind::Strict { vrids: &[10] },
        receive_buffer: 1 << 16,
    };
    let mut receiver = Receiver::open(&options).unwrap();
    let group = Ipv4Addr::new(224, 0, 0, 18);
    let mut bytes = Vec::new();
    frame::ethernet(&mut bytes, multicast_mac(group.into()).unwrap(), mac, frame::IPV4, &[]);
    frame::ipv4(&mut bytes, HOST4, group, 255, 112, &[0x31, 10, 100, 1, 0, 100, 0, 0]).unwrap();
    segment.send(&bytes);
    eventually("the advert comes", || {
        (receiver.receive(8, |packet| assert_eq!(packet.source, IpAddr::V4(HOST4))).unwrap() == 1)
            .then_some(())
    });
}
