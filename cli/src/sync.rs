//! The verbs about session replication.

use crate::daemon::ask;
use crate::output::{Done, Failure};
use crate::render;
use std::path::Path;
use twinwall_control::Request;
use twinwall_control::sync::Status;

/// Asks, and shows the state of replication.
pub(crate) fn run(socket: &Path, request: &Request, json: bool) -> Result<Done, Failure> {
    let report: Status = ask(socket, request)?;
    Done::report(&report, json, render::sync)
}
