//! A policy together with its session keys.

use super::zones::named;
use crate::keys::{KeyIndex, KeyInfo, KeyTable, MAX_KEYS, SessionKey, meaning, policy_digest};
use crate::ruleset::{QueueFailure, RuleIndex, RuleSet};
use crate::zone::ZoneId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A policy with its session keys. Cheap to clone: copies share what they hold.
#[derive(Clone, Debug)]
pub struct Installed {
    rules: Arc<RuleSet>,
    table: Arc<KeyTable>,
    index: Arc<KeyIndex>,
    /// The zones of the policy before this one, by name, and where they are now.
    former: Arc<[(Arc<str>, Option<ZoneId>)]>,
    /// False when the rules are empty only because nobody knows them.
    policy_known: bool,
}

/// Why a key table and a rule set do not make an installed policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The table was made by another policy, or by two of them during a reload.
    #[error("the key table was not made by policy `{0}`")]
    OtherPolicy(Arc<str>),
    /// A key stands for something that is not in the policy.
    #[error("key {key:#x} is of rule `{rule}`, from {from} to {to}, which is not in the policy")]
    Key {
        /// The key.
        key: u32,
        /// Its rule.
        rule: Arc<str>,
        /// Ingress zone.
        from: Arc<str>,
        /// Egress zone.
        to: Arc<str>,
    },
    /// A rule lacks the key for some pair of zones.
    #[error("policy `{policy}` has {needed} session keys, {found} of them are in the key table")]
    MissingKeys {
        /// The policy.
        policy: Arc<str>,
        /// Keys that the policy has.
        needed: usize,
        /// Keys that were found.
        found: usize,
    },
    /// The policy has too many keys, so it can't have made the table.
    #[error("policy `{0}` needs more than {MAX_KEYS} session keys")]
    TooManyKeys(Arc<str>),
}

impl Default for Installed {
    /// No policy and no keys.
    fn default() -> Self {
        Self::without_policy(KeyTable::default())
    }
}

impl Installed {
    /// The policy that a stored key table was made by. A table that was written during a reload
    /// ([`super::Plan::transition`]) has none: use [`Self::without_policy`].
    ///
    /// # Errors
    /// When the table does not belong to exactly these rules.
    pub fn restore(rules: RuleSet, table: &KeyTable) -> Result<Self, RestoreError> {
        let meanings: Vec<u128> = rules.rules.iter().map(meaning).collect();
        if table.policy() != Some(policy_digest(&rules, meanings.iter().copied())) {
            return Err(RestoreError::OtherPolicy(rules.name));
        }
        let mut index = KeyIndex::with_room(&rules, MAX_KEYS)
            .ok_or_else(|| RestoreError::TooManyKeys(Arc::clone(&rules.name)))?;
        let names: BTreeMap<&str, (RuleIndex, u128)> = (0..)
            .map(RuleIndex)
            .zip(rules.rules.iter().zip(&meanings))
            .map(|(index, (rule, meaning))| (rule.name.as_ref(), (index, *meaning)))
            .collect();
        let mut found = 0;
        for (key, info) in table.iter().filter(|(_, info)| !info.kept) {
            let rule = names.get(info.rule.as_ref()).filter(|(_, own)| *own == info.meaning);
            let zones = named(&rules.zones, &info.from).zip(named(&rules.zones, &info.to));
            let set = rule.zip(zones);
            if !set.is_some_and(|((rule, _), (from, to))| index.set(*rule, from, to, key)) {
                let KeyInfo { rule, from, to, .. } = info;
                return Err(RestoreError::Key { key: key.mark(), rule, from, to });
            }
            found += 1;
        }
        let needed = index.needed();
        if found != needed {
            return Err(RestoreError::MissingKeys { policy: rules.name, needed, found });
        }
        let table = KeyTable::of_policy(&rules, &meanings, &index, table.without_rule(true));
        Ok(Self::assemble(rules, table, index, Vec::new()))
    }

    /// Keys whose policy is not known any more. A plan from here on removes them all, and their
    /// sessions are classified anew.
    #[must_use]
    pub fn without_policy(table: KeyTable) -> Self {
        let rules = RuleSet {
            name: "(none)".into(),
            zones: Vec::new(),
            rules: Vec::new(),
            nat: Vec::new(),
            queue_failure: QueueFailure::Closed,
        };
        let known = Self::assemble(rules, table, KeyIndex::default(), Vec::new());
        Self { policy_known: false, ..known }
    }

    pub(super) fn assemble(
        rules: RuleSet,
        table: KeyTable,
        index: KeyIndex,
        former: Vec<(Arc<str>, Option<ZoneId>)>,
    ) -> Self {
        Self {
            rules: Arc::new(rules),
            table: Arc::new(table),
            index: Arc::new(index),
            former: former.into(),
            policy_known: true,
        }
    }

    /// The policy.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// What each key stands for.
    #[must_use]
    pub fn table(&self) -> &KeyTable {
        &self.table
    }

    /// The keys by rule and zones.
    #[must_use]
    pub fn index(&self) -> &KeyIndex {
        &self.index
    }

    /// The key of a session that this rule decides between these zones. `None` when the rule
    /// doesn't match between them.
    #[must_use]
    pub fn key(&self, rule: RuleIndex, from: ZoneId, to: ZoneId) -> Option<SessionKey> {
        self.index.get(rule, from, to)
    }

    /// The zone that a zone of the policy before this one is now, by its name. `None` when its
    /// interfaces have gone different ways, or nobody has heard of it.
    #[must_use]
    pub fn zone_of(&self, name: &str) -> Option<ZoneId> {
        match self.former.iter().find(|(former, _)| former.as_ref() == name) {
            Some((_, zone)) => *zone,
            None => named(&self.rules.zones, name),
        }
    }

    /// Takes kept keys that have no sessions any more out of the table. Other keys stay.
    pub fn forget(&mut self, keys: &[SessionKey]) {
        let kept: Vec<SessionKey> =
            keys.iter().copied().filter(|key| self.table.keeps(*key)).collect();
        self.table = Arc::new(self.table.without(&kept));
    }

    pub(super) fn policy_known(&self) -> bool {
        self.policy_known
    }
}
