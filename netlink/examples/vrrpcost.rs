//! What VRRP asks of the kernel: how long a change of owner takes, what the gate costs, and what
//! packets that are no adverts cost.
//!
//! `cargo run --release -p twinwall-netlink --example vrrpcost`, as any user; it runs in a network
//! namespace of its own.
#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/common/mod.rs"]
mod common;

use common::segment::{HOST_MAC, HOST4, Segment};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};
use twinwall_netlink::address::Batch;
use twinwall_netlink::frame::{self, multicast_mac};
use twinwall_netlink::gate::Gate;
use twinwall_netlink::link;
use twinwall_netlink::raw::{Family, Kind, Options, Receiver};
use twinwall_netlink::socket::Socket;

const ROUNDS: usize = 50;
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

fn main() {
    if !common::enter_program() {
        return;
    }
    let mut segment = Segment::new();
    change_of_owner(&mut segment);
    gate();
    odd_packets(&segment);
}

/// Two macvlans with two addresses each, switched on and off again.
fn change_of_owner(segment: &mut Segment) {
    let mut socket = Socket::open_route().unwrap();
    let macs = [[0, 0, 0x5e, 0, 1, 10], [0, 0, 0x5e, 0, 2, 10]];
    let macvlans = [("tw4", macs[0]), ("tw6", macs[1])]
        .map(|(name, mac)| link::create_macvlan(&mut socket, segment.node, name, mac).unwrap());
    let virtual_addresses: [(u32, IpAddr, u8); 4] = [
        (macvlans[0], "10.0.0.1".parse().unwrap(), 32),
        (macvlans[0], "10.0.0.11".parse().unwrap(), 32),
        (macvlans[1], "fe80::1".parse().unwrap(), 64),
        (macvlans[1], "2001:db8::1".parse().unwrap(), 128),
    ];
    let (mut taken, mut given, mut down) = (vec![], vec![], vec![]);
    let (mut arp, mut nd) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let mut batch = Batch::new();
        macvlans.iter().for_each(|interface| batch.link_up(*interface));
        for (interface, address, length) in virtual_addresses {
            batch.add(interface, address, length);
        }
        segment.captured();
        let begun = Instant::now();
        batch.commit(&mut socket).unwrap();
        taken.push(begun.elapsed());
        // Until the first question that is asked after it is answered.
        for (ask, times, start) in [
            (arp_question(), &mut arp, [macs[0], [8, 6, 0, 1, 8, 0]].concat()),
            (nd_question(), &mut nd, [macs[1], [0x86, 0xdd, 0x60, 0, 0, 0]].concat()),
        ] {
            let answered = loop {
                segment.send(&ask);
                let asked = Instant::now();
                let mut seen = false;
                while !seen && asked.elapsed() < Duration::from_micros(500) {
                    let frames = segment.captured();
                    seen = frames.iter().any(|f| f.get(6..18) == Some(&start[..]));
                }
                if seen {
                    break begun.elapsed();
                }
            };
            times.push(answered);
        }
        let mut batch = Batch::new();
        for (interface, address, length) in virtual_addresses {
            batch.remove(interface, address, length);
        }
        let begun = Instant::now();
        batch.commit(&mut socket).unwrap();
        given.push(begun.elapsed());
        let mut batch = Batch::new();
        macvlans.iter().for_each(|interface| batch.link_down(*interface));
        let begun = Instant::now();
        batch.commit(&mut socket).unwrap();
        down.push(begun.elapsed());
    }
    report("batch: 2 links up, 4 addresses added", taken);
    report("batch: 4 addresses removed", given);
    report("batch: 2 links down", down);
    report("from its begin to the first ARP answer", arp);
    report("from its begin to the first NA answer", nd);
}

fn gate() {
    for count in [4u32, 100] {
        let addresses =
            (0..count).map(|i| Ipv4Addr::from(0x0a00_0001 + i).into()).collect::<Vec<IpAddr>>();
        let alive = addresses.iter().map(|a| (*a, [0, 0, 0x5e, 0, 1, 1])).collect::<Vec<_>>();
        let mut gate = Gate::build(&addresses).unwrap();
        let renewals = (0..200)
            .map(|_| {
                let begun = Instant::now();
                gate.renew(&alive, &addresses, Duration::from_millis(900)).unwrap();
                begun.elapsed()
            })
            .collect();
        report(&format!("gate renewed, {count} addresses alive and accepted"), renewals);
        Gate::remove().unwrap();
    }
}

/// The sender's call delivers the packet to the sockets, so its time is all there is, and the
/// sending is part of it.
fn odd_packets(segment: &Segment) {
    const PACKETS: u32 = 20_000;
    let mut bytes = Vec::new();
    let mac = multicast_mac(GROUP.into()).unwrap();
    frame::ethernet(&mut bytes, mac, HOST_MAC, frame::IPV4, &[]);
    frame::ipv4(&mut bytes, HOST4, GROUP, 254, 112, &[0x21; 20]).unwrap();
    let flood = |receivers: &mut [Receiver]| {
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let begun = Instant::now();
            for i in 0..PACKETS {
                segment.send(&bytes);
                if i % 1000 == 0 {
                    for receiver in &mut *receivers {
                        receiver.receive(32, |_| {}).unwrap();
                    }
                }
            }
            best = best.min(begun.elapsed());
        }
        best / (PACKETS / 1000)
    };
    let open = |kind, receive_buffer| {
        let interface = segment.node;
        let options = Options {
            interface,
            name: "a0",
            family: Family::V4,
            multicast: true,
            kind,
            receive_buffer,
        };
        Receiver::open(&options).unwrap()
    };
    let vrids = &[10][..];
    let mut receivers = [open(Kind::Strict { vrids }, 1 << 20), open(Kind::Odd { vrids }, 4096)];
    println!("1,000 odd packets, sent, filtered by both sockets, {:?}", flood(&mut receivers));
}

fn arp_question() -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend([&HOST_MAC[..], &HOST4.octets(), &[0; 6], &[10, 0, 0, 1]].concat());
    let mut bytes = Vec::new();
    frame::ethernet(&mut bytes, [0xff; 6], HOST_MAC, frame::ARP, &arp);
    bytes
}

/// A solicitation without a source (RFC 4861 4.3), which is answered to all nodes. The checksum is
/// that of this message alone.
fn nd_question() -> Vec<u8> {
    let target: Ipv6Addr = "fe80::1".parse().unwrap();
    let group: Ipv6Addr = "ff02::1:ff00:1".parse().unwrap();
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    let all = [&group.octets()[..], &24u32.to_be_bytes(), &58u32.to_be_bytes(), &message].concat();
    let (words, _) = all.as_chunks::<2>();
    let mut sum = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message.splice(2..4, (!(sum as u16)).to_be_bytes());
    let mut bytes = Vec::new();
    frame::ethernet(&mut bytes, multicast_mac(group.into()).unwrap(), HOST_MAC, frame::IPV6, &[]);
    frame::ipv6(&mut bytes, Ipv6Addr::UNSPECIFIED, group, 255, 58, &message).unwrap();
    bytes
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    println!("{what:50} median {median:10.1?}  worst {worst:10.1?}");
}
