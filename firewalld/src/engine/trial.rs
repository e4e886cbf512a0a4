//! Policies that have to be confirmed, and what counts as confirmed.
//!
//! ```text
//!   apply ───────────────────► confirmed ──► offered to the peer
//!   apply --confirm ──► trial ──┬─ confirm ─► confirmed
//!                               ├─ apply ───► that one is confirmed; the trial is over
//!                               ├─ apply --confirm ─► another trial, before the same policy
//!                               └─ time is over, or the daemon starts ─► the policy before, again
//! ```
//!
//! The policy before a trial is the one that was confirmed last, however many trials there are. A
//! policy that is refused changes nothing of a trial.

use super::Engine;
use crate::confirmed::{Confirmed, Deadline, Stamp};
use crate::state::Before;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use twinwall_control::{SourceFile, pair, report, source};
use twinwall_ctsync::offer::{self, PolicyDigest};

/// Going back is tried again after this time when it fails.
const AGAIN: Duration = Duration::from_secs(5);

/// What a policy is once it is loaded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// It counts.
    Confirmed(Stamp),
    /// It has to be confirmed within this time.
    Tried(Duration),
    /// It is the one before a trial.
    Back,
    /// It is the one that runs already.
    AsBefore,
}

/// A policy runs that isn't confirmed.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) deadline: Deadline,
    pub(super) before: Before,
}

impl Trial {
    pub(super) fn left_ms(&self) -> u64 {
        u64::try_from(self.deadline.left().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Engine {
    /// Loads a policy that counts at once.
    pub(super) fn apply(&mut self, files: Vec<SourceFile>) -> Result<report::Apply, String> {
        let stamp = self.stamp();
        let report = self.load(files, Standing::Confirmed(stamp));
        self.reconsider_offer();
        report
    }

    /// Loads a policy for a while. `None` stands for the daemon's own files.
    pub(super) fn try_policy(
        &mut self,
        files: Option<Vec<SourceFile>>,
        within: Duration,
    ) -> Result<report::Apply, String> {
        match files {
            Some(files) => self.load(files, Standing::Tried(within)),
            None => self.load_own(Standing::Tried(within)),
        }
    }

    /// Reads the daemon's own files and loads them. If they are as they were when they were last
    /// read, and the peer's policy runs, that stays: who wants this node to read its settings
    /// again doesn't want another policy on both.
    pub(super) fn reload_own(&mut self) -> Result<report::Apply, String> {
        if let Some(trial) = &self.trial {
            let left = trial.deadline.left().as_secs();
            return Err(format!(
                "error: a policy waits for its confirmation, for another {left} s\n \
                 = help: `twinwall confirm` keeps it; `twinwall apply PATH` replaces it\n \
                 = note: nothing was reloaded; {}",
                self.note()
            ));
        }
        let stamp = self.stamp();
        let result = self.load_own(Standing::Confirmed(stamp));
        self.reconsider_offer();
        result
    }

    fn load_own(&mut self, standing: Standing) -> Result<report::Apply, String> {
        let files = source::read(&self.own_path)
            .map_err(|error| format!("error: {error}\n{}", self.note()))?;
        let theirs = self.confirmed.stamp.is_some_and(|stamp| stamp.from_peer);
        if theirs && matches!(standing, Standing::Confirmed(_)) && *self.own_files == *files {
            let mut report = self.load(self.files.to_vec(), Standing::AsBefore)?;
            report.warnings.push(
                "warning: the policy of the peer stays: the daemon's own files are as they were \
                 when it came\n = help: `twinwall apply PATH` loads them all the same"
                    .to_owned(),
            );
            return Ok(report);
        }
        // Written down with the policy: a start after this must not take the files for edited.
        let before = std::mem::replace(&mut self.own_files, files.clone().into());
        let result = self.load(files, standing);
        if result.is_err() {
            self.own_files = before;
        }
        result
    }

    /// Keeps the policy that waits for its confirmation.
    pub(super) fn confirm(&mut self) -> Result<pair::Confirmed, String> {
        let generation = self.published.load().generation;
        if self.trial.is_none() {
            return Err(format!(
                "error: no policy waits for its confirmation\n = note: generation {generation} \
                 stays active"
            ));
        }
        let stamp = self.stamp();
        self.stand(Arc::clone(&self.files), Standing::Confirmed(stamp));
        self.keep_state();
        self.reconsider_offer();
        let policy = self.confirmed.name.to_string();
        tracing::info!(generation, policy, "policy confirmed");
        let digest = self.confirmed.digest.to_string();
        Ok(pair::Confirmed { generation, policy, digest, peer: None })
    }

    /// How long the engine may wait for commands before [`Self::look_at_trial`].
    pub(super) fn trial_left(&self) -> Option<Duration> {
        self.trial.as_ref().map(|trial| trial.deadline.left())
    }

    /// Goes back to the policy before, if it is time.
    pub(super) fn look_at_trial(&mut self) {
        let Some(trial) = self.trial.as_ref().filter(|trial| trial.deadline.left().is_zero())
        else {
            return;
        };
        let (before, generation) = (trial.before.clone(), self.published.load().generation);
        tracing::warn!(
            generation,
            policy = %before.name,
            "the policy was not confirmed: going back to the one before"
        );
        if let Err(text) = self.load(before.files.to_vec(), Standing::Back) {
            tracing::error!("cannot go back; trying again in {AGAIN:?}\n{text}");
            if let Some(trial) = &mut self.trial {
                trial.deadline = Deadline::after(AGAIN);
            }
            return;
        }
        self.reconsider_offer();
    }

    /// The stamp of a policy that is confirmed now.
    fn stamp(&self) -> Stamp {
        let own = self.confirmed.stamp.map(|stamp| stamp.at);
        Stamp::now(own.into_iter().chain([self.heard.load(Ordering::Relaxed)]))
    }

    /// The digest of the running policy.
    pub(super) fn digest(&self) -> PolicyDigest {
        match self.trial {
            None => self.confirmed.digest,
            Some(_) => offer::digest(&crate::confirmed::encode(&self.files)),
        }
    }

    /// These files have been loaded: notes what that makes of them.
    pub(super) fn stand(&mut self, files: Arc<[SourceFile]>, standing: Standing) {
        let replaced = std::mem::replace(&mut self.files, files);
        match standing {
            Standing::Confirmed(stamp) => {
                self.trial = None;
                let name = Arc::clone(&self.published.load().policy.installed.rules().name);
                self.confirmed = Arc::new(Confirmed::new(&self.files, &name, Some(stamp)));
            }
            Standing::Tried(within) => {
                let name = Arc::clone(&self.confirmed.name);
                let before = match self.trial.take() {
                    Some(trial) => trial.before,
                    None => Before { name, files: replaced },
                };
                self.trial = Some(Trial { deadline: Deadline::after(within), before });
            }
            Standing::Back => self.trial = None,
            Standing::AsBefore => {}
        }
        self.show_standing();
    }

    /// Shows the readers what is confirmed, tried and offered.
    pub(super) fn show_standing(&self) {
        self.publish(|published| {
            published.confirmed = Arc::clone(&self.confirmed);
            published.trial = self.trial.as_ref().map(|trial| trial.deadline);
            published.offered.clone_from(&self.offered);
        });
    }
}
