//! What this node's session keys stand for, in a form that both nodes of a pair understand.

use sha2::{Digest, Sha256};
use twinwall_ctsync::wire::RuleIdentity;
use twinwall_policy::diff::Installed;
use twinwall_policy::keys::KeyInfo;

/// A key table for the peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// A digest of all keys with what they stand for, and of the order of the rules.
    pub(super) keyspace: u128,
    /// What each key stands for.
    pub(super) rules: Vec<(u32, RuleIdentity)>,
}

/// The table of a policy. Takes about 0.3 us a key.
pub(super) fn of(installed: &Installed) -> Rules {
    let mut all = Sha256::new();
    let mut rules = Vec::new();
    for (key, info) in installed.table().iter() {
        let identity = identity(&info);
        all.update(key.mark().to_le_bytes());
        all.update(identity.0.to_le_bytes());
        rules.push((key.mark(), identity));
    }
    // The same rules in another order decide differently.
    for rule in &installed.rules().rules {
        all.update((rule.name.len() as u64).to_le_bytes());
        all.update(rule.name.as_bytes());
    }
    Rules { keyspace: half(&all.finalize()), rules }
}

/// A rule by its name and meaning, and a pair of zones by their names.
fn identity(info: &KeyInfo) -> RuleIdentity {
    let mut hasher = Sha256::new();
    for part in [&info.rule, &info.from, &info.to] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(info.meaning.to_le_bytes());
    RuleIdentity(half(&hasher.finalize()))
}

fn half(digest: &[u8]) -> u128 {
    let first = digest.first_chunk::<16>().copied().unwrap_or_default();
    u128::from_le_bytes(first)
}
