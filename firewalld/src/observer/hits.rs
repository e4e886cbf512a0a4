//! Counters by rule, and when each rule was last hit.
//!
//! A rule's total is what its keys that are gone had counted plus what its keys in the map count
//! now. The map is read every second, or less often when reading takes long; a rule whose total
//! has grown since was hit in between. So `last_hit` is exact to that interval.

use super::{Observer, time};
use crate::published::Published;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use twinwall_control::report;
use twinwall_netlink::dataplane::Counter;
use twinwall_policy::keys::SessionKey;
use twinwall_policy::ruleset::{Action, RuleSet};

/// The shortest time between two looks at the counters.
const INTERVAL: Duration = Duration::from_secs(1);
/// At most this part of a processor goes into looking.
const SHARE: u32 = 50;
/// How long a reload may keep counters moving before a reader gives up waiting for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before reading again.
const PAUSE: Duration = Duration::from_millis(2);

/// Totals by rule name.
type Totals = HashMap<Arc<str>, Counter>;

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Hits {
    before: Totals,
    last: HashMap<Arc<str>, SystemTime>,
    cost: Duration,
    /// The totals before the first look are hits of unknown time.
    looked: bool,
}

impl Hits {
    /// How long to wait for the next look.
    pub(super) fn interval(&self) -> Duration {
        INTERVAL.max(self.cost * SHARE)
    }

    fn note(&mut self, totals: &Totals, now: SystemTime) {
        for (rule, counter) in totals {
            let before = self.before.get(rule).copied().unwrap_or_default();
            if *counter != before && (self.looked || self.last.contains_key(rule)) {
                self.last.insert(Arc::clone(rule), now);
            }
        }
        self.looked = true;
        self.before.clone_from(totals);
    }
}

impl Observer {
    /// Looks at the counters.
    pub(super) fn sample(&mut self) -> Result<(Arc<Published>, Totals), String> {
        let began = Instant::now();
        let (published, totals) = self.totals()?;
        self.hits.cost = began.elapsed();
        self.hits.note(&totals, SystemTime::now());
        Ok((published, totals))
    }

    pub(super) fn rules(&mut self) -> Result<report::Rules, String> {
        let (published, totals) = self.sample()?;
        let sessions = self.sessions_by_rule(&published)?;
        let installed = &published.policy.installed;
        let line = |name: &Arc<str>, seq, action: Action| {
            let counter = totals.get(name).copied().unwrap_or_default();
            report::Rule {
                name: name.to_string(),
                seq,
                action: action_name(action).into(),
                sessions: sessions.get(name).copied().unwrap_or_default(),
                packets: counter.packets,
                bytes: counter.bytes,
                last_hit: self.hits.last.get(name).copied().map(time),
            }
        };
        let rules = installed.rules();
        let listed = rules.rules.iter();
        let mut lines: Vec<_> =
            listed.map(|rule| line(&rule.name, seq(rules, rule.seq), rule.action)).collect();
        // Rules that are gone and whose sessions are kept.
        let mut kept: Vec<(Arc<str>, Action)> = installed
            .table()
            .kept()
            .filter_map(|key| installed.table().info(key))
            .filter(|info| !rules.rules.iter().any(|rule| rule.name == info.rule))
            .map(|info| (info.rule, info.action))
            .collect();
        kept.sort();
        kept.dedup();
        lines.extend(kept.iter().map(|(name, action)| line(name, None, *action)));
        Ok(report::Rules {
            generation: published.generation,
            since: time(published.since),
            rules: lines,
        })
    }

    fn sessions_by_rule(
        &mut self,
        published: &Published,
    ) -> Result<HashMap<Arc<str>, u64>, String> {
        let mask = self.marks.key_mask();
        let mut by_key: HashMap<u32, u64> = HashMap::default();
        let counted = self.conntrack()?.dump(None, |session| {
            *by_key.entry(session.mark & mask).or_default() += 1;
        });
        counted.map_err(|error| format!("cannot read conntrack: {error}"))?;
        let mut by_rule: HashMap<Arc<str>, u64> = HashMap::default();
        for (mark, sessions) in by_key {
            let table = published.policy.installed.table();
            if let Some(info) = SessionKey::from_mark(mark).and_then(|key| table.info(key)) {
                *by_rule.entry(info.rule).or_default() += sessions;
            }
        }
        Ok(by_rule)
    }

    /// Reads the map until no reload has moved counters meanwhile.
    fn totals(&mut self) -> Result<(Arc<Published>, Totals), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.published.load_full();
            let mut totals: Totals = before.folded.as_ref().clone();
            let table = before.policy.installed.table();
            let read = self.dataplane()?.counters(|mark, counter| {
                if counter == Counter::default() {
                    return;
                }
                if let Some(info) = SessionKey::from_mark(mark).and_then(|key| table.info(key)) {
                    *totals.entry(info.rule).or_default() += counter;
                }
            });
            read.map_err(|error| error.to_string())?;
            let after = self.published.load();
            if (!before.moving && before.epoch == after.epoch) || Instant::now() > deadline {
                return Ok((before, totals));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The order of a rule; none for the built-in ones, which stand at the end.
fn seq(rules: &RuleSet, seq: u32) -> Option<u32> {
    let built_in = rules.rules.iter().rev().take(2).any(|rule| rule.seq == seq);
    (!built_in).then_some(seq)
}

/// An action as reports have it.
pub(super) const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Drop => "drop",
        Action::Reject => "reject",
    }
}
