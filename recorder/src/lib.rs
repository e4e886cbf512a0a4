//! The flight recorder: the last inputs of state machines in a file of bounded size, from which
//! they can be run again.
//!
//! ```text
//!  file    part of one machine  │  part of another        see `parts`
//!  part    half A │ half B                                one is written while the other is kept
//!  half    magic, number u64, stream u8 │ frames
//!  frame   length u32 │ check u32 │ kind u8, content
//! ```
//!
//! A half begins with a checkpoint, the whole state at that moment; after it come inputs, each
//! with the time and a digest of what came out. When a half is full, the other one is begun anew.
//! So from the younger half, or from the elder and then the younger, the state machine can be fed
//! as it was then, and has to give the same outputs. A file that was cut off in the middle of a
//! frame is read up to there. What could not be written leaves a gap: a half that is begun anew,
//! which says how much is missing.
//!
//! Goes in: a [`Machine`], its inputs and outputs. Comes out: bytes with their place in the file;
//! and from bytes, inputs. Not here: the file, the time, and what the machines are.

mod frame;
mod replay;
mod ring;

pub use frame::{Broken, Frame, Frames};
pub use replay::{ReplayError, Replayed, checkpoint, halves, parts, replay, restore};
pub use ring::{Chunk, Recorder};

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A state machine that can be run again: all of its state can be written down, and what comes out
/// depends on nothing but the state and what goes in.
pub trait Machine: Serialize + DeserializeOwned {
    /// Which machine it is; no two of a program have the same number.
    const STREAM: u8;
    /// What goes in.
    type Input: Clone + Serialize + DeserializeOwned;
    /// What comes out.
    type Output: Serialize;

    /// Bytes that its state takes at least when it is written down. A state that can't have room
    /// isn't even begun.
    fn least_size(&self) -> usize {
        0
    }

    /// Takes an input in at a time since the origin of the machine's clock.
    fn step(&mut self, now: Duration, input: Self::Input, out: &mut Vec<Self::Output>);
}
