//! Sessions, one a line. A flow stands at the line's end as `twinwall explain` takes it.

use super::table::{Side, Table};
use super::words::{counted, grouped, printable, span};
use crate::tuple::in_words;
use std::time::Duration;
use twinwall_control::report::{Session, Sessions};

/// The sessions, and how many there are.
#[must_use]
pub fn sessions(report: &Sessions) -> String {
    let mut table = Table::new([
        ("RULE", Side::Left),
        ("ACTION", Side::Left),
        ("FROM", Side::Left),
        ("TO", Side::Left),
        ("STATE", Side::Left),
        ("TIMEOUT", Side::Right),
        ("FLOW", Side::Left),
    ]);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    for session in &report.sessions {
        table.row([
            rule(session),
            or_dash(&session.action),
            or_dash(&session.from),
            or_dash(&session.to),
            state(session),
            left(session),
            format!("{}{}", flow(session), remarks(session)),
        ]);
    }
    let total = counted(report.total, "session");
    let shown = report.sessions.len() as u64;
    match (shown, report.total) {
        (0, _) => format!("{total}\n"),
        (shown, all) if shown < all => {
            format!("{}\n{total}, {} shown\n", table.text(), grouped(shown))
        }
        _ => format!("{}\n{total}\n", table.text()),
    }
}

/// One session for an explanation, in two or three lines.
pub(super) fn one(session: &Session) -> [String; 2] {
    let zones = match (&session.from, &session.to) {
        (Some(from), Some(to)) => format!(", from {from} to {to}"),
        _ => String::new(),
    };
    let action = session.action.as_ref().map(|action| format!(": {action}")).unwrap_or_default();
    let replies = if session.replied { "both directions seen" } else { "no reply seen" };
    let state = session.state.as_ref().map(|state| format!("{}, ", state.to_lowercase()));
    let state = state.unwrap_or_default();
    [
        format!("{}{}", flow(session), remarks(session)),
        format!(
            "{}{action}{zones}; {state}{replies}, times out in {}",
            rule(session),
            left(session)
        ),
    ]
    .map(|line| printable(&line))
}

/// The rule; never a mark without one.
fn rule(session: &Session) -> String {
    match &session.rule {
        Some(rule) => rule.clone(),
        None if session.key == 0 => "(none yet)".into(),
        None => "(stale)".into(),
    }
}

fn state(session: &Session) -> String {
    match &session.state {
        Some(state) => state.to_lowercase(),
        None if session.replied => "replied".into(),
        None => "no reply".into(),
    }
}

fn left(session: &Session) -> String {
    span(Duration::from_secs(session.timeout.into()))
}

fn flow(session: &Session) -> String {
    in_words(&session.protocol, (session.src, session.src_port), (session.dst, session.dst_port))
}

/// What NAT does, and whether it belongs to another session.
fn remarks(session: &Session) -> String {
    let mut text = String::new();
    for (what, address) in [("snat", &session.snat), ("dnat", &session.dnat)] {
        if let Some(address) = address {
            text.push_str(&format!("  ({what} {address})"));
        }
    }
    if session.expected {
        text.push_str("  (expected)");
    }
    if session.carried.as_deref() == Some("peer") {
        text.push_str("  (on the peer)");
    }
    if session.synced == Some(false) {
        text.push_str("  (not copied yet)");
    }
    text
}
