//! Where the zones of the old policy are in the new one.
//!
//! The names and patterns of both policies cut the interface names into pieces; within a piece all
//! interfaces are in one zone before and in one after. A pattern itself, taken as a name, stands
//! for the piece of names that it is the longest pattern for.

use crate::interfaces::InterfaceZones;
use crate::ruleset::{NatRule, RuleSet, Zone};
use crate::zone::{ZoneId, ZoneSet};
use std::sync::Arc;

/// Old zones to new ones.
pub(super) struct ZoneMap {
    /// By index of the old zone.
    images: Vec<Option<ZoneId>>,
    /// Old zones whose image is called the same.
    same_name: ZoneSet,
    /// Whether every old zone is its own image.
    identity: bool,
}

impl ZoneMap {
    pub(super) fn new(old: &[Zone], new: &[Zone]) -> Self {
        let before = InterfaceZones::new(old);
        let after = InterfaceZones::new(new);
        let mut after_by_zone = vec![ZoneSet::EMPTY; old.len().min(usize::from(ZoneId::LIMIT))];
        let everything_else: Arc<str> = "*".into();
        let pieces = old.iter().chain(new).flat_map(|zone| &zone.interfaces);
        for piece in pieces.chain(std::iter::once(&everything_else)) {
            let zone = usize::from(before.zone(piece).index());
            if let Some(images) = after_by_zone.get_mut(zone) {
                *images = images.with(after.zone(piece));
            }
        }
        let mut map = Self { images: Vec::new(), same_name: ZoneSet::EMPTY, identity: true };
        for ((index, zone), images) in (0u8..).zip(old).zip(after_by_zone) {
            let Some(id) = ZoneId::new(index) else { break };
            let mut all = images.iter();
            let image = match (all.next(), all.next()) {
                (Some(image), None) => Some(image),
                // The gateway itself, or a zone without interfaces.
                (None, _) => named(new, &zone.name),
                _ => None,
            };
            let image = image.filter(|image| usize::from(image.index()) < new.len());
            let name = image.and_then(|image| new.get(usize::from(image.index())));
            if name.is_some_and(|image| image.name == zone.name) {
                map.same_name = map.same_name.with(id);
            }
            map.identity &= image == Some(id);
            map.images.push(image);
        }
        map
    }

    /// The zone of the new policy that the interfaces of this old zone are in; `None` when they
    /// have gone different ways.
    pub(super) fn image(&self, old: ZoneId) -> Option<ZoneId> {
        self.images.get(usize::from(old.index())).copied().flatten()
    }

    /// The old zones whose images are in the set.
    pub(super) fn preimage(&self, new: ZoneSet) -> ZoneSet {
        let old = ZoneSet::first(self.images.len());
        if self.identity {
            return new.and(old);
        }
        old.iter()
            .filter(|zone| self.image(*zone).is_some_and(|image| new.contains(image)))
            .fold(ZoneSet::EMPTY, ZoneSet::with)
    }

    /// Whether this old zone's image is called the same.
    pub(super) fn keeps_name(&self, old: ZoneId) -> bool {
        self.same_name.contains(old)
    }

    /// The images by the old zones' names.
    pub(super) fn by_name(&self, old: &[Zone]) -> Vec<(Arc<str>, Option<ZoneId>)> {
        let names = old.iter().map(|zone| Arc::clone(&zone.name));
        names.zip(self.images.iter().copied()).collect()
    }

    /// Whether the NAT rules of two policies can translate a packet differently, or match other
    /// interfaces.
    pub(super) fn nat_differs(&self, old: &RuleSet, new: &RuleSet) -> bool {
        if old.nat.is_empty() && new.nat.is_empty() {
            return false;
        }
        let same_zones = self.identity
            && old.zones.len() == new.zones.len()
            && old.zones.iter().zip(&new.zones).all(|(a, b)| a.interfaces == b.interfaces);
        !same_zones
            || old.nat.len() != new.nat.len()
            || old.nat.iter().zip(&new.nat).any(|(a, b)| !same_translation(a, b))
    }
}

/// The zone of a name.
pub(super) fn named(zones: &[Zone], name: &str) -> Option<ZoneId> {
    let index = zones.iter().position(|zone| zone.name.as_ref() == name)?;
    u8::try_from(index).ok().and_then(ZoneId::new)
}

/// Whether two NAT rules do the same, whatever they are called.
fn same_translation(a: &NatRule, b: &NatRule) -> bool {
    a.from == b.from
        && a.to == b.to
        && a.src == b.src
        && a.dst == b.dst
        && a.services == b.services
        && a.families == b.families
        && a.translation == b.translation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(named: &[(&str, &[&str])]) -> Vec<Zone> {
        let fixed = [("(outside)", &[][..]), ("self", &[][..])];
        let all = fixed.iter().chain(named);
        all.map(|(name, interfaces)| Zone {
            name: (*name).into(),
            interfaces: interfaces.iter().map(|interface| (*interface).into()).collect(),
        })
        .collect()
    }

    /// The image of an old zone by name.
    fn image(old: &[Zone], new: &[Zone], name: &str) -> Option<String> {
        let image = ZoneMap::new(old, new).image(named(old, name).unwrap());
        image.map(|zone| new[usize::from(zone.index())].name.to_string())
    }

    #[test]
    fn renumbered_zones_are_found_by_their_interfaces() {
        let old = zones(&[("lan", &["eth1"]), ("wan", &["eth0"])]);
        let new = zones(&[("wan", &["eth0"]), ("inside", &["eth1"])]);
        assert_eq!(image(&old, &new, "lan").as_deref(), Some("inside"));
        assert_eq!(image(&old, &new, "wan").as_deref(), Some("wan"));
        assert_eq!(image(&old, &new, "self").as_deref(), Some("self"));
        assert_eq!(image(&old, &new, "(outside)").as_deref(), Some("(outside)"));
        let map = ZoneMap::new(&old, &new);
        assert!(!map.keeps_name(named(&old, "lan").unwrap()));
        assert!(map.keeps_name(named(&old, "wan").unwrap()));
    }

    #[test]
    fn zone_that_lost_an_interface_has_no_image() {
        let old = zones(&[("lan", &["eth1", "eth2"])]);
        let new = zones(&[("lan", &["eth1"]), ("dmz", &["eth2"])]);
        assert_eq!(image(&old, &new, "lan"), None);
        let narrower = zones(&[("lan", &["eth1"])]);
        assert_eq!(image(&old, &narrower, "lan"), None);
        assert_eq!(image(&narrower, &old, "lan").as_deref(), Some("lan"));
        // eth2 was outside before.
        assert_eq!(image(&narrower, &old, "(outside)"), None);
    }

    #[test]
    fn longer_pattern_of_another_zone_splits_a_pattern() {
        let old = zones(&[("lan", &["vlan1*"])]);
        let new = zones(&[("lan", &["vlan1*"]), ("guest", &["vlan15"])]);
        assert_eq!(image(&old, &new, "lan"), None);
        assert_eq!(image(&old, &new, "(outside)").as_deref(), Some("(outside)"));
        // What it splits was split before.
        assert_eq!(image(&new, &new, "lan").as_deref(), Some("lan"));
    }

    #[test]
    fn removed_zone_goes_outside_or_where_its_interfaces_go() {
        let old = zones(&[("dmz", &["eth2"]), ("lan", &["eth1"])]);
        assert_eq!(image(&old, &zones(&[("lan", &["eth1"])]), "dmz").as_deref(), Some("(outside)"));
        let joined = zones(&[("lan", &["eth1", "eth2"])]);
        assert_eq!(image(&old, &joined, "dmz").as_deref(), Some("lan"));
    }
}
