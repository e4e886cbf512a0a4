//! Adverts through the kernel: frames that leave, filters, what a receiver is told.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::segment::{HOST_MAC, HOST4, HOST6, NODE_MAC, Segment, index};
use common::{eventually, inside, ip};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_netlink::frame::{self, Sender, multicast_mac};
use twinwall_netlink::raw::{Family, Kind, Options, Receiver};

const GROUP4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
const VRRP: u8 = 112;

fn open(segment: &Segment, family: Family, kind: Kind<'_>) -> Receiver {
    let options = Options {
        interface: segment.node,
        name: "a0",
        family,
        multicast: true,
        kind,
        receive_buffer: 1 << 20,
    };
    Receiver::open(&options).unwrap()
}

/// A payload that begins like an advert; the priority tells the packets of a test apart.
fn advert(version_and_type: u8, vrid: u8, tag: u8) -> Vec<u8> {
    vec![version_and_type, vrid, tag, 1, 0, 100, 0, 0, 10, 0, 0, 1]
}

/// The tags of what has arrived, appended.
fn tags(receiver: &mut Receiver, family: Family, tags: &mut Vec<u8>) {
    receiver
        .receive(usize::MAX, |packet| {
            let start = match family {
                Family::V4 => usize::from(packet.bytes[0] & 15) * 4,
                Family::V6 => 0,
            };
            tags.push(packet.bytes[start + 2]);
        })
        .unwrap();
}

fn sorted_out(
    strict: &mut Receiver,
    odd: &mut Receiver,
    family: Family,
    total: usize,
) -> (Vec<u8>, Vec<u8>) {
    let (mut for_us, mut others) = (Vec::new(), Vec::new());
    eventually("all packets have come", || {
        tags(strict, family, &mut for_us);
        tags(odd, family, &mut others);
        (for_us.len() + others.len() >= total).then_some(())
    });
    (for_us, others)
}

#[test]
fn ipv4_adverts_for_us_come_to_one_socket_and_the_rest_to_the_other() {
    if !inside("ipv4_adverts_for_us_come_to_one_socket_and_the_rest_to_the_other") {
        return;
    }
    let segment = Segment::new();
    ip("link add c0 type veth peer d0");
    ip("link set c0 up");
    ip("link set d0 up");
    ip("addr add 10.1.0.2/24 dev c0");
    let vrids = [10, 200];
    let mut strict = open(&segment, Family::V4, Kind::Strict { vrids: &vrids });
    let mut odd = open(&segment, Family::V4, Kind::Odd { vrids: &vrids });
    let mac = multicast_mac(GROUP4.into()).unwrap();
    let send = |ttl, payload: &[u8]| segment.send4(mac, GROUP4, ttl, VRRP, payload);
    send(255, &advert(0x31, 10, 1));
    send(254, &advert(0x31, 10, 2));
    send(255, &advert(0x21, 10, 3));
    send(255, &advert(0x32, 10, 4));
    send(255, &advert(0x31, 11, 5));
    send(255, &advert(0x31, 200, 6));
    send(255, &advert(0x31, 10, 7)[..7]);
    // To the node alone.
    segment.send4(NODE_MAC, Ipv4Addr::new(10, 0, 0, 2), 255, VRRP, &advert(0x31, 10, 8));
    // Another protocol; another interface.
    segment.send4(mac, GROUP4, 255, 113, &advert(0x31, 10, 9));
    let mut elsewhere = Vec::new();
    frame::ethernet(&mut elsewhere, mac, HOST_MAC, frame::IPV4, &[]);
    let other_host = Ipv4Addr::new(10, 1, 0, 9);
    frame::ipv4(&mut elsewhere, other_host, GROUP4, 255, VRRP, &advert(0x31, 10, 10)).unwrap();
    Sender::open().unwrap().send(index("d0"), &elsewhere).unwrap();
    // A header of six words: four options that do nothing. The checksum makes up for the length
    // and the options.
    let mut options = Vec::new();
    frame::ethernet(&mut options, mac, HOST_MAC, frame::IPV4, &[]);
    frame::ipv4(&mut options, HOST4, GROUP4, 255, VRRP, &[]).unwrap();
    options[14] = 0x46;
    options[17] = 36;
    let sum = u16::from_be_bytes([options[24], options[25]]);
    // Added to the header: 0x0100 (words), 16 (length), 0x0101 twice.
    let sum = !(!u32::from(sum) & 0xffff).wrapping_add(0x0100 + 16 + 2 * 0x0101);
    options[24..26].copy_from_slice(&(sum as u16).to_be_bytes());
    options.extend([1; 4]);
    options.extend(advert(0x31, 10, 11));
    segment.send(&options);
    let (for_us, others) = sorted_out(&mut strict, &mut odd, Family::V4, 9);
    assert_eq!((for_us, others), (vec![1, 6, 8, 11], vec![2, 3, 4, 5, 7]));
    assert_eq!((strict.drops().unwrap(), odd.drops().unwrap()), (0, 0));
    // The rest follows the configuration.
    strict.set_kind(Kind::Strict { vrids: &[11] }).unwrap();
    odd.set_kind(Kind::Odd { vrids: &[11] }).unwrap();
    send(255, &advert(0x31, 10, 20));
    send(255, &advert(0x31, 11, 21));
    let (for_us, others) = sorted_out(&mut strict, &mut odd, Family::V4, 2);
    assert_eq!((for_us, others), (vec![21], vec![20]));
}

#[test]
fn ipv6_adverts_for_us_come_to_one_socket_and_the_rest_to_the_other() {
    if !inside("ipv6_adverts_for_us_come_to_one_socket_and_the_rest_to_the_other") {
        return;
    }
    let segment = Segment::new();
    let vrids = (1..=255).filter(|vrid| *vrid != 11).collect::<Vec<u8>>();
    let mut strict = open(&segment, Family::V6, Kind::Strict { vrids: &vrids });
    let mut odd = open(&segment, Family::V6, Kind::Odd { vrids: &vrids });
    let mac = multicast_mac(GROUP6.into()).unwrap();
    let send = |limit, payload: &[u8]| segment.send6(mac, GROUP6, limit, VRRP, payload);
    send(255, &advert(0x31, 10, 1));
    send(1, &advert(0x31, 10, 2));
    send(255, &advert(0x21, 10, 3));
    send(255, &advert(0x31, 11, 4));
    send(255, &advert(0x31, 255, 5));
    send(255, &advert(0x31, 10, 6)[..3]);
    // Behind a header of hop-by-hop options, all padding.
    let mut extended = vec![VRRP, 0, 1, 4, 0, 0, 0, 0];
    extended.extend(advert(0x31, 10, 7));
    segment.send6(mac, GROUP6, 255, 0, &extended);
    let (for_us, others) = sorted_out(&mut strict, &mut odd, Family::V6, 7);
    assert_eq!((for_us, others), (vec![1, 5, 7], vec![2, 3, 4, 6]));
}

#[test]
fn a_packet_comes_with_its_addresses_and_hop_limit() {
    if !inside("a_packet_comes_with_its_addresses_and_hop_limit") {
        return;
    }
    let segment = Segment::new();
    let expected = [
        (Family::V4, IpAddr::from(HOST4), IpAddr::from(GROUP4), 250u8),
        (Family::V6, IpAddr::from(HOST6), IpAddr::from(GROUP6), 251),
    ];
    for (family, source, destination, hop_limit) in expected {
        let mut odd = open(&segment, family, Kind::Odd { vrids: &[] });
        let mac = multicast_mac(destination).unwrap();
        match family {
            Family::V4 => segment.send4(mac, GROUP4, hop_limit, VRRP, &advert(0x31, 1, 2)),
            Family::V6 => segment.send6(mac, GROUP6, hop_limit, VRRP, &advert(0x31, 1, 2)),
        }
        let mut seen = None;
        eventually("the packet comes", || {
            odd.receive(1, |packet| {
                let header = if family == Family::V4 { 20 } else { 0 };
                assert_eq!(packet.bytes[header..], advert(0x31, 1, 2));
                seen =
                    Some((packet.interface, packet.source, packet.destination, packet.hop_limit));
            })
            .unwrap();
            seen
        });
        assert_eq!(seen, Some((segment.node, source, Some(destination), Some(hop_limit))));
    }
}

#[test]
fn a_flood_of_odd_packets_drops_no_advert() {
    if !inside("a_flood_of_odd_packets_drops_no_advert") {
        return;
    }
    let segment = Segment::new();
    let mut strict = open(&segment, Family::V4, Kind::Strict { vrids: &[10] });
    let options = Options {
        interface: segment.node,
        name: "a0",
        family: Family::V4,
        multicast: true,
        kind: Kind::Odd { vrids: &[10] },
        receive_buffer: 4096,
    };
    let mut odd = Receiver::open(&options).unwrap();
    let mac = multicast_mac(GROUP4.into()).unwrap();
    for _ in 0..2000 {
        segment.send4(mac, GROUP4, 254, VRRP, &advert(0x31, 10, 1));
    }
    segment.send4(mac, GROUP4, 255, VRRP, &advert(0x31, 10, 7));
    let mut for_us = Vec::new();
    eventually("the advert comes", || {
        tags(&mut strict, Family::V4, &mut for_us);
        for_us.first().copied()
    });
    assert_eq!((for_us, strict.drops().unwrap()), (vec![7], 0));
    // No more is read than asked for, and what there was no room for is counted.
    let mut few = 0;
    assert_eq!(odd.receive(2, |_| few += 1).unwrap(), 2);
    let mut rest = Vec::new();
    tags(&mut odd, Family::V4, &mut rest);
    // Later kernels look for room before they ask the filter, so that the advert counts too.
    let drops = odd.drops().unwrap() as usize;
    assert!((2000..=2001).contains(&(few + rest.len() + drops)), "{few} {rest:?} {drops}");
    assert!(drops > 1900, "{drops}");
}

#[test]
fn a_unicast_advert_leaves_with_hop_limit_255_from_the_source_asked_for() {
    if !inside("a_unicast_advert_leaves_with_hop_limit_255_from_the_source_asked_for") {
        return;
    }
    let mut segment = Segment::new();
    ip("addr add 10.0.0.3/32 dev a0");
    ip("addr add fe80::3/128 dev a0 nodad");
    let payload = advert(0x31, 10, 1);
    for (family, source, destination) in [
        (Family::V4, "10.0.0.3", IpAddr::from(HOST4)),
        (Family::V6, "fe80::3", IpAddr::from(HOST6)),
    ] {
        let receiver = open(&segment, family, Kind::Strict { vrids: &[10] });
        let source: IpAddr = source.parse().unwrap();
        receiver.send_to(destination, Some(source), &payload).unwrap();
        let ethertype = if family == Family::V4 { frame::IPV4 } else { frame::IPV6 }.to_be_bytes();
        let frame = segment.wait_for("the advert", |frame| {
            frame.ends_with(&payload) && frame[12..14] == ethertype
        });
        assert_eq!((&frame[..6], &frame[6..12]), (&HOST_MAC[..], &NODE_MAC[..]));
        let (hop_limit, seen) = match family {
            Family::V4 => (frame[22], IpAddr::from(<[u8; 4]>::try_from(&frame[26..30]).unwrap())),
            Family::V6 => (frame[21], IpAddr::from(<[u8; 16]>::try_from(&frame[22..38]).unwrap())),
        };
        assert_eq!((hop_limit, seen), (255, source));
        // Without one the kernel chooses; one that isn't ours is refused.
        receiver.send_to(destination, None, &payload).unwrap();
        let foreign = if family == Family::V4 { "10.0.0.77" } else { "fe80::77" };
        let error = receiver.send_to(destination, Some(foreign.parse().unwrap()), &payload);
        assert!(error.is_err());
        let other = if family == Family::V4 { IpAddr::from(HOST6) } else { IpAddr::from(HOST4) };
        assert!(receiver.send_to(other, None, &payload).is_err());
    }
}

#[test]
fn a_frame_leaves_as_it_was_written() {
    if !inside("a_frame_leaves_as_it_was_written") {
        return;
    }
    let mut segment = Segment::new();
    let source = [0, 0, 0x5e, 0, 1, 10];
    let mut written = Vec::new();
    frame::ethernet(&mut written, multicast_mac(GROUP4.into()).unwrap(), source, frame::IPV4, &[]);
    let own = Ipv4Addr::new(10, 0, 0, 2);
    frame::ipv4(&mut written, own, GROUP4, 255, VRRP, &advert(0x31, 10, 1)).unwrap();
    let sender = Sender::open().unwrap();
    sender.send(segment.node, &written).unwrap();
    segment.wait_for("the frame", |frame| frame == written);
    ip("link set a0 down");
    let error = sender.send(segment.node, &written).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
    ip("link del a0");
    let error = sender.send(segment.node, &written).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
    assert!(sender.send(segment.node, &written[..13]).is_err());
}

#[test]
fn an_interface_that_is_gone_is_an_ordinary_error() {
    if !inside("an_interface_that_is_gone_is_an_ordinary_error") {
        return;
    }
    let segment = Segment::new();
    let mut receivers = [Family::V4, Family::V6]
        .map(|family| (family, open(&segment, family, Kind::Strict { vrids: &[1] })));
    ip("link del a0");
    for (family, receiver) in &mut receivers {
        assert_eq!(receiver.receive(8, |_| {}).unwrap(), 0);
        assert_eq!(receiver.drops().unwrap(), 0);
        let to = if *family == Family::V4 { IpAddr::from(HOST4) } else { IpAddr::from(HOST6) };
        assert!(receiver.send_to(to, None, &advert(0x31, 1, 1)).is_err());
        let options = Options {
            interface: segment.node,
            name: "a0",
            family: *family,
            multicast: true,
            kind: Kind::Strict { vrids: &[1] },
            receive_buffer: 4096,
        };
        assert!(Receiver::open(&options).is_err());
    }
}
