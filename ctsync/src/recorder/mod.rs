//! The flight recorder: the last inputs of the state machine in a file of bounded size, from which
//! it can be run again.
//!
//! ```text
//!  file    half A │ half B          the daemon writes one while the other is kept
//!  half    magic  │ frames
//!  frame   length u32 │ check u32 │ stream u8 │ content
//! ```
//!
//! A half begins with a checkpoint, the whole state at that moment; after it come inputs, each
//! with the time and a digest of what came out. When a half is full, the other one is begun anew.
//! So from the younger half, or from the elder and then the younger, the state machine can be fed
//! as it was then, and has to give the same outputs. A file that was cut off in the middle of a
//! frame is read up to there.
//!
//! Neither keys nor random numbers are recorded, but addresses and ports of sessions are.
//!
//! Other state machines of the daemon record under streams of their own; what those frames hold
//! is theirs.
//!
//! Goes in: inputs and outputs. Comes out: bytes with their place in the file; and from bytes,
//! inputs. Not here: the file.

mod frame;
mod replay;
mod ring;

pub use frame::{Broken, Frame, Frames, STREAM_REPLICA};
pub use replay::{ReplayError, Replayed, checkpoint, halves, replay, restore};
pub use ring::{Chunk, Recorder};
