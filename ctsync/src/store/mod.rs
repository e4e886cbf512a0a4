//! The sessions of the pair, as this node knows them: its own and the peer's alike.
//!
//! ```text
//!   identity ──SipHash──► leaf (16,384) ──► place, index ──► entry ──► bytes in the arena
//!                          │ digest                           flags, last packet
//!                          └──► group (128) ──► root
//! ```
//!
//! A leaf is the bucket by which the nodes compare what they have: its digest is the XOR of the
//! keyed hashes of its sessions, kept up to date with each change. What the owned bits of a mark
//! mean is each node's own, so they are left out of it, and so are sessions that have ended.
//!
//! Memory: bytes of a session in steps of 8, 16 bytes for its entry, 8 for its place in the leaf,
//! and 0.7 MB for the leaves.
//!
//! Goes in: sessions. Comes out: sessions and digests. Not here: what is done with them.

mod arena;
mod entry;
mod frozen;
mod leaves;

pub(crate) use entry::{Entry, Flags};

use crate::model::{GroupTag, Identity, Session};
use crate::wire::{Writer, pack, parts, put_whole_identity, unpack, unpack_identity};
use arena::Arena;
use leaves::Leaves;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The key of the hashes; the same on both nodes, and secret, so that nobody can fill one leaf
/// on purpose.
pub type DigestKey = [u64; 2];

/// Whose the sessions are that belong to all groups: the XOR of the keyed hashes of their
/// identities. Where each session is one node's, those of both nodes' make those of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Homes {
    pub(crate) all: u64,
    pub(crate) mine: u64,
}

/// The place of an entry.
pub(crate) type Index = u32;

/// The sessions.
#[derive(Debug)]
pub(crate) struct Store {
    arena: Arena,
    entries: Vec<Entry>,
    free: Vec<Index>,
    leaves: Leaves,
    homes: Homes,
    key: DigestKey,
    /// The bits of the mark that each node has its own meaning for.
    owned: u32,
    live: usize,
    dead: usize,
    scratch: Writer,
}

impl Store {
    pub(crate) fn new(key: DigestKey, owned: u32) -> Self {
        Self {
            arena: Arena::default(),
            entries: Vec::new(),
            free: Vec::new(),
            leaves: Leaves::default(),
            homes: Homes::default(),
            key,
            owned,
            live: 0,
            dead: 0,
            scratch: Writer::default(),
        }
    }

    /// Sessions that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Sessions that have ended and are kept until everybody knows.
    pub(crate) fn dead(&self) -> usize {
        self.dead
    }

    pub(crate) fn key(&self) -> DigestKey {
        self.key
    }

    /// All indices up to here may be in use.
    pub(crate) fn end(&self) -> Index {
        self.entries.len() as Index
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(index as usize).filter(|entry| entry.is_used())
    }

    pub(crate) fn entry_mut(&mut self, index: Index) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize).filter(|entry| entry.is_used())
    }

    /// The flags of an entry; none if there is no such entry.
    pub(crate) fn flags(&self, index: Index) -> Flags {
        self.entry(index).map_or(Flags::NONE, |entry| entry.flags)
    }

    pub(crate) fn set(&mut self, index: Index, flags: Flags, on: bool) {
        let Some(entry) = self.entry_mut(index) else { return };
        let before = *entry;
        entry.flags.set(flags, on);
        let moves = flags.has(Flags::MINE) && before.flags.has(Flags::MINE) != on;
        if moves && !before.flags.has(Flags::DEAD) && before.group == GroupTag::SHARED {
            self.homes.mine ^=
                self.bytes(index).and_then(|bytes| self.identity_hash(bytes)).unwrap_or(0);
        }
    }

    /// Makes all sessions whose group is one of these this node's, or none of them.
    pub(crate) fn set_home(&mut self, mine: bool, of: impl Fn(GroupTag) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| entry.is_used() && of(entry.group)) {
            entry.flags.set(Flags::MINE, mine);
        }
        if of(GroupTag::SHARED) {
            self.homes.mine = if mine { self.homes.all } else { 0 };
        }
    }

    /// Whose the sessions are that belong to all groups.
    pub(crate) fn homes(&self) -> Homes {
        self.homes
    }

    pub(crate) fn find(&mut self, identity: &Identity) -> Option<Index> {
        self.scratch.truncate(0);
        put_whole_identity(&mut self.scratch, identity);
        let (leaf, place) = spot(hash(self.key, &[self.scratch.as_slice()]));
        self.leaves.at(leaf, place).find(|index| {
            self.bytes(*index).is_some_and(|bytes| bytes.starts_with(self.scratch.as_slice()))
        })
    }

    /// A session and the number of its version.
    pub(crate) fn get(&self, index: Index) -> Option<(Session, u32)> {
        // What is in the arena was packed here.
        unpack(self.bytes(index)?).ok()
    }

    /// Adds a session that isn't there yet; `None` when there is no room for it.
    pub(crate) fn insert(
        &mut self,
        session: &Session,
        version: u32,
        flags: Flags,
    ) -> Option<Index> {
        let packed = self.packed(session, version);
        let (leaf, place) = self.spot_of(packed.as_slice())?;
        let len = u16::try_from(packed.len()).ok()?;
        let handle = self.arena.put(packed.as_slice())?;
        self.scratch = packed;
        let entry = Entry {
            handle,
            len,
            flags: flags | Flags::USED,
            group: session.group,
            ..Entry::default()
        };
        let index = match self.free.pop() {
            Some(index) => {
                *self.entries.get_mut(index as usize)? = entry;
                index
            }
            None => {
                let index = Index::try_from(self.entries.len()).ok()?;
                self.entries.push(entry);
                index
            }
        };
        self.leaves.insert(leaf, place, index);
        if flags.has(Flags::DEAD) {
            self.dead += 1;
        } else {
            self.live += 1;
            self.toggle(index);
        }
        Some(index)
    }

    /// Replaces what is kept of a session by a new version of it. An ended one lives again.
    pub(crate) fn update(&mut self, index: Index, session: &Session, version: u32) -> bool {
        if self.flags(index).has(Flags::DEAD) {
            self.dead = self.dead.saturating_sub(1);
            self.live += 1;
            self.set(index, Flags::DEAD, false);
        } else {
            self.toggle(index);
        }
        let replaced = self.replace(index, session, version);
        self.toggle(index);
        replaced
    }

    /// Marks a session as ended. It can still be found.
    pub(crate) fn end_session(&mut self, index: Index, version: u32) {
        if self.entry(index).is_none_or(|entry| entry.flags.has(Flags::DEAD)) {
            return;
        }
        self.toggle(index);
        self.live = self.live.saturating_sub(1);
        self.dead += 1;
        self.set(index, Flags::DEAD, true);
        if let Some((session, _)) = self.get(index) {
            self.replace(index, &session, version);
        }
    }

    /// Changes the number of the last version of one that has ended.
    pub(crate) fn set_version(&mut self, index: Index, version: u32) {
        let live = !self.flags(index).has(Flags::DEAD);
        if live {
            self.toggle(index);
        }
        if let Some((session, _)) = self.get(index) {
            self.replace(index, &session, version);
        }
        if live {
            self.toggle(index);
        }
    }

    /// Forgets a session.
    pub(crate) fn remove(&mut self, index: Index) {
        let Some(entry) = self.entry(index).copied() else { return };
        if entry.flags.has(Flags::DEAD) {
            self.dead = self.dead.saturating_sub(1);
        } else {
            self.live = self.live.saturating_sub(1);
            self.toggle(index);
        }
        let spot = self.bytes(index).and_then(|bytes| self.spot_of(bytes));
        if let Some((leaf, place)) = spot {
            self.leaves.remove(leaf, place, index);
        }
        self.arena.free(entry.handle);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = Entry::default();
            self.free.push(index);
        }
    }

    /// The leaf that an entry is in.
    pub(crate) fn leaf(&self, index: Index) -> Option<u16> {
        self.spot_of(self.bytes(index)?).map(|(leaf, _)| leaf)
    }

    /// Entries of a leaf with their places, in rising order; ended ones included.
    pub(crate) fn leaf_entries(&self, leaf: u16) -> Vec<(u32, Index)> {
        let mut entries = self.leaves.entries(leaf).to_vec();
        // Two of the same place are told apart by their bytes, which are the same on both nodes.
        entries.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| self.bytes(a.1).cmp(&self.bytes(b.1))));
        entries
    }

    pub(crate) fn root(&self) -> u64 {
        self.leaves.root()
    }

    pub(crate) fn group_digests(&self) -> &[u64] {
        self.leaves.groups()
    }

    pub(crate) fn leaf_digests(&self, group: u8) -> Vec<u64> {
        self.leaves.of_group(group)
    }

    /// The digest of a session, as if it were kept.
    pub(crate) fn digest_of(&mut self, session: &Session, version: u32) -> u64 {
        let packed = self.packed(session, version);
        let digest = self.digest(packed.as_slice());
        self.scratch = packed;
        digest
    }

    /// Takes another key for the hashes: every place and every digest changes.
    pub(crate) fn rekey(&mut self, key: DigestKey) {
        if key == self.key {
            return;
        }
        self.key = key;
        self.leaves = Leaves::default();
        self.homes = Homes::default();
        for index in 0..self.end() {
            let Some((leaf, place)) = self.bytes(index).and_then(|bytes| self.spot_of(bytes))
            else {
                continue;
            };
            self.leaves.insert(leaf, place, index);
            if !self.flags(index).has(Flags::DEAD) {
                self.toggle(index);
            }
        }
    }

    /// Bytes that are taken: arena, entries and leaves.
    pub(crate) fn memory(&self) -> usize {
        self.arena.memory()
            + self.entries.capacity() * size_of::<Entry>()
            + self.free.capacity() * size_of::<Index>()
            + self.leaves.memory()
    }

    fn bytes(&self, index: Index) -> Option<&[u8]> {
        let entry = self.entry(index)?;
        self.arena.get(entry.handle)?.get(..entry.len.into())
    }

    fn packed(&mut self, session: &Session, version: u32) -> Writer {
        let mut writer = std::mem::take(&mut self.scratch);
        writer.truncate(0);
        pack(&mut writer, session, version);
        writer
    }

    fn replace(&mut self, index: Index, session: &Session, version: u32) -> bool {
        let packed = self.packed(session, version);
        let replaced = self.put_bytes(index, packed.as_slice());
        self.scratch = packed;
        if let Some(entry) = self.entry_mut(index) {
            entry.group = session.group;
        }
        replaced.is_some()
    }

    fn put_bytes(&mut self, index: Index, bytes: &[u8]) -> Option<()> {
        let len = u16::try_from(bytes.len()).ok()?;
        let old = self.entry(index)?.handle;
        let handle = self.arena.replace(old, bytes)?;
        let entry = self.entry_mut(index)?;
        (entry.handle, entry.len) = (handle, len);
        Some(())
    }

    /// Takes a session into the digests, or out of them.
    fn toggle(&mut self, index: Index) {
        let Some(entry) = self.entry(index).copied() else { return };
        let Some(bytes) = self.bytes(index) else { return };
        let Some(hash) = self.identity_hash(bytes) else { return };
        let digest = self.digest(bytes);
        self.leaves.toggle(spot(hash).0, digest);
        if entry.group == GroupTag::SHARED {
            self.homes.all ^= hash;
            self.homes.mine ^= if entry.flags.has(Flags::MINE) { hash } else { 0 };
        }
    }

    fn digest(&self, bytes: &[u8]) -> u64 {
        let Some((head, mark, rest)) = parts(bytes) else { return 0 };
        hash(self.key, &[head, &(mark & !self.owned).to_le_bytes(), rest])
    }

    fn spot_of(&self, bytes: &[u8]) -> Option<(u16, u32)> {
        Some(spot(self.identity_hash(bytes)?))
    }

    fn identity_hash(&self, bytes: &[u8]) -> Option<u64> {
        let (_, len) = unpack_identity(bytes).ok()?;
        Some(hash(self.key, &[bytes.get(..len)?]))
    }
}

fn hash(key: DigestKey, parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

/// Leaf and place.
fn spot(hash: u64) -> (u16, u32) {
    ((hash >> 50) as u16, (hash >> 18) as u32)
}

#[cfg(test)]
mod tests;
