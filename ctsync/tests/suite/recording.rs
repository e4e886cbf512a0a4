//! The flight recorder.

use crate::sim::host::time;
use crate::sim::{Side, World};
use twinwall_ctsync::replica::Replica;
use twinwall_recorder::{Frames, Recorder, ReplayError, halves, replay};

/// A world whose A records into a file of this size, and in which things happen.
fn recorded(size: usize, rounds: u32) -> World {
    let mut world = World::scene();
    let host = world.host_mut(Side::A);
    host.file = vec![0; size];
    host.node.as_mut().unwrap().record(Recorder::new(size, 0));
    for round in 0..rounds {
        world.open_sessions((round * 20 + 2..round * 20 + 22).step_by(2));
        world.pass(50);
    }
    world
}

#[test]
fn what_was_recorded_runs_again_with_the_same_outputs() {
    let world = recorded(256 * 1024, 30);
    let file = &world.host(Side::A).file;
    let [elder, younger] = halves(file);
    let mut inputs = 0;
    for half in [elder, younger].into_iter().filter(|half| !half.is_empty()) {
        let replayed = replay::<Replica>(half, |_, _, _| inputs += 1).unwrap();
        assert_eq!(replayed.differs_at, None);
        assert_eq!(replayed.machine.counts().0 > 0, !half.is_empty());
    }
    assert!(inputs > 500, "{inputs}");
}

#[test]
fn a_recording_never_outgrows_its_file_and_the_last_input_is_in_it() {
    let world = recorded(1024 * 1024, 200);
    let file = &world.host(Side::A).file;
    let [_, younger] = halves(file);
    let mut last = None;
    replay::<Replica>(younger, |now, _, _| last = Some(now)).unwrap();
    // Some inputs a millisecond come with the heartbeats.
    assert!(last.unwrap() >= time(world.now - 50_000_000).since_origin(), "{last:?}");
}

#[test]
fn a_changed_recording_is_noticed() {
    let world = recorded(256 * 1024, 5);
    let [_, younger] = halves(&world.host(Side::A).file);
    let whole = Frames::read(younger).unwrap().count();
    let mut bent = younger.to_vec();
    bent[5_000] ^= 1;
    assert!(Frames::read(&bent).unwrap().count() < whole);
    assert!(matches!(replay::<Replica>(&bent[1..], |_, _, _| {}), Err(ReplayError::Broken(_))));
}
