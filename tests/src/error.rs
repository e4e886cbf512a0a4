//! What can go wrong while a testbed is built and used.
//!
//! [`Error::Unavailable`] stands apart: this machine or this user lacks something, so a test that
//! meets it is skipped, not failed (see [`crate::testing`]).

use std::io;
use std::time::Duration;

/// Why the testbed could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A privilege, a kernel feature or a program is missing.
    #[error("the testbed cannot run here: {0}")]
    Unavailable(String),
    /// A binary of this workspace has not been built.
    #[error("{program} is not in {folder}: build it with `cargo build --workspace`")]
    NotBuilt {
        /// The binary's name.
        program: String,
        /// Where it was looked for.
        folder: String,
    },
    /// A testbed of this name is up.
    #[error("testbed `{0}` is already up (`testbed down --name {0}` takes it down)")]
    Exists(String),
    /// No testbed of this name is up.
    #[error("no testbed `{0}` is up (`testbed list` shows those that are)")]
    NotFound(String),
    /// The name can't be used.
    #[error("`{0}` cannot name a testbed: use 1 to 32 of a-z, 0-9 and `-`, not `-` first")]
    BadName(String),
    /// The testbed has no such node.
    #[error("no node `{node}`; this testbed has {known}")]
    NoNode {
        /// What was asked for.
        node: String,
        /// What there is.
        known: String,
    },
    /// A system call failed.
    #[error("{attempt}: {source}")]
    Io {
        /// What was attempted, on which object.
        attempt: String,
        /// The cause.
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("`{command}` ended with {outcome}: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// Exit code or signal.
        outcome: String,
        /// What it said.
        stderr: String,
    },
    /// A program in a node ended although it was to run on.
    #[error("{what} ended; its log: {log}")]
    Ended {
        /// Which one.
        what: String,
        /// What it printed.
        log: String,
    },
    /// Something did not happen in time.
    #[error("{what} took longer than {within:?}{detail}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// What is known about it, from `; ` on, or nothing.
        detail: String,
    },
    /// What was measured cannot be true.
    #[error("not measured: {0}")]
    NotMeasured(String),
    /// A program's report is not what was expected.
    #[error("cannot read the report of `{command}`: {source}; it printed: {text}")]
    Report {
        /// The command line.
        command: String,
        /// The cause.
        source: serde_json::Error,
        /// What it printed.
        text: String,
    },
    /// The daemon of a gateway is not as the caller needs it.
    #[error("twinwalld on {node}: {what}")]
    Daemon {
        /// The gateway.
        node: String,
        /// What is wrong.
        what: String,
    },
    /// The daemon did not answer, or refused.
    #[error("twinwalld on {node}: {source}")]
    Control {
        /// The gateway.
        node: String,
        /// The cause.
        source: twinwall_control::client::Error,
    },
}

/// Says what was attempted when a system call fails.
pub(crate) trait Attempt<T> {
    /// Turns the failure into an [`Error::Io`] with these words.
    fn attempt(self, words: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, words: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { attempt: words(), source: source.into() })
    }
}
