//! Zones: names to ids, and which interfaces they have.

use super::table::{duplicate_name, unknown};
use crate::diag::{Fault, Faults, codes, suggest};
use crate::ruleset;
use crate::source::Span;
use crate::syntax::{Draft, Word};
use crate::yaml::Node;
use crate::zone::{ZoneId, ZoneSet};
use ahash::AHashMap;

/// Zones that a message lists.
const SHOWN: usize = 8;

/// The zones of a policy by name.
pub(crate) struct Zones<'t> {
    index: AHashMap<&'t str, (ZoneId, Span)>,
    /// The named zones, in order.
    names: Vec<&'t str>,
}

impl<'t> Zones<'t> {
    /// The most zones that a policy can name.
    pub(crate) const LIMIT: usize = (ZoneId::LIMIT - ZoneId::FIRST_NAMED) as usize;

    pub(super) fn new(draft: &Draft<'t>, faults: &mut Faults) -> Self {
        let mut zones = Self { index: AHashMap::new(), names: Vec::new() };
        for zone in &draft.zones {
            if let Some((_, first)) = zones.index.get(zone.name.text) {
                faults.push(duplicate_name("zone", zone.name, *first));
                continue;
            }
            let next = usize::from(ZoneId::FIRST_NAMED) + zones.names.len();
            let Some(id) = u8::try_from(next).ok().and_then(ZoneId::new) else {
                let message = format!("more than {} zones", Self::LIMIT);
                faults.push(
                    Fault::error(codes::TOO_MANY, message).at(zone.name.span, "one too many"),
                );
                break;
            };
            zones.index.insert(zone.name.text, (id, zone.name.span));
            zones.names.push(zone.name.text);
        }
        interfaces(draft, faults);
        zones
    }

    /// The zone of a name, `self` included.
    pub(crate) fn get(&self, name: &str) -> Option<ZoneId> {
        if name == "self" {
            return Some(ZoneId::SELF);
        }
        self.index.get(name).map(|(id, _)| *id)
    }

    /// The zones that the policy names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (ZoneId, &'t str)> {
        let ids = (ZoneId::FIRST_NAMED..ZoneId::LIMIT).filter_map(ZoneId::new);
        ids.zip(self.names.iter().copied())
    }

    /// The set of a list of names; `any` stands for `any_set`, and so does an empty list.
    pub(super) fn set(&self, nodes: &[Node<'_>], any: ZoneSet, faults: &mut Faults) -> ZoneSet {
        if nodes.is_empty() {
            return any;
        }
        let mut set = ZoneSet::EMPTY;
        for word in nodes.iter().filter_map(Word::of) {
            if word.text == "any" {
                set = any.iter().fold(set, ZoneSet::with);
            } else if let Some(zone) = self.get(word.text) {
                set = set.with(zone);
            } else {
                faults.push(self.unknown(word));
            }
        }
        set
    }

    /// The fault of a zone that is not defined.
    pub(crate) fn unknown(&self, word: Word<'_>) -> Fault {
        let fault = unknown(codes::UNKNOWN_ZONE, "zone", word, "not in zones");
        let names = self.names.iter().copied().chain(["any", "self"]);
        match suggest::nearest(word.text, names) {
            Some(near) => fault.did_you_mean(near, self.index.get(near).map(|(_, span)| *span)),
            None if self.names.len() <= SHOWN => {
                let names = self.names.iter().copied().chain(["self", "any"]);
                fault.help(format!("can be: {}", names.collect::<Vec<_>>().join(", ")))
            }
            None => fault,
        }
    }

    /// The zones as the rule set has them.
    pub(super) fn compiled(&self, draft: &Draft<'t>) -> Vec<ruleset::Zone> {
        let built_in = ["(outside)", "self"];
        let mut zones: Vec<_> = built_in
            .iter()
            .map(|name| ruleset::Zone { name: (*name).into(), interfaces: Vec::new() })
            .collect();
        zones.extend(draft.zones.iter().take(self.names.len()).map(|zone| ruleset::Zone {
            name: zone.name.text.into(),
            interfaces: zone.interfaces.iter().map(|word| word.text.into()).collect(),
        }));
        zones
    }
}

/// An interface pattern belongs to one zone.
fn interfaces(draft: &Draft<'_>, faults: &mut Faults) {
    let mut seen: AHashMap<&str, (Span, &str)> = AHashMap::new();
    for zone in &draft.zones {
        for word in &zone.interfaces {
            let Some((first, other)) = seen.insert(word.text, (word.span, zone.name.text)) else {
                continue;
            };
            seen.insert(word.text, (first, other));
            let message = format!("the interface `{}` is in two zones", word.text);
            let message = if other == zone.name.text {
                format!("the interface `{}` is listed twice", word.text)
            } else {
                message
            };
            let fault = Fault::error(codes::DUPLICATE_INTERFACE, message);
            let fault = fault.at(word.span, format!("in zone `{}`", zone.name.text));
            faults.push(fault.at(first, format!("in zone `{other}`")));
        }
    }
}
