//! Session keys when the nodes decide by different key tables.

use crate::sim::acts::draw;
use crate::sim::host::{OWNED, RULES};
use crate::sim::policy::{WIDE, rule};
use crate::sim::{Side, World};
use std::time::Duration;
use twinwall_ctsync::channel::Greeting;
use twinwall_ctsync::model::{BootId, NodeId};
use twinwall_ctsync::replica::{Config, Event, Input, Output, Replica};
use twinwall_ctsync::time::Timestamp;
use twinwall_ctsync::wire::{Ack, Change, RecordWriter, Section, Writer, write_packet};

/// Gives a host another policy.
fn reload(world: &mut World, side: Side, policy: u32) {
    world.host_mut(side).number_rules(policy);
    let now = world.now;
    let out = world.host_mut(side).tell_policy(now);
    world.apply(side, out).unwrap();
    world.pass(20);
}

#[test]
fn a_key_is_translated_by_what_its_rule_means() {
    let mut world = World::scene();
    reload(&mut world, Side::B, 27);
    let sessions = world.open_sessions((2..100).step_by(2));
    world.pass(50);
    assert!(world.was_told(Side::B, Event::KeysDiffer));
    for (session, number) in sessions.iter().zip((2..100).step_by(2)) {
        let rule: u32 = number % RULES;
        // Policy 1 lacks rule 1, policy 27 lacks rule 27 of 32, which is none.
        let kept = &world.host(Side::B).kernel.table[&session.identity()];
        assert_eq!(
            kept.session.mark & OWNED,
            world.host(Side::B).policy.key_of(rule),
            "rule {rule}"
        );
    }
}

#[test]
fn a_key_of_a_policy_that_is_not_announced_yet_is_not_taken_for_one_of_this_node() {
    let mut world = World::scene();
    let number = 2;
    let session = world.open_sessions([number].into_iter()).remove(0);
    world.pass(20);
    // The sweep of a reload on A is faster than the news of it.
    let before = world.host(Side::A).policy.keys.clone();
    world.switch(Side::A, 40).unwrap();
    let new = world.host(Side::A).policy.key_of(number % RULES);
    world.pass(20);
    let key = |world: &World, side: Side| {
        world.host(side).kernel.table[&session.identity()].session.mark & OWNED
    };
    assert!(!before.contains_key(&new));
    assert_eq!((key(&world, Side::A), key(&world, Side::B)), (new, 0));
    let now = world.now;
    let out = world.host_mut(Side::A).tell_policy(now);
    world.apply(Side::A, out).unwrap();
    world.pass(20);
    assert_eq!(key(&world, Side::B), world.host(Side::B).policy.key_of(number % RULES));
}

#[test]
fn a_key_of_both_policies_is_not_taken_as_it_is_while_one_of_them_is_loaded() {
    let mut world = World::scene();
    // Of rule 5, which gives its sessions to rule 3 in every fourth policy.
    let session = world.open_sessions([21].into_iter()).remove(0);
    world.pass(20);
    let carrier = world.carrier(session.group, 21).unwrap();
    let key = |world: &World, side: Side| {
        world.host(side).kernel.table[&session.identity()].session.mark & OWNED
    };
    let [before, wide] = [5, WIDE].map(|rule| world.host(carrier).policy.key_of(rule));
    assert_eq!([carrier, carrier.other()].map(|side| key(&world, side)), [before; 2]);
    world.switch(carrier, 8).unwrap();
    world.pass(20);
    assert_eq!(world.host(carrier).policy.key_of(WIDE), wide, "the key stays");
    // The other node has the same key for the same rule, and another one decides there.
    assert_eq!((key(&world, carrier), key(&world, carrier.other())), (wide, before));
}

#[test]
fn a_session_that_another_rule_decides_here_gets_the_key_of_that_one() {
    let (mut node, mut out) = (lone(), Vec::new());
    let now = Timestamp::new(Duration::from_secs(2));
    let greeting = Greeting { keyspace: 7, ..node.greeting() };
    let boot = BootId(99);
    let greeting = Greeting { node: NodeId(2), boot, ..greeting };
    node.handle(now, Input::Greeted(greeting), &mut out);
    node.handle(now, Input::Policy { keyspace: 8, rules: vec![(5, rule(1))] }, &mut out);
    let mut session = draw(2, 0x0003_0008);
    session.mark = 30;
    let mut content = Writer::default();
    let change = Change::Put { session: session.clone(), version: 1 };
    RecordWriter::default().write(&mut content, &change);
    let mut sections = Section::Rules(vec![(30, Some(rule(1)))]).to_bytes();
    sections.push(2);
    let mut counted = Writer::default();
    counted.counted(content.as_slice());
    sections.extend(counted.finish());
    let plaintext = write_packet(&Ack::default(), None, &sections);
    out.clear();
    node.handle(now, Input::Message { boot, plaintext }, &mut out);
    let asked = out.iter().find_map(|output| match output {
        Output::Classify { session, rule } => Some((session.mark & OWNED, *rule)),
        _ => None,
    });
    assert_eq!(asked, Some((5, Some(rule(1)))));
    let identity = session.identity();
    node.handle(now, Input::Classified { identity, key: Some(6) }, &mut out);
    assert_eq!(node.sessions().next().unwrap().mark & OWNED, 6);
}

/// A state machine whose dump is over.
fn lone() -> Replica {
    let mut replica = Replica::new(Config::new(NodeId(1), NodeId(2), BootId(1), [1, 2]));
    let now = Timestamp::new(Duration::from_secs(1));
    for input in [Input::Start, Input::DumpEnd { complete: true }, Input::Poll] {
        replica.handle(now, input, &mut Vec::new());
    }
    replica
}

#[test]
fn equal_key_tables_are_taken_as_they_are() {
    let mut world = World::scene();
    assert!(world.was_told(Side::B, Event::KeysAgree));
    let sessions = world.open_sessions([2].into_iter());
    world.pass(5);
    let kept = &world.host(Side::B).kernel.table[&sessions[0].identity()];
    assert_eq!(kept.session.mark, sessions[0].mark);
    assert_eq!(world.status(Side::B).stats.classified, 0);
}

#[test]
fn a_session_whose_rule_is_not_here_is_classified_anew() {
    let mut world = World::scene();
    // Policy 34 lacks rule 2.
    reload(&mut world, Side::B, 34);
    let sessions = world.open_sessions([2].into_iter());
    world.pass(20);
    let kept = &world.host(Side::B).kernel.table[&sessions[0].identity()];
    // Its next packet is classified.
    assert_eq!(kept.session.mark & OWNED, 0);
    assert_eq!(world.status(Side::B).stats.classified, 1);
    // And on the node that carries it the key stays.
    let own = &world.host(Side::A).kernel.table[&sessions[0].identity()];
    assert_eq!(own.session.mark, sessions[0].mark);
}
