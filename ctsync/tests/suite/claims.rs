//! What replication promises, one promise a test.

use crate::sim::host::{GROUPS, HOLD, time};
use crate::sim::{Due, MS, Side, World};
use twinwall_ctsync::model::{Delta, EventKind, Expectation, KernelEvent, Origin, Role, Status};
use twinwall_ctsync::replica::{Event, Liveness};

const A: Side = Side::A;
const B: Side = Side::B;

#[test]
fn a_session_is_in_the_peers_kernel_within_a_millisecond() {
    let mut world = World::scene();
    let session = world.open_sessions([2].into_iter()).remove(0);
    world.pass(1);
    assert_eq!(world.left(B, &session.identity()), Some(u64::from(HOLD) - 1));
}

#[test]
fn nothing_echoes() {
    let mut world = World::scene();
    world.open_sessions((2..200).step_by(2));
    world.pass(100);
    assert_eq!(world.status(A).stats.records, 99);
    assert_eq!(world.status(B).stats.records, 0);
    assert!(world.status(B).equal && world.status(B).differing == 0);
}

#[test]
fn what_the_carrier_ends_ends_on_the_standby() {
    let mut world = World::scene();
    let sessions = world.open_sessions((2..100).step_by(2));
    world.pass(20);
    for session in &sessions {
        world.end(A, &session.identity(), Origin::Traffic);
    }
    world.pass(20);
    assert!(world.host(B).kernel.table.is_empty());
    assert_eq!(world.host(A).node.as_ref().unwrap().replica().counts(), (0, 0));
}

#[test]
fn a_session_that_begins_anew_right_after_its_end_lives_on_both_nodes() {
    // A client uses a port again while the standby is still busy with the end of what had it.
    let mut world = World::scene();
    let session = world.open_sessions([2].into_iter()).remove(0);
    world.pass(20);
    for microseconds in 0..500 {
        world.end(A, &session.identity(), Origin::Traffic);
        world.pass_for(microseconds * 1_000);
        let now = world.now;
        world.host_mut(A).kernel.open(now, &session);
        world.notify(A);
        world.pass(20);
        for side in Side::BOTH {
            let left = world.left(side, &session.identity());
            assert!(left.is_some(), "{side:?}, after {microseconds} us");
        }
    }
}

#[test]
fn what_the_standby_loses_is_written_again() {
    let mut world = World::scene();
    let session = world.open_sessions([2].into_iter()).remove(0);
    world.pass(20);
    world.end(B, &session.identity(), Origin::Local);
    world.pass(20);
    assert!(world.left(B, &session.identity()).is_some());
    assert!(world.left(A, &session.identity()).is_some());
}

#[test]
fn both_directions_flow_and_one_node_takes_all_and_gives_its_half_back() {
    let mut world = World::scene();
    let sessions = world.open_sessions(2..102);
    world.pass(50);
    let held = |world: &World, side: Side| {
        let left = sessions.iter().filter_map(|session| world.left(side, &session.identity()));
        left.filter(|left| *left > 100).count()
    };
    assert_eq!((held(&world, A), held(&world, B)), (50, 50));
    world.move_group(GROUPS[1], A).unwrap();
    world.pass(50);
    assert_eq!((held(&world, A), held(&world, B)), (0, 100));
    world.move_group(GROUPS[1], B).unwrap();
    world.pass(50);
    assert_eq!((held(&world, A), held(&world, B)), (50, 50));
}

#[test]
fn a_node_that_returns_says_so_only_when_everything_is_in_its_kernel() {
    let mut world = World::scene();
    world.open_sessions((2..600).step_by(2));
    world.pass(50);
    world.host_mut(B).node = None;
    world.host_mut(B).kernel = Default::default();
    world.open_sessions((600..700).step_by(2));
    world.pass(50);
    world.told.clear();
    world.schedule(0, Due::Boot { side: B });
    while !world.was_told(B, Event::HaveEverything) {
        world.pass(1);
        assert!(world.now < 60_000_000_000, "{:?}", world.status(B));
    }
    assert_eq!(world.host(B).kernel.table.len(), 349);
    assert!(world.status(B).has_everything);
}

#[test]
fn the_peer_is_ready_only_when_what_was_here_is_in_its_kernel() {
    let mut world = World::scene();
    world.open_sessions((2..800).step_by(2));
    let now = time(world.now);
    let out = world.host_mut(A).verb(|node, out| node.barrier(now, 7, out));
    world.apply(A, out).unwrap();
    // The notifications are read after the barrier was asked for: those sessions don't count.
    world.pass(20);
    world.open_sessions((800..1000).step_by(2));
    world.pass(1);
    let now = time(world.now);
    let there = world.host(B).kernel.table.len();
    let out = world.host_mut(A).verb(|node, out| node.barrier(now, 8, out));
    world.apply(A, out).unwrap();
    while !world.was_told(A, Event::PeerReady { id: 8 }) {
        world.pass(1);
    }
    assert!(there <= world.host(B).kernel.table.len());
    assert_eq!(world.host(B).kernel.table.len(), 499);
    assert!(world.was_told(A, Event::PeerReady { id: 7 }));
}

#[test]
fn a_peer_that_is_asked_does_not_wait_for_its_next_heartbeat() {
    let mut world = World::scene();
    for id in 1..10 {
        world.open_sessions([2 * id].into_iter());
        world.pass(1);
        let now = time(world.now);
        let out = world.host_mut(A).verb(|node, out| {
            node.barrier(now, id, out);
            node.poll(now, out);
        });
        world.apply(A, out).unwrap();
        let asked = world.now;
        while !world.was_told(A, Event::PeerReady { id }) {
            world.pass(1);
        }
        assert!(world.now - asked <= 1_000_000, "{id}: {} ns", world.now - asked);
    }
}

#[test]
fn a_dead_peer_is_noticed_within_seven_milliseconds_and_two() {
    let mut world = World::scene();
    world.host_mut(A).node = None;
    world.pass(9);
    assert!(world.was_told(B, Event::PeerSilent));
    assert_eq!(world.status(B).liveness, Liveness::Silent);
}

#[test]
fn a_node_that_did_not_listen_does_not_call_its_peer_silent() {
    let mut world = World::scene();
    for ms in 1..40 {
        let until = world.now + ms * MS;
        world.hosts.iter_mut().for_each(|host| host.busy_until = until);
        world.pass(ms + 20);
        assert!(!world.was_told(A, Event::PeerSilent), "{ms} ms");
        assert!(!world.was_told(B, Event::PeerSilent), "{ms} ms");
    }
    // What is only the peer's is silence.
    world.host_mut(A).busy_until = world.now + 10 * MS;
    world.pass(9);
    assert!(world.was_told(B, Event::PeerSilent));
    assert!(!world.was_told(A, Event::PeerSilent));
}

#[test]
fn a_node_that_stood_still_lacks_what_the_peer_did_meanwhile() {
    let mut world = World::scene();
    world.host_mut(A).busy_until = world.now + 1_000 * MS;
    world.pass(10);
    world.host_mut(A).roles.insert(GROUPS[0], Role::Backup);
    world.host_mut(B).roles.insert(GROUPS[0], Role::Active);
    let now = world.now;
    let out = world.host_mut(B).tell_roles(now);
    world.apply(B, out).unwrap();
    // More than fits into the window, and nothing of it arrives.
    world.cut = true;
    let sessions = world.open_sessions((2..3000).step_by(2));
    world.pass(1_000);
    world.told.clear();
    let now = world.now;
    let out = world.host_mut(A).tell_roles(now);
    world.apply(A, out).unwrap();
    assert!(!world.status(A).has_everything);
    let missing = |world: &World| {
        sessions.iter().filter(|session| world.left(A, &session.identity()).is_none()).count()
    };
    assert!(missing(&world) > 1_000);
    while !world.was_told(A, Event::HaveEverything) {
        world.pass_for(50_000);
        assert!(world.now - now < 1_000 * MS, "{:?}", world.status(A));
    }
    assert_eq!(missing(&world), 0);
}

#[test]
fn a_node_that_hands_over_has_everything_again_at_once() {
    let mut world = World::scene();
    world.told.clear();
    world.move_group(GROUPS[0], B).unwrap();
    assert!(!world.status(A).has_everything && world.status(B).has_everything);
    world.pass(2);
    assert!(world.was_told(A, Event::HaveEverything) && world.status(A).has_everything);
}

#[test]
fn a_peer_that_stops_in_good_order_is_gone_at_once() {
    let mut world = World::scene();
    let now = time(world.now);
    let out = world.host_mut(A).verb(|node, out| node.stop(now, out));
    world.apply(A, out).unwrap();
    world.host_mut(A).node = None;
    world.pass(1);
    assert!(world.was_told(B, Event::PeerGone));
}

#[test]
fn both_active_is_noticed_on_both_nodes() {
    let mut world = World::scene();
    world.host_mut(B).roles.insert(GROUPS[0], Role::Active);
    let now = world.now;
    let out = world.host_mut(B).tell_roles(now);
    world.apply(B, out).unwrap();
    world.pass(10);
    for side in Side::BOTH {
        assert!(world.was_told(side, Event::BothActive { group: GROUPS[0] }), "{side:?}");
    }
}

#[test]
fn a_cut_with_more_ends_than_are_remembered_leaves_nothing_behind() {
    let mut world = World::scene();
    let sessions = world.open_sessions((2..800).step_by(2));
    world.pass(100);
    world.cut = true;
    for session in &sessions {
        world.end(A, &session.identity(), Origin::Traffic);
    }
    world.open_sessions((1000..1200).step_by(2));
    // The scene's clock heals the link when the time is over.
    world.pass(2_000);
    assert!(world.was_told(A, Event::EndedOverflow));
    world.pass(500);
    assert_eq!(world.host(A).kernel.table.len(), 100);
    assert_eq!(world.host(B).kernel.table.len(), 100);
}

#[test]
fn what_ended_while_the_standby_was_away_ends_there_when_it_returns() {
    let mut world = World::scene();
    let sessions = world.open_sessions((2..200).step_by(2));
    world.pass(50);
    world.host_mut(B).node = None;
    for session in &sessions {
        world.end(A, &session.identity(), Origin::Traffic);
    }
    world.pass(500);
    assert_eq!(world.host(B).kernel.table.len(), 99);
    world.schedule(0, Due::Boot { side: B });
    world.pass(1_000);
    assert!(world.host(B).kernel.table.is_empty());
    assert!(world.host(A).kernel.table.is_empty());
}

#[test]
fn after_a_split_what_either_side_carries_lives_on_both() {
    let mut world = World::scene();
    let both = world.open_sessions((2..50).step_by(2));
    world.pass(50);
    world.cut = true;
    for side in Side::BOTH {
        world.host_mut(side).roles.insert(GROUPS[0], Role::Active);
        let now = world.now;
        let out = world.host_mut(side).tell_roles(now);
        world.apply(side, out).unwrap();
    }
    world.now += 100_000_000;
    let now = world.now;
    // A's kernel gives up what only B carries, and B's hears more of it.
    for session in &both {
        world.end(A, &session.identity(), Origin::Traffic);
        let mut delta = Delta::new(session.original);
        delta.group = session.group;
        delta.status = Some(Status::ASSURED);
        assert!(world.host_mut(B).kernel.traffic(now, delta));
    }
    world.notify(B);
    world.pass(200);
    world.move_group(GROUPS[0], A).unwrap();
    world.pass(500);
    for session in &both {
        let kept = &world.host(A).kernel.table[&session.identity()];
        assert!(kept.session.status.has(Status::ASSURED));
    }
}

#[test]
fn an_expectation_is_known_on_the_standby_until_it_is_gone() {
    let mut world = World::scene();
    let master = world.open_sessions([2].into_iter()).remove(0);
    let mut delta = Delta::new(master.original.inverse());
    delta.group = master.group;
    delta.master = Some(master.original);
    delta.helper = Some("ftp".into());
    delta.timeout = Some(300);
    let mask = master.original;
    delta.expectation =
        Some(Box::new(Expectation { mask, flags: 0, class: 0, nat: None, function: None }));
    let identity = delta.identity();
    let event = |kind| KernelEvent { kind, origin: Origin::Traffic, delta: delta.clone() };
    world.host_mut(A).kernel.events.push_back(event(EventKind::New));
    world.notify(A);
    world.pass(10);
    let kept = &world.host(B).kernel.table[&identity];
    assert_eq!(kept.session.helper.as_deref(), Some("ftp"));
    assert_eq!(kept.session.master, Some(master.original));
    // It isn't held: 300 s are 304 s, rounded up.
    assert_eq!(world.left(B, &identity), Some(303));
    world.host_mut(A).kernel.events.push_back(event(EventKind::Destroy));
    world.notify(A);
    world.pass(10);
    assert!(world.left(B, &identity).is_none());
    assert!(world.left(B, &master.identity()).is_some());
}

#[test]
fn an_expectation_waits_for_its_master() {
    let mut world = World::scene();
    let mut sessions = world.open_sessions([2, 4].into_iter());
    let (master, other) = (sessions.remove(0), sessions.remove(0));
    world.pass(20);
    let mut delta = Delta::new(other.original);
    (delta.zone, delta.group) = (master.zone, master.group);
    (delta.master, delta.timeout) = (Some(master.original), Some(300));
    let mask = master.original;
    delta.expectation =
        Some(Box::new(Expectation { mask, flags: 0, class: 0, nat: None, function: None }));
    let identity = delta.identity();
    // Of the master's end and the expectation the peer hears in this order, as after a resync.
    world.end(A, &master.identity(), Origin::Traffic);
    let now = world.now;
    world.host_mut(A).kernel.open(now, &delta.begin());
    world.notify(A);
    world.pass(50);
    assert!(world.left(B, &identity).is_none());
    assert_eq!(world.status(B).stats.write_refused, 0);
    let now = world.now;
    world.host_mut(A).kernel.open(now, &master);
    world.notify(A);
    world.pass(1_100);
    assert!(world.left(B, &identity).is_some());
}

#[test]
fn a_tcp_session_whose_state_was_not_told_is_looked_up() {
    let mut world = World::scene();
    world.host_mut(A).kernel.deaf = true;
    let session = world.open_sessions([2].into_iter()).remove(0);
    let kernel = &mut world.host_mut(A).kernel;
    // As if the overrun had not been told.
    (kernel.deaf, kernel.overrun) = (false, false);
    let mut delta = Delta::whole(&session);
    assert_eq!(session.original.protocol, 6);
    delta.proto = None;
    let now = world.now;
    assert!(world.host_mut(A).kernel.traffic(now, delta));
    world.notify(A);
    world.pass(1_100);
    assert_eq!(world.status(B).stats.write_refused, 0);
    assert_eq!(world.host(B).kernel.table[&session.identity()].session.proto, session.proto);
}

#[test]
fn a_change_whose_beginning_was_lost_is_looked_up() {
    let mut world = World::scene();
    world.host_mut(A).kernel.deaf = true;
    let session = world.open_sessions([2].into_iter()).remove(0);
    let kernel = &mut world.host_mut(A).kernel;
    // As if the overrun had not been told.
    (kernel.deaf, kernel.overrun) = (false, false);
    let now = world.now;
    let mut delta = Delta::new(session.original);
    delta.group = session.group;
    delta.status = Some(Status::SEEN_REPLY);
    assert!(world.host_mut(A).kernel.traffic(now, delta));
    world.notify(A);
    world.pass(1_100);
    let kept = &world.host(B).kernel.table[&session.identity()];
    assert!(kept.session.status.has(Status::SEEN_REPLY));
    assert_eq!(kept.session.mark, session.mark);
}

#[test]
fn with_one_datagram_of_twenty_lost_no_session_is_missing() {
    let mut world = World::scene();
    world.loss = 50;
    world.repeat = 50;
    let mut opened = 0;
    for round in 0..100u32 {
        opened += world.open_sessions((round * 20 + 2..round * 20 + 22).step_by(2)).len();
        world.pass(2);
    }
    world.pass(200);
    assert!(world.status(A).resent > 0);
    assert_eq!(world.host(B).kernel.table.len(), opened);
    assert_eq!(world.status(A).differing, 0);
}
