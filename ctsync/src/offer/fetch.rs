//! The text of the peer's policy on its way here.
//!
//! Parts are asked for 32 at a time; they may come in any order. Memory grows with what has come,
//! never with what was announced.

use super::PolicyVersion;
use crate::time::Timestamp;
use crate::wire::{OfferMessage, PART, PARTS, PolicyDigest};
use blake2::{Blake2s256, Digest};
use std::collections::BTreeMap;
use std::time::Duration;

/// What hasn't come is asked for again after this time, doubled with each attempt.
const AGAIN_AFTER: Duration = Duration::from_millis(30);
const AGAIN_DOUBLINGS: u32 = 4;
/// So often a text that turns out to be another one is fetched.
const TRIES: u8 = 3;

/// A fetch.
#[derive(Debug)]
pub(super) struct Fetch {
    version: PolicyVersion,
    size: u64,
    text: Vec<u8>,
    /// Of `text`.
    hasher: Blake2s256,
    /// Parts that came before others, by where they begin; fewer than are asked for at a time.
    early: BTreeMap<u64, Vec<u8>>,
    /// Where the parts end that were asked for.
    asked: u64,
    due: Timestamp,
    last_asked: Timestamp,
    attempts: u32,
    tries: u8,
}

/// What came of a fetch.
#[derive(Debug)]
pub(super) enum Finished {
    /// The text.
    Whole(Vec<u8>),
    /// It is another text; the next attempt.
    Again(Box<Fetch>),
    /// It is another text, and was so each time.
    Hopeless,
}

impl Fetch {
    pub(super) fn new(now: Timestamp, version: PolicyVersion, size: u64) -> Self {
        Self {
            version,
            size,
            text: Vec::new(),
            hasher: Blake2s256::new(),
            early: BTreeMap::new(),
            asked: 0,
            due: now,
            last_asked: Timestamp::ZERO,
            attempts: 0,
            tries: 1,
        }
    }

    pub(super) const fn version(&self) -> PolicyVersion {
        self.version
    }

    pub(super) const fn due(&self) -> Timestamp {
        self.due
    }

    /// Bytes that are here, and how many there are.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.here(), self.size)
    }

    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + self.early.values().map(Vec::capacity).sum::<usize>()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.here() == self.size
    }

    fn here(&self) -> u64 {
        self.text.len() as u64
    }

    /// Asks for what is missing, if that is due.
    pub(super) fn ask(&mut self, now: Timestamp, rate: u32) -> Option<OfferMessage<'static>> {
        if self.due > now {
            return None;
        }
        let from = self.here();
        let end = from.saturating_add((PARTS * PART) as u64).min(self.size);
        if end > self.asked {
            // More than before: not sooner than the rate allows.
            let pause = Duration::from_secs(1) * PARTS as u32 / rate.max(1);
            let sooner = self.last_asked.after(pause);
            if self.asked > 0 && sooner > now {
                self.due = sooner;
                return None;
            }
        }
        let mut wanted = 0;
        for (part, offset) in (from..end).step_by(PART).enumerate() {
            if !self.early.contains_key(&offset) {
                wanted |= 1u32 << part;
            }
        }
        (self.asked, self.last_asked) = (end, now);
        self.due = now.after(AGAIN_AFTER * (1 << self.attempts.min(AGAIN_DOUBLINGS)));
        self.attempts = self.attempts.saturating_add(1);
        Some(OfferMessage::Ask { digest: self.version.digest, offset: from, wanted })
    }

    /// Takes a part in; `false` if it is none.
    pub(super) fn take(&mut self, now: Timestamp, offset: u64, bytes: &[u8]) -> bool {
        let expected = self.size.saturating_sub(offset).min(PART as u64);
        if !offset.is_multiple_of(PART as u64) || bytes.len() as u64 != expected || expected == 0 {
            return false;
        }
        if offset < self.here() || self.early.contains_key(&offset) {
            // It came twice.
            return true;
        }
        if offset >= self.asked {
            return false;
        }
        self.early.insert(offset, bytes.to_vec());
        while let Some(next) = self.early.remove(&self.here()) {
            self.hasher.update(&next);
            self.text.extend_from_slice(&next);
        }
        self.attempts = 0;
        if self.here() >= self.asked {
            self.due = now;
        }
        true
    }

    /// What came of it, once all is here.
    pub(super) fn finish(self, now: Timestamp) -> Finished {
        if PolicyDigest(self.hasher.finalize().into()) == self.version.digest {
            return Finished::Whole(self.text);
        }
        if self.tries >= TRIES {
            return Finished::Hopeless;
        }
        let again = Self::new(now, self.version, self.size);
        Finished::Again(Box::new(Self { tries: self.tries + 1, ..again }))
    }
}
