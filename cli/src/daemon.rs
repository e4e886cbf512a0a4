//! The verbs that the daemon answers.

use crate::options;
use crate::output::{Done, Failure};
use crate::render;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use twinwall_control::client::{self, Error};
use twinwall_control::{Request, SessionFilter, pair, report, source};

/// How long to wait for an answer that changes nothing: reading some million sessions is the
/// longest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Loads the policy at a path, the daemon's own one, or the peer's.
pub(crate) fn apply(socket: &Path, verb: &options::Apply, json: bool) -> Result<Done, Failure> {
    if verb.offered {
        return load(socket, &Request::ApplyOffered, json);
    }
    let read = |path: &PathBuf| source::read(path).map_err(|error| Failure::new(error.to_string()));
    let files = verb.path.as_ref().map(read).transpose()?;
    let request = match (files, verb.confirm) {
        (files, Some(time)) => {
            let confirm_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            Request::Try { files, confirm_ms }
        }
        (Some(files), None) => Request::Apply { files },
        (None, None) => Request::Reload,
    };
    load(socket, &request, json)
}

/// Loads the daemon's own policy again.
pub(crate) fn reload(socket: &Path, json: bool) -> Result<Done, Failure> {
    load(socket, &Request::Reload, json)
}

/// Keeps the policy that waits for its confirmation.
pub(crate) fn confirm(socket: &Path, json: bool) -> Result<Done, Failure> {
    let report: pair::Confirmed = ask(socket, &Request::Confirm)?;
    Done::report(&report, json, render::confirmed)
}

fn load(socket: &Path, request: &Request, json: bool) -> Result<Done, Failure> {
    let report: report::Apply = client::ask(socket, request).map_err(|error| {
        let unknown = matches!(error, Error::Silent(_) | Error::Closed | Error::Io(_));
        let mut failure = failure(&error);
        if unknown {
            let remark =
                "\n = note: it may still load the policy; `twinwall status` shows what runs";
            failure.text.push_str(remark);
            failure.plain.push_str(remark);
        }
        failure
    })?;
    let mut done = Done::report(&report, json, render::apply)?;
    if !json {
        done.messages = render::apply_warnings(&report);
    }
    Ok(done)
}

/// The daemon at a glance.
pub(crate) fn status(socket: &Path, json: bool) -> Result<Done, Failure> {
    let report: report::Status = ask(socket, &Request::Status)?;
    Done::report(&report, json, |report| render::status(report, SystemTime::now()))
}

/// Rules and their hits.
pub(crate) fn rules(socket: &Path, verb: &options::Rules, json: bool) -> Result<Done, Failure> {
    let report: report::Rules = ask(socket, &Request::Rules)?;
    Done::report(&report, json, |report| match verb.hits {
        true => render::hits(report, SystemTime::now()),
        false => render::rules(report),
    })
}

/// Sessions.
pub(crate) fn sessions(
    socket: &Path,
    verb: &options::Sessions,
    json: bool,
) -> Result<Done, Failure> {
    let filter = SessionFilter {
        rule: verb.rule.clone(),
        stale: verb.stale,
        address: verb.address,
        limit: verb.limit,
    };
    let report: report::Sessions = ask(socket, &Request::Sessions(filter))?;
    Done::report(&report, json, render::sessions)
}

/// Asks a question.
pub(crate) fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, Failure> {
    client::ask_within(socket, request, PATIENCE).map_err(|error| failure(&error))
}

/// What an operator is told. The daemon's own words stay as they are.
fn failure(error: &Error) -> Failure {
    let remark = match error {
        Error::Connect { source, .. } => match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "help: is it running? `systemctl status twinwall` says why not"
            }
            io::ErrorKind::PermissionDenied => "help: this takes root",
            _ => "",
        },
        Error::Silent(_) => {
            "help: it hangs or is overloaded; `journalctl -u twinwall` may say more"
        }
        Error::Closed | Error::Io(_) => {
            "help: it may have ended; `journalctl -u twinwall` says why"
        }
        Error::Decode(_) => OTHER_VERSION,
        Error::Refused(text) if text.starts_with("cannot read the request") => OTHER_VERSION,
        Error::Refused(_) | Error::TooLong { .. } => "",
    };
    if remark.is_empty() {
        return Failure::new(error.to_string());
    }
    Failure::new(format!("{error}\n = {remark}"))
}

const OTHER_VERSION: &str =
    "help: is twinwalld of another version than twinwall? restart it after an update";
