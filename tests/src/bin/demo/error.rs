//! What can end a chapter before its checks are done.

use std::io;
use std::time::Duration;

/// Why a step could not be done. A check that doesn't hold is no error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The testbed or a command in it failed.
    #[error(transparent)]
    Testbed(#[from] twinwall_testbed::Error),
    /// This machine lacks something that the demo needs.
    #[error("the demo cannot run here: {0}")]
    Missing(String),
    /// Somebody has asked the demo to end.
    #[error("interrupted")]
    Interrupted,
    /// Something did not happen in time.
    #[error("{what} took longer than {within:?}; {detail}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// How far it had come.
        detail: String,
    },
    /// Traffic that was to run on has ended.
    #[error("the traffic has ended too early; it said: {0}")]
    Traffic(String),
    /// A command printed what can't be understood.
    #[error("cannot read what `{command}` printed: {reason}")]
    Output {
        /// The command.
        command: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A system call failed.
    #[error("cannot {attempt}: {source}")]
    Io {
        /// What was attempted, on which object.
        attempt: String,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// Whether this machine or this user lacks something, so that the other chapters would too.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Testbed(twinwall_testbed::Error::NotBuilt { .. }))
    }
}

/// For `map_err`: says what was attempted.
pub(crate) fn io(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let attempt = attempt.into();
    move |source| Error::Io { attempt, source }
}
