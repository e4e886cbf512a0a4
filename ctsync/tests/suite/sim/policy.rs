//! A model of policies: which rule decides a session, and which key a rule has.
//!
//! A session's own rule follows from its port. Policies number their rules differently, lack some,
//! and in every fourth the rule [`WIDE`] comes before some others. Its key outlives a reload, as a
//! real one does, as long as all sessions that it had are still that rule's.

use super::host::{Host, OWNED, RULES, time};
use super::{Due, MS, Nanos, Side, World};
use std::collections::BTreeMap;
use twinwall_ctsync::model::{Layer4, Session};
use twinwall_ctsync::replica::Output;
use twinwall_ctsync::wire::RuleIdentity;

/// The rule that decides more in some policies.
pub(crate) const WIDE: u32 = 3;

/// What a host decides by.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    pub(crate) number: u32,
    /// Key to rule.
    pub(crate) keys: BTreeMap<u32, u32>,
    /// Counts the keys that [`WIDE`] has had.
    renewed: u32,
}

pub(crate) fn rule(number: u32) -> RuleIdentity {
    RuleIdentity(u128::from(number) + 1_000_000)
}

impl Policy {
    pub(crate) fn key_of(&self, rule: u32) -> u32 {
        self.keys.iter().find(|(_, other)| **other == rule).map_or(0, |(key, _)| *key)
    }

    /// The key of the rule that decides a session; 0 if there is none.
    pub(crate) fn decide(&self, session: &Session) -> u32 {
        let port = match session.original.layer4 {
            Layer4::Ports { src, .. } => src,
            Layer4::Icmp { id, .. } => id,
            _ => 0,
        };
        let own = u32::from(port) % RULES;
        self.key_of(if self.is_wide() && own % 4 == 1 { WIDE } else { own })
    }

    fn is_wide(&self) -> bool {
        self.number.is_multiple_of(4)
    }

    /// Another policy: rules get other keys, and one is gone.
    fn renumber(&mut self, number: u32) {
        let (was_there, was_wide) = (self.key_of(WIDE) != 0, self.is_wide());
        self.number = number;
        let lost = number % (RULES * 2);
        let key = |rule| match rule {
            WIDE => 9_000 + self.renewed,
            _ => 1 + number % 50 * 100 + (rule * 7 + number) % RULES,
        };
        self.keys = (0..RULES).filter(|rule| *rule != lost).map(|rule| (key(rule), rule)).collect();
        if was_there && (lost == WIDE || was_wide && !self.is_wide()) {
            let gone = self.keys.remove(&(9_000 + self.renewed));
            self.renewed += 1;
            self.keys.extend(gone.map(|rule| (9_000 + self.renewed, rule)));
        }
    }
}

impl Host {
    pub(crate) fn number_rules(&mut self, number: u32) {
        self.policy.renumber(number);
    }

    pub(crate) fn tell_of_change(&mut self, now: Nanos) -> Vec<Output> {
        self.verb(|node, out| node.policy_changes(time(now), out))
    }

    pub(crate) fn tell_policy(&mut self, now: Nanos) -> Vec<Output> {
        let rules = self.policy.keys.iter().map(|(key, number)| (*key, rule(*number))).collect();
        let keyspace = u128::from(self.policy.number) << 32 | u128::from(self.policy.renewed);
        self.verb(|node, out| node.set_policy(time(now), keyspace, rules, out))
    }

    /// A session is under a key that this host has only if it is that of the rule that decides it.
    pub(crate) fn check_key(&self, session: &Session) -> Result<(), String> {
        let key = session.mark & OWNED;
        let right = self.policy.decide(session);
        if session.expectation.is_some() || key == right || !self.policy.keys.contains_key(&key) {
            return Ok(());
        }
        Err(format!("{:?}: key {key} instead of {right}: {session:?}", self.side))
    }
}

impl World {
    /// Another policy: what sessions have is swept to the new keys.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let Some(side) = self.rng.pick(Side::BOTH) else { return Ok(()) };
        let number = self.rng.below(30) as u32 + 1;
        self.summary.reloads += 1;
        self.trace(|| format!("{side:?} loads policy {number}"));
        self.switch(side, number)?;
        let boot = self.host(side).starts;
        let after = self.rng.below(20 * MS);
        self.schedule(after, Due::Rules { side, boot });
        Ok(())
    }

    /// The new policy is in force and sessions are swept, but the daemon hasn't told of its keys.
    pub(crate) fn switch(&mut self, side: Side, number: u32) -> Result<(), String> {
        let now = self.now;
        let out = self.host_mut(side).tell_of_change(now);
        self.apply(side, out)?;
        let host = self.host_mut(side);
        host.number_rules(number);
        let table = &host.kernel.table;
        let swept: Vec<_> = table
            .iter()
            .filter(|(_, kept)| kept.session.mark & OWNED != 0)
            .map(|(identity, kept)| {
                let key = host.policy.decide(&kept.session);
                (*identity, kept.session.mark & !OWNED | key)
            })
            .collect();
        for (identity, mark) in swept {
            host.kernel.remark(&identity, mark);
        }
        self.notify(side);
        Ok(())
    }
}
