//! How a reload went.

use super::pair;
use super::words::{counted, grouped, printable, span};
use std::time::Duration;
use twinwall_control::report::Apply;

/// What holds now, and what became of keys and sessions.
#[must_use]
pub fn apply(report: &Apply) -> String {
    let Apply { generation, policy, keys, sessions, effective_ms, total_ms, .. } = report;
    let rules = counted(report.rules as u64, "rule");
    let [unchanged, added, removed, kept] =
        [keys.unchanged, keys.added, keys.removed, keys.kept].map(|count| grouped(count as u64));
    let kept = if keys.kept == 0 { String::new() } else { format!(", {kept} kept for sessions") };
    let [same, moved, ended, left] =
        [sessions.unchanged, sessions.remarked, sessions.ended, sessions.left].map(grouped);
    let mut text = format!(
        "policy {}, generation {generation}: {rules}\n\
         keys      {unchanged} unchanged, {added} added, {removed} removed{kept}\n\
         sessions  {same} unchanged, {moved} re-marked, {ended} ended, {left} left\n\
         time      {effective_ms:.1} ms until it held, {total_ms:.1} ms in all\n",
        printable(policy),
    );
    if let Some(within) = report.confirm_within_ms {
        text.push_str(&format!(
            "confirm   `twinwall confirm` within {}, or the policy before comes back\n",
            span(Duration::from_secs(within.div_ceil(1_000))),
        ));
    }
    if let Some(peer) = &report.peer {
        text.push_str(&format!("peer      {}\n", pair::offer(peer)));
    }
    text
}

/// What to look at, for stderr; may be empty.
#[must_use]
pub fn apply_warnings(report: &Apply) -> String {
    let mut text = String::new();
    for warning in &report.warnings {
        text.push_str(warning.trim_end());
        text.push_str("\n\n");
    }
    if report.sessions.left > 0 {
        let left = counted(report.sessions.left, "session");
        text.push_str(&format!(
            "warning: {left} left under keys of the old policy\n \
             = help: `twinwall sessions --stale` lists them; their next packet is classified anew\n\n"
        ));
    }
    text
}
