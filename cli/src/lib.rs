//! The command line: offline verbs through the policy crate, live ones through the daemon.
//!
//! ```text
//! options ──► check     offline: diagnostics of policy files
//!    │   ├──► explain   offline or live ◄── tuple: a flow in words
//!    │   └──► daemon    live: asks twinwalld; vrrp about virtual routers
//!    │           │
//!    └──► output ◄┘     text for people (render) or one JSON object; the exit code
//! ```
//!
//! Goes in: arguments, policy files, the daemon's reports. Comes out: text, JSON, an exit code. Not
//! here: what a policy means (the policy crate) and what happens to packets (the daemon).

mod check;
mod daemon;
mod explain;
pub mod options;
pub mod output;
pub mod render;
mod sync;
pub mod tuple;
mod vrrp;

use clap::Parser;
use options::{Failover, Options, Sync, Verb, Vrrp};
use std::ffi::OsString;
use std::process::ExitCode;
use twinwall_control::Request;

/// Runs the command with its arguments, the program's name first.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Options::try_parse_from(&arguments) {
        Ok(options) => output::exit(run(&options), options.json),
        Err(error) if error.use_stderr() => {
            let json = arguments.iter().any(|argument| argument == "--json");
            output::usage(&error, json)
        }
        // Help and version are no errors.
        Err(error) => output::help(&error),
    }
}

/// Carries a verb out.
fn run(options: &Options) -> Result<output::Done, output::Failure> {
    let json = options.json;
    let socket = &options.socket;
    match &options.verb {
        Verb::Check(verb) => check::run(verb, json),
        Verb::Apply(verb) => daemon::apply(socket, verb, json),
        Verb::Confirm => daemon::confirm(socket, json),
        Verb::Reload => daemon::reload(socket, json),
        Verb::Status => daemon::status(socket, json),
        Verb::Rules(verb) => daemon::rules(socket, verb, json),
        Verb::Sessions(verb) => daemon::sessions(socket, verb, json),
        Verb::Explain(verb) => explain::run(socket, verb, json),
        Verb::Vrrp(Vrrp::Status) => vrrp::status(socket, json),
        Verb::Vrrp(Vrrp::Events(verb)) => vrrp::events(socket, verb.follow),
        Verb::Sync(Sync::Status) => sync::run(socket, &Request::Sync, json),
        Verb::Sync(Sync::Resync) => sync::run(socket, &Request::Resync, json),
        Verb::Failover(Failover::Now(verb)) => vrrp::fail_over(socket, verb, json),
        Verb::Failover(Failover::Back(verb)) => vrrp::fail_back(socket, verb, json),
    }
}
