//! Which policy the nodes of a pair have. Field names are stable: scripts read them.

use serde::{Deserialize, Serialize};

/// The policies of both nodes. Without session replication only this node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// This node's policy: the last one that was confirmed.
    pub here: Version,
    /// The policy that runs here until it is confirmed or `ends_in_ms` is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// The peer's, as it was last heard; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<Version>,
    /// Whether both are the same; `null` when the peer's isn't known.
    pub same: Option<bool>,
    /// What became of this node's policy on the peer; absent without a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Outcome>,
    /// What became of the peer's policy here; absent if it has offered none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Outcome>,
}

/// A node's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The node's own count of policies that it has loaded.
    pub generation: u64,
    /// The policy's name.
    pub policy: String,
    /// A digest of its text; `null` where that isn't known.
    pub digest: Option<String>,
    /// When it was confirmed, RFC 3339; `null` if it was only found at a start. The later
    /// confirmation wins on the pair.
    pub confirmed: Option<String>,
    /// Whether it came from the other node; absent where that isn't known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_peer: Option<bool>,
    /// Whether the node runs another one, which waits for its confirmation.
    pub trial: bool,
}

/// A policy that isn't confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Milliseconds until the policy before comes back.
    pub ends_in_ms: u64,
    /// The policy that runs until then.
    pub policy: String,
}

/// What became of an offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// `taken`, `held` (until an operator takes it), `refused`, `pending` (on its way, or being
    /// loaded), `waiting` (until what is being tried there is confirmed or gone), `unreachable`
    /// (will be offered when the peer is back), `none` (nothing to offer), `superseded` (the other
    /// node has a newer one).
    pub state: String,
    /// Why, or how far it is; may be empty.
    pub reason: String,
    /// When the policy was confirmed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
    /// The policy's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// How a confirmation went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The generation that is confirmed.
    pub generation: u64,
    /// Its name.
    pub policy: String,
    /// A digest of its text.
    pub digest: String,
    /// What became of it on the peer; absent without session replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Outcome>,
}
