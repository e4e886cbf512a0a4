//! Random bytes drawn from one seed: a counter under a keyed hash. The seed comes from the driver.

use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use std::fmt;

/// A source of random bytes.
pub(super) struct Entropy {
    key: [u8; 32],
    drawn: u64,
}

impl Entropy {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { key: seed, drawn: 0 }
    }

    /// 32 bytes that were not drawn before and tell nothing of those that were.
    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let drawn = self.block(0);
        // What was drawn can't be found out from the key that is kept.
        self.key = self.block(1);
        self.drawn += 1;
        drawn
    }

    pub(super) fn number(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    fn block(&self, which: u8) -> [u8; 32] {
        mac256(&self.key, &[&self.drawn.to_le_bytes(), &[which]])
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

/// A keyed hash of 32 bytes.
pub(super) fn mac256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Blake2sMac256 as KeyInit>::new(key.into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
