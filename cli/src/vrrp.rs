//! The verbs about virtual routers.

use crate::daemon::ask;
use crate::options::Groups;
use crate::output::{self, Done, Failure};
use crate::render;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use twinwall_control::Request;
use twinwall_control::vrrp::{Events, HandOver, Status};

/// How long the daemon waits for an event before it says that there is none.
const WAIT: Duration = Duration::from_secs(10);

/// Who is active, and why.
pub(crate) fn status(socket: &Path, json: bool) -> Result<Done, Failure> {
    let report: Status = ask(socket, &Request::Vrrp)?;
    Done::report(&report, json, render::vrrp)
}

/// What has happened, and with `follow` what goes on happening.
pub(crate) fn events(socket: &Path, follow: bool) -> Result<Done, Failure> {
    let (mut after, mut wait_ms) = (0, 0);
    loop {
        let report: Events = ask(socket, &Request::VrrpEvents { after, wait_ms })?;
        let mut text = String::new();
        for event in &report.events {
            text.push_str(&output::to_line(event)?);
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Done::default()),
            Err(error) => return Err(Failure::new(format!("cannot write to stdout: {error}"))),
            Ok(()) => {}
        }
        if !follow {
            return Ok(Done::default());
        }
        after = report.newest;
        wait_ms = u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX);
    }
}

/// Gives groups to the peer.
pub(crate) fn fail_over(socket: &Path, verb: &Groups, json: bool) -> Result<Done, Failure> {
    handed(socket, Request::FailOver { group: verb.group.clone() }, json)
}

/// Takes groups back.
pub(crate) fn fail_back(socket: &Path, verb: &Groups, json: bool) -> Result<Done, Failure> {
    handed(socket, Request::FailBack { group: verb.group.clone() }, json)
}

fn handed(socket: &Path, request: Request, json: bool) -> Result<Done, Failure> {
    let report: HandOver = ask(socket, &request)?;
    let text = render::handover(&report);
    if report.groups.iter().all(|group| group.done) {
        return Done::report(&report, json, |_| text);
    }
    let mut failure = Failure::new(text.trim_end());
    let groups = serde_json::to_value(&report.groups).unwrap_or_default();
    failure.details.insert("groups".to_owned(), groups);
    Err(failure)
}
