//! Frames of a recording.

use crate::replica::{Input, Output};
use crate::time::Timestamp;
use crate::wire::Reader;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The stream of [`crate::replica::Replica`].
pub const STREAM_REPLICA: u8 = 0;

/// What a half begins with: name, version, and a number that rises with each half.
pub(super) const MAGIC: [u8; 8] = *b"TWFLIGH1";
pub(super) const HEAD: usize = MAGIC.len() + 8;
pub(super) const FRAME_HEAD: usize = 4 + 4 + 1;

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whose it is.
    pub stream: u8,
    /// What it holds.
    pub content: &'a [u8],
}

impl Frame<'_> {
    /// Appends it to the half of this number.
    pub fn write(&self, number: u64, half: &mut Vec<u8>) {
        write(half, number, self.stream, self.content);
    }
}

/// What a frame of [`STREAM_REPLICA`] holds.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "written and read one at a time")]
pub(super) enum Content {
    /// The whole state.
    Checkpoint(Vec<u8>),
    /// The state was too large for a checkpoint.
    NoCheckpoint,
    /// An input, and the digest of what came out.
    Step { now: Timestamp, input: Input, outputs: u64 },
}

/// Why a recording can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It isn't one.
    #[error("not a recording, or of another version")]
    Magic,
}

/// The frames of a half, up to its end or the first that is damaged.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    number: u64,
    reader: Reader<'a>,
}

impl<'a> Frames<'a> {
    /// Reads a half. Returns its number and its frames.
    ///
    /// # Errors
    /// When it doesn't begin like one.
    pub fn read(half: &'a [u8]) -> Result<(u64, Self), Broken> {
        let mut reader = Reader::new(half);
        let magic: [u8; 8] = reader.array("a recording").map_err(|_| Broken::Magic)?;
        let number = reader.array("a recording").map_err(|_| Broken::Magic)?;
        if magic != MAGIC {
            return Err(Broken::Magic);
        }
        let number = u64::from_le_bytes(number);
        Ok((number, Self { number, reader }))
    }

    fn frame(&mut self) -> Option<Frame<'a>> {
        let len = u32::from_le_bytes(self.reader.array("a frame").ok()?);
        let check = u32::from_le_bytes(self.reader.array("a frame").ok()?);
        let stream = self.reader.u8("a frame").ok()?;
        let content = self.reader.take(len.try_into().ok()?, "a frame").ok()?;
        (check == self::check(self.number, stream, content)).then_some(Frame { stream, content })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let frame = self.frame();
        if frame.is_none() {
            self.reader = Reader::new(&[]);
        }
        frame
    }
}

/// Writes a frame of the half of this number.
pub(super) fn write(bytes: &mut Vec<u8>, number: u64, stream: u8, content: &[u8]) {
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&check(number, stream, content).to_le_bytes());
    bytes.push(stream);
    bytes.extend_from_slice(content);
}

/// The digest of outputs.
pub(super) fn digest(outputs: &[Output]) -> u64 {
    let mut hasher = SipHasher13::new();
    for output in outputs {
        // Outputs are plain data, of which every value can be encoded.
        if let Ok(bytes) = postcard::to_allocvec(output) {
            hasher.write(&bytes);
        }
    }
    hasher.finish()
}

/// Frames that an earlier half has left behind have another number, and so another check.
fn check(number: u64, stream: u8, content: &[u8]) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(number, 0);
    hasher.write_u8(stream);
    hasher.write(content);
    hasher.finish() as u32
}
