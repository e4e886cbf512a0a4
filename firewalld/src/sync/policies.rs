//! Which policy both nodes have, for an operator.
//!
//! Goes in: what the engine has published, what the state machine knows of the peer. Comes out:
//! the report.

use crate::published::Published;
use std::time::{Duration, SystemTime};
use twinwall_control::pair::{Outcome, Policies, Trial, Version};
use twinwall_ctsync::offer::{OfferStatus, PolicyVersion, Verdict};
use twinwall_ctsync::replica::Liveness;

/// The policies of both nodes; `peer` is whether it is heard and what is known of its policy.
pub(crate) fn report(published: &Published, peer: Option<(Liveness, &OfferStatus)>) -> Policies {
    let confirmed = &published.confirmed;
    let stamp = confirmed.stamp;
    let here = Version {
        generation: published.generation,
        policy: confirmed.name.to_string(),
        digest: Some(confirmed.digest.to_string()),
        confirmed: stamp.map(|stamp| time(stamp.at)),
        from_peer: stamp.map(|stamp| stamp.from_peer),
        trial: published.trial.is_some(),
    };
    let trial = published.trial.map(|deadline| Trial {
        ends_in_ms: u64::try_from(deadline.left().as_millis()).unwrap_or(u64::MAX),
        policy: published.policy.installed.rules().name.to_string(),
    });
    let mut report = Policies { here, trial, ..Policies::default() };
    let Some((liveness, status)) = peer else { return report };
    let ours = confirmed.version();
    report.there = status.known.then(|| Version {
        generation: status.generation,
        policy: status.name.clone(),
        digest: status.digest.map(|digest| digest.to_string()),
        confirmed: status.version.map(|version| time(version.stamp)),
        from_peer: None,
        trial: status.trial,
    });
    report.same = status.digest.map(|theirs| theirs == confirmed.digest);
    report.offer = Some(offer(ours, liveness, status));
    report.offered = offered(ours, status);
    report
}

/// What became of this node's policy on the peer.
fn offer(ours: Option<PolicyVersion>, liveness: Liveness, status: &OfferStatus) -> Outcome {
    let Some(ours) = ours else {
        return said("none", "nobody has confirmed this node's policy");
    };
    if status.version == Some(ours) {
        return said("taken", "");
    }
    if status.version.is_some_and(|theirs| theirs > ours) {
        return said("superseded", "the peer's was confirmed later");
    }
    // What is known may be about the policy before.
    match status.theirs.as_ref().filter(|verdict| verdict.version == ours) {
        Some(verdict) => outcome(verdict),
        None if liveness != Liveness::Alive => {
            said("unreachable", "it will be offered when the peer is back")
        }
        None => said("pending", ""),
    }
}

/// What became of the peer's policy here.
fn offered(ours: Option<PolicyVersion>, status: &OfferStatus) -> Option<Outcome> {
    let theirs = status.version?;
    let outcome = match (&status.ours, status.fetching) {
        _ if Some(theirs) == ours => said("taken", ""),
        _ if Some(theirs) < ours => said("superseded", "this node's was confirmed later"),
        (Some(verdict), _) => outcome(verdict),
        (None, Some((here, size))) => said("pending", &format!("{here} of {size} bytes are here")),
        (None, None) => said("pending", "it is being loaded"),
    };
    let (confirmed, policy) = (Some(time(theirs.stamp)), Some(status.name.clone()));
    Some(Outcome { confirmed, policy, ..outcome })
}

fn outcome(verdict: &Verdict) -> Outcome {
    use twinwall_ctsync::offer::Outcome as Became;
    let state = match verdict.outcome {
        Became::Taken => "taken",
        Became::Held => "held",
        Became::Waits => "waiting",
        Became::Refused => "refused",
    };
    said(state, &verdict.reason)
}

fn said(state: &str, reason: &str) -> Outcome {
    Outcome { state: state.to_owned(), reason: reason.to_owned(), ..Outcome::default() }
}

/// Milliseconds since 1970 as RFC 3339 has them; the year 9999 is the last.
fn time(ms: u64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(LAST));
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinwall_ctsync::offer::{Outcome as Became, PolicyDigest};

    fn version(stamp: u64) -> PolicyVersion {
        PolicyVersion { stamp, digest: PolicyDigest([stamp as u8; 32]) }
    }

    #[test]
    fn the_outcome_of_an_offer_says_who_is_newer() {
        let alive = Liveness::Alive;
        let mut status = OfferStatus { known: true, ..OfferStatus::default() };
        assert_eq!(offer(None, alive, &status).state, "none");
        assert_eq!(offer(Some(version(5)), alive, &status).state, "pending");
        assert_eq!(offer(Some(version(5)), Liveness::Silent, &status).state, "unreachable");
        status.version = Some(version(6));
        assert_eq!(offer(Some(version(5)), alive, &status).state, "superseded");
        assert_eq!(offered(Some(version(5)), &status).unwrap().state, "pending");
        status.version = Some(version(5));
        assert_eq!(offer(Some(version(5)), alive, &status).state, "taken");
        assert_eq!(offered(Some(version(6)), &status).unwrap().state, "superseded");
        let outcome = Became::Refused;
        status.theirs = Some(Verdict { version: version(6), outcome, reason: "E0203".into() });
        let refused = offer(Some(version(6)), alive, &status);
        assert_eq!((refused.state.as_str(), refused.reason.as_str()), ("refused", "E0203"));
    }

    #[test]
    fn every_stamp_has_a_time() {
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
    }
}
