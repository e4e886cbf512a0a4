//! Frames of a recording.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// What a half begins with: name, version, a number that rises with each half, and the stream.
pub(crate) const MAGIC: [u8; 8] = *b"TWFLIGH6";
pub(crate) const HEAD: usize = MAGIC.len() + 8 + 1;
pub(crate) const FRAME_HEAD: usize = 4 + 4 + 1;

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The whole state, as [`crate::restore`] reads it.
    Checkpoint(&'a [u8]),
    /// The state was too large for a checkpoint.
    NoCheckpoint,
    /// An input.
    Step {
        /// The digest of what came out.
        outputs: u64,
        /// The time and the input.
        input: &'a [u8],
    },
    /// Before this half so many chunks could not be written.
    Gap(u64),
}

impl<'a> Frame<'a> {
    /// Appends it to the half of this number.
    pub fn write(&self, number: u64, half: &mut Vec<u8>) {
        let (outputs, gap);
        let (kind, head, content): (u8, &[u8], &[u8]) = match self {
            Self::Checkpoint(state) => (0, &[], state),
            Self::NoCheckpoint => (1, &[], &[]),
            Self::Step { outputs: digest, input } => {
                outputs = digest.to_le_bytes();
                (2, &outputs, input)
            }
            Self::Gap(count) => {
                gap = count.to_le_bytes();
                (3, &gap, &[])
            }
        };
        let len = u32::try_from(head.len() + content.len()).unwrap_or(u32::MAX);
        half.extend_from_slice(&len.to_le_bytes());
        half.extend_from_slice(&check(number, kind, &[head, content]).to_le_bytes());
        half.push(kind);
        half.extend_from_slice(head);
        half.extend_from_slice(content);
    }

    /// Bytes that it takes in a half.
    pub(crate) fn len(&self) -> usize {
        FRAME_HEAD
            + match self {
                Self::Checkpoint(state) => state.len(),
                Self::NoCheckpoint => 0,
                Self::Step { input, .. } => 8 + input.len(),
                Self::Gap(_) => 8,
            }
    }

    fn read(kind: u8, content: &'a [u8]) -> Option<Self> {
        let number = || Some((u64::from_le_bytes(*content.first_chunk()?), content.get(8..)?));
        Some(match kind {
            0 => Self::Checkpoint(content),
            1 => Self::NoCheckpoint,
            2 => {
                let (outputs, input) = number()?;
                Self::Step { outputs, input }
            }
            3 => Self::Gap(number()?.0),
            _ => return None,
        })
    }
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
    stream: u8,
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Reads a half.
    ///
    /// # Errors
    /// When it doesn't begin like one.
    pub fn read(half: &'a [u8]) -> Result<Self, Broken> {
        let (head, rest) = half.split_at_checked(HEAD).ok_or(Broken::Magic)?;
        let (magic, head) = head.split_first_chunk::<8>().ok_or(Broken::Magic)?;
        let (number, stream) = head.split_first_chunk::<8>().ok_or(Broken::Magic)?;
        let stream = *stream.first().ok_or(Broken::Magic)?;
        if *magic != MAGIC {
            return Err(Broken::Magic);
        }
        Ok(Self { number: u64::from_le_bytes(*number), stream, rest })
    }

    /// The half's number: that of the younger one is higher.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Which machine it is of.
    #[must_use]
    pub fn stream(&self) -> u8 {
        self.stream
    }

    fn frame(&mut self) -> Option<Frame<'a>> {
        let (len, rest) = self.rest.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (content, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        let sound = u32::from_le_bytes(*sum) == check(self.number, *kind, &[content]);
        Frame::read(*kind, content).filter(|_| sound)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let frame = self.frame();
        if frame.is_none() {
            self.rest = &[];
        }
        frame
    }
}

/// Begins a half.
pub(crate) fn head(number: u64, stream: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.push(stream);
    bytes
}

/// Frames that an earlier half has left behind have another number, and so another check.
fn check(number: u64, kind: u8, content: &[&[u8]]) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(number, 0);
    hasher.write_u8(kind);
    content.iter().for_each(|part| hasher.write(part));
    hasher.finish() as u32
}
