//! Sessions of which nothing tells through which of several groups they go: each node is active
//! for one, and only packets show whose a session is.

use crate::sim::host::{GROUPS, SHARED};
use crate::sim::{Due, Side, World};
use twinwall_ctsync::model::{Delta, Origin, Role, Session, Status};
use twinwall_ctsync::replica::{Event, Place};

const A: Side = Side::A;
const B: Side = Side::B;

/// What a session has left after a packet, in seconds.
const TIMEOUT: u32 = 100;

/// Begins so many sessions on a host and lets the other one have them.
fn open(world: &mut World, side: Side, count: u32) -> Vec<Session> {
    let first = world.host(A).kernel.table.len() as u32;
    let now = world.now;
    let mut opened = Vec::new();
    for number in first..first + count {
        let mut session = crate::sim::acts::draw(number, 0x0003_0000);
        (session.group, session.timeout) = (SHARED, TIMEOUT);
        session.mark = world.host(side).policy.key_of(number % 16);
        world.host_mut(side).kernel.open(now, &session);
        opened.push(session);
    }
    world.notify(side);
    world.pass(50);
    opened
}

/// Lets seconds pass in which a packet of each session goes through a host every ten.
fn packets(world: &mut World, side: Side, sessions: &[Session], seconds: u64) {
    for _ in 0..seconds / 10 {
        let now = world.now;
        for session in sessions {
            assert!(world.host_mut(side).kernel.refresh(now, &session.identity(), TIMEOUT));
        }
        world.pass(10_000);
        world.expire();
        world.pass(50);
    }
}

/// How many of the sessions a host has with the long timeout of one that it doesn't carry.
fn held(world: &World, side: Side, sessions: &[Session]) -> usize {
    let left = sessions.iter().filter_map(|session| world.left(side, &session.identity()));
    left.filter(|left| *left > u64::from(TIMEOUT)).count()
}

fn here(world: &mut World, side: Side, sessions: &[Session]) -> usize {
    let node = world.host_mut(side).node.as_mut().unwrap();
    let places = sessions.iter().filter_map(|session| node.place(&session.identity()));
    places.filter(|place| matches!(place, Place { here: true, .. })).count()
}

/// How many of the sessions are one node's and not the other's.
fn settled(world: &mut World, sessions: &[Session]) -> usize {
    let one = |session: &&Session| {
        let session = std::slice::from_ref(*session);
        here(world, A, session) + here(world, B, session) == 1
    };
    sessions.iter().filter(one).count()
}

#[test]
fn a_session_is_held_where_it_did_not_begin() {
    let mut world = World::scene();
    let (a, b) = (open(&mut world, A, 20), open(&mut world, B, 20));
    assert_eq!((held(&world, A, &a), held(&world, B, &a)), (0, 20));
    assert_eq!((held(&world, A, &b), held(&world, B, &b)), (20, 0));
}

#[test]
fn a_timeout_that_runs_out_does_not_end_what_the_other_node_forwards() {
    let mut world = World::scene();
    // Long enough that only the timeouts show where the packets are.
    world.host_mut(B).kernel.deaf = true;
    world.host_mut(B).kernel.overrun = false;
    let sessions = open(&mut world, A, 20);
    packets(&mut world, B, &sessions, 250);
    assert_eq!(world.host(A).kernel.table.len(), 20);
    assert_eq!((here(&mut world, A, &sessions), here(&mut world, B, &sessions)), (0, 20));
    assert_eq!((held(&world, A, &sessions), held(&world, B, &sessions)), (20, 0));
}

#[test]
fn a_session_without_packets_ends_on_both_nodes() {
    let mut world = World::scene();
    open(&mut world, A, 10);
    open(&mut world, B, 10);
    packets(&mut world, A, &[], 110);
    for side in Side::BOTH {
        assert!(world.host(side).kernel.table.is_empty(), "{side:?}");
        let counts = world.host(side).node.as_ref().unwrap().replica().counts();
        assert_eq!(counts, (0, 0), "{side:?}");
    }
}

#[test]
fn what_somebody_ends_ends_although_packets_go_through_the_other_node() {
    let mut world = World::scene();
    let sessions = open(&mut world, A, 10);
    let now = world.now;
    for session in &sessions {
        world.host_mut(B).kernel.refresh(now, &session.identity(), TIMEOUT);
        world.end(A, &session.identity(), Origin::Local);
    }
    world.pass(50);
    assert!(world.host(B).kernel.table.is_empty());
}

#[test]
fn one_node_takes_all_and_gives_its_half_back() {
    let mut world = World::scene();
    let (a, b) = (open(&mut world, A, 20), open(&mut world, B, 20));
    world.host_mut(A).node = None;
    for group in GROUPS {
        world.host_mut(A).roles.insert(group, Role::Backup);
    }
    world.move_group(GROUPS[0], B).unwrap();
    world.pass(50);
    assert_eq!((held(&world, B, &a), held(&world, B, &b)), (0, 0), "right at the takeover");
    packets(&mut world, B, &a, 120);
    assert_eq!(world.host(B).kernel.table.len(), 20, "what has no packets ends");
    let b = open(&mut world, B, 20);
    world.schedule(0, Due::Boot { side: A });
    // It takes its own group back as soon as it has everything.
    world.pass(1_000);
    assert_eq!(world.host(A).roles[&GROUPS[0]], Role::Active);
    assert_eq!((held(&world, A, &a), held(&world, A, &b)), (20, 20), "nothing runs out there");
    packets(&mut world, A, &a, 30);
    assert_eq!((held(&world, A, &a), held(&world, B, &a)), (0, 20));
    assert_eq!((here(&mut world, A, &a), here(&mut world, B, &a)), (20, 0));
    assert_eq!((here(&mut world, A, &b), here(&mut world, B, &b)), (0, 20));
}

#[test]
fn after_a_split_each_session_is_where_its_packets_are() {
    let mut world = World::scene();
    let (a, b) = (open(&mut world, A, 20), open(&mut world, B, 20));
    world.cut = true;
    for side in Side::BOTH {
        for group in GROUPS {
            world.host_mut(side).roles.insert(group, Role::Active);
        }
        let now = world.now;
        let out = world.host_mut(side).tell_roles(now);
        world.apply(side, out).unwrap();
    }
    // The scene's clock heals the link when the time is over.
    world.pass(2_000);
    world.pass(50);
    world.move_group(GROUPS[0], A).unwrap();
    world.move_group(GROUPS[1], B).unwrap();
    let now = world.now;
    for _ in 0..4 {
        for (side, sessions) in [(A, &a), (B, &b)] {
            for session in sessions {
                world.host_mut(side).kernel.refresh(now, &session.identity(), TIMEOUT);
            }
        }
        world.pass(500);
    }
    world.pass(12_000);
    assert_eq!((here(&mut world, A, &a), here(&mut world, B, &a)), (20, 0));
    assert_eq!((here(&mut world, A, &b), here(&mut world, B, &b)), (0, 20));
    assert!(world.status(A).equal && world.status(B).equal);
}

#[test]
fn a_split_with_contact_now_and_then_leaves_no_session_to_both_or_to_nobody() {
    let mut world = World::scene();
    let sessions = [open(&mut world, A, 20), open(&mut world, B, 20)].concat();
    for contact in (0..40).step_by(3) {
        // Both take all, hear each other for a moment, and give half of it back at different times.
        world.cut = true;
        for side in Side::BOTH {
            let now = world.now;
            for group in GROUPS {
                world.host_mut(side).roles.insert(group, Role::Active);
            }
            let out = world.host_mut(side).tell_roles(now);
            world.apply(side, out).unwrap();
        }
        world.pass(15);
        world.cut = false;
        world.pass_for(contact * 10_000);
        for (side, group) in [(A, GROUPS[1]), (B, GROUPS[0])] {
            world.host_mut(side).roles.insert(group, Role::Backup);
            let now = world.now;
            let out = world.host_mut(side).tell_roles(now);
            world.apply(side, out).unwrap();
            world.pass_for(contact * 20_000);
        }
        world.pass(300);
        assert_eq!(settled(&mut world, &sessions), 40, "after {contact}");
    }
    assert!(world.was_told(A, Event::HomesClaimed) && !world.was_told(B, Event::HomesClaimed));
}

#[test]
fn when_both_daemons_begin_anew_each_session_is_somebodys() {
    let mut world = World::scene();
    let sessions = open(&mut world, A, 20);
    for side in Side::BOTH {
        world.host_mut(side).node = None;
        world.schedule(0, Due::Boot { side });
    }
    world.pass(2_000);
    assert_eq!(settled(&mut world, &sessions), 20);
}

#[test]
fn a_session_whose_directions_take_different_nodes_has_what_both_have_seen() {
    let mut world = World::scene();
    let sessions = open(&mut world, A, 20);
    let now = world.now;
    for session in &sessions {
        for (side, bits) in [(A, Status::ASSURED), (B, Status::SEEN_REPLY)] {
            let mut delta = Delta::new(session.original);
            (delta.group, delta.status) = (SHARED, Some(bits));
            assert!(world.host_mut(side).kernel.traffic(now, delta));
        }
    }
    Side::BOTH.into_iter().for_each(|side| world.notify(side));
    world.pass(50);
    for side in Side::BOTH {
        for kept in world.host(side).kernel.table.values() {
            let both = Status::ASSURED.0 | Status::SEEN_REPLY.0;
            assert_eq!(kept.session.status.0 & both, both, "{side:?}");
        }
    }
    assert!(world.status(A).equal && world.status(B).equal);
}
