//! Buckets of sessions and their digests.

use super::Index;
use crate::wire::{GROUPS, LEAVES_PER_GROUP, leaf_count};

/// All leaves.
#[derive(Debug)]
pub(super) struct Leaves {
    leaves: Vec<Leaf>,
    groups: Vec<u64>,
    root: u64,
}

#[derive(Clone, Debug, Default)]
struct Leaf {
    digest: u64,
    /// Place and index, in no order. The place is looked at first: it is here already.
    entries: Vec<(u32, Index)>,
}

impl Default for Leaves {
    fn default() -> Self {
        Self { leaves: vec![Leaf::default(); leaf_count()], groups: vec![0; GROUPS], root: 0 }
    }
}

impl Leaves {
    pub(super) fn insert(&mut self, leaf: u16, place: u32, index: Index) {
        let Some(leaf) = self.leaves.get_mut(usize::from(leaf)) else { return };
        if leaf.entries.len() == leaf.entries.capacity() {
            // Doubling would leave a third of the room unused.
            leaf.entries.reserve_exact(leaf.entries.len() / 4 + 2);
        }
        leaf.entries.push((place, index));
    }

    pub(super) fn remove(&mut self, leaf: u16, place: u32, index: Index) {
        let Some(leaf) = self.leaves.get_mut(usize::from(leaf)) else { return };
        if let Some(at) = leaf.entries.iter().position(|entry| *entry == (place, index)) {
            leaf.entries.swap_remove(at);
        }
        if leaf.entries.len() * 4 < leaf.entries.capacity() {
            leaf.entries.shrink_to(leaf.entries.len() * 2);
        }
    }

    /// The entries at a place; there is hardly ever more than one.
    pub(super) fn at(&self, leaf: u16, place: u32) -> impl Iterator<Item = Index> + '_ {
        let at = self.entries(leaf).iter().filter(move |entry| entry.0 == place);
        at.map(|(_, index)| *index)
    }

    pub(super) fn entries(&self, leaf: u16) -> &[(u32, Index)] {
        self.leaves.get(usize::from(leaf)).map_or(&[], |leaf| &leaf.entries)
    }

    pub(super) fn toggle(&mut self, leaf: u16, digest: u64) {
        let leaf = usize::from(leaf);
        let group = leaf / LEAVES_PER_GROUP;
        let (Some(leaf), Some(group)) = (self.leaves.get_mut(leaf), self.groups.get_mut(group))
        else {
            return;
        };
        leaf.digest ^= digest;
        *group ^= digest;
        self.root ^= digest;
    }

    pub(super) fn root(&self) -> u64 {
        self.root
    }

    pub(super) fn groups(&self) -> &[u64] {
        &self.groups
    }

    pub(super) fn of_group(&self, group: u8) -> Vec<u64> {
        let first = usize::from(group) * LEAVES_PER_GROUP;
        let leaves = self.leaves.iter().skip(first).take(LEAVES_PER_GROUP);
        leaves.map(|leaf| leaf.digest).collect()
    }

    pub(super) fn memory(&self) -> usize {
        let entries = self.leaves.iter().map(|leaf| leaf.entries.capacity());
        entries.sum::<usize>() * size_of::<(u32, Index)>()
            + self.leaves.capacity() * size_of::<Leaf>()
            + self.groups.capacity() * size_of::<u64>()
    }
}
