//! The gate in a real kernel: who answers for a virtual address, and until when.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::segment::{HOST_MAC, HOST4, HOST6, NODE_MAC, Segment};
use common::{eventually, inside, ip};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use twinwall_netlink::address::Batch;
use twinwall_netlink::frame;
use twinwall_netlink::gate::{Error, Gate};
use twinwall_netlink::link;
use twinwall_netlink::socket::Socket;

const MAC4: [u8; 6] = [0, 0, 0x5e, 0, 1, 10];
const MAC6: [u8; 6] = [0, 0, 0x5e, 0, 2, 10];
const VIRTUAL4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const VIRTUAL6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALIVE: [(IpAddr, [u8; 6]); 2] = [(IpAddr::V4(VIRTUAL4), MAC4), (IpAddr::V6(VIRTUAL6), MAC6)];
const BOTH: [IpAddr; 2] = [IpAddr::V4(VIRTUAL4), IpAddr::V6(VIRTUAL6)];
/// A macvlan that is not virtual: it always answers.
const MARKER: [u8; 6] = [2, 0, 0, 0, 0, 4];
const MARKER4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
const MARKER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 4);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// A node whose macvlans are switched on and have the virtual addresses.
fn node() -> Segment {
    let mut segment = Segment::new();
    let mut socket = Socket::open_route().unwrap();
    let mut batch = Batch::new();
    for (name, mac, addresses) in [
        ("tw4", MAC4, &BOTH[..1]),
        ("tw6", MAC6, &BOTH[1..]),
        ("marker", MARKER, &[IpAddr::V4(MARKER4), IpAddr::V6(MARKER6)]),
    ] {
        let macvlan = link::create_macvlan(&mut socket, segment.node, name, mac).unwrap();
        batch.link_up(macvlan);
        for address in addresses {
            batch.add(macvlan, *address, if address.is_ipv4() { 32 } else { 64 });
        }
    }
    batch.commit(&mut socket).unwrap();
    ip("neigh add fe80::9 lladdr 02:00:00:00:00:09 dev tw6");
    // An interface is ready for IPv6 some time after it was switched on.
    eventually("both macvlans answer", || {
        ask_arp(&segment, VIRTUAL4);
        ask_nd(&segment, VIRTUAL6);
        ask_nd(&segment, MARKER6);
        thread::sleep(Duration::from_millis(5));
        let seen = segment.captured().iter().filter_map(|f| answer(f)).collect::<Vec<_>>();
        let marker = (IpAddr::V6(MARKER6), MARKER);
        ALIVE.iter().chain([&marker]).all(|wanted| seen.contains(wanted)).then_some(())
    });
    segment
}

/// Asks by ARP who has an address.
fn ask_arp(segment: &Segment, target: Ipv4Addr) {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend(HOST_MAC);
    arp.extend(HOST4.octets());
    arp.extend([0; 6]);
    arp.extend(target.octets());
    let mut bytes = Vec::new();
    frame::ethernet(&mut bytes, [0xff; 6], HOST_MAC, frame::ARP, &arp);
    segment.send(&bytes);
}

/// Asks by neighbour solicitation who has an address.
fn ask_nd(segment: &Segment, target: Ipv6Addr) {
    let octets = target.octets();
    let [.., a, b, c] = octets;
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(octets);
    message.extend([1, 1]);
    message.extend(HOST_MAC);
    seal(&mut message, group);
    segment.send6(frame::multicast_mac(group.into()).unwrap(), group, 255, 58, &message);
}

/// Sends an echo request to a virtual address.
fn echo(segment: &Segment, target: IpAddr) {
    match target {
        IpAddr::V4(target) => {
            // The checksum of 8, 0 and eight bytes of nothing.
            segment.send4(MAC4, target, 64, 1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
        }
        IpAddr::V6(target) => {
            let mut message = vec![128, 0, 0, 0, 0, 1, 0, 1];
            seal(&mut message, target);
            segment.send6(MAC6, target, 64, 58, &message);
        }
    }
}

/// Writes the checksum of an ICMPv6 message from the host.
fn seal(message: &mut [u8], destination: Ipv6Addr) {
    let mut all = HOST6.octets().to_vec();
    all.extend(destination.octets());
    all.extend((message.len() as u32).to_be_bytes());
    all.extend([0, 0, 0, 58]);
    all.extend(&*message);
    let words = all.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum = words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// What a frame is an answer about, and the Ethernet address that it tells.
fn answer(frame: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    match (&frame[12..14], frame.get(21), frame.get(54)) {
        (&[8, 6], Some(2), _) => {
            let address = <[u8; 4]>::try_from(&frame[28..32]).unwrap();
            Some((IpAddr::from(address), frame[22..28].try_into().unwrap()))
        }
        (&[0x86, 0xdd], _, Some(136)) => {
            let target = <[u8; 16]>::try_from(&frame[62..78]).unwrap();
            Some((IpAddr::from(target), frame[80..86].try_into().unwrap()))
        }
        _ => None,
    }
}

/// Who answered an echo request.
fn echoed(frame: &[u8]) -> Option<IpAddr> {
    match (&frame[12..14], frame.get(23), frame.get(34), frame.get(54)) {
        (&[8, 0], Some(1), Some(0), _) => {
            Some(IpAddr::from(<[u8; 4]>::try_from(&frame[26..30]).unwrap()))
        }
        (&[0x86, 0xdd], _, _, Some(129)) => {
            Some(IpAddr::from(<[u8; 16]>::try_from(&frame[22..38]).unwrap()))
        }
        _ => None,
    }
}

/// The answers to questions for both virtual addresses. The marker is asked last: its packets go
/// the same way, so when it has answered, the others have too or never will.
fn answers(segment: &mut Segment) -> Vec<(IpAddr, [u8; 6])> {
    ask_arp(segment, MARKER4);
    ask_nd(segment, MARKER6);
    collect(segment);
    ask_arp(segment, VIRTUAL4);
    ask_nd(segment, VIRTUAL6);
    ask_arp(segment, MARKER4);
    ask_nd(segment, MARKER6);
    collect(segment)
}

/// What is answered before the marker has answered both questions.
fn collect(segment: &mut Segment) -> Vec<(IpAddr, [u8; 6])> {
    let markers = [IpAddr::V4(MARKER4), IpAddr::V6(MARKER6)];
    let mut seen = Vec::new();
    eventually("the marker answers", || {
        seen.extend(segment.captured().iter().filter_map(|frame| answer(frame)));
        markers.iter().all(|marker| seen.contains(&(*marker, MARKER))).then_some(())
    });
    seen.retain(|(address, _)| !markers.contains(address));
    seen.sort();
    seen
}

fn nft_list() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn only_the_virtual_mac_answers_and_only_while_alive() {
    if !inside("only_the_virtual_mac_answers_and_only_while_alive") {
        return;
    }
    let mut segment = node();
    // Without the gate the parent answers too, with its own address.
    let before = answers(&mut segment);
    assert!(before.contains(&(BOTH[0], NODE_MAC)) && before.contains(&ALIVE[1]), "{before:?}");
    let mut gate = Gate::build(&BOTH).unwrap();
    assert_eq!(answers(&mut segment), []);
    gate.renew(&ALIVE, &[], LONG).unwrap();
    assert_eq!(answers(&mut segment), ALIVE);
    // Again and again, and each address by itself.
    gate.renew(&ALIVE, &[], LONG).unwrap();
    assert_eq!(answers(&mut segment), ALIVE);
    gate.renew(&ALIVE[1..], &[], LONG).unwrap();
    assert_eq!(answers(&mut segment), ALIVE[1..]);
    gate.renew(&ALIVE[..1], &[], LONG).unwrap();
    assert_eq!(answers(&mut segment), ALIVE[..1]);
    // In the mode with the interface's own MAC address the parent is the one that answers.
    gate.renew(&[(BOTH[0], NODE_MAC)], &[], LONG).unwrap();
    assert_eq!(answers(&mut segment), [(BOTH[0], NODE_MAC)]);
    gate.renew(&[], &[], LONG).unwrap();
    assert_eq!(answers(&mut segment), []);
    Gate::remove().unwrap();
    assert_eq!(answers(&mut segment), before);
}

#[test]
fn a_gate_that_is_not_renewed_shuts_within_a_second() {
    if !inside("a_gate_that_is_not_renewed_shuts_within_a_second") {
        return;
    }
    let mut segment = node();
    let mut gate = Gate::build(&BOTH).unwrap();
    gate.renew(&ALIVE, &BOTH, Duration::from_millis(900)).unwrap();
    let renewed = Instant::now();
    let mut last = [None; 4];
    while renewed.elapsed() < Duration::from_millis(1500) {
        ask_arp(&segment, VIRTUAL4);
        ask_nd(&segment, VIRTUAL6);
        BOTH.iter().for_each(|address| echo(&segment, *address));
        thread::sleep(Duration::from_millis(5));
        for frame in segment.captured() {
            let answered = answer(&frame).and_then(|a| ALIVE.iter().position(|alive| *alive == a));
            let echoed = echoed(&frame).and_then(|e| BOTH.iter().position(|both| *both == e));
            if let Some(place) = answered.or(echoed.map(|place| place + 2)) {
                last[place] = Some(renewed.elapsed());
            }
        }
    }
    for (last, what) in last.into_iter().zip(["ARP", "neighbour discovery", "echo", "IPv6 echo"]) {
        let last = last.unwrap_or_else(|| panic!("{what} was never answered"));
        eprintln!("{what} was last answered {last:?} after the only renewal");
        assert!(last < Duration::from_secs(1), "{what} was answered after {last:?}");
        assert!(last > Duration::from_millis(600), "{what} was answered for {last:?} only");
    }
    // The daemon comes back.
    gate.renew(&ALIVE, &BOTH, LONG).unwrap();
    assert_eq!(answers(&mut segment), ALIVE);
}

#[test]
fn packets_to_a_virtual_address_are_taken_only_when_accepted() {
    if !inside("packets_to_a_virtual_address_are_taken_only_when_accepted") {
        return;
    }
    let mut segment = node();
    let mut gate = Gate::build(&BOTH).unwrap();
    let taken = |segment: &mut Segment| {
        segment.captured();
        BOTH.iter().for_each(|address| echo(segment, *address));
        // The node's own address shows when the others have been through.
        segment.send4(NODE_MAC, Ipv4Addr::new(10, 0, 0, 2), 64, 1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
        let own = IpAddr::from([10, 0, 0, 2]);
        let mut seen = Vec::new();
        eventually("the node answers an echo to its own address", || {
            seen.extend(segment.captured().iter().filter_map(|frame| echoed(frame)));
            seen.contains(&own).then_some(())
        });
        seen.retain(|address| *address != own);
        seen.sort();
        seen
    };
    gate.renew(&ALIVE, &[], LONG).unwrap();
    assert_eq!(taken(&mut segment), [] as [IpAddr; 0]);
    gate.renew(&ALIVE, &BOTH, LONG).unwrap();
    assert_eq!(taken(&mut segment), BOTH);
    gate.renew(&ALIVE, &BOTH[1..], LONG).unwrap();
    assert_eq!(taken(&mut segment), BOTH[1..]);
    // From an address that isn't ours now nothing leaves that would tell a MAC address.
    gate.renew(&ALIVE[..1], &BOTH, LONG).unwrap();
    assert_eq!(taken(&mut segment), BOTH[..1]);
    // A neighbour that the node doesn't know yet is asked for without the virtual address, since
    // the parent's MAC address would stand beside it.
    ip("neigh del 10.0.0.9 dev a0");
    gate.renew(&ALIVE, &BOTH, LONG).unwrap();
    echo(&segment, BOTH[0]);
    let question = segment.wait_for("a question", |frame| frame[12..14] == [8, 6]);
    assert_eq!(question[20..28], [[0, 1].as_slice(), &NODE_MAC].concat());
    assert_eq!((&question[28..32], &question[38..42]), (&[0; 4][..], &HOST4.octets()[..]));
    let mut reply = vec![0, 1, 8, 0, 6, 4, 0, 2];
    reply.extend([&HOST_MAC[..], &HOST4.octets(), &NODE_MAC, &[0; 4]].concat());
    let mut bytes = Vec::new();
    frame::ethernet(&mut bytes, NODE_MAC, HOST_MAC, frame::ARP, &reply);
    segment.send(&bytes);
    segment.wait_for("the echo", |frame| echoed(frame) == Some(BOTH[0]));
    // A neighbour that asks the address itself is always answered.
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(VIRTUAL6.octets());
    seal(&mut message, VIRTUAL6);
    gate.renew(&ALIVE, &[], LONG).unwrap();
    segment.send6(MAC6, VIRTUAL6, 255, 58, &message);
    segment.wait_for("the answer", |frame| {
        frame.get(54) == Some(&136) && frame[62..78] == VIRTUAL6.octets()
    });
}

#[test]
fn building_again_replaces_both_tables_and_removing_needs_none() {
    if !inside("building_again_replaces_both_tables_and_removing_needs_none") {
        return;
    }
    Gate::remove().unwrap();
    let mut first = Gate::build(&BOTH).unwrap();
    first.renew(&ALIVE, &BOTH, LONG).unwrap();
    let list = nft_list();
    for part in [
        "table arp twinwall-vrrp",
        "table inet twinwall-vrrp",
        "10.0.0.1 . 00:00:5e:00:01:0a timeout 10m",
        "fe80::1 timeout 10m",
        "arp saddr ip @virtual4",
        "arp saddr ip . arp saddr ether @alive4 accept",
        "ip6 daddr @virtual6 ip6 daddr != @accept6",
        "comment \"to a virtual address that takes no packets now\"",
    ] {
        assert!(list.contains(part), "no {part} in:\n{list}");
    }
    let other: IpAddr = "192.0.2.77".parse().unwrap();
    let _second = Gate::build(&[other]).unwrap();
    let list = nft_list();
    assert!(list.contains("192.0.2.77") && !list.contains("10.0.0.1"), "{list}");
    assert_eq!(list.matches("twinwall-vrrp").count(), 2);
    Gate::remove().unwrap();
    assert_eq!(nft_list(), "");
    let error = first.renew(&ALIVE, &[], LONG).unwrap_err();
    assert!(matches!(error, Error::Missing(_)), "{error}");
}

#[test]
fn a_renewal_with_thousands_of_addresses_is_whole() {
    if !inside("a_renewal_with_thousands_of_addresses_is_whole") {
        return;
    }
    let addresses =
        (0..3000u32).map(|i| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + i))).collect::<Vec<_>>();
    let alive = addresses.iter().map(|address| (*address, MAC4)).collect::<Vec<_>>();
    let mut gate = Gate::build(&addresses).unwrap();
    for _ in 0..3 {
        gate.renew(&alive, &addresses, LONG).unwrap();
    }
    // Whoever names an address twice means it once.
    gate.renew(&[&alive[..], &alive[..9]].concat(), &addresses, LONG).unwrap();
    let list = nft_list();
    // Once in virtual4 of each table, in alive4 and in accept4.
    assert_eq!(list.matches("10.0.11.183").count(), 4);
}
