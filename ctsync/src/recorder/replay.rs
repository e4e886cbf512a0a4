//! The reading side.

use super::frame::{Broken, Content, Frames, STREAM_REPLICA, digest};
use crate::replica::{Input, Output, Replica};
use crate::time::Timestamp;

/// Why a recording can't be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It can't be read.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A frame can't be read.
    #[error("frame {frame} can't be read: {cause}")]
    Frame {
        /// The number of the frame, from 0.
        frame: u64,
        /// Why.
        cause: String,
    },
    /// It begins without a state.
    #[error("the recording has no checkpoint: its file was too small for the sessions")]
    NoCheckpoint,
}

/// How a replay went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Inputs that were fed in.
    pub inputs: u64,
    /// The first input, from 0, that brought about other outputs than were recorded.
    pub differs_at: Option<u64>,
    /// Sessions at the end.
    pub sessions: usize,
}

/// The whole state of a replica, as a checkpoint holds it.
///
/// # Errors
/// Never, as far as is known: all of it can be encoded.
pub fn checkpoint(replica: &Replica) -> Result<Vec<u8>, ReplayError> {
    let unwritable =
        |cause: postcard::Error| ReplayError::Frame { frame: 0, cause: cause.to_string() };
    postcard::to_allocvec(replica).map_err(unwritable)
}

/// A replica in the state of a checkpoint.
///
/// # Errors
/// When it can't be read.
pub fn restore(state: &[u8]) -> Result<Replica, ReplayError> {
    let unreadable =
        |cause: postcard::Error| ReplayError::Frame { frame: 0, cause: cause.to_string() };
    postcard::from_bytes(state).map_err(unreadable)
}

/// The two halves of a file, the elder first. A half that isn't one is empty.
#[must_use]
pub fn halves(file: &[u8]) -> [&[u8]; 2] {
    let (first, second) = file.split_at(file.len() / 2);
    let number = |half| Frames::read(half).ok().map(|(number, _)| number);
    let [first, second] =
        [first, second].map(|half| if number(half).is_some() { half } else { &[] });
    if number(first) <= number(second) { [first, second] } else { [second, first] }
}

/// Feeds a half of a recording to a new replica and compares what comes out. `each` sees every
/// step with its outputs.
///
/// # Errors
/// When it can't be read.
pub fn replay(
    half: &[u8],
    mut each: impl FnMut(Timestamp, &Input, &[Output]),
) -> Result<Replayed, ReplayError> {
    let (_, frames) = Frames::read(half)?;
    let mut replica: Option<Replica> = None;
    let mut replayed = Replayed::default();
    let mut out = Vec::new();
    for (number, frame) in (0..).zip(frames) {
        if frame.stream != STREAM_REPLICA {
            continue;
        }
        let unreadable =
            |cause: postcard::Error| ReplayError::Frame { frame: number, cause: cause.to_string() };
        match postcard::from_bytes(frame.content).map_err(unreadable)? {
            Content::Checkpoint(state) => {
                replica = Some(restore(&state)?);
            }
            Content::NoCheckpoint => return Err(ReplayError::NoCheckpoint),
            Content::Step { now, input, outputs } => {
                let replica = replica.as_mut().ok_or(ReplayError::NoCheckpoint)?;
                out.clear();
                replica.handle(now, input.clone(), &mut out);
                if digest(&out) != outputs {
                    replayed.differs_at.get_or_insert(replayed.inputs);
                }
                replayed.inputs += 1;
                each(now, &input, &out);
            }
        }
    }
    let replica = replica.ok_or(ReplayError::NoCheckpoint)?;
    replayed.sessions = replica.counts().0;
    Ok(replayed)
}
