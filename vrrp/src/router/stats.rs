//! What a virtual router has heard and counted.

use super::{Phase, Received, Router};
use crate::status::RouterStatus;
use crate::time::Timestamp;
use crate::types::{Centiseconds, Priority};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Another router, as its last advert showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Its address.
    pub from: IpAddr,
    /// Its priority; zero if it gave up.
    pub priority: Priority,
    /// Its interval.
    pub interval: Centiseconds,
    /// When the advert came.
    pub at: Timestamp,
}

impl Heard {
    pub(super) fn new(advert: &Received, at: Timestamp) -> Self {
        let Received { from, priority, interval } = *advert;
        Self { from, priority, interval, at }
    }

    /// Whether less than three of its intervals have passed since.
    #[must_use]
    pub fn alive(&self, now: Timestamp) -> bool {
        now.since(self.at) < self.interval.duration() * 3
    }
}

/// Counts of adverts since the virtual router was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adverts {
    /// Sent, those of priority 0 included.
    pub sent: u64,
    /// Sent with priority 0.
    pub sent_resign: u64,
    /// Sent more than one interval late.
    pub late: u64,
    /// Received and not discarded, those of priority 0 included.
    pub received: u64,
    /// Received with priority 0.
    pub received_resign: u64,
    /// Expected of the active router while this one was Backup, and not received.
    pub missed: u64,
}

impl Router {
    /// A snapshot.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> RouterStatus {
        let config = &self.config;
        RouterStatus {
            id: self.id,
            name: config.name.clone(),
            interface: config.interface,
            vrid: config.vrid,
            family: config.family(),
            mac: self.mac(),
            addresses: config.addresses.as_slice().to_vec(),
            primary: self.primary,
            state: self.state(),
            since: self.since,
            why: self.why,
            interval: config.interval,
            active_interval: match &self.phase {
                Phase::Backup(backup) => Some(backup.interval),
                Phase::Initialize(_) | Phase::Active(_) => None,
            },
            preemption: self.preemption(now),
            accepts: self.accepts(),
            heard: self.heard,
            heard_ago: self.heard.map(|heard| now.since(heard.at)),
            peer: self.peer,
            adverts: self.adverts,
            takeovers: self.takeovers,
            warnings: self.warnings.rows(),
            next_deadline: self.next_deadline(),
        }
    }
}
