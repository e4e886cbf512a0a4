//! Policies in the simulation: what a host keeps on its disk, confirmations at random, and what
//! becomes of offers.

use super::host::{Host, time};
use super::{Due, MS, Nanos, Side, World};
use std::sync::Arc;
use twinwall_ctsync::offer::{Delivery, Local, Outcome, PolicyVersion, Verdict, digest, stamp};

/// Bytes of a policy at most: some hundred parts.
const LONGEST: u64 = 200_000;

/// What outlives a daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) version: Option<PolicyVersion>,
    text: Arc<[u8]>,
    confirmed: u64,
    /// How far this host's clock is ahead, in milliseconds.
    ahead: u64,
}

impl Disk {
    pub(crate) fn new(side: Side) -> Self {
        // One clock is an hour fast.
        Self { ahead: if side == Side::A { 3_600_000 } else { 0 }, ..Self::default() }
    }

    fn local(&self) -> Local {
        Local {
            version: self.version,
            text: Arc::clone(&self.text),
            generation: self.confirmed,
            name: "simulated".into(),
            trial: false,
            digest: None,
        }
    }
}

impl Host {
    /// The daemon tells what it has.
    pub(crate) fn tell_disk(&mut self, now: Nanos) {
        let local = self.disk.local();
        self.verb(|node, _| node.set_local_policy(time(now), local));
    }
}

impl World {
    /// An operator confirms a policy on a host.
    pub(crate) fn confirm(&mut self) {
        let Some(side) = self.rng.pick(Side::BOTH) else { return };
        let len = self.rng.below(LONGEST);
        let seed = self.rng.next();
        self.confirm_on(side, len, seed);
    }

    pub(crate) fn confirm_on(&mut self, side: Side, len: u64, seed: u64) {
        let now = self.now;
        let host = self.host_mut(side);
        let Some(node) = &host.node else { return };
        let text: Vec<u8> = (0..len).map(|at| (at.wrapping_mul(seed) >> 32) as u8).collect();
        let known = host.disk.version.map(|version| version.stamp);
        let wall = now / MS + host.disk.ahead;
        let stamp = stamp(wall, known.into_iter().chain([node.latest_stamp()]));
        let version = PolicyVersion { stamp, digest: digest(&text) };
        host.disk.version = Some(version);
        host.disk.text = text.into();
        host.disk.confirmed += 1;
        host.tell_disk(now);
        self.newest = self.newest.max(Some(version));
        self.summary.confirmed += 1;
        self.trace(|| format!("{side:?} confirms {len} bytes, stamp {stamp}"));
    }

    /// Hands offers that have arrived to those who load policies, which takes a while.
    pub(crate) fn look_at_offers(&mut self) {
        for side in Side::BOTH {
            let boot = self.host(side).starts;
            let Some(node) = &mut self.host_mut(side).node else { continue };
            if let Some(delivery) = node.take_offer() {
                let after = self.rng.below(50 * MS);
                self.schedule(after, Due::Load { side, boot, delivery });
            }
        }
    }

    pub(crate) fn load(&mut self, side: Side, delivery: Delivery) -> Result<(), String> {
        let now = self.now;
        let host = self.host_mut(side);
        let Delivery { version, text, .. } = delivery;
        let newer = Some(version) > host.disk.version;
        if newer {
            let text = text.map_or_else(|| Arc::clone(&host.disk.text), Arc::from);
            if digest(&text) != version.digest {
                return Err(format!("{side:?}: the text of {version:?} is another one"));
            }
            (host.disk.version, host.disk.text) = (Some(version), text);
            host.tell_disk(now);
        }
        let outcome = if newer { Outcome::Taken } else { Outcome::Refused };
        let verdict = Verdict { version, outcome, reason: String::new() };
        self.host_mut(side).verb(|node, _| node.offer_decided(time(now), verdict));
        self.summary.taken += u64::from(newer);
        self.trace(|| format!("{side:?} takes stamp {}: {newer}", version.stamp));
        Ok(())
    }

    /// In what the hosts' policies differ.
    pub(crate) fn policies_differ(&self) -> Option<String> {
        let [a, b] = &self.hosts;
        let versions = [a.disk.version, b.disk.version];
        let settled = [a, b].iter().all(|host| {
            host.node.as_ref().is_some_and(|node| node.is_policy_settled(time(self.now)))
        });
        (versions != [self.newest; 2] || !settled)
            .then(|| format!("policies: {versions:?}, newest {:?}, {settled}", self.newest))
    }
}
