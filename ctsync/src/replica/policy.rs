//! Session keys of a peer that decides by another key table.
//!
//! A key is a number that each node has given to a rule by itself, so a key of the peer's means
//! nothing here, unless both tables are the same and have it. [`RuleIdentity`] is what a key stands
//! for, as a digest: the rule's name and meaning and the pair of zones. Keys are translated when
//! sessions arrive; the store holds this node's keys only. A rule of the same name and meaning may
//! have another one before it here, so the driver is asked whether this node's policy gives the
//! session to it. Until it has answered, and where this node doesn't have the rule or doesn't know
//! it yet, a session has key 0: the filter knows no such key, so its next packet is classified.
//!
//! While a policy is being loaded, a key that both policies have may already be that of sessions
//! which another rule decided before. So a node says beforehand that its table is changing; until
//! it has told of the new one, its peer takes no key of it as it is.

use super::{Event, Output, Replica};
use crate::model::Identity;
use crate::store::{Flags, Index};
use crate::wire::{RuleIdentity, Section};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Keys of the peer that are remembered, and keys that are asked for at a time.
const REMEMBERED: usize = 1 << 20;
const ASKED: usize = 200;

/// Keys here and there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Policy {
    keyspace: u128,
    changes: bool,
    peer_keyspace: Option<u128>,
    rules: BTreeMap<u32, RuleIdentity>,
    keys: BTreeMap<RuleIdentity, u32>,
    /// What the peer's keys stand for, as far as it was asked.
    peer: BTreeMap<u32, Option<RuleIdentity>>,
    /// Keys that are asked for, and those that are to be.
    asked: BTreeSet<u32>,
    to_ask: BTreeSet<u32>,
    /// Sessions whose key was not known when they came.
    waiting: BTreeMap<Identity, u32>,
}

/// What became of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translated {
    /// It is this here.
    Mark(u32),
    /// Its key is this here if the policy here gives the session to the same rule.
    Likely(u32, RuleIdentity),
    /// The peer has to be asked what this key stands for.
    Ask(u32),
    /// It stands for a rule that isn't here, or for none.
    Unknown(Option<RuleIdentity>),
}

impl Policy {
    pub(super) fn keyspace(&self) -> u128 {
        self.keyspace
    }

    pub(super) fn peer_keyspace(&self) -> Option<u128> {
        self.peer_keyspace
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn agrees(&self) -> bool {
        self.peer_keyspace == Some(self.keyspace)
    }

    pub(super) fn peer_started(&mut self, keyspace: u128) {
        self.peer_keyspace = Some(keyspace);
        self.forget_peer();
        self.waiting.clear();
    }

    fn forget_peer(&mut self) {
        self.peer.clear();
        self.asked.clear();
        self.to_ask = self.waiting.values().copied().collect();
    }

    pub(super) fn translate(&self, mark: u32, owned: u32) -> Translated {
        let key = mark & owned;
        // A key that neither table has is of a policy that the peer is just loading: this node may
        // give the same number to another rule.
        if key == 0 || (self.agrees() && self.rules.contains_key(&key)) {
            return Translated::Mark(mark);
        }
        match self.peer.get(&key) {
            None => Translated::Ask(key),
            Some(rule) => match rule.and_then(|rule| Some((rule, self.keys.get(&rule)?))) {
                Some((rule, ours)) => Translated::Likely(ours & owned, rule),
                None => Translated::Unknown(*rule),
            },
        }
    }

    pub(super) fn wait(&mut self, identity: Identity, key: u32) {
        self.waiting.insert(identity, key);
        if !self.asked.contains(&key) {
            self.to_ask.insert(key);
        }
    }

    /// While the table is changing, nothing is said of a key that isn't in it: it may be in the next
    /// one, and the peer asks again when that is announced.
    pub(super) fn rules_of(&self, keys: &[u32]) -> Vec<(u32, Option<RuleIdentity>)> {
        let rules = keys.iter().map(|key| (*key, self.rules.get(key).copied()));
        rules.filter(|(_, rule)| rule.is_some() || !self.changes).collect()
    }

    pub(super) fn wants_to_ask(&self) -> bool {
        !self.to_ask.is_empty()
    }
}

impl Replica {
    pub(super) fn take_policy(
        &mut self,
        keyspace: u128,
        rules: Vec<(u32, RuleIdentity)>,
        out: &mut Vec<Output>,
    ) {
        self.policy.keyspace = keyspace;
        self.policy.changes = false;
        self.policy.keys = rules.iter().map(|(key, rule)| (*rule, *key)).collect();
        self.policy.rules = rules.into_iter().collect();
        self.tell_greeting(out);
        if self.peer.boot.is_some() {
            self.announce_keyspace();
        }
        self.tell_agreement(out);
    }

    /// Another table follows: what is sent until then may have keys of either. No digest of a table
    /// is this one, nor is the peer's of its own.
    pub(super) fn policy_changes(&mut self, out: &mut Vec<Output>) {
        self.policy.keyspace = !u128::from(self.config.node.0);
        self.policy.changes = true;
        self.tell_greeting(out);
        if self.peer.boot.is_some() {
            self.announce_keyspace();
        }
    }

    /// What is sent from here on has keys of this table.
    pub(super) fn announce_keyspace(&mut self) {
        self.control.push_back(Section::Keyspace(self.policy.keyspace).to_bytes());
    }

    pub(super) fn take_keyspace(&mut self, keyspace: u128, out: &mut Vec<Output>) {
        if self.policy.peer_keyspace != Some(keyspace) {
            self.policy.peer_keyspace = Some(keyspace);
            self.policy.forget_peer();
        }
        self.tell_agreement(out);
    }

    fn tell_agreement(&mut self, out: &mut Vec<Output>) {
        if self.policy.peer_keyspace.is_none() || self.keys_agreed == Some(self.policy.agrees()) {
            return;
        }
        let agrees = self.policy.agrees();
        self.keys_agreed = Some(agrees);
        out.push(Output::Event(if agrees { Event::KeysAgree } else { Event::KeysDiffer }));
    }

    /// Asks for what the peer's keys stand for.
    pub(super) fn ask_for_rules(&mut self) {
        if !self.policy.wants_to_ask() {
            return;
        }
        let mut keys = Vec::new();
        while keys.len() < ASKED
            && let Some(key) = self.policy.to_ask.pop_first()
        {
            self.policy.asked.insert(key);
            keys.push(key);
        }
        self.tell(&Section::AskRules(keys));
    }

    pub(super) fn take_rules(
        &mut self,
        rules: &[(u32, Option<RuleIdentity>)],
        out: &mut Vec<Output>,
    ) {
        if self.policy.peer.len() >= REMEMBERED {
            self.policy.peer.clear();
        }
        for (key, rule) in rules {
            self.policy.asked.remove(key);
            self.policy.peer.insert(*key, *rule);
        }
        let known = |key: &u32| rules.iter().any(|(known, _)| known == key);
        let waiting = std::mem::take(&mut self.policy.waiting);
        let (ready, waiting) = waiting.into_iter().partition(|(_, key)| known(key));
        self.policy.waiting = waiting;
        let ready: BTreeMap<Identity, u32> = ready;
        for (identity, key) in ready {
            let Some(index) = self.store.find(&identity) else { continue };
            if !self.is_foreign(index) {
                continue;
            }
            match self.policy.translate(key, self.config.owned) {
                Translated::Mark(mark) => self.set_key(index, mark),
                Translated::Likely(key, rule) => self.ask_whether_right(index, key, rule, out),
                Translated::Unknown(rule) => self.ask_to_classify(index, rule, out),
                Translated::Ask(key) => self.policy.wait(identity, key),
            }
        }
    }

    pub(super) fn ask_to_classify(
        &mut self,
        index: Index,
        rule: Option<RuleIdentity>,
        out: &mut Vec<Output>,
    ) {
        if let Some((session, _)) = self.store.get(index) {
            self.stats.classified += 1;
            out.push(Output::Classify { session: Box::new(session), rule });
        }
    }

    /// The session's rule has this key here, and another rule may be before that.
    pub(super) fn ask_whether_right(
        &mut self,
        index: Index,
        key: u32,
        rule: RuleIdentity,
        out: &mut Vec<Output>,
    ) {
        self.store.set(index, Flags::FOREIGN, true);
        if let Some((mut session, _)) = self.store.get(index) {
            session.mark = session.mark & !self.config.owned | key;
            out.push(Output::Classify { session: Box::new(session), rule: Some(rule) });
        }
    }

    pub(super) fn classified(&mut self, identity: &Identity, key: Option<u32>) {
        let Some(index) = self.store.find(identity) else { return };
        if !self.is_foreign(index) {
            return;
        }
        match key {
            Some(key) => self.set_key(index, key),
            None => self.store.set(index, Flags::FOREIGN, false),
        }
    }

    fn is_foreign(&self, index: Index) -> bool {
        let flags = self.store.flags(index);
        flags.has(Flags::FOREIGN) && !flags.has(Flags::DEAD)
    }

    /// The key is this node's own affair: the version stays.
    fn set_key(&mut self, index: Index, key: u32) {
        let owned = self.config.owned;
        self.store.set(index, Flags::FOREIGN, false);
        let Some((mut session, version)) = self.store.get(index) else { return };
        if session.mark & owned == key & owned {
            return;
        }
        session.mark = session.mark & !owned | key & owned;
        self.store.update(index, &session, version);
        self.write_soon(index);
    }
}
