//! Session keys when the nodes decide by different key tables.

use crate::sim::host::{OWNED, RULES};
use crate::sim::{Side, World};
use twinwall_ctsync::replica::Event;

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
        assert_eq!(kept.session.mark & OWNED, world.host(Side::B).key_of(rule), "rule {rule}");
    }
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
    // The host of the simulation answers with the key of its default rule.
    assert_eq!(kept.session.mark & OWNED, 1 + 34 * 100 + 99);
    assert_eq!(world.status(Side::B).stats.classified, 1);
    // And on the node that carries it the key stays.
    let own = &world.host(Side::A).kernel.table[&sessions[0].identity()];
    assert_eq!(own.session.mark, sessions[0].mark);
}
