//! What a daemon after this one has to know, as the engine has it.

use super::Engine;
use crate::state::{Directory, Running};
use std::sync::Arc;
use twinwall_policy::keys::State as Keys;

impl Engine {
    /// Writes down what a daemon after this one has to know.
    pub(super) fn keep_state(&self) {
        keep(&self.directory, &self.running());
    }

    pub(super) fn running(&self) -> Running {
        let published = self.published.load();
        let folded = published.folded.iter();
        Running {
            generation: published.generation,
            loaded: published.loaded,
            files: Arc::clone(&self.files),
            // Mostly the same, and not small.
            own_files: (self.own_files != self.files).then(|| Arc::clone(&self.own_files)),
            keys: Keys {
                table: published.policy.installed.table().clone(),
                allocator: self.allocator,
            },
            since: published.since,
            folded: folded
                .map(|(rule, counter)| (rule.to_string(), (counter.packets, counter.bytes)))
                .collect(),
            confirmed: self.confirmed.stamp,
            before: self.trial.as_ref().map(|trial| trial.before.clone()),
        }
    }
}

/// Writes it into the state directory.
pub(super) fn keep(directory: &Directory, running: &Running) {
    if let Err(error) = directory.keep_running(running) {
        tracing::error!(%error, "the running policy is not stored; a restart will reclassify its sessions");
    }
}
