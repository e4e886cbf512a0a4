//! The flight recorder's file: the last inputs of the state machine, so that what happened can be
//! run again.
//!
//! A thread of its own writes it; when that is too slow, recording stops until the next half.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use twinwall_ctsync::recorder::{Chunk, Frames, halves};

/// Chunks that may wait to be written.
const WAITING: usize = 256;

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Recording {
    chunks: SyncSender<Chunk>,
    lost: bool,
}

impl Recording {
    /// Opens the file and starts the thread. Returns also the number that the recorder is to begin
    /// with.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(super) fn start(path: &Path, size: usize) -> io::Result<(Self, u64)> {
        let number = last_number(path, size);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.set_len(size as u64)?;
        let half = (size / 2) as u64;
        let (chunks, waiting) = sync_channel::<Chunk>(WAITING);
        std::thread::Builder::new().name("recorder".into()).spawn(move || {
            while let Ok(chunk) = waiting.recv() {
                if let Err(error) = write(&file, &chunk, half) {
                    tracing::warn!(%error, "cannot write the flight recorder's file");
                }
            }
        })?;
        Ok((Self { chunks, lost: false }, number + 1))
    }

    /// Hands over what is to be written.
    pub(super) fn write(&mut self, chunks: Vec<Chunk>) {
        for chunk in chunks {
            // After a gap nothing is of use before the next half begins.
            if self.lost && !chunk.begins_half {
                continue;
            }
            self.lost = self.chunks.try_send(chunk).is_err();
        }
    }
}

fn write(file: &File, chunk: &Chunk, half: u64) -> io::Result<()> {
    if chunk.begins_half {
        // Frames of an earlier half have another number and so don't count; zeros say it at once.
        let rest = half.saturating_sub(chunk.bytes.len() as u64).min(64);
        let zeros = vec![0; usize::try_from(rest).unwrap_or(0)];
        file.write_all_at(&zeros, chunk.offset + chunk.bytes.len() as u64)?;
    }
    file.write_all_at(&chunk.bytes, chunk.offset)
}

/// The number of the file's younger half.
fn last_number(path: &Path, size: usize) -> u64 {
    let Ok(bytes) = std::fs::read(path) else { return 0 };
    if bytes.len() != size {
        return 0;
    }
    let numbers = halves(&bytes).into_iter().filter_map(|half| Some(Frames::read(half).ok()?.0));
    numbers.max().unwrap_or(0)
}
