//! What the workers read: the running policy in the form that classifies, and which interface is
//! in which zone.

use crate::macvlan;
use std::collections::HashMap;
use std::sync::Arc;
use twinwall_netlink::link::Link;
use twinwall_netlink::sys;
use twinwall_policy::classify::{Classifier, TupleHash};
use twinwall_policy::diff::Installed;
use twinwall_policy::flow::Flow;
use twinwall_policy::interfaces::InterfaceZones;
use twinwall_policy::keys::SessionKey;
use twinwall_policy::ruleset::Rule;
use twinwall_policy::zone::ZoneId;

/// Everything that a verdict is made from.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The running policy.
    pub policy: Arc<Policy>,
    /// Its zones on this gateway's interfaces.
    pub zones: Arc<Zones>,
}

/// A policy that can classify.
#[derive(Debug)]
pub struct Policy {
    /// Rules and keys.
    pub installed: Arc<Installed>,
    /// The engine.
    pub classifier: TupleHash,
    /// The policy before, for sessions that the last reload's sweep hasn't come to yet.
    pub previous: Option<Arc<Installed>>,
    /// Its generation.
    pub generation: u64,
}

/// How a flow is decided.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// The key that its session gets.
    pub key: SessionKey,
    /// The rule.
    pub rule: &'a Rule,
}

impl Policy {
    /// The engine's hash seeds: fixed, so that a policy behaves alike on every start. Addresses
    /// are verified on each hit, and a rule's entries are bounded, so chosen addresses gain
    /// nothing.
    const SEEDS: [u64; 4] = [
        0x7477_696e_7761_6c6c,
        0x636c_6173_7369_6679,
        0x7475_706c_6568_6173,
        0x6669_7265_7761_6c6c,
    ];

    /// Builds the engine of a policy.
    #[must_use]
    pub fn new(
        generation: u64,
        installed: Arc<Installed>,
        previous: Option<Arc<Installed>>,
    ) -> Self {
        let classifier = TupleHash::new(installed.rules(), Self::SEEDS);
        Self { installed, classifier, previous, generation }
    }

    /// Decides a flow. A compiled policy decides every one; `None` stands for a zone that the
    /// policy doesn't know.
    #[must_use]
    pub fn decide(&self, flow: &Flow) -> Option<Decided<'_>> {
        let index = self.classifier.classify(flow)?;
        let rule = self.installed.rules().rules.get(index.0 as usize)?;
        let key = self.installed.key(index, flow.from, flow.to)?;
        Some(Decided { key, rule })
    }

    /// The zones that a key of this policy or the one before stands for.
    #[must_use]
    pub fn zones_of(&self, key: SessionKey) -> Option<(ZoneId, ZoneId)> {
        let previous = || self.previous.as_ref()?.table().info(key);
        let info = self.installed.table().info(key).or_else(previous)?;
        let zone = |name: &str| self.installed.zone_of(name).unwrap_or(ZoneId::OUTSIDE);
        Some((zone(&info.from), zone(&info.to)))
    }
}

/// Interface index to zone.
#[derive(Debug)]
pub struct Zones {
    finder: InterfaceZones,
    by_index: HashMap<u32, (String, ZoneId)>,
}

impl Zones {
    /// The zones of the interfaces that are there.
    #[must_use]
    pub fn new(finder: InterfaceZones, links: &[Link]) -> Self {
        let by_index = links
            .iter()
            .map(|link| (link.index, (link.name.clone(), macvlan::zone(link, links, &finder))))
            .collect();
        Self { finder, by_index }
    }

    /// The zone of an interface. One that came up just now and isn't in the table yet is looked up
    /// by name.
    #[must_use]
    pub fn of(&self, index: u32) -> ZoneId {
        let by_name = || sys::interface_name(index).map(|name| self.finder.zone(&name));
        let known = self.by_index.get(&index).map(|(_, zone)| *zone);
        known.or_else(by_name).unwrap_or(ZoneId::OUTSIDE)
    }

    /// The interfaces that were there, by name, with their zones.
    #[must_use]
    pub fn named(&self) -> Vec<(&str, ZoneId)> {
        let mut named: Vec<_> =
            self.by_index.values().map(|(name, zone)| (name.as_str(), *zone)).collect();
        named.sort_unstable();
        named
    }
}
