//! What each session key stands for.
//!
//! Kept as a sorted list of small entries; what the keys of a rule have in common is written once.
//! A table of 100,000 keys takes about 2 MB besides the names.

use super::{KeyIndex, KeyInfo, SessionKey, policy_digest};
use crate::ruleset::{Action, OnChange, Rule, RuleIndex, RuleSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Key to what it stands for: the keys of a policy, and those kept for sessions of former ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTable {
    policy: Option<u128>,
    zones: Vec<Arc<str>>,
    owners: Vec<Owner>,
    /// Sorted by key.
    entries: Vec<Entry>,
}

/// What the keys of one rule have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) rule: Arc<str>,
    pub(super) meaning: u128,
    pub(super) action: Action,
    pub(super) on_change: OnChange,
    pub(super) kept: bool,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) key: SessionKey,
    /// Index of an owner.
    pub(super) owner: u32,
    /// Index of a zone's name.
    pub(super) from: u32,
    /// Index of a zone's name.
    pub(super) to: u32,
}

impl KeyTable {
    /// The digest of the policy that all keys but the kept ones belong to, see
    /// [`policy_digest`]. `None` for a table that no single policy made.
    #[must_use]
    pub fn policy(&self) -> Option<u128> {
        self.policy
    }

    /// How many keys there are, kept ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the key is in the table.
    #[must_use]
    pub fn contains(&self, key: SessionKey) -> bool {
        self.entry(key).is_some()
    }

    /// What the key stands for.
    #[must_use]
    pub fn info(&self, key: SessionKey) -> Option<KeyInfo> {
        self.entry(key).and_then(|entry| self.describe(entry))
    }

    /// All keys with what they stand for, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = (SessionKey, KeyInfo)> {
        self.entries.iter().filter_map(|entry| Some((entry.key, self.describe(entry)?)))
    }

    /// The keys of former policies that live on for their sessions, in rising order.
    pub fn kept(&self) -> impl Iterator<Item = SessionKey> {
        self.entries.iter().filter(|entry| self.is_kept(entry)).map(|entry| entry.key)
    }

    /// Whether the key belongs to a former policy and lives on for its sessions.
    #[must_use]
    pub fn keeps(&self, key: SessionKey) -> bool {
        self.entry(key).is_some_and(|entry| self.is_kept(entry))
    }

    /// The table of a policy whose keys are all in the index, and kept keys of former policies.
    /// Rules and owners have the same indices, zones and names of zones too.
    pub(crate) fn of_policy(
        rules: &RuleSet,
        meanings: &[u128],
        index: &KeyIndex,
        kept: impl IntoIterator<Item = (SessionKey, KeyInfo)>,
    ) -> Self {
        let mut builder = TableBuilder::default();
        for zone in &rules.zones {
            builder.zone(&zone.name);
        }
        for (rule, meaning) in rules.rules.iter().zip(meanings) {
            builder.table.owners.push(Owner::of_rule(rule, *meaning));
        }
        for owner in 0..index.rules() {
            for (from, to, key) in index.pairs(RuleIndex(owner)) {
                if let Some(key) = key {
                    let (from, to) = (u32::from(from.index()), u32::from(to.index()));
                    builder.table.entries.push(Entry { key, owner, from, to });
                }
            }
        }
        for (key, info) in kept {
            builder.push(key, &info);
        }
        builder.table.policy = Some(policy_digest(rules, meanings.iter().copied()));
        builder.finish()
    }

    /// The keys that no rule of the policy stands behind: kept ones, and all if it isn't known.
    pub(crate) fn without_rule(
        &self,
        policy_known: bool,
    ) -> impl Iterator<Item = (SessionKey, KeyInfo)> {
        let entries = self.entries.iter().filter(move |entry| !policy_known || self.is_kept(entry));
        entries.filter_map(|entry| Some((entry.key, self.describe(entry)?)))
    }

    /// The meaning of a rule, in a table that was made by [`Self::of_policy`].
    pub(crate) fn meaning_of(&self, rule: RuleIndex) -> Option<u128> {
        self.owners.get(usize::try_from(rule.0).ok()?).map(|owner| owner.meaning)
    }

    /// The largest key.
    pub(crate) fn largest(&self) -> Option<SessionKey> {
        self.entries.last().map(|entry| entry.key)
    }

    /// This table without some keys.
    pub(crate) fn without(&self, keys: &[SessionKey]) -> Self {
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        let mut left = self.clone();
        left.entries.retain(|entry| sorted.binary_search(&entry.key).is_err());
        left
    }

    /// This table and further keys. No single policy made it.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = (SessionKey, KeyInfo)>) -> Self {
        let mut builder = TableBuilder::from(self.clone());
        for (key, info) in more {
            builder.push(key, &info);
        }
        builder.table.policy = None;
        builder.finish()
    }

    /// The names that entries refer to by index.
    pub(super) fn zone_names(&self) -> &[Arc<str>] {
        &self.zones
    }

    /// A key that is in the table twice.
    pub(super) fn duplicate(&self) -> Option<SessionKey> {
        let neighbours = self.entries.iter().zip(self.entries.iter().skip(1));
        neighbours.into_iter().find(|(a, b)| a.key == b.key).map(|(a, _)| a.key)
    }

    /// Owners that have keys, each with its entries.
    pub(super) fn by_owner(&self) -> impl Iterator<Item = (&Owner, Vec<Entry>)> {
        let mut entries = self.entries.clone();
        entries.sort_by_key(|entry| entry.owner);
        let mut entries = entries.into_iter().peekable();
        std::iter::from_fn(move || {
            let owner = entries.peek()?.owner;
            let own: Vec<_> =
                std::iter::from_fn(|| entries.next_if(|entry| entry.owner == owner)).collect();
            let owner = self.owners.get(usize::try_from(owner).ok()?)?;
            Some((owner, own))
        })
    }

    fn entry(&self, key: SessionKey) -> Option<&Entry> {
        let place = self.entries.binary_search_by_key(&key, |entry| entry.key).ok()?;
        self.entries.get(place)
    }

    fn owner(&self, entry: &Entry) -> Option<&Owner> {
        self.owners.get(usize::try_from(entry.owner).ok()?)
    }

    fn is_kept(&self, entry: &Entry) -> bool {
        self.owner(entry).is_some_and(|owner| owner.kept)
    }

    fn describe(&self, entry: &Entry) -> Option<KeyInfo> {
        let owner = self.owner(entry)?;
        Some(KeyInfo {
            rule: Arc::clone(&owner.rule),
            meaning: owner.meaning,
            action: owner.action,
            on_change: owner.on_change,
            from: Arc::clone(self.zones.get(usize::try_from(entry.from).ok()?)?),
            to: Arc::clone(self.zones.get(usize::try_from(entry.to).ok()?)?),
            kept: owner.kept,
        })
    }
}

impl Owner {
    fn of_rule(rule: &Rule, meaning: u128) -> Self {
        Self {
            rule: Arc::clone(&rule.name),
            meaning,
            action: rule.action,
            on_change: rule.on_change,
            kept: false,
        }
    }

    fn is_of(&self, info: &KeyInfo) -> bool {
        self.rule == info.rule
            && self.meaning == info.meaning
            && self.action == info.action
            && self.on_change == info.on_change
            && self.kept == info.kept
    }
}

/// A table to which keys are still added.
#[derive(Default)]
pub(crate) struct TableBuilder {
    table: KeyTable,
    zones: BTreeMap<Arc<str>, u32>,
}

impl From<KeyTable> for TableBuilder {
    fn from(table: KeyTable) -> Self {
        let zones =
            (0..).zip(&table.zones).map(|(index, name)| (Arc::clone(name), index)).collect();
        Self { table, zones }
    }
}

impl TableBuilder {
    /// The digest of the policy that made the keys.
    pub(crate) fn policy(&mut self, policy: Option<u128>) {
        self.table.policy = policy;
    }

    /// Adds a key. Those of one rule should come one after the other.
    pub(crate) fn push(&mut self, key: SessionKey, info: &KeyInfo) {
        if !self.table.owners.last().is_some_and(|owner| owner.is_of(info)) {
            self.table.owners.push(Owner {
                rule: Arc::clone(&info.rule),
                meaning: info.meaning,
                action: info.action,
                on_change: info.on_change,
                kept: info.kept,
            });
        }
        let owner = (self.table.owners.len() - 1) as u32;
        let (from, to) = (self.zone(&info.from), self.zone(&info.to));
        self.table.entries.push(Entry { key, owner, from, to });
    }

    /// The table.
    pub(crate) fn finish(mut self) -> KeyTable {
        self.table.entries.sort_unstable();
        self.table
    }

    /// The index of a zone's name; new names are added at the end.
    pub(super) fn zone(&mut self, name: &Arc<str>) -> u32 {
        if let Some(index) = self.zones.get(name) {
            return *index;
        }
        let index = self.table.zones.len() as u32;
        self.table.zones.push(Arc::clone(name));
        self.zones.insert(Arc::clone(name), index);
        index
    }
}
