//! Which sessions the peer gets.
//!
//! Goes in: a session as the kernel says it, and what its key stands for. Comes out: yes or no.
//! Never replicated are sessions of the node itself and those that no rule has decided: the peer
//! has other ones of its own.

use super::settings::Replicate;
use crate::snapshot::Policy;
use twinwall_netlink::conntrack::{Entry, Tuple};
use twinwall_policy::keys::{KeyInfo, SessionKey};
use twinwall_policy::zone::ZoneId;

/// The filter.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    replicate: Replicate,
    mask: u32,
}

impl Filter {
    /// `mask` are the owned bits of the connmark.
    pub(super) fn new(replicate: Replicate, mask: u32) -> Self {
        Self { replicate, mask }
    }

    /// Whether a session is replicated.
    pub(super) fn takes(&self, entry: &Entry, policy: &Policy) -> bool {
        let key = entry.mark.unwrap_or(0) & self.mask;
        if key == 0 || !self.takes_tuple(&entry.original) {
            return false;
        }
        if entry.reply.as_ref().is_some_and(|reply| !self.takes_tuple(reply)) {
            return false;
        }
        let installed = &policy.installed;
        let known = SessionKey::from_mark(key).and_then(|key| {
            let previous = || policy.previous.as_ref()?.table().info(key);
            installed.table().info(key).or_else(previous)
        });
        // A key that isn't known is of a policy from long ago; its session is classified anew.
        known.is_none_or(|info| self.takes_zones(&info, policy))
    }

    /// Whether an expectation is: its master decides, of which only the addresses are at hand.
    pub(super) fn takes_tuple(&self, tuple: &Tuple) -> bool {
        let Replicate { protocols, except, .. } = &self.replicate;
        let ends = [tuple.src, tuple.dst];
        (protocols.is_empty() || protocols.contains(&tuple.protocol))
            && !ends.iter().any(|address| address.is_loopback())
            && !ends.iter().any(|address| except.contains(*address))
    }

    fn takes_zones(&self, info: &KeyInfo, policy: &Policy) -> bool {
        let own = policy.installed.rules().zones.get(usize::from(ZoneId::SELF.index()));
        let ends = [&info.from, &info.to];
        let zones = &self.replicate.zones;
        let listed = |name: &str| zones.iter().any(|zone| zone == name);
        !ends.iter().any(|end| own.is_some_and(|own| own.name == **end))
            && (zones.is_empty() || ends.iter().all(|end| listed(end)))
    }
}
