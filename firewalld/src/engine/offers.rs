//! Policies of the peer: what becomes of an offer.
//!
//! An offer is loaded like any other policy, and counts as confirmed: an operator has done that on
//! the other node. It is kept instead where the settings say so, and waits while another policy is
//! tried here. The last offer is kept in memory only; after a restart it comes again.

use super::Engine;
use super::trial::Standing;
use crate::confirmed::{Confirmed, Offered, Stamp, decode};
use std::sync::Arc;
use twinwall_control::{SourceFile, report};
use twinwall_ctsync::offer::{Delivery, Outcome, PolicyVersion, Verdict};

impl Engine {
    /// Decides about an offer. With `hold` it is kept until an operator takes it.
    pub(super) fn take_offer(&mut self, offer: Delivery, hold: bool) {
        let Delivery { version, name, text } = offer;
        let Some(text) = text else { return self.adopt_stamp(version, name) };
        let files = match decode(&text) {
            Ok(files) => files,
            Err(reason) => return self.decide(version, name, None, Outcome::Refused, &reason),
        };
        drop(text);
        if Some(version) <= self.confirmed.version() {
            let reason = "another policy was confirmed later";
            return self.decide(version, name, None, Outcome::Refused, reason);
        }
        if hold {
            let reason = "`twinwall apply --offered` takes it";
            return self.decide(version, name, Some(files), Outcome::Held, reason);
        }
        if self.trial.is_some() {
            let reason = "another policy is being tried";
            return self.decide(version, name, Some(files), Outcome::Waits, reason);
        }
        // Its outcome is in the log and in what is shown.
        let _ = self.load_offer(version, name, files);
    }

    /// An operator takes the offer that is kept here.
    pub(super) fn apply_offered(&mut self) -> Result<report::Apply, String> {
        let kept = self.offered.as_ref();
        let kept =
            kept.and_then(|kept| Some((kept.verdict.version, &kept.name, kept.files.as_ref()?)));
        let Some((version, name, files)) = kept else {
            return Err(format!("error: no policy of the peer waits here\n{}", self.note()));
        };
        if Some(version) <= self.confirmed.version() {
            return Err(format!(
                "error: the policy of the peer was confirmed earlier than the one here\n{}",
                self.note()
            ));
        }
        let (name, files) = (name.clone(), files.clone());
        self.load_offer(version, name, files)
    }

    /// What an offer waited for is over.
    pub(super) fn reconsider_offer(&mut self) {
        let waits = self
            .offered
            .as_ref()
            .filter(|offered| offered.verdict.outcome == Outcome::Waits && self.trial.is_none());
        let Some((version, name, files)) = waits.map(|waits| {
            (waits.verdict.version, waits.name.clone(), waits.files.clone().unwrap_or_default())
        }) else {
            return;
        };
        if Some(version) <= self.confirmed.version() {
            let reason = "another policy was confirmed later";
            return self.decide(version, name, None, Outcome::Refused, reason);
        }
        let _ = self.load_offer(version, name, files);
    }

    fn load_offer(
        &mut self,
        version: PolicyVersion,
        name: String,
        files: Vec<SourceFile>,
    ) -> Result<report::Apply, String> {
        let stamp = Stamp { at: version.stamp, from_peer: true };
        let loaded = self.load(files.clone(), Standing::Confirmed(stamp));
        match &loaded {
            Ok(_) => {
                tracing::info!(policy = name, "the policy of the peer is loaded");
                self.decide(version, name, None, Outcome::Taken, "");
            }
            Err(text) => {
                tracing::error!("the policy of the peer is refused\n{text}");
                self.decide(version, name, Some(files), Outcome::Refused, text);
            }
        }
        loaded
    }

    /// The peer has the text that runs here, confirmed later.
    fn adopt_stamp(&mut self, version: PolicyVersion, name: String) {
        if self.confirmed.digest != version.digest {
            let reason = "another policy was confirmed here meanwhile";
            return self.decide(version, name, None, Outcome::Refused, reason);
        }
        if Some(version) > self.confirmed.version() {
            let from_peer = self.confirmed.stamp.is_some_and(|stamp| stamp.from_peer);
            let stamp = Stamp { at: version.stamp, from_peer };
            let confirmed = Confirmed { stamp: Some(stamp), ..Confirmed::clone(&self.confirmed) };
            self.confirmed = Arc::new(confirmed);
            self.keep_state();
        }
        self.decide(version, name, None, Outcome::Taken, "");
    }

    fn decide(
        &mut self,
        version: PolicyVersion,
        name: String,
        files: Option<Vec<SourceFile>>,
        outcome: Outcome,
        reason: &str,
    ) {
        if matches!(outcome, Outcome::Held | Outcome::Waits) {
            tracing::info!(policy = name, reason, "the peer offers a policy");
        }
        let verdict = Verdict { version, outcome, reason: reason.to_owned() };
        self.offered = Some(Arc::new(Offered { verdict, name, files }));
        self.show_standing();
    }
}
