//! What is kept of a session besides its bytes.

use crate::model::GroupTag;
use serde::{Deserialize, Serialize};
use std::ops::BitOr;

/// An entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Where its bytes are.
    #[serde(skip)]
    pub(crate) handle: u32,
    /// The last packet of this node that carried it, the lower 32 bits; 0 for none.
    pub(crate) sent: u32,
    pub(crate) flags: Flags,
    #[serde(skip)]
    pub(crate) len: u16,
    pub(crate) group: GroupTag,
    /// The dump that it was last seen in.
    pub(crate) dump: u8,
    /// How often the kernel has refused it since it last took it.
    pub(crate) tries: u8,
    /// Whether more than its timeout is to be written.
    pub(crate) content: bool,
}

/// What is so with a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    /// The entry is in use.
    pub(crate) const USED: Self = Self(1);
    /// It has ended.
    pub(crate) const DEAD: Self = Self(1 << 1);
    /// The peer has this version.
    pub(crate) const SYNCED: Self = Self(1 << 2);
    /// The peer may know that there is such a session.
    pub(crate) const KNOWN: Self = Self(1 << 3);
    /// It waits to be sent.
    pub(crate) const QUEUED: Self = Self(1 << 4);
    /// It was sent and not changed since.
    pub(crate) const SENT: Self = Self(1 << 5);
    /// This node saw its last change.
    pub(crate) const MINE: Self = Self(1 << 6);
    /// It waits to be written into the kernel.
    pub(crate) const WRITE: Self = Self(1 << 7);
    /// It is being written.
    pub(crate) const WRITING: Self = Self(1 << 8);
    /// The kernel has it.
    pub(crate) const KERNEL: Self = Self(1 << 9);
    /// In the kernel it has the long timeout of a standby.
    pub(crate) const HELD: Self = Self(1 << 10);
    /// Something happened to it since the dump began.
    pub(crate) const TOUCHED: Self = Self(1 << 11);
    /// It was found in the kernel at the start, and whether it still lives isn't known.
    pub(crate) const UNPROVEN: Self = Self(1 << 12);
    /// Of one that has ended: the peer knows, but what it sent before may still be under way and
    /// mustn't be taken for a new session.
    pub(crate) const BURIED: Self = Self::UNPROVEN;
    /// The kernel has another session of this identity, which has to go first.
    pub(crate) const REPLACE: Self = Self(1 << 13);
    /// The kernel refuses it; it is tried again after a while.
    pub(crate) const PARKED: Self = Self(1 << 14);
    /// Its key has yet to be translated.
    pub(crate) const FOREIGN: Self = Self(1 << 15);
    /// Of one that has ended: its time has run out, nobody wanted it to end.
    pub(crate) const RAN_OUT: Self = Self::FOREIGN;

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn set(&mut self, other: Self, on: bool) {
        if on {
            self.0 |= other.0;
        } else {
            self.0 &= !other.0;
        }
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Entry {
    pub(crate) fn is_used(&self) -> bool {
        self.flags.has(Flags::USED)
    }
}
