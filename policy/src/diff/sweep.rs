//! What becomes of a live session when the policy has changed.
//!
//! Goes in: both policies, a classifier of the new one, and sessions as conntrack has them. Comes
//! out: the fate of each. Not here: reading conntrack and writing to it.

use super::Installed;
use super::zones::{ZoneMap, named};
use crate::classify::Classifier;
use crate::flow::{Flow, Tuple};
use crate::keys::{KeyInfo, SessionKey};
use crate::nat::{self, NewSource};
use crate::ruleset::{OnChange, Rule, RuleIndex};
use crate::zone::ZoneId;
use ahash::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;

/// A session as conntrack has it. Of a session that another one expects, the parent's, with the
/// session's own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// The key in its connmark; `None` for 0.
    pub key: Option<SessionKey>,
    /// The original direction with the inside addresses: the source of the original tuple and the
    /// source of the reply tuple.
    pub tuple: Tuple,
    /// The destination that its first packet arrived with: that of the original tuple.
    pub arriving_dst: IpAddr,
    /// The destination port (ICMP code) that its first packet arrived with.
    pub arriving_dst_port: u16,
    /// Whether its source is translated.
    pub source_translated: bool,
}

/// What has to be done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Unchanged,
    /// It passes on under this key.
    Remark(SessionKey),
    /// The new policy refuses it: it keeps its conntrack entry, under the key of the rule that
    /// refuses it.
    Refused(SessionKey),
    /// Its conntrack entry has to go: its rule says `terminate`, or it would be translated
    /// differently.
    Delete,
    /// Its zones can't be told: clear the key, so that its next packet asks.
    Unknown,
}

/// Decides the fate of sessions after a reload. Any number of threads may use it.
pub struct Sweep<'a, C> {
    next: &'a Installed,
    before: Option<&'a Installed>,
    classifier: &'a C,
    compare_nat: bool,
    settings: HashMap<&'a str, OnChange, RandomState>,
}

impl<'a, C: Classifier> Sweep<'a, C> {
    /// A sweep from `before` to `next`, whose rules `classifier` was built from. Without `before`
    /// translations are compared with what conntrack shows, as far as that can be told.
    pub fn new(next: &'a Installed, before: Option<&'a Installed>, classifier: &'a C) -> Self {
        let before = before.filter(|before| before.policy_known());
        let compare_nat = before.is_none_or(|before| {
            ZoneMap::new(&before.rules().zones, &next.rules().zones)
                .nat_differs(before.rules(), next.rules())
        });
        let mut settings = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        settings.extend(next.rules().rules.iter().map(|rule| (rule.name.as_ref(), rule.on_change)));
        Self { next, before, classifier, compare_nat, settings }
    }

    /// The fate of a session. `was` is what its key stood for in the old policy, or stands for.
    pub fn fate(&self, was: Option<&KeyInfo>, session: &SessionView) -> Fate {
        let Some((key, was)) = session.key.zip(was) else { return Fate::Unknown };
        let table = self.next.table();
        let alive = table.contains(key);
        if alive && (table.keeps(key) || !self.compare_nat || !was.action.passes()) {
            return Fate::Unchanged;
        }
        let zones = self.next.zone_of(&was.from).zip(self.next.zone_of(&was.to));
        let Some((from, to)) = zones else { return Fate::Unknown };
        if alive {
            let changed = self.translation_changed(was, session, from, to);
            return if changed { Fate::Delete } else { Fate::Unchanged };
        }
        let Some(index) = self.classifier.classify(&Flow { tuple: session.tuple, from, to }) else {
            return Fate::Unknown;
        };
        let Some((rule, successor)) = self.rule(index).zip(self.next.key(index, from, to)) else {
            return Fate::Unknown;
        };
        if !rule.action.passes() {
            return Fate::Refused(successor);
        }
        let setting = self.settings.get(was.rule.as_ref()).copied().unwrap_or(was.on_change);
        let same_rule = rule.name == was.rule && table.meaning_of(index) == Some(was.meaning);
        if (setting == OnChange::Terminate && !same_rule)
            || (self.compare_nat && self.translation_changed(was, session, from, to))
        {
            return Fate::Delete;
        }
        Fate::Remark(successor)
    }

    fn rule(&self, index: RuleIndex) -> Option<&Rule> {
        self.next.rules().rules.get(usize::try_from(index.0).ok()?)
    }

    /// Whether the new policy translates a session differently. `from` and `to` are its zones now.
    fn translation_changed(
        &self,
        was: &KeyInfo,
        session: &SessionView,
        from: ZoneId,
        to: ZoneId,
    ) -> bool {
        let tuple = Tuple {
            dst: session.arriving_dst,
            dst_port: session.arriving_dst_port,
            ..session.tuple
        };
        let now = nat::translate(self.next.rules(), &Flow { tuple, from, to });
        let then = self.before.and_then(|before| {
            let zones = &before.rules().zones;
            let (from, to) = named(zones, &was.from).zip(named(zones, &was.to))?;
            Some(nat::translate(before.rules(), &Flow { tuple, from, to }))
        });
        if let Some(then) = then {
            return then.effect() != now.effect();
        }
        let source_differs = match now.effect().source {
            None => session.source_translated,
            Some(NewSource::Address(address)) => {
                !session.source_translated && address != session.tuple.src
            }
            // A source that already was the egress interface's address looks untranslated.
            Some(NewSource::Masquerade) => false,
        };
        now.inside != session.tuple || source_differs
    }
}
