//! What a session is, as conntrack knows it and as both nodes have to agree on it.
//!
//! | here | is |
//! |---|---|
//! | [`Tuple`], [`Layer4`], [`Zone`] | one direction of a session, and the conntrack zone |
//! | [`Identity`] | what tells sessions apart: the original direction and the zone |
//! | [`Session`] | everything that is replicated of one, or of an expectation |
//! | [`Delta`], [`KernelEvent`] | what a notification says: only what has changed |
//! | [`join`] | what two concurrent changes of the same session come to |
//!
//! Not here: bytes, who carries a session, netlink.

mod delta;
mod join;
mod session;
mod tuple;

pub use delta::{Delta, EventKind, KernelEvent, Origin};
pub use join::join;
pub use session::{
    Expectation, HELPER_LEN, Proto, SeqAdjust, Session, Status, SynProxy, Tcp, TcpState,
};
pub use tuple::{Direction, Identity, Layer4, Tuple, Zone};

use serde::{Deserialize, Serialize};

/// A node of the pair; the two have different numbers. The one with the lower number begins
/// handshakes and resyncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

/// A run of a node's daemon, drawn at random when it starts: by it the peer knows that what it
/// was told before is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub u64);

/// A VRRP group, by a number that means the same group on both nodes. Each session belongs to one;
/// 0 if there is only one, or none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct GroupTag(pub u8);

impl GroupTag {
    /// That of sessions which belong to all groups, where there are several.
    pub const SHARED: Self = Self(0);
}

/// What a node is for a VRRP group.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Role {
    /// Not known, or there is no such group.
    #[default]
    Unknown,
    /// It waits.
    Backup,
    /// It forwards.
    Active,
}
