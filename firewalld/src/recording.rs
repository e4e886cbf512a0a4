//! The flight recorder's file: the last inputs of the state machines of session replication and of
//! VRRP, so that what happened can be run again.
//!
//! ```text
//!  thread sync ─► Tape ─┐
//!                       ├─ bounded ─► thread recorder ─► flight.rec
//!  thread vrrp ─► Tape ─┘
//! ```
//!
//! A thread of its own writes; nobody waits for it. What it has no room for is lost, and the
//! recording goes on with the whole state once there is room again.
//!
//! Goes in: chunks of a recording. Comes out: the file. Not here: what is in the chunks (crate
//! twinwall-recorder).

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use twinwall_recorder::{Chunk, Recorder, parts};

/// Chunks that may wait to be written, and bytes of each machine. Beyond that, one chunk of each
/// machine may wait with which a half begins: it holds the whole state.
const WAITING: usize = 512;
const WAITING_BYTES: usize = 512 << 10;
/// Chunks that have to find room before the whole state is tried again.
const ROOM: u64 = 64;

/// A chunk with its place in the file, and where its part ends.
struct Placed {
    chunk: Chunk,
    offset: u64,
    end: u64,
    waiting: Arc<Waiting>,
}

/// What waits of a machine.
#[derive(Debug, Default)]
struct Waiting {
    /// Chunks with which a half begins.
    states: AtomicUsize,
    /// Bytes of all others.
    bytes: AtomicUsize,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        [&self.states, &self.bytes].iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// Takes room for a chunk, if there is any. Only one thread does.
    fn take(&self, chunk: &Chunk) -> bool {
        let (count, size, most) = self.of(chunk);
        let room = count.load(Ordering::Relaxed).saturating_add(size) <= most;
        if room {
            count.fetch_add(size, Ordering::Relaxed);
        }
        room
    }

    fn give_back(&self, chunk: &Chunk) {
        let (count, size, _) = self.of(chunk);
        count.fetch_sub(size, Ordering::Relaxed);
    }

    fn of(&self, chunk: &Chunk) -> (&AtomicUsize, usize, usize) {
        match chunk.begins_half {
            true => (&self.states, 1, 1),
            false => (&self.bytes, chunk.bytes.len(), WAITING_BYTES),
        }
    }
}

/// The way of one machine to the file.
#[derive(Debug)]
pub(crate) struct Tape {
    chunks: SyncSender<Placed>,
    waiting: Arc<Waiting>,
    part: Range<usize>,
    number: u64,
    /// Chunks that got lost since the recorder was told.
    lost: u64,
}

/// Opens the file and starts the thread. Comes out: the tapes of replication and of VRRP.
///
/// # Errors
/// When the file can't be written.
pub(crate) fn start(path: &Path, size: usize) -> io::Result<[Tape; 2]> {
    // Of an earlier daemon; if it can't be read there is none.
    let before = std::fs::read(path).unwrap_or_default();
    let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
    let file = options.open(path)?;
    file.set_len(size as u64)?;
    let (chunks, waiting) = sync_channel::<Placed>(WAITING);
    std::thread::Builder::new().name("recorder".into()).spawn(move || {
        while let Ok(placed) = waiting.recv() {
            if let Err(error) = write(&file, &placed) {
                tracing::warn!(%error, "cannot write the flight recorder's file");
            }
            placed.waiting.give_back(&placed.chunk);
        }
    })?;
    Ok(parts(size).map(|part| {
        let held = before.get(part.clone()).filter(|_| before.len() == size);
        let number = Recorder::next_number(held.unwrap_or_default());
        Tape { chunks: chunks.clone(), waiting: Arc::default(), part, number, lost: 0 }
    }))
}

impl Tape {
    /// A recorder for it.
    pub(crate) fn recorder(&self) -> Recorder {
        Recorder::new(self.part.len(), self.number)
    }

    /// Hands over what is to be written. Waits for nothing.
    pub(crate) fn write(&mut self, recorder: &mut Recorder) {
        for chunk in recorder.take() {
            // After a gap nothing is of use before the next half begins.
            if self.lost > 0 && !chunk.begins_half {
                self.lost += 1;
                continue;
            }
            let offset = self.part.start as u64 + chunk.offset;
            let half = self.part.start + self.part.len() / 2;
            let end = if offset < half as u64 { half } else { self.part.end } as u64;
            if self.send(chunk, offset, end) {
                self.lost = 0;
            } else {
                self.lost += 1;
            }
        }
        if self.lost >= ROOM && self.waiting.is_empty() {
            recorder.lose(std::mem::take(&mut self.lost));
            // Until the next half begins.
            self.lost = 1;
        }
    }

    /// Whether there is room for a chunk.
    fn send(&self, chunk: Chunk, offset: u64, end: u64) -> bool {
        if !self.waiting.take(&chunk) {
            return false;
        }
        let waiting = Arc::clone(&self.waiting);
        match self.chunks.try_send(Placed { chunk, offset, end, waiting }) {
            Ok(()) => true,
            Err(TrySendError::Full(placed) | TrySendError::Disconnected(placed)) => {
                self.waiting.give_back(&placed.chunk);
                false
            }
        }
    }
}

fn write(file: &File, Placed { chunk, offset, end, .. }: &Placed) -> io::Result<()> {
    let behind = offset + chunk.bytes.len() as u64;
    if chunk.begins_half {
        // Frames of an earlier half have another number and so don't count; zeros say it at once.
        let rest = end.saturating_sub(behind).min(64);
        let zeros = vec![0; usize::try_from(rest).unwrap_or(0)];
        file.write_all_at(&zeros, behind)?;
    }
    file.write_all_at(&chunk.bytes, *offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::time::{Duration, Instant};
    use twinwall_recorder::{Machine, halves, replay};

    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Sum(u64);

    impl Machine for Sum {
        const STREAM: u8 = 9;
        type Input = u64;
        type Output = u64;

        fn step(&mut self, _: Duration, input: u64, out: &mut Vec<u64>) {
            self.0 = self.0.wrapping_add(input);
            out.push(self.0);
        }
    }

    #[test]
    fn both_machines_are_in_the_file_and_a_full_queue_leaves_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flight.rec");
        let size = 1 << 20;
        let mut tapes = start(&path, size).unwrap();
        let mut sums = [Sum::default(), Sum::default()];
        let mut recorders = [tapes[0].recorder(), tapes[1].recorder()];
        let mut feed = |from: u64, count: u64| {
            for input in from..from + count {
                for ((tape, sum), recorder) in tapes.iter_mut().zip(&mut sums).zip(&mut recorders) {
                    recorder.step(sum, Duration::from_nanos(input), input, &mut Vec::new());
                    if input == 10_000 {
                        // As if the writing thread had been too slow.
                        recorder.take();
                        recorder.lose(7);
                    }
                    tape.write(recorder);
                }
            }
            sums[0].0
        };
        feed(0, 20_000);
        let deadline = Instant::now() + Duration::from_secs(20);
        for from in (20_000..).step_by(100) {
            // What the writing thread had no room for is made good by what comes after it.
            let sum = feed(from, 100);
            std::thread::sleep(Duration::from_millis(5));
            let file = std::fs::read(&path).unwrap();
            let ends = parts(size).map(|part| {
                let [_, younger] = halves(&file[part]);
                replay::<Sum>(younger, |_, _, _| {}).ok()
            });
            let whole = ends.iter().flatten().filter(|end| {
                assert_eq!(end.differs_at, None);
                end.machine.0 == sum
            });
            if whole.count() == 2 {
                break;
            }
            assert!(Instant::now() < deadline, "{ends:?}");
        }
    }
}
