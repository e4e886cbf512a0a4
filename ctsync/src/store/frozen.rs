//! A store in a checkpoint of the flight recorder. What can be found again from the sessions
//! (places, digests, counts) is not in it.

use super::{DigestKey, Entry, Flags, Index, Store};
use crate::wire::unpack;
use serde::{Deserialize, Serialize, Serializer};

/// Bytes of a session in a checkpoint at least: six fields of its entry, its length, and two
/// addresses with what a tuple has besides.
const LEAST: usize = 6 + 1 + 13;

/// How a store is kept in a checkpoint: entries with their bytes, in their order.
#[derive(Deserialize)]
struct Frozen {
    key: DigestKey,
    owned: u32,
    free: Vec<Index>,
    entries: Vec<(Entry, Vec<u8>)>,
}

/// The same, of a store that stays where it is.
#[derive(Serialize)]
struct Freezing<'a> {
    key: DigestKey,
    owned: u32,
    free: &'a [Index],
    entries: Entries<'a>,
}

struct Entries<'a>(&'a Store);

struct Bytes<'a>(&'a [u8]);

impl Store {
    /// Bytes that a checkpoint of it takes at least.
    pub(crate) fn least_frozen(&self) -> usize {
        (self.live + self.dead) * LEAST
    }
}

impl Serialize for Store {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Freezing { key: self.key, owned: self.owned, free: &self.free, entries: Entries(self) }
            .serialize(serializer)
    }
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..self.0.end()).map(|index| {
            let entry = self.0.entry(index).copied().unwrap_or_default();
            (entry, Bytes(self.0.bytes(index).unwrap_or_default()))
        }))
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de> Deserialize<'de> for Store {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let frozen = Frozen::deserialize(deserializer)?;
        let mut store = Self::new(frozen.key, frozen.owned);
        store.free = frozen.free;
        for (entry, bytes) in &frozen.entries {
            let index = store.end();
            if !entry.is_used() {
                store.entries.push(Entry::default());
                continue;
            }
            unpack(bytes).map_err(D::Error::custom)?;
            let (leaf, place) =
                store.spot_of(bytes).ok_or_else(|| D::Error::custom("a session is malformed"))?;
            let handle =
                store.arena.put(bytes).ok_or_else(|| D::Error::custom("a session is too long"))?;
            store.entries.push(Entry { handle, len: bytes.len() as u16, ..*entry });
            store.leaves.insert(leaf, place, index);
            if entry.flags.has(Flags::DEAD) {
                store.dead += 1;
            } else {
                store.live += 1;
                store.toggle(index);
            }
        }
        let unused =
            |index: &Index| store.entries.get(*index as usize).is_some_and(|e| !e.is_used());
        if !store.free.iter().all(unused) {
            return Err(D::Error::custom("a free entry is in use"));
        }
        Ok(store)
    }
}
