//! What a kernel has left of a session, and knows of it, when nodes start and take over.

use crate::sim::host::{GROUPS, HOLD};
use crate::sim::{Due, Side, World};
use twinwall_ctsync::model::{Delta, Role, SeqAdjust};

const A: Side = Side::A;
const B: Side = Side::B;

#[test]
fn timeouts_are_right_after_a_takeover_and_run_out_then() {
    let mut world = World::scene();
    let session = world.open_sessions([2].into_iter()).remove(0);
    // Longer than the session's own timeout: the carrier's packets keep it alive there.
    for _ in 0..15 {
        world.pass(10_000);
        let now = world.now;
        world.host_mut(A).kernel.refresh(now, &session.identity(), 100);
    }
    assert!(world.left(B, &session.identity()).unwrap() > 100);
    world.host_mut(A).node = None;
    world.pass(30);
    world.move_group(GROUPS[0], B).unwrap();
    world.pass(30);
    // 100 s are said as 100 s: rounding goes up to the next of 256 steps.
    assert_eq!(world.left(B, &session.identity()), Some(99));
    world.pass(100_000);
    world.expire();
    world.pass(10);
    assert!(world.host(B).kernel.table.is_empty());
}

#[test]
fn what_a_standby_finds_at_its_start_does_not_run_out() {
    let mut world = World::scene();
    let identity = world.open_sessions([2].into_iter()).remove(0).identity();
    world.pass(20);
    // Both daemons start again, so that neither has seen a packet of the session, and it has little
    // time left in the kernel of B, which was active until then.
    for side in Side::BOTH {
        world.host_mut(side).node = None;
        world.schedule(0, Due::Boot { side });
    }
    let expires = world.now + 4_000_000_000;
    world.host_mut(B).kernel.table.get_mut(&identity).unwrap().expires = expires;
    world.pass(100);
    assert!(world.left(B, &identity).unwrap() >= u64::from(HOLD) - 1);
    world.move_group(GROUPS[0], B).unwrap();
    world.pass(20);
    let left = world.left(B, &identity).unwrap();
    assert!((30..u64::from(HOLD)).contains(&left), "{left} s");
}

#[test]
fn what_was_held_in_an_earlier_run_is_not_taken_for_a_timeout_of_its_own() {
    let mut world = World::scene();
    let opened = world.open_sessions((2..40).step_by(2));
    let tcp = opened.iter().find(|session| session.original.protocol == 6).unwrap().identity();
    world.pass(20);
    assert!(world.left(B, &tcp).unwrap() >= u64::from(HOLD) - 1);
    // Both daemons start again, and B is active. What each finds in its kernel has the same version,
    // and that of B was held there: of a TCP session that isn't established the kernel's longest
    // counts then.
    for (side, role) in [(A, Role::Backup), (B, Role::Active)] {
        world.host_mut(side).node = None;
        world.host_mut(side).roles.insert(GROUPS[0], role);
        world.schedule(0, Due::Boot { side });
    }
    // Until A has everything and takes the group back.
    let carried = (0..25).find_map(|_| {
        world.pass(1);
        world.left(B, &tcp).filter(|left| *left < u64::from(HOLD) - 1)
    });
    assert!(carried.is_some_and(|left| (60..=120).contains(&left)), "{carried:?} s");
}

#[test]
fn a_daemon_that_returns_takes_nothing_back_in_the_kernel_that_forwards() {
    let mut world = World::scene();
    let identity = world.open_sessions([2].into_iter()).remove(0).identity();
    world.pass(20);
    // A helper shifts sequence numbers, and once more while the daemon is away.
    let shift = |position, after| {
        Some([SeqAdjust { position, before: after - 3, after }, SeqAdjust::default()])
    };
    let shifted = |world: &World, side: Side| {
        world.host(side).kernel.table[&identity].session.seq_adjust.map(|[forth, _]| forth.after)
    };
    let now = world.now;
    let mut delta = Delta::new(identity.original);
    delta.group = GROUPS[0];
    delta.seq_adjust = shift(50, 3);
    world.host_mut(A).kernel.traffic(now, delta);
    world.notify(A);
    world.pass(20);
    assert_eq!((shifted(&world, A), shifted(&world, B)), (Some(3), Some(3)));
    world.host_mut(A).node = None;
    let kept = world.host_mut(A).kernel.table.get_mut(&identity).unwrap();
    kept.session.seq_adjust = shift(100, 6);
    world.schedule(0, Due::Boot { side: A });
    world.pass(100);
    assert_eq!((shifted(&world, A), shifted(&world, B)), (Some(6), Some(6)));
    // And of what the standby node knows better the kernel is told.
    world.host_mut(A).node = None;
    let kept = world.host_mut(A).kernel.table.get_mut(&identity).unwrap();
    kept.session.seq_adjust = shift(50, 3);
    world.schedule(0, Due::Boot { side: A });
    world.pass(100);
    assert_eq!((shifted(&world, A), shifted(&world, B)), (Some(6), Some(6)));
}

#[test]
fn a_node_that_was_active_until_just_now_sets_timeouts_right_too() {
    let mut world = World::scene();
    let identity = world.open_sessions([2].into_iter()).remove(0).identity();
    world.pass(20);
    // A stood still, so that B took over, and takes back before it could hold anything.
    let expires = world.now + 1_000_000_000;
    world.host_mut(A).kernel.table.get_mut(&identity).unwrap().expires = expires;
    world.move_group(GROUPS[0], B).unwrap();
    world.move_group(GROUPS[0], A).unwrap();
    world.pass(20);
    assert_eq!(world.left(A, &identity), Some(99));
}

#[test]
fn what_runs_out_before_a_takeover_could_set_it_right_lives_on() {
    let mut world = World::scene();
    let identity = world.open_sessions([2].into_iter()).remove(0).identity();
    world.pass(20);
    // B starts again and is active at once, with what it had left when A began to forward.
    world.host_mut(B).node = None;
    for (side, role) in [(A, Role::Backup), (B, Role::Active)] {
        world.host_mut(side).roles.insert(GROUPS[0], role);
    }
    let expires = world.now + 1_000_000;
    world.host_mut(B).kernel.table.get_mut(&identity).unwrap().expires = expires;
    world.schedule(0, Due::Boot { side: B });
    world.pass(2);
    world.expire();
    world.pass(20);
    assert!(world.left(B, &identity).unwrap() >= 30);
    assert!(world.left(A, &identity).is_some());
    // Its own time counts from then on.
    world.pass(120_000);
    world.expire();
    world.pass(20);
    assert_eq!((world.left(A, &identity), world.left(B, &identity)), (None, None));
}
