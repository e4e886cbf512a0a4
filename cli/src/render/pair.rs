//! Which policy the nodes of a pair have, and what became of offers.

use super::words::{printable, span};
use std::fmt::Write;
use std::time::Duration;
use twinwall_control::pair::{Confirmed, Outcome, Policies, Version};

/// What was confirmed, and what became of it on the peer.
#[must_use]
pub fn confirmed(report: &Confirmed) -> String {
    let Confirmed { generation, policy, digest, peer } = report;
    let mut text = format!("policy {}, generation {generation}: confirmed\n", printable(policy));
    // Writing to a string can't fail.
    let _ = writeln!(text, "digest    {}", short(digest));
    if let Some(peer) = peer {
        let _ = writeln!(text, "peer      {}", offer(peer));
    }
    text
}

/// What became of this node's policy on the peer.
pub(super) fn offer(outcome: &Outcome) -> String {
    let state = match outcome.state.as_str() {
        "taken" => "has taken it".to_owned(),
        "held" => "keeps it until an operator takes it".to_owned(),
        "refused" => "has refused it".to_owned(),
        "pending" => "has not loaded it yet".to_owned(),
        "waiting" => "will take it when what is tried there is over".to_owned(),
        "unreachable" => return "not reachable: it will be offered when it is back".to_owned(),
        "superseded" => "has a policy that was confirmed later".to_owned(),
        "none" => "was offered nothing".to_owned(),
        other => printable(other).to_string(),
    };
    with_reason(state, outcome)
}

/// A line for each node, a trial, and offers that were not taken: name and value.
pub(super) fn policies(report: &Policies) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(trial) = &report.trial {
        let left = span(Duration::from_millis(trial.ends_in_ms));
        let policy = printable(&trial.policy);
        lines.push(("trial", format!("{policy}, ends in {left} unless it is confirmed")));
    }
    // A gateway by itself has nothing to compare with.
    let Some(offered_to_peer) = &report.offer else { return lines };
    lines.push(("here", version(&report.here)));
    let there = report.there.as_ref().map_or_else(|| "not known".to_owned(), version);
    let same = match report.same {
        Some(true) => ", the same",
        Some(false) => ", another one",
        None => "",
    };
    lines.push(("there", there + same));
    let told = |outcome: &&Outcome| {
        !matches!(outcome.state.as_str(), "taken" | "superseded" | "unreachable" | "none")
    };
    if let Some(outcome) = Some(offered_to_peer).filter(told) {
        lines.push(("offer", format!("the peer {}", offer(outcome))));
    }
    if let Some(outcome) = report.offered.as_ref().filter(told) {
        lines.push(("offered", offered(outcome)));
    }
    lines
}

/// What became of the peer's policy here.
fn offered(outcome: &Outcome) -> String {
    let name = printable(outcome.policy.as_deref().unwrap_or_default()).to_string();
    let state = match outcome.state.as_str() {
        "held" => "is kept here".to_owned(),
        "refused" => "is refused here".to_owned(),
        "pending" => "is on its way".to_owned(),
        "waiting" => "waits here".to_owned(),
        other => printable(other).to_string(),
    };
    with_reason(format!("{name} {state}").trim_start().to_owned(), outcome)
}

fn version(version: &Version) -> String {
    let mut text = format!("generation {}", version.generation);
    if !version.policy.is_empty() {
        text = format!("{}, {text}", printable(&version.policy));
    }
    if let Some(digest) = &version.digest {
        let _ = write!(text, ", {}", short(digest));
    }
    match (&version.confirmed, version.from_peer) {
        (Some(when), Some(true)) => {
            let _ = write!(text, ", confirmed on the peer {}", printable(when));
        }
        (Some(when), _) => {
            let _ = write!(text, ", confirmed {}", printable(when));
        }
        (None, _) => text.push_str(", not confirmed by anybody"),
    }
    if version.trial {
        text.push_str(", another one is tried");
    }
    text
}

/// The first line of a reason; the rest is in JSON.
fn with_reason(text: String, outcome: &Outcome) -> String {
    let reason = outcome.reason.lines().next().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    if reason.is_empty() { text } else { format!("{text}: {}", printable(reason)) }
}

fn short(digest: &str) -> String {
    printable(digest).chars().take(12).collect()
}
