//! Session replication.

use super::pair;
use super::words::{counted, grouped, printable, size, span};
use std::fmt::Write;
use std::time::Duration;
use twinwall_control::sync::Status;

/// The peer, the policies, the sessions on both sides, and what went wrong.
#[must_use]
pub fn sync(status: &Status) -> String {
    let heard = span(Duration::from_millis(status.heard_ms));
    let peer = match status.peer.as_str() {
        "alive" => "alive".to_owned(),
        "unknown" => "never heard".to_owned(),
        other => format!("{}, last heard {heard} ago", printable(other)),
    };
    let short = |digest: &str| printable(digest).chars().take(12).collect::<String>();
    let policy = match &status.peer_policy {
        None => format!("{} here, unknown there", short(&status.policy)),
        Some(theirs) if *theirs == status.policy => format!("{}, the same on both", short(theirs)),
        Some(theirs) => format!("{} here, {} there", short(&status.policy), short(theirs)),
    };
    let equal = if status.equal { "equal" } else { "not equal" };
    let [here, there, differing] =
        [status.sessions, status.peer_sessions, status.differing].map(grouped);
    let complete = match (status.complete, status.peer_complete) {
        (true, true) => "both have everything",
        (true, false) => "the peer still lacks sessions",
        (false, true) => "sessions of the peer are still to come",
        (false, false) => "both still lack sessions",
    };
    let resync = status.resync.as_ref().map(|resync| {
        let ago = span(Duration::from_millis(resync.ago_ms));
        let state = if resync.running { ", under way" } else { "" };
        let differed = grouped(resync.differed.into());
        format!(
            "{ago} ago: {}; {differed} of 16,384 parts differed{state}",
            printable(&resync.reason)
        )
    });
    let refused = status
        .refused
        .iter()
        .map(|row| format!("{} {}", grouped(row.count), printable(&row.reason)))
        .collect::<Vec<_>>()
        .join("; ");
    let trouble = [
        (status.resent, "packet sent again"),
        (status.write_refused, "session refused by the kernel"),
        (status.no_room, "session without room"),
        (status.overruns, "overrun of notifications"),
    ];
    let trouble: Vec<String> = trouble
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| match *count {
            1 => format!("1 {what}"),
            count => format!("{} times {what}", grouped(count)),
        })
        .collect();
    let lines = [
        ("peer", peer),
        ("keys", policy),
        ("sessions", format!("{here} here, {there} there, {differing} differing, {equal}")),
        ("complete", complete.to_owned()),
        (
            "lag",
            format!("{} us, {} waiting", grouped(status.lag_us), counted(status.waiting, "change")),
        ),
        (
            "changes",
            format!("{} sent, {} received", grouped(status.sent), grouped(status.received)),
        ),
        (
            "kernel",
            format!(
                "{} written, {} waiting",
                counted(status.written, "session"),
                grouped(status.writes_waiting)
            ),
        ),
        ("resync", resync.unwrap_or_else(|| "never".to_owned())),
        ("trouble", trouble.join("; ")),
        ("refused", refused),
        ("memory", size(status.memory)),
    ];
    let mut text = String::new();
    for (what, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{what:<9} {value}");
    }
    for (what, value) in status.policies.iter().flat_map(pair::policies) {
        let _ = writeln!(text, "{what:<9} {value}");
    }
    text
}
