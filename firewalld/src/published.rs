//! What the engine shows to those who only read.

use crate::confirmed::{Confirmed, Deadline, Offered};
use crate::snapshot::{Policy, Zones};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;
use twinwall_netlink::dataplane::Counter;

/// The running state, as of the engine's last word.
#[derive(Clone, Debug)]
pub struct Published {
    /// Rises whenever something changes, and once more before counters are about to move from the
    /// kernel's map to `folded`. A reader whose numbers span two values has to read again.
    pub epoch: u64,
    /// Whether counters are moving now.
    pub moving: bool,
    /// Counts up before the first packet is decided by another policy, and again when all are: odd
    /// in between.
    pub switches: u64,
    /// Counts up with every policy that was loaded.
    pub generation: u64,
    /// The running policy.
    pub policy: Arc<Policy>,
    /// Zones by interface.
    pub zones: Arc<Zones>,
    /// When the policy was loaded.
    pub loaded: SystemTime,
    /// When counting began.
    pub since: SystemTime,
    /// By rule, what keys that are gone had counted.
    pub folded: Arc<HashMap<Arc<str>, Counter>>,
    /// The policy that was confirmed last; another one runs while there is a `trial`.
    pub confirmed: Arc<Confirmed>,
    /// Until when the running policy has to be confirmed.
    pub trial: Option<Deadline>,
    /// What became of the peer's policy here.
    pub offered: Option<Arc<Offered>>,
}
