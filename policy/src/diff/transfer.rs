//! What becomes of each key of the old policy.

use super::Installed;
use super::compare::Comparison;
use super::heirs::{Heir, Heirs, Pair};
use super::zones::{ZoneMap, named};
use crate::keys::{KeyIndex, KeyInfo, SessionKey};
use crate::ruleset::{OnChange, RuleIndex, RuleSet};
use crate::zone::ZoneId;
use std::sync::Arc;

/// The name in the key table of a zone whose interfaces have gone different ways. Policy files
/// can't use parentheses.
const SPLIT_ZONE: &str = "(moved)";

/// A new rule between two zones of the new policy.
pub(super) type Place = (RuleIndex, ZoneId, ZoneId);

/// Where the old keys are.
pub(super) struct Transfer {
    /// The new policy's index with the keys that live on.
    pub(super) index: KeyIndex,
    /// Keys that go, and where all sessions of each belong if they belong to one place.
    pub(super) removed: Vec<(SessionKey, Option<Place>)>,
    /// Keys for sessions of former policies, old and new ones.
    pub(super) kept: Vec<(SessionKey, KeyInfo)>,
    /// The new ones among them.
    pub(super) newly_kept: Vec<SessionKey>,
    /// How many keys live on.
    pub(super) unchanged: usize,
}

/// Sorts all keys of the old policy. `index` has none yet.
pub(super) fn transfer(
    old: &Installed,
    new: &RuleSet,
    zones: &ZoneMap,
    comparison: &Comparison<'_>,
    index: KeyIndex,
) -> Transfer {
    let mut sorter = Sorter {
        old,
        new,
        zones,
        sorted: Transfer {
            index,
            removed: Vec::new(),
            kept: Vec::new(),
            newly_kept: Vec::new(),
            unchanged: 0,
        },
    };
    let heirs = Heirs::new(old.rules(), new, comparison);
    let mut pairs = Vec::new();
    for (place, rule) in (0u32..).zip(&old.rules().rules) {
        let setting = comparison.renewed(rule, place).map_or(rule.on_change, |new| new.on_change);
        let keys = old.index().pairs(RuleIndex(place));
        pairs.extend(keys.filter_map(|(from, to, key)| Some(Pair { from, to, key: key? })));
        pairs.retain(|pair| {
            let whole = zones.image(pair.from).and(zones.image(pair.to)).is_some();
            if !whole {
                sorter.gone(pair.key, setting, None);
            }
            whole
        });
        heirs.of_rule(place, &mut pairs, |pair, heir| sorter.inherit(pair, setting, heir));
    }
    for (key, info) in old.table().without_rule(old.policy_known()) {
        let named = comparison.named(&info.rule);
        sorter.gone(key, named.map_or(info.on_change, |rule| rule.on_change), None);
    }
    sorter.sorted
}

struct Sorter<'a> {
    old: &'a Installed,
    new: &'a RuleSet,
    zones: &'a ZoneMap,
    sorted: Transfer,
}

impl Sorter<'_> {
    /// A key of the old policy whose zones are still whole.
    fn inherit(&mut self, pair: Pair, setting: OnChange, heir: Heir) {
        let images = self.zones.image(pair.from).zip(self.zones.image(pair.to));
        let same_names = self.zones.keeps_name(pair.from) && self.zones.keeps_name(pair.to);
        match (heir, images) {
            (Heir::Itself(rule), Some((from, to)))
                if same_names && self.sorted.index.set(rule, from, to, pair.key) =>
            {
                self.sorted.unchanged += 1;
            }
            (Heir::Itself(rule) | Heir::Other(rule), Some((from, to))) => {
                self.gone(pair.key, setting, Some((rule, from, to)));
            }
            _ => self.gone(pair.key, setting, None),
        }
    }

    /// A key that no new session gets.
    fn gone(&mut self, key: SessionKey, setting: OnChange, heir: Option<Place>) {
        let info = if setting == OnChange::Keep { self.old.table().info(key) } else { None };
        match info.filter(|info| info.action.passes()) {
            Some(info) => {
                if !info.kept {
                    self.sorted.newly_kept.push(key);
                }
                let (from, to) = (self.renamed(&info.from), self.renamed(&info.to));
                // What it says itself counts once there is no rule of its name.
                let on_change = OnChange::Keep;
                let info = KeyInfo { from, to, on_change, kept: true, ..info };
                self.sorted.kept.push((key, info));
            }
            None => {
                let heir = heir.filter(|_| setting != OnChange::Terminate);
                self.sorted.removed.push((key, heir));
            }
        }
    }

    /// What an old zone is called now.
    fn renamed(&self, zone: &Arc<str>) -> Arc<str> {
        let Some(old) = named(&self.old.rules().zones, zone) else { return Arc::clone(zone) };
        let image = self.zones.image(old).map(ZoneId::index);
        match image.and_then(|image| self.new.zones.get(usize::from(image))) {
            Some(image) => Arc::clone(&image.name),
            None => SPLIT_ZONE.into(),
        }
    }
}
