//! The flight recorder: what a node did runs again, with the same outputs and the same end.

use crate::sim::rng::Rng;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;
use twinwall_recorder::{Frame, Frames, Recorder, checkpoint, halves, replay};
use twinwall_vrrp::action::State;
use twinwall_vrrp::addresses::VirtualAddresses;
use twinwall_vrrp::config::{Election, RouterConfig};
use twinwall_vrrp::group::{GroupConfig, Leg};
use twinwall_vrrp::node::Node;
use twinwall_vrrp::receive::{Datagram, Discard};
use twinwall_vrrp::recorded::Recorded;
use twinwall_vrrp::router::PeerReport;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::track::{Effect, Health, TrackConfig};
use twinwall_vrrp::types::{Centiseconds, InterfaceId, Priority, RouterId, Vrid};
use twinwall_vrrp::wire::{Advert, ChecksumKind, Endpoints};

const SIZE: usize = 128 * 1024;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A group with a leg of each family.
fn group(name: &str, vrid: u8) -> GroupConfig {
    let leg = |interface: u32, addresses: &[&str], primary| {
        let listed = VirtualAddresses::new(addresses.iter().map(|text| ip(text))).unwrap();
        let vrid = Vrid::new(vrid).unwrap();
        let mut config =
            RouterConfig::new(format!("{name}-{interface}"), InterfaceId(interface), vrid, listed);
        config.interval = Centiseconds::MIN;
        Leg { config, primary: ip(primary) }
    };
    let track = |name: &str, effect| TrackConfig { name: name.to_owned(), effect };
    let lower = Effect::Lower(NonZeroU8::new(60).unwrap());
    let tracks = vec![track("uplink", lower), track("disk", Effect::Fault)];
    let election = Election { priority: Priority::new(120), tracks, ..Election::default() };
    let legs = vec![
        leg(1, &["192.0.2.1", "192.0.2.10"], "192.0.2.2"),
        leg(2, &["fe80::1:1", "2001:db8::1"], "fe80::2"),
    ];
    GroupConfig { name: name.to_owned(), election, legs }
}

/// Whatever may happen to a node, drawn.
fn happen(rng: &mut Rng, node: &mut Recorded, now: Timestamp) {
    let mut out = Vec::new();
    let ids: Vec<_> = node.groups().map(|(id, _)| id).collect();
    let Some(&id) = ids.get(rng.below(ids.len() as u64) as usize) else { return };
    let health = rng.pick([Health::Good, Health::Good, Health::Good, Health::Bad]).unwrap();
    match rng.below(100) {
        0..60 => {
            let interface = 1 + rng.below(2) as u32;
            let from = rng.between(3, 5) as u8;
            let (endpoints, listed): (_, &[&str]) = if interface == 1 {
                let source = [192, 0, 2, from].into();
                let destination = [224, 0, 0, 18].into();
                (Endpoints::V4 { source, destination }, &["192.0.2.1", "192.0.2.10"])
            } else {
                let source = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, from.into());
                let destination = "ff02::12".parse().unwrap();
                (Endpoints::V6 { source, destination }, &["fe80::1:1", "2001:db8::1"])
            };
            let addresses = VirtualAddresses::new(listed.iter().map(|text| ip(text))).unwrap();
            let advert = Advert {
                vrid: Vrid::new(rng.between(7, 9) as u8).unwrap(),
                priority: Priority::new(rng.pick([0, 60, 119, 120, 121, 200]).unwrap()),
                interval: Centiseconds::MIN,
                addresses: &addresses,
            };
            let mut payload = Vec::new();
            advert.write(&endpoints, ChecksumKind::Standard, &mut payload).unwrap();
            if rng.chance(50) {
                payload.truncate(rng.below(payload.len() as u64) as usize);
            }
            let hop_limit = if rng.chance(20) { 254 } else { 255 };
            let interface = InterfaceId(interface);
            let datagram = Datagram { interface, hop_limit, endpoints, payload: &payload };
            let _ = node.receive(now, &datagram, &mut out);
        }
        60..70 => {
            node.track("uplink", health, now, &mut out);
        }
        70..73 => {
            node.track("disk", health, now, &mut out);
        }
        73..76 => {
            let _ = node.hand_over(id, now.after(Duration::from_millis(80)), now, &mut out);
        }
        76..79 => node.peer_ready(id, now, &mut out),
        79 => node.cancel_hand_over(id, now, &mut out),
        80 => node.reclaim(id, now),
        81 => node.hold_preemption(now, now.after(Duration::from_millis(200))),
        82 => node.allow_preemption(now),
        83..87 => {
            let state = rng.pick([State::Active, State::Backup, State::Initialize]).unwrap();
            node.peer_state(id, state, now, &mut out);
        }
        87..92 => {
            let report =
                rng.pick([PeerReport::Alive, PeerReport::Silent, PeerReport::Gone]).unwrap();
            node.peer_report(now, report, &mut out);
        }
        92..94 => {
            let priority = Priority::new(rng.between(90, 150) as u8);
            let _ = node.set_priority(id, priority, now, &mut out);
        }
        94 => {
            let primary = ip(rng.pick(["192.0.2.2", "192.0.2.7"]).unwrap());
            let _ = node.set_primary(RouterId { group: id, leg: 0 }, primary, now);
        }
        95 => {
            let source = Some(ip("192.0.2.9"));
            node.refuse(now, InterfaceId(1), source, Discard::HopLimit(3));
        }
        96 => node.stop(now, &mut out),
        97 => drop(node.remove(id, now, &mut out)),
        _ => node.start(now, &mut out),
    }
    if node.groups().count() < 2 {
        let (name, vrid) =
            if node.groups().all(|(_, group)| group.name() != "a") { ("a", 7) } else { ("b", 8) };
        node.add(group(name, vrid), now).unwrap();
        node.start(now, &mut out);
    }
}

/// The part of a file, and the node at the end.
fn recorded(seed: u64, happenings: u32) -> (Vec<u8>, Recorded) {
    let mut rng = Rng::new(seed);
    let mut file = vec![0; SIZE];
    let mut node = Recorded::new(Some(Recorder::new(SIZE, 1)));
    let mut now = Timestamp::new(Duration::from_secs(5));
    node.add(group("a", 7), now).unwrap();
    for _ in 0..happenings {
        let next = now.after(Duration::from_micros(rng.between(10, 12_000)));
        let due = node.next_deadline().filter(|due| *due < next);
        now = due.map_or(next, |due| due.max(now));
        if due.is_some() {
            node.poll(now, &mut Vec::new());
        } else {
            happen(&mut rng, &mut node, now);
        }
        for chunk in node.recorder().unwrap().take() {
            let from = chunk.offset as usize;
            file[from..from + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
        }
    }
    (file, node)
}

#[test]
fn whatever_happens_runs_again_with_the_same_outputs_and_the_same_end() {
    for seed in 0..6 {
        let (file, node) = recorded(seed, 6_000);
        let [elder, younger] = halves(&file);
        let mut inputs = 0;
        for half in [elder, younger] {
            let replayed = replay::<Node>(half, |_, _, _| {}).unwrap();
            assert_eq!(replayed.differs_at, None, "seed {seed}");
            inputs += replayed.inputs;
        }
        assert!(inputs > 500, "seed {seed}: {inputs}");
        let end = replay::<Node>(younger, |_, _, _| {}).unwrap().machine;
        assert_eq!(checkpoint(&end), checkpoint::<Node>(&node), "seed {seed}");
    }
}

#[test]
fn an_output_that_was_another_one_is_found() {
    let (file, _) = recorded(1, 400);
    let [_, younger] = halves(&file);
    let frames = Frames::read(younger).unwrap();
    let (number, mut tampered) = (frames.number(), younger[..17].to_vec());
    for (place, frame) in frames.enumerate() {
        match frame {
            Frame::Step { outputs, input } if place == 101 => {
                Frame::Step { outputs: outputs ^ 4, input }.write(number, &mut tampered);
            }
            frame => frame.write(number, &mut tampered),
        }
    }
    assert_eq!(replay::<Node>(&tampered, |_, _, _| {}).unwrap().differs_at, Some(100));
}

#[test]
fn a_node_that_is_not_recorded_does_the_same() {
    let now = Timestamp::new(Duration::from_secs(5));
    let nodes = [None, Some(Recorder::new(SIZE, 1))].map(|recorder| {
        let mut rng = Rng::new(3);
        let mut node = Recorded::new(recorder);
        node.add(group("a", 7), now).unwrap();
        for step in 0..500 {
            happen(&mut rng, &mut node, now.after(Duration::from_millis(step)));
        }
        checkpoint::<Node>(&node)
    });
    assert_eq!(nodes[0], nodes[1]);
}
