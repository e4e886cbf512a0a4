//! The key of a session that came under a rule of the peer's policy.
//!
//! Goes in: the session with the key that the same rule has here, and the running policy. Comes
//! out: the key of the rule that decides it here. Not here: sessions of rules that aren't here; only
//! their next packet shows their zones.

use super::convert::kernel_tuple;
use crate::conntrack::inside_of;
use crate::snapshot::Policy;
use twinwall_ctsync::model::Session;
use twinwall_policy::flow::Flow;
use twinwall_policy::keys::SessionKey;

/// The key; 0 if the session's zones aren't here, `None` if it has no key. `mask` are the owned bits
/// of the connmark.
pub(super) fn key(session: &Session, policy: &Policy, mask: u32) -> Option<u32> {
    let key = SessionKey::from_mark(session.mark & mask)?;
    // What another session expects follows that one, and kept keys are for what was there before.
    let follows = session.master.is_some() || session.expectation.is_some();
    if follows || policy.installed.table().keeps(key) {
        return Some(key.mark());
    }
    let Some((from, to)) = policy.zones_of(key) else { return Some(0) };
    let [original, reply] = [&session.original, &session.reply].map(|end| kernel_tuple(end, None));
    let flow = Flow { tuple: inside_of(&original, &reply), from, to };
    Some(policy.decide(&flow).map_or(0, |decided| decided.key.mark()))
}
