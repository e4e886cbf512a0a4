//! Session keys: the number that the kernel decides and counts a session by.
//!
//! A key stands for a rule's identity and meaning and for a pair of zones, never for the rule's
//! place. Conntrack doesn't record interfaces, so the key is what remembers a session's zones.
//!
//! | here | is |
//! |---|---|
//! | [`KeyAllocator`] | hands out numbers that are not in use |
//! | [`KeyTable`] | key to what it stands for; goes to the daemon's state file as [`State`] |
//! | [`KeyIndex`] | rule and zones to key, for the packet path |
//! | [`meaning`], [`policy_digest`] | digests by which rules and policies are compared over time |
//!
//! Not here: which keys a reload keeps, see [`crate::diff`].

mod allocator;
mod index;
mod meaning;
mod stored;
mod table;

pub use allocator::{AllocatorError, KeyAllocator};
pub use index::KeyIndex;
pub use meaning::{meaning, policy_digest};
pub use stored::{State, StateError};
pub use table::KeyTable;

use crate::ruleset::{Action, OnChange};
use std::num::NonZeroU32;
use std::sync::Arc;

/// The most keys that a policy may need, those kept for sessions of former policies included.
/// Each is an element of the kernel's verdict map.
pub const MAX_KEYS: usize = 1 << 20;

/// A session key; fits into the bits of the connmark that Twinwall owns.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct SessionKey(NonZeroU32);

impl SessionKey {
    /// The key of a connmark, after the mask; `None` for 0, which no session that was classified
    /// carries.
    #[must_use]
    pub const fn from_mark(mark: u32) -> Option<Self> {
        match NonZeroU32::new(mark) {
            Some(key) => Some(Self(key)),
            None => None,
        }
    }

    /// The bits for the connmark.
    #[must_use]
    pub const fn mark(self) -> u32 {
        self.0.get()
    }
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The rule's name.
    pub rule: Arc<str>,
    /// A digest of what the rule matches and does, without its place and its zones.
    pub meaning: u128,
    /// What happens to the session's packets.
    pub action: Action,
    /// What the rule says about its sessions when a reload takes them away.
    pub on_change: OnChange,
    /// Ingress zone's name of the session's first packet.
    pub from: Arc<str>,
    /// Egress zone's name.
    pub to: Arc<str>,
    /// Whether new sessions can't get this key any more: its rule was changed or removed with
    /// `on_change: keep`.
    pub kept: bool,
}
