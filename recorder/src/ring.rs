//! The writing side.

use crate::frame::{Frame, HEAD, head};
use crate::replay::{checkpoint_within, digest};
use crate::{Frames, Machine, halves};
use std::time::Duration;

/// The smallest half that is of any use, in bytes.
const SMALLEST: usize = 64 * 1024;

/// Bytes to be written into the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where, from the beginning of the machine's part.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
    /// Whether a half begins here: what it held before is void.
    pub begins_half: bool,
}

/// Records a machine.
#[derive(Debug)]
pub struct Recorder {
    /// Bytes of a half.
    half: usize,
    number: u64,
    /// Bytes of the half that are written or wait.
    used: usize,
    begun: bool,
    /// Chunks that got lost since the last one that wasn't.
    lost: u64,
    chunks: Vec<Chunk>,
    /// The input that is being taken in.
    input: Vec<u8>,
}

impl Recorder {
    /// Records into a part of at most `size` bytes, at least 128 KiB. For the state to be in it,
    /// half of that has to be more than twice what the state takes; else only inputs are recorded,
    /// which can be read but not replayed. `number` is to rise with each start, so that it is known
    /// which half is the younger one: [`Self::next_number`].
    #[must_use]
    pub fn new(size: usize, number: u64) -> Self {
        let half = (size / 2).max(SMALLEST);
        let (chunks, input) = (Vec::new(), Vec::new());
        Self { half, number, used: 0, begun: false, lost: 0, chunks, input }
    }

    /// The number to go on with after what a part holds, whatever that is.
    #[must_use]
    pub fn next_number(part: &[u8]) -> u64 {
        let numbers = halves(part).into_iter().filter_map(|half| Frames::read(half).ok());
        numbers.map(|frames| frames.number()).max().unwrap_or(0).saturating_add(1)
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

    /// So many chunks that were taken can't be written. The next input begins another half.
    pub fn lose(&mut self, chunks: u64) {
        self.lost = self.lost.saturating_add(chunks);
        self.used = self.half;
    }

    /// Before the machine takes an input in.
    pub fn before<M: Machine>(&mut self, machine: &M, now: Duration, input: &M::Input) {
        if !self.begun || self.used >= self.half {
            self.begin_half(machine);
        }
        let buffer = std::mem::take(&mut self.input);
        // Plain data, of which every value can be encoded.
        self.input = postcard::to_extend(&(now, input), buffer).unwrap_or_default();
    }

    /// After the machine has taken it in, with what came out.
    pub fn after<M: Machine>(&mut self, outputs: &[M::Output]) {
        let input = std::mem::take(&mut self.input);
        self.push(&Frame::Step { outputs: digest(outputs), input: &input });
        self.input = input;
        self.input.clear();
    }

    /// Feeds an input to the machine and records it.
    pub fn step<M: Machine>(
        &mut self,
        machine: &mut M,
        now: Duration,
        input: M::Input,
        out: &mut Vec<M::Output>,
    ) {
        self.before(machine, now, &input);
        let before = out.len();
        machine.step(now, input, out);
        self.after::<M>(out.get(before..).unwrap_or_default());
    }

    fn begin_half<M: Machine>(&mut self, machine: &M) {
        self.number = self.number.saturating_add(1);
        self.begun = true;
        self.used = HEAD;
        let bytes = head(self.number, M::STREAM);
        self.chunks.push(Chunk { offset: self.offset(), bytes, begins_half: true });
        match checkpoint_within(machine, self.half / 2) {
            Some(state) => self.push(&Frame::Checkpoint(&state)),
            None => self.push(&Frame::NoCheckpoint),
        }
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            self.push(&Frame::Gap(lost));
        }
    }

    fn push(&mut self, frame: &Frame<'_>) {
        if self.used + frame.len() > self.half {
            // It doesn't fit any more, and nothing after it would be of use without it.
            self.used = self.half;
            return;
        }
        let end = self.offset() + self.used as u64;
        self.used += frame.len();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.offset + chunk.bytes.len() as u64 == end => {
                frame.write(self.number, &mut chunk.bytes);
            }
            _ => {
                let mut bytes = Vec::with_capacity(frame.len());
                frame.write(self.number, &mut bytes);
                self.chunks.push(Chunk { offset: end, bytes, begins_half: false });
            }
        }
    }

    /// Where the present half begins.
    fn offset(&self) -> u64 {
        (self.number % 2) * self.half as u64
    }
}
