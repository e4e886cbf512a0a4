//! The engine of the policy crate: unchanging, and with updates in place.
//!
//! Goes in: rules, updates. Comes out: answers, memory. The value that the engine returns is the
//! rule's place in the list.

use super::{NONE, Subject};
use crate::model;
use twinwall_policy::classify::engine::{Engine, Hit, Networks, Reader, Rule, RuleId, Writer};
use twinwall_policy::flow::Flow;

/// Rules in the engine's form, the order of each from `orders`, its place in the list as value.
#[must_use]
pub fn engine_rules(rules: &[model::Rule], orders: impl IntoIterator<Item = u32>) -> Vec<Rule> {
    let places = (0u64..).zip(rules).zip(orders);
    places.map(|((place, rule), order)| engine_rule(rule, order, place)).collect()
}

fn engine_rule(rule: &model::Rule, order: u32, value: u64) -> Rule {
    let networks = match rule.networks {
        model::Networks::V4 { src, dst } => Networks::V4 { src, dst },
        model::Networks::V6 { src, dst } => Networks::V6 { src, dst },
    };
    Rule {
        order,
        networks,
        protocol: rule.protocol,
        src_port: rule.src_port,
        dst_port: rule.dst_port,
        from: rule.from,
        to: rule.to,
        value,
    }
}

impl Subject for Engine {
    type Answer = Option<Hit>;

    fn lookup(&self, header: &Flow) -> Option<Hit> {
        self.lookup(header)
    }

    fn lookup_batch(&self, headers: &[Flow], answers: &mut [Option<Hit>]) {
        self.lookup_batch(headers, answers);
    }

    fn place(answer: Option<Hit>) -> u32 {
        place(answer)
    }
}

/// The rule that an answer of the engine or of a reader names, by its place, or [`NONE`].
#[must_use]
pub fn place(answer: Option<Hit>) -> u32 {
    answer.and_then(|hit| u32::try_from(hit.value).ok()).unwrap_or(NONE)
}

/// A change to a rule, which is named by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// The rule comes back with this order.
    Insert(u32, u32),
    /// The rule goes.
    Remove(u32),
    /// The rule gets this order.
    Renumber(u32, u32),
}

/// The engine under measurement, while rules come and go.
pub struct Live {
    rules: Vec<Rule>,
    writer: Writer,
    ids: Vec<Option<RuleId>>,
}

impl Live {
    /// An engine for these rules and their orders.
    #[must_use]
    pub fn new(rules: &[model::Rule], orders: &[u32]) -> Self {
        let rules = engine_rules(rules, orders.iter().copied());
        let ids = (0..).take(rules.len()).map(|place| Some(RuleId::nth(place))).collect();
        let (writer, _) = Engine::build(&rules).share();
        Self { rules, writer, ids }
    }

    /// For a thread to look up with.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.writer.reader()
    }

    /// Does an update; whether the engine took it.
    #[inline]
    pub fn apply(&mut self, update: Update) -> bool {
        let (Update::Insert(place, _) | Update::Remove(place) | Update::Renumber(place, _)) =
            update;
        let place = place as usize;
        let (Some(rule), Some(id)) = (self.rules.get(place), self.ids.get_mut(place)) else {
            return false;
        };
        match update {
            Update::Insert(_, order) => {
                *id = self.writer.insert(Rule { order, ..*rule });
                id.is_some()
            }
            Update::Remove(_) => id.take().is_some_and(|id| self.writer.remove(id)),
            Update::Renumber(_, order) => id.is_some_and(|id| self.writer.renumber(id, order)),
        }
    }
}
