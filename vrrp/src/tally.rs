//! Counts by kind, and the decision whether to say so: a flood of wrong packets must not flood the
//! log (RFC 9568 section 7.1 asks for logging at a limited rate).
//!
//! Goes in: what happened, when, and whose doing it was. Comes out: whether to say it. Bounded:
//! one row a kind.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::time::Duration;

/// Each kind is said once in this time at most.
pub const SAY_EVERY: Duration = Duration::from_secs(60);

/// Things that are counted by kind.
pub trait Kind {
    /// The names of the kinds, as status and metrics show them.
    const NAMES: &'static [&'static str];

    /// The place of this one's name.
    fn index(&self) -> usize;

    /// The name.
    fn name(&self) -> &'static str {
        Self::NAMES.get(self.index()).copied().unwrap_or("other")
    }
}

/// Counts of one sort of things.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tally<K> {
    rows: Box<[Row]>,
    kind: PhantomData<K>,
}

/// What is known of one kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Row {
    count: u64,
    last_at: Timestamp,
    last_from: Option<IpAddr>,
    said_at: Option<Timestamp>,
    unsaid: u64,
}

/// A kind's row in `vrrp status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tallied {
    /// The kind's name.
    pub name: &'static str,
    /// How often it happened.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
    /// Whose packet it was, where it was one.
    pub last_from: Option<IpAddr>,
}

impl<K: Kind> Tally<K> {
    /// Counts one. Returns `Some` if it should be said now, with how often it happened since it
    /// was last said, this time left out.
    pub fn record(&mut self, what: &K, from: Option<IpAddr>, now: Timestamp) -> Option<u64> {
        let row = self.rows.get_mut(what.index())?;
        row.count += 1;
        row.last_at = now;
        row.last_from = from;
        if row.said_at.is_some_and(|said| now.since(said) < SAY_EVERY) {
            row.unsaid += 1;
            return None;
        }
        row.said_at = Some(now);
        Some(std::mem::take(&mut row.unsaid))
    }

    /// How often it happened.
    #[must_use]
    pub fn count(&self, what: &K) -> u64 {
        self.rows.get(what.index()).map_or(0, |row| row.count)
    }

    /// The kinds that happened at all.
    #[must_use]
    pub fn rows(&self) -> Vec<Tallied> {
        let happened = self.rows.iter().zip(K::NAMES).filter(|(row, _)| row.count > 0);
        happened
            .map(|(row, name)| Tallied {
                name,
                count: row.count,
                last_at: row.last_at,
                last_from: row.last_from,
            })
            .collect()
    }
}

impl<K: Kind> Default for Tally<K> {
    fn default() -> Self {
        Self { rows: vec![Row::default(); K::NAMES.len()].into(), kind: PhantomData }
    }
}
