//! Recordings: reading ends, and whatever inputs a recording holds, the state machine takes them.
//!
//! The input is read as a recording, and then as inputs behind a true checkpoint, each preceded by
//! its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use std::time::Duration;
use twinwall_ctsync::model::{BootId, NodeId};
use twinwall_ctsync::replica::{Config, Input, Replica};
use twinwall_recorder::{Frame, Frames, Recorder, halves, replay};

/// The same for every input.
static CHECKPOINT: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    for half in halves(data).into_iter().chain([data]) {
        if let Ok(frames) = Frames::read(half) {
            let _ = frames.count();
        }
        let _ = replay::<Replica>(half, |_, _, _| {});
    }
    let mut half = CHECKPOINT.get_or_init(checkpoint).clone();
    let mut contents = data;
    while let [high, low, rest @ ..] = contents {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (input, rest) = rest.split_at(len);
        contents = rest;
        // Another checkpoint could be any state at all; those aren't read from strangers.
        Frame::Step { outputs: 0, input }.write(1, &mut half);
    }
    let _ = replay::<Replica>(&half, |_, _, _| {});
});

fn checkpoint() -> Vec<u8> {
    let mut config = Config::new(NodeId(1), NodeId(2), BootId(1), [1, 2]);
    config.max_sessions = 64;
    let mut replica = Replica::new(config);
    let mut recorder = Recorder::new(1 << 20, 0);
    let mut out = Vec::new();
    for input in [Input::Start, Input::DumpEnd { complete: true }, Input::Poll] {
        recorder.step(&mut replica, Duration::from_secs(1), input, &mut out);
    }
    recorder.take().into_iter().flat_map(|chunk| chunk.bytes).collect()
}
