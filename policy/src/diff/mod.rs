//! What a reload changes: which session keys live on, which go, and where their sessions go.
//!
//! ```text
//! Installed (old) ─┐
//! RuleSet (new) ───┼──► plan ──► Plan: next Installed, keys added, removed, kept
//! KeyAllocator ────┘                          │
//! sessions under removed keys ──► Sweep ──► Fate of each
//! ```
//!
//! # When a key lives on
//!
//! A session belongs to the first rule that matches. Rules of two policies are the same if their
//! names are; a new name with the meaning of a rule whose name is gone is that rule renamed. Take an old rule *r* and one of its pairs of zones, and go through the new rules in
//! order. A new rule *n* can't own any session of *r* if no packet matches both, or if the old
//! policy had *n* above *r* with a match that covers what it is now: then those packets were *n*'s
//! before. The first rule that is left is the heir:
//!
//! - it is *r* itself with the same meaning: the key lives on;
//! - it covers *r*: all sessions of *r* are its now, so its key is the successor of *r*'s;
//! - otherwise each session has to be looked at.
//!
//! Everything here errs to one side: a key that lives on never loses a session, and a successor
//! gets every session. A key that could have lived on costs its sessions a new classification.
//!
//! # Zones
//!
//! A zone of the old policy is the zone of the new one that all of its interfaces are in now,
//! whatever it is called; a key lives on only if its zones are also called the same. When the
//! interfaces of a zone have gone different ways, it can't be told from conntrack where a session
//! belongs: its keys go without successor, and [`Fate::Unknown`] says that the next packet, which
//! shows the interfaces, has to tell.
//!
//! # `on_change`
//!
//! The setting of the new rule of that name counts, else that of the old rule. `keep` lets a key
//! live on with its verdict for the sessions that it has; new ones get the rule's new key. It holds
//! for rules that accept: under one that refuses there is nothing to be kept. A kept key goes when
//! the caller says that it has no sessions any more ([`Installed::forget`]), or when a new policy
//! has a rule of that name that does not say `keep`. It is never revived, even if the old rule is.
//! `terminate` gets no successor, so that its sessions are looked at one by one.
//!
//! # Cost
//!
//! Unchanged rules cost nothing but a comparison, others a few passes over the new rules, or over
//! those that overlap them ([`crate::overlap`]). The work is bounded; past the bound the answer is a new key without
//! a successor, which is always right.
//!
//! Not here: the order in which the kernel is told, see the daemon.

mod compare;
mod heirs;
mod installed;
mod sweep;
mod takers;
mod transfer;
mod zones;

pub use installed::{Installed, RestoreError};
pub use sweep::{Fate, SessionView, Sweep};

use crate::keys::{KeyAllocator, KeyIndex, KeyTable, MAX_KEYS, SessionKey};
use crate::ruleset::{Action, RuleIndex, RuleSet};
use compare::Comparison;
use std::sync::Arc;
use transfer::{Transfer, transfer};
use zones::ZoneMap;

/// What has to be done to get from one policy to the next.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The new policy with its keys.
    pub next: Installed,
    /// Keys that the kernel doesn't have yet.
    pub added: Vec<(SessionKey, Action)>,
    /// Keys that the kernel must not have any more.
    pub removed: Vec<Removed>,
    /// Keys that live on with their rules.
    pub unchanged: usize,
    /// Keys that from now on are kept for their sessions only. Those that were kept before are in
    /// the table of [`Self::next`] too.
    pub kept: Vec<SessionKey>,
    /// Whether the kernel's NAT rules have to be replaced and translations compared.
    pub nat_changed: bool,
}

/// A key that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The key.
    pub key: SessionKey,
    /// The key that all of its sessions get, if there is one for all.
    pub successor: Option<SessionKey>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two rules share a name.
    #[error("two rules are named `{0}`")]
    DuplicateRule(Arc<str>),
    /// The verdict map would grow too large.
    #[error(
        "policy `{0}` needs more than {MAX_KEYS} session keys, one for each rule and pair of \
         zones that it matches between (kept ones of former policies included): name the zones of \
         rules that are for `any`"
    )]
    TooManyKeys(Arc<str>),
    /// The mask has too few bits.
    #[error(
        "policy `{policy}` needs {needed} new session keys, key mask {mask:#x} has only {free} \
         that are not in use"
    )]
    KeysExhausted {
        /// The policy.
        policy: Arc<str>,
        /// New keys that it needs.
        needed: usize,
        /// Keys that are not in use.
        free: usize,
        /// The mask.
        mask: u32,
    },
}

impl Plan {
    /// The table of both policies' keys, for the time in which both may be in the kernel.
    /// `old` is the policy that the plan was made for.
    #[must_use]
    pub fn transition(&self, old: &Installed) -> KeyTable {
        let removed = self.removed.iter();
        let removed = removed.filter_map(|gone| Some((gone.key, old.table().info(gone.key)?)));
        self.next.table().with(removed)
    }
}

/// The way from the running policy to a new one. Nothing changes but the allocator, and that only
/// if there is a plan.
///
/// # Errors
/// When two rules share a name, or when the keys don't suffice.
pub fn plan(
    old: Option<&Installed>,
    new: RuleSet,
    allocator: &mut KeyAllocator,
) -> Result<Plan, PlanError> {
    let nothing = Installed::default();
    let old = old.unwrap_or(&nothing);
    let zones = ZoneMap::new(&old.rules().zones, &new.zones);
    let comparison = Comparison::new(old, &new, &zones)?;
    let index = KeyIndex::with_room(&new, MAX_KEYS)
        .ok_or_else(|| PlanError::TooManyKeys(Arc::clone(&new.name)))?;
    let Transfer { mut index, removed, kept, newly_kept, unchanged } =
        transfer(old, &new, &zones, &comparison, index);

    let mut fresh = *allocator;
    let added = add_keys(old, &new, &mut index, kept.len(), &mut fresh)?;
    let removed = removed.into_iter().map(|(key, heir)| {
        let successor = heir.and_then(|(rule, from, to)| index.get(rule, from, to));
        Removed { key, successor }
    });
    let removed = removed.collect();
    let nat_changed = !old.policy_known() || zones.nat_differs(old.rules(), &new);
    let table = KeyTable::of_policy(&new, &comparison.meanings, &index, kept);
    let former = zones.by_name(&old.rules().zones);
    let next = Installed::assemble(new, table, index, former);
    *allocator = fresh;
    Ok(Plan { next, added, removed, unchanged, kept: newly_kept, nat_changed })
}

/// Gives a key to every rule and pair of zones that has none.
fn add_keys(
    old: &Installed,
    new: &RuleSet,
    index: &mut KeyIndex,
    kept: usize,
    allocator: &mut KeyAllocator,
) -> Result<Vec<(SessionKey, Action)>, PlanError> {
    let mut open = Vec::new();
    let mut keys = kept;
    for (rule, action) in (0..).map(RuleIndex).zip(new.rules.iter().map(|rule| rule.action)) {
        for (from, to, key) in index.pairs(rule) {
            keys += 1;
            if key.is_none() {
                open.push((rule, from, to, action));
            }
        }
    }
    if keys > MAX_KEYS {
        return Err(PlanError::TooManyKeys(Arc::clone(&new.name)));
    }
    let largest = old.table().largest();
    let in_use = |key| largest.is_some_and(|largest| key <= largest) && old.table().contains(key);
    let mut added = Vec::with_capacity(open.len());
    let mask = allocator.mask();
    let free = usize::try_from(mask).unwrap_or(usize::MAX).saturating_sub(old.table().len());
    for (rule, from, to, action) in &open {
        let key = (added.len() < free).then(|| allocator.allocate(in_use)).flatten();
        let Some(key) = key else {
            let policy = Arc::clone(&new.name);
            return Err(PlanError::KeysExhausted { policy, needed: open.len(), free, mask });
        };
        index.set(*rule, *from, *to, key);
        added.push((key, *action));
    }
    Ok(added)
}
