//! Pre-shared keys: one to begin handshakes with, and others that are still or already accepted.
//!
//! To change a key without a gap: put the new key into the second line of both nodes' files, then
//! into the first line of both, then take the old one out of both. The nodes needn't do it at the
//! same time.

use super::entropy::mac256;
use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac};
use std::fmt;

type Blake2sMac128 = Blake2sMac<U16>;

/// A file may name so many keys.
const MAX_KEYS: usize = 4;

/// A pre-shared key of 256 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    psk: [u8; 32],
    /// What messages of the handshake are authenticated with.
    mac: [u8; 32],
}

impl Key {
    /// The key of these bytes. They have to be random.
    #[must_use]
    pub fn new(psk: [u8; 32]) -> Self {
        Self { psk, mac: mac256(&psk, &[b"twinwall ctsync handshake 1"]) }
    }

    pub(super) fn psk(&self) -> &[u8; 32] {
        &self.psk
    }

    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 16] {
        self.hasher(parts).finalize().into_bytes().into()
    }

    pub(super) fn verify(&self, parts: &[&[u8]], mac: &[u8; 16]) -> bool {
        self.hasher(parts).verify(mac.into()).is_ok()
    }

    fn hasher(&self, parts: &[&[u8]]) -> Blake2sMac128 {
        let mut hasher = keyed(&self.mac);
        parts.iter().for_each(|part| hasher.update(part));
        hasher
    }
}

/// A keyed hash of 16 bytes.
pub(super) fn mac128(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = keyed(key);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into_bytes().into()
}

fn keyed(key: &[u8; 32]) -> Blake2sMac128 {
    <Blake2sMac128 as KeyInit>::new(key.into())
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The keys that this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<Key>,
}

/// Why a key file can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// It has no key.
    #[error("no key: a line of 64 hexadecimal digits is missing")]
    Empty,
    /// It has too many.
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
    /// A line isn't a key.
    #[error("line {line} is not a key of 64 hexadecimal digits")]
    Line {
        /// The number of the line, from 1.
        line: usize,
    },
    /// A key that anybody would try.
    #[error("line {line} is not a random key")]
    Weak {
        /// The number of the line, from 1.
        line: usize,
    },
}

impl KeyRing {
    /// One key.
    #[must_use]
    pub fn single(key: Key) -> Self {
        Self { keys: vec![key] }
    }

    /// The first key is the one to begin with.
    ///
    /// # Errors
    /// When there is none, or more than four.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyRingError> {
        match keys.len() {
            0 => Err(KeyRingError::Empty),
            1..=MAX_KEYS => Ok(Self { keys }),
            _ => Err(KeyRingError::TooMany),
        }
    }

    /// The keys of a file: a line of 64 hexadecimal digits each, the one to begin with first.
    /// Empty lines and what follows a `#` are skipped.
    ///
    /// # Errors
    /// When it has no key, more than four, or something else.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut keys = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            let psk = hex(content).ok_or(KeyRingError::Line { line })?;
            if psk.iter().all(|byte| Some(byte) == psk.first()) {
                return Err(KeyRingError::Weak { line });
            }
            keys.push(Key::new(psk));
        }
        Self::new(keys)
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: there is at least one key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn is_first(&self, key: &Key) -> bool {
        self.keys.first() == Some(key)
    }

    /// A key to try: the first one twice as often as each other.
    pub(super) fn nth(&self, attempt: usize) -> Option<&Key> {
        let others = self.keys.len().saturating_sub(1);
        let place =
            if others == 0 || attempt.is_multiple_of(2) { 0 } else { 1 + attempt / 2 % others };
        self.keys.get(place)
    }

    pub(super) fn verifying(&self, parts: &[&[u8]], mac: &[u8; 16]) -> Option<&Key> {
        self.keys.iter().find(|key| key.verify(parts, mac))
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let mut key = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8);
    }
    Some(key)
}
