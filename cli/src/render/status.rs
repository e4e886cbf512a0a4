//! The daemon at a glance.

use super::pair;
use super::table::{Side, Table};
use super::words::{ago_and_when, counted, grouped, printable, size};
use std::fmt::Write;
use std::time::SystemTime;
use twinwall_control::report::Status;

/// The daemon, its policy, its queues, the counters beside the rules, and the zones of interfaces.
#[must_use]
pub fn status(status: &Status, now: SystemTime) -> String {
    let mut text = String::new();
    let failure = match status.queue_failure.as_str() {
        "closed" => "new sessions are dropped (queue_failure: closed)".into(),
        "open" => "new sessions pass (queue_failure: open)".into(),
        other => format!("queue_failure: {}", printable(other)),
    };
    let lines = [
        ("daemon", format!("twinwalld {}, process {}", printable(&status.version), status.pid)),
        ("started", ago_and_when(&status.started, now)),
        ("policy", format!("{}, generation {}", printable(&status.policy), status.generation)),
        ("loaded", ago_and_when(&status.loaded, now)),
        (
            "rules",
            format!(
                "{}, {}",
                counted(status.rules as u64, "rule"),
                counted(status.keys as u64, "session key")
            ),
        ),
        ("sessions", grouped(status.sessions)),
        ("no daemon", failure),
        (
            "kernel",
            format!(
                "{} queue expression, mark mask {:#010x}",
                printable(&status.queue_expression),
                status.mark_mask
            ),
        ),
    ];
    let pair = status.policies.iter().flat_map(pair::policies);
    for (what, value) in lines.into_iter().chain(pair) {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{what:<9} {value}");
    }
    for table in [queues(status), exceptions(status), interfaces(status)] {
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table);
        }
    }
    text
}

fn queues(status: &Status) -> String {
    let mut table = Table::new(
        ["QUEUE", "CLASSIFIED", "WAITING", "OVERRUN", "MALFORMED"].map(|name| (name, Side::Right)),
    );
    for queue in &status.queues {
        table.row([
            queue.number.to_string(),
            grouped(queue.classified),
            grouped(queue.waiting),
            grouped(queue.overrun),
            grouped(queue.malformed),
        ]);
    }
    table.text()
}

fn exceptions(status: &Status) -> String {
    let mut table = Table::new([
        ("COUNTER", Side::Left),
        ("PACKETS", Side::Right),
        ("BYTES", Side::Right),
        ("MEANING", Side::Left),
    ]);
    for exception in &status.exceptions {
        table.row([
            exception.reason.clone(),
            grouped(exception.packets),
            size(exception.bytes),
            meaning(&exception.reason).into(),
        ]);
    }
    table.text()
}

/// What a counter beside the rules counts; nothing for one that a newer daemon has.
fn meaning(reason: &str) -> &'static str {
    match reason {
        "asked" => "sent to the daemon for a decision",
        "forged" => "arrived with Twinwall's mark bits, which were cleared",
        "invalid" => "invalid to conntrack; dropped",
        "again" => "verdict out of date twice in a row; dropped",
        "unclassified" => "no daemon answered; queue_failure decided",
        "local" => "loopback, neighbour discovery, group membership; passed",
        _ => "",
    }
}

fn interfaces(status: &Status) -> String {
    let mut table = Table::new([("INTERFACE", Side::Left), ("ZONE", Side::Left)]);
    for interface in &status.interfaces {
        table.row([interface.name.clone(), interface.zone.clone()]);
    }
    table.text()
}
