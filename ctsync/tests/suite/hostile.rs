//! What a stranger, an old recording, or a faulty peer can do: nothing.

use crate::sim::host::{Host, key, time};
use crate::sim::rng::Rng;
use crate::sim::{Side, World};
use std::time::Duration;
use twinwall_ctsync::channel::{ChannelConfig, KeyRing, Refusal};
use twinwall_ctsync::model::{BootId, NodeId};
use twinwall_ctsync::node::Node;
use twinwall_ctsync::replica::{Config, Input, Output, Replica};
use twinwall_ctsync::time::Timestamp;
use twinwall_ctsync::wire::{Ack, Writer, write_packet};
use twinwall_recorder::{checkpoint, restore};

/// A node on its own, which is ready.
fn lone(node: u32, peer: u32, byte: u8) -> Node {
    let (node, peer) = (NodeId(node), NodeId(peer));
    let config = Config::new(node, peer, BootId(u64::from(node.0)), [1, 2]);
    let ring = KeyRing::single(key(byte));
    let mut node = Node::new(ChannelConfig::new(node, peer), config, ring, [byte; 32]);
    let mut out = Vec::new();
    let now = Timestamp::new(Duration::from_secs(1));
    node.start(now, &mut out);
    node.dump_end(now, true, &mut out);
    node.poll(now, &mut out);
    node
}

#[test]
fn random_bytes_get_no_answer_and_change_nothing() {
    let mut world = World::scene();
    world.open_sessions(2..40);
    world.pass(50);
    let before = world.status(Side::B).sessions;
    let mut rng = Rng::new(5);
    let now = time(world.now);
    for round in 0..100_000u32 {
        let len = rng.below(200) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            // Half of them begin like a datagram.
            *first = if round % 2 == 0 { (round % 7) as u8 } else { *first };
        }
        let mut out = Vec::new();
        let refused = world.host_mut(Side::B).node.as_mut().unwrap().receive(now, &bytes, &mut out);
        assert!(refused.is_err() && out.is_empty());
    }
    assert_eq!(world.status(Side::B).sessions, before);
}

#[test]
fn a_peer_with_another_key_gets_no_answer() {
    let (mut a, mut b) = (lone(1, 2, 1), lone(2, 1, 9));
    for step in 0..100u64 {
        let now = Timestamp::new(Duration::from_secs(2) + Duration::from_millis(step * 100));
        let mut out = Vec::new();
        a.poll(now, &mut out);
        for output in out {
            let Output::Send(bytes) = output else { continue };
            let mut answer = Vec::new();
            assert_eq!(b.receive(now, &bytes, &mut answer), Err(Refusal::Key));
            assert!(answer.is_empty());
        }
    }
    assert!(b.refusals().of(Refusal::Key) >= 90);
}

#[test]
fn an_old_recording_changes_nothing() {
    let mut world = World::scene();
    let mut recorded = Vec::new();
    let now = world.now;
    world.open_sessions(2..20);
    world.pass(5);
    for _ in 0..50 {
        world.pass(1);
        let later = time(world.now + 10_000_000);
        let out = world.host_mut(Side::A).verb(|node, out| node.poll(later, out));
        recorded.extend(out.into_iter().filter_map(|output| match output {
            Output::Send(bytes) => Some(bytes),
            _ => None,
        }));
    }
    assert!(!recorded.is_empty());
    let deliver = |host: &mut Host, bytes: &[u8]| host.receive(now, bytes).1;
    for bytes in &recorded {
        deliver(world.host_mut(Side::B), bytes);
    }
    for bytes in recorded.iter().cycle().take(10_000) {
        assert_eq!(deliver(world.host_mut(Side::B), bytes), Some(Refusal::Repeated));
    }
}

#[test]
fn a_faulty_peer_can_neither_stop_nor_fill_a_node() {
    let mut config = Config::new(NodeId(2), NodeId(1), BootId(2), [1, 2]);
    config.max_sessions = 100;
    let mut replica = Replica::new(config);
    let mut out = Vec::new();
    let mut now = Timestamp::new(Duration::from_secs(1));
    let greeting = twinwall_ctsync::channel::Greeting {
        node: NodeId(1),
        boot: BootId(1),
        met: true,
        digest_key: [1, 2],
        keyspace: 7,
    };
    for input in [Input::Start, Input::DumpEnd { complete: true }, Input::Poll] {
        replica.handle(now, input, &mut out);
    }
    replica.handle(now, Input::Greeted(greeting), &mut out);
    let mut rng = Rng::new(6);
    for _ in 0..50_000 {
        now = now.after(Duration::from_micros(rng.below(2_000)));
        // A packet whose head is right and whose sections are anything.
        let mut plaintext = vec![1, 0, 0, 0, (rng.below(127) + 1) as u8];
        for _ in 0..rng.below(4) {
            let len = rng.below(120);
            plaintext.extend([rng.below(17) as u8, len as u8]);
            plaintext.extend((0..len).map(|_| rng.next() as u8 & rng.next() as u8));
        }
        replica.handle(now, Input::Message { boot: BootId(1), plaintext }, &mut out);
        if rng.chance(300) {
            replica.handle(now, Input::Poll, &mut out);
        }
        out.clear();
        assert!(replica.counts().0 <= 100);
        assert!(replica.memory() < 4 << 20, "{}", replica.memory());
    }
}

#[test]
fn a_peer_that_has_no_room_or_forgets_ends_nothing_that_is_forwarded_here() {
    let mut world = World::scene();
    let sessions = world.open_sessions((2..42).step_by(2));
    world.pass(50);
    assert_eq!(world.status(Side::A).differing, 0, "B has all of them");
    // B's next packets, in its name, say that no leaf holds anything.
    let original = world.host(Side::A).node.as_ref().unwrap().replica();
    let mut copy: Replica = restore(&checkpoint(original).unwrap()).unwrap();
    let mut out = Vec::new();
    let boot = copy.peer_boot().unwrap();
    let next = copy.received() + 1;
    for (number, leaves) in (next..).zip((0..16_384u16).collect::<Vec<_>>().chunks(64)) {
        let mut sections = Writer::default();
        for leaf in leaves {
            let mut list = Writer::default();
            list.put(&leaf.to_le_bytes());
            list.put(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
            list.number(1 << 20);
            sections.u8(3);
            sections.counted(list.as_slice());
        }
        let ack = Ack { cumulative: 1 << 20, selective: Vec::new(), last: number };
        let plaintext = write_packet(&ack, Some(number), sections.as_slice());
        copy.handle(time(world.now), Input::Message { boot, plaintext }, &mut out);
    }
    assert_eq!(copy.received(), next + 255, "all of it was taken in");
    assert_eq!(copy.counts(), (sessions.len(), 0));
    assert!(!out.iter().any(|output| matches!(output, Output::Write { .. })));
}
