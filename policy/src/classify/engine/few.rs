//! Lookups in few rules of both families.
//!
//! Not here: how they are kept, see [`super::small`].

use super::both::Both;
use super::record::Entry;
use super::small::Small;
use super::zones::Numbers;

/// The rules of both families.
#[derive(Debug)]
pub(super) struct Few {
    v4: Small<u32>,
    v6: Small<u128>,
}

impl Few {
    /// `None` when they are too many.
    pub(super) fn new(v4: &[Entry<u32>], v6: &[Entry<u128>], numbers: &Numbers) -> Option<Self> {
        let zones = |number| numbers.pair(number);
        Some(Self { v4: Small::new(v4, zones)?, v6: Small::new(v6, zones)? })
    }

    #[inline(always)]
    pub(super) const fn both(&self) -> Both<&Small<u32>, &Small<u128>> {
        Both { v4: &self.v4, v6: &self.v6 }
    }

    pub(super) fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }
}
