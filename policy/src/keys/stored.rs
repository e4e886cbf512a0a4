//! The form in which keys outlive the daemon.
//!
//! Version 1, as JSON (line breaks added):
//!
//! ```json
//! {"version":1,"allocator":{"next":7,"mask":16777215},
//!  "policy":"0f9c…","zones":["(outside)","self","lan","wan"],
//!  "rules":[{"name":"web","meaning":"77ab…","action":"accept","on_change":"rematch","kept":false,
//!            "keys":[[1,2,[3,0]]]}]}
//! ```
//!
//! `[1,2,[3,0]]`: the keys from 1 on stand for sessions from zone 2 to zone 3 and from 2 to 0.
//! What is read is checked as if somebody had written it by hand.

use super::table::{Entry, TableBuilder};
use super::{AllocatorError, KeyAllocator, KeyInfo, KeyTable, MAX_KEYS, SessionKey};
use crate::ruleset::{Action, OnChange};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The keys in use and where the next one comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Stored")]
pub struct State {
    /// Where the next key comes from.
    pub allocator: KeyAllocator,
    /// The keys in use.
    pub table: KeyTable,
}

/// Why a stored state can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another format.
    #[error("version {0} of the key table is not supported, only version {VERSION}")]
    Version(u32),
    /// The allocator's numbers don't fit together.
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    /// A digest is not 32 hexadecimal digits.
    #[error("`{0}` is not a digest of 32 hexadecimal digits")]
    Digest(String),
    /// A key is 0 or has bits outside the mask.
    #[error("key {key:#x} of rule `{rule}` does not fit key mask {mask:#x}")]
    Key {
        /// The key.
        key: u64,
        /// Its rule.
        rule: String,
        /// The mask.
        mask: u32,
    },
    /// A zone that the table has no name for.
    #[error("key {key:#x} of rule `{rule}` names zone {zone}, which is not in the table")]
    Zone {
        /// The key.
        key: u64,
        /// Its rule.
        rule: String,
        /// The zone's index.
        zone: u32,
    },
    /// A key stands for two things.
    #[error("key {0:#x} is in the table twice")]
    DuplicateKey(u32),
    /// A rule of the running policy has two keys for one pair of zones, or is listed twice.
    #[error("rule `{0}` has two keys for the same zones")]
    DuplicatePair(String),
    /// A name of a zone is in the list twice.
    #[error("zone `{0}` is in the table twice")]
    DuplicateZone(String),
    /// More keys than two policies can need.
    #[error("the table has more than {} keys", 2 * MAX_KEYS)]
    TooMany,
}

/// The version that is written and the only one that is read.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: Version,
    allocator: KeyAllocator,
    policy: Option<String>,
    zones: Vec<String>,
    rules: Vec<StoredRule>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRule {
    name: String,
    meaning: String,
    #[serde(with = "StoredAction")]
    action: Action,
    #[serde(with = "StoredOnChange")]
    on_change: OnChange,
    kept: bool,
    keys: Vec<Run>,
}

/// First key, ingress zone, egress zones of this key and the ones that follow it.
#[derive(Serialize, Deserialize)]
struct Run(u32, u32, Vec<u32>);

/// Read before the rest, which another version may have changed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Version;

impl TryFrom<u32> for Version {
    type Error = StateError;

    fn try_from(version: u32) -> Result<Self, StateError> {
        if version == VERSION { Ok(Self) } else { Err(StateError::Version(version)) }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        VERSION
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Action", rename_all = "lowercase")]
enum StoredAction {
    Accept,
    Drop,
    Reject,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OnChange", rename_all = "lowercase")]
enum StoredOnChange {
    Rematch,
    Keep,
    Terminate,
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rules = self.table.by_owner().map(|(owner, entries)| StoredRule {
            name: owner.rule.to_string(),
            meaning: format!("{:032x}", owner.meaning),
            action: owner.action,
            on_change: owner.on_change,
            kept: owner.kept,
            keys: runs(&entries),
        });
        let stored = Stored {
            version: Version,
            allocator: self.allocator,
            policy: self.table.policy().map(|digest| format!("{digest:032x}")),
            zones: self.table.zone_names().iter().map(ToString::to_string).collect(),
            rules: rules.collect(),
        };
        stored.serialize(serializer)
    }
}

fn runs(entries: &[Entry]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for entry in entries {
        let key = entry.key.mark();
        match runs.last_mut() {
            Some(Run(first, from, to))
                if *from == entry.from && u64::from(*first) + to.len() as u64 == u64::from(key) =>
            {
                to.push(entry.to);
            }
            _ => runs.push(Run(key, entry.from, vec![entry.to])),
        }
    }
    runs
}

impl TryFrom<Stored> for State {
    type Error = StateError;

    fn try_from(stored: Stored) -> Result<Self, StateError> {
        let zones: Vec<Arc<str>> = stored.zones.iter().map(|name| name.as_str().into()).collect();
        let mut names = BTreeSet::new();
        if let Some(twice) = stored.zones.iter().find(|name| !names.insert(name.as_str())) {
            return Err(StateError::DuplicateZone(twice.clone()));
        }
        let mut builder = TableBuilder::default();
        builder.policy(stored.policy.as_deref().map(digest).transpose()?);
        for name in &zones {
            builder.zone(name);
        }
        let mask = stored.allocator.mask();
        let mut left = 2 * MAX_KEYS;
        for rule in &stored.rules {
            let keys = rule.keys.iter().map(|run| run.2.len()).sum::<usize>();
            left = left.checked_sub(keys).ok_or(StateError::TooMany)?;
            decode(rule, &zones, mask, &mut builder)?;
        }
        let table = builder.finish();
        if let Some(twice) = table.duplicate() {
            return Err(StateError::DuplicateKey(twice.mark()));
        }
        if table.policy().is_some()
            && let Some(rule) = stored.rules.iter().filter(|rule| !rule.kept).find_map(repeated())
        {
            return Err(StateError::DuplicatePair(rule));
        }
        Ok(Self { allocator: stored.allocator, table })
    }
}

/// Adds the keys of one rule.
fn decode(
    rule: &StoredRule,
    zones: &[Arc<str>],
    mask: u32,
    builder: &mut TableBuilder,
) -> Result<(), StateError> {
    let meaning = digest(&rule.meaning)?;
    let name: Arc<str> = rule.name.as_str().into();
    for Run(first, from, to) in &rule.keys {
        for (key, to) in (u64::from(*first)..).zip(to) {
            let fitting = u32::try_from(key).ok().filter(|key| *key <= mask);
            let Some(fitting) = fitting.and_then(SessionKey::from_mark) else {
                return Err(StateError::Key { key, rule: rule.name.clone(), mask });
            };
            let zone = |zone: u32| {
                let name = usize::try_from(zone).ok().and_then(|zone| zones.get(zone));
                name.cloned().ok_or(StateError::Zone { key, rule: rule.name.clone(), zone })
            };
            let info = KeyInfo {
                rule: Arc::clone(&name),
                meaning,
                action: rule.action,
                on_change: rule.on_change,
                from: zone(*from)?,
                to: zone(*to)?,
                kept: rule.kept,
            };
            builder.push(fitting, &info);
        }
    }
    Ok(())
}

/// Finds a rule that came before, or one that has two keys for a pair of zones.
fn repeated<'a>() -> impl FnMut(&'a StoredRule) -> Option<String> {
    let mut names = BTreeSet::new();
    move |rule| {
        let mut pairs = BTreeSet::new();
        let mut all = rule.keys.iter().flat_map(|run| run.2.iter().map(|to| (run.1, *to)));
        let once = names.insert(rule.name.as_str()) && all.all(|pair| pairs.insert(pair));
        (!once).then(|| rule.name.clone())
    }
}

fn digest(text: &str) -> Result<u128, StateError> {
    let valid = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digest = u128::from_str_radix(text, 16).ok().filter(|_| valid);
    digest.ok_or_else(|| StateError::Digest(text.to_owned()))
}
