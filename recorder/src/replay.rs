//! The reading side.

use crate::Machine;
use crate::frame::{Broken, Frame, Frames};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::ops::Range;
use std::time::Duration;

/// Why a recording can't be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It can't be read.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It is of another machine.
    #[error("the recording is of another state machine (stream {0})")]
    Stream(u8),
    /// A frame can't be read.
    #[error("frame {frame} can't be read: {cause}")]
    Frame {
        /// The number of the frame, from 0.
        frame: u64,
        /// Why.
        cause: String,
    },
    /// It begins without a state.
    #[error("the recording has no checkpoint: its file was too small for the state")]
    NoCheckpoint,
}

/// How a replay went.
#[derive(Clone, Debug)]
pub struct Replayed<M> {
    /// Inputs that were fed in.
    pub inputs: u64,
    /// The first input, from 0, that brought about other outputs than were recorded.
    pub differs_at: Option<u64>,
    /// Chunks before this half that could not be written when they were recorded.
    pub lost: u64,
    /// The machine at the end.
    pub machine: M,
}

/// The parts of a file of this size: three quarters for one machine, and one for another.
#[must_use]
pub fn parts(size: usize) -> [Range<usize>; 2] {
    let middle = size / 4 * 3;
    [0..middle, middle..size]
}

/// The two halves of a part, the elder first. A half that isn't one is empty.
#[must_use]
pub fn halves(part: &[u8]) -> [&[u8]; 2] {
    let (first, second) = part.split_at_checked(part.len() / 2).unwrap_or((part, &[]));
    let number = |half| Frames::read(half).ok().map(|frames| frames.number());
    let [first, second] =
        [first, second].map(|half| if number(half).is_some() { half } else { &[] });
    if number(first) <= number(second) { [first, second] } else { [second, first] }
}

/// The whole state of a machine, as a checkpoint holds it.
///
/// # Errors
/// When it can't be encoded.
pub fn checkpoint<M: Machine>(machine: &M) -> Result<Vec<u8>, ReplayError> {
    postcard::to_allocvec(machine).map_err(unreadable(0))
}

/// The same, if it takes at most so many bytes. Work and memory are bounded by that.
pub(crate) fn checkpoint_within<M: Machine>(machine: &M, most: usize) -> Option<Vec<u8>> {
    if machine.least_size() > most {
        return None;
    }
    postcard::serialize_with_flavor(machine, Bounded { bytes: Vec::new(), most }).ok()
}

/// Bytes, up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl postcard::ser_flavors::Flavor for Bounded {
    type Output = Vec<u8>;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        if data.len() > self.most - self.bytes.len() {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.bytes)
    }
}

/// A machine in the state of a checkpoint.
///
/// # Errors
/// When it can't be read.
pub fn restore<M: Machine>(state: &[u8]) -> Result<M, ReplayError> {
    postcard::from_bytes(state).map_err(unreadable(0))
}

/// Feeds a half of a recording to a new machine and compares what comes out. `each` sees every
/// step with its outputs.
///
/// # Errors
/// When it can't be read.
pub fn replay<M: Machine>(
    half: &[u8],
    mut each: impl FnMut(Duration, &M::Input, &[M::Output]),
) -> Result<Replayed<M>, ReplayError> {
    let frames = Frames::read(half)?;
    if frames.stream() != M::STREAM {
        return Err(ReplayError::Stream(frames.stream()));
    }
    let mut machine: Option<M> = None;
    let (mut inputs, mut differs_at, mut lost) = (0, None, 0u64);
    let mut out = Vec::new();
    for (number, frame) in (0..).zip(frames) {
        match frame {
            Frame::Checkpoint(state) => {
                let restored = postcard::from_bytes(state).map_err(unreadable(number))?;
                machine = Some(restored);
            }
            Frame::NoCheckpoint => return Err(ReplayError::NoCheckpoint),
            Frame::Gap(count) => lost = lost.saturating_add(count),
            Frame::Step { outputs, input } => {
                let machine = machine.as_mut().ok_or(ReplayError::NoCheckpoint)?;
                let (now, input): (Duration, M::Input) =
                    postcard::from_bytes(input).map_err(unreadable(number))?;
                out.clear();
                machine.step(now, input.clone(), &mut out);
                if digest(&out) != outputs {
                    differs_at.get_or_insert(inputs);
                }
                inputs += 1;
                each(now, &input, &out);
            }
        }
    }
    let machine = machine.ok_or(ReplayError::NoCheckpoint)?;
    Ok(Replayed { inputs, differs_at, lost, machine })
}

/// The digest of outputs.
pub(crate) fn digest<O: serde::Serialize>(outputs: &[O]) -> u64 {
    let mut hasher = SipHasher13::new();
    for output in outputs {
        // Plain data, of which every value can be encoded.
        if let Ok(bytes) = postcard::to_allocvec(output) {
            hasher.write(&bytes);
        }
    }
    hasher.finish()
}

fn unreadable(frame: u64) -> impl Fn(postcard::Error) -> ReplayError {
    move |cause| ReplayError::Frame { frame, cause: cause.to_string() }
}
