//! The zone of an interface, by its name.
//!
//! Goes in: the zones of a policy. Comes out: a table that answers for any interface name. Not
//! here: which interfaces exist.

use crate::ruleset::Zone;
use crate::zone::ZoneId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Interface names and patterns with their zones.
#[derive(Clone, Debug, Default)]
pub struct InterfaceZones {
    exact: BTreeMap<Arc<str>, ZoneId>,
    /// Patterns without their `*`.
    patterns: BTreeMap<Box<str>, ZoneId>,
}

impl InterfaceZones {
    /// The table of these zones, whose indices are their [`ZoneId`]s. Where two zones list the
    /// same name or pattern, the first has it. Zones past [`ZoneId::LIMIT`] are left out.
    #[must_use]
    pub fn new(zones: &[Zone]) -> Self {
        let mut table = Self::default();
        let zones = (0u8..).map_while(ZoneId::new).zip(zones);
        for (id, interface) in
            zones.flat_map(|(id, zone)| zone.interfaces.iter().map(move |name| (id, name)))
        {
            match interface.strip_suffix('*') {
                Some(prefix) => table.patterns.entry(prefix.into()).or_insert(id),
                None => table.exact.entry(Arc::clone(interface)).or_insert(id),
            };
        }
        table
    }

    /// The zone that lists an interface by its very name, if one does.
    #[must_use]
    pub fn named(&self, interface: &str) -> Option<ZoneId> {
        self.exact.get(interface).copied()
    }

    /// The zone of an interface: that of its name, else of the longest pattern that fits, else
    /// [`ZoneId::OUTSIDE`].
    #[must_use]
    pub fn zone(&self, interface: &str) -> ZoneId {
        if let Some(zone) = self.exact.get(interface) {
            return *zone;
        }
        let ends = std::iter::once(interface.len())
            .chain(interface.char_indices().rev().map(|(start, _)| start));
        ends.filter_map(|end| interface.get(..end))
            .find_map(|prefix| self.patterns.get(prefix))
            .copied()
            .unwrap_or(ZoneId::OUTSIDE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(zones: &[&[&str]]) -> InterfaceZones {
        let zones: Vec<Zone> = zones
            .iter()
            .map(|interfaces| Zone {
                name: "".into(),
                interfaces: interfaces.iter().map(|name| (*name).into()).collect(),
            })
            .collect();
        InterfaceZones::new(&zones)
    }

    fn zone(index: u8) -> ZoneId {
        ZoneId::new(index).unwrap()
    }

    #[test]
    fn exact_name_beats_pattern_and_longer_pattern_beats_shorter() {
        let table = table(&[&[], &[], &["vlan*"], &["vlan1*"], &["vlan10"], &["eth0"]]);
        assert_eq!(table.zone("vlan10"), zone(4));
        assert_eq!(table.zone("vlan11"), zone(3));
        assert_eq!(table.zone("vlan1"), zone(3));
        assert_eq!(table.zone("vlan2"), zone(2));
        assert_eq!(table.zone("eth0"), zone(5));
        assert_eq!(table.zone("eth01"), ZoneId::OUTSIDE);
        assert_eq!(table.zone(""), ZoneId::OUTSIDE);
    }

    #[test]
    fn lone_star_takes_every_other_interface() {
        let table = table(&[&[], &[], &["*"], &["eth0"]]);
        assert_eq!(table.zone("eth0"), zone(3));
        assert_eq!(table.zone("ö1"), zone(2));
        assert_eq!(table.zone(""), zone(2));
    }
}
