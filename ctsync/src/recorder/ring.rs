//! The writing side.

use super::frame::{Content, FRAME_HEAD, HEAD, MAGIC, STREAM_REPLICA, digest, write};
use super::replay::checkpoint;
use crate::replica::{Input, Output, Replica};
use crate::time::Timestamp;

/// The smallest half that is of any use, in bytes.
const SMALLEST: usize = 64 * 1024;

/// Bytes to be written into the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
    /// Whether a half begins here: what it held before is void up to its end, and is best
    /// overwritten with zeros or punched out.
    pub begins_half: bool,
}

/// Records.
#[derive(Debug)]
pub struct Recorder {
    /// Bytes of a half.
    half: usize,
    number: u64,
    /// Bytes of the half that are written or wait.
    used: usize,
    begun: bool,
    chunks: Vec<Chunk>,
}

impl Recorder {
    /// Records into a file of at most `size` bytes, at least 128 KiB. For the state to be in it,
    /// half of that has to be more than twice what the sessions take, about 50 bytes each; else
    /// only inputs are recorded, which can be read but not replayed. `number` is to rise with each
    /// start, so that it is known which half is the younger one: that of the file's last half
    /// plus one.
    #[must_use]
    pub fn new(size: usize, number: u64) -> Self {
        let half = (size / 2).max(SMALLEST);
        Self { half, number, used: 0, begun: false, chunks: Vec::new() }
    }

    /// What is to be written since this was called last.
    pub fn take(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.chunks)
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Feeds an input to the replica and records it.
    pub fn handle(
        &mut self,
        replica: &mut Replica,
        now: Timestamp,
        input: Input,
        out: &mut Vec<Output>,
    ) {
        if !self.begun || self.used >= self.half {
            self.begin_half(replica);
        }
        let recorded = input.clone();
        let before = out.len();
        replica.handle(now, input, out);
        let outputs = digest(out.get(before..).unwrap_or_default());
        self.push(&Content::Step { now, input: recorded, outputs });
    }

    /// Records what another state machine was fed with.
    pub fn note(&mut self, stream: u8, content: &[u8]) {
        if stream != STREAM_REPLICA && self.begun {
            self.frame(stream, content);
        }
    }

    fn begin_half(&mut self, replica: &Replica) {
        self.number += 1;
        self.begun = true;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.number.to_le_bytes());
        self.used = HEAD;
        self.chunks.push(Chunk { offset: self.offset(), bytes, begins_half: true });
        let state = checkpoint(replica).ok();
        let fitting = state.filter(|state| state.len() <= self.half / 2);
        self.push(&fitting.map_or(Content::NoCheckpoint, Content::Checkpoint));
    }

    fn push(&mut self, content: &Content) {
        // Plain data, of which every value can be encoded.
        if let Ok(content) = postcard::to_allocvec(content) {
            self.frame(STREAM_REPLICA, &content);
        }
    }

    fn frame(&mut self, stream: u8, content: &[u8]) {
        let len = FRAME_HEAD + content.len();
        if self.used + len > self.half {
            // It doesn't fit any more, and nothing after it would be of use without it.
            self.used = self.half;
            return;
        }
        let end = (self.number % 2) * self.half as u64 + self.used as u64;
        self.used += len;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.offset + chunk.bytes.len() as u64 == end => {
                write(&mut chunk.bytes, self.number, stream, content);
            }
            _ => {
                let mut bytes = Vec::with_capacity(len);
                write(&mut bytes, self.number, stream, content);
                self.chunks.push(Chunk { offset: end, bytes, begins_half: false });
            }
        }
    }

    /// Where the present half begins.
    fn offset(&self) -> u64 {
        (self.number % 2) * self.half as u64
    }
}
