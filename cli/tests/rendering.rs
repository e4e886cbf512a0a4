//! Reports as the daemon sends them, and the text that an operator reads.
//!
//! `tests/golden/NAME.json` is the report, `NAME.txt` the text. With TWINWALL_BLESS=1 in the
//! environment the texts are written instead of compared; look at the difference before keeping it.
//! The reports are also held to the field names that scripts rely on: each has to come out of the
//! types of the protocol as it went in.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;
use twinwall_cli::render::{self, Question};
use twinwall_control::{FlowQuery, report};

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-01-31T12:00:00Z").unwrap()
}

fn golden<T: DeserializeOwned + Serialize>(name: &str, render: impl FnOnce(&T) -> String) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let json = fs::read_to_string(directory.join(format!("{name}.json"))).unwrap();
    let report: T = serde_json::from_str(&json).unwrap();
    let before: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), before, "{name}: fields got lost");
    let text = render(&report);
    let path = directory.join(format!("{name}.txt"));
    if std::env::var_os("TWINWALL_BLESS").is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(text == expected, "{name}: expected\n{expected}\nbut got\n{text}");
}

#[test]
fn apply_is_shown_with_keys_sessions_and_times() {
    golden("apply", |report: &report::Apply| {
        assert_eq!(render::apply_warnings(report), "");
        render::apply(report)
    });
    golden("apply-confirm", render::apply);
    golden("apply-warnings", |report: &report::Apply| {
        render::apply_warnings(report) + &render::apply(report)
    });
}

#[test]
fn confirmation_is_shown_with_what_the_peer_does() {
    golden("confirm", render::confirmed);
}

#[test]
fn status_is_shown_at_a_glance() {
    golden("status", |report| render::status(report, now()));
    golden("status-bare", |report| render::status(report, now()));
}

#[test]
fn virtual_routers_are_shown_with_reasons() {
    golden("vrrp", render::vrrp);
}

#[test]
fn replication_is_shown_with_what_went_wrong() {
    golden("sync", render::sync);
}

#[test]
fn rules_are_shown_with_and_without_hits() {
    golden("rules", |report| {
        format!("{}\n--hits\n\n{}", render::rules(report), render::hits(report, now()))
    });
}

#[test]
fn sessions_are_shown_one_a_line_and_counted() {
    golden("sessions", render::sessions);
    golden("sessions-counted", render::sessions);
    golden("sessions-one", render::sessions);
}

#[test]
fn explanation_begins_with_the_decision() {
    let flow = FlowQuery {
        from: "lan".into(),
        to: "wan".into(),
        src: "10.0.0.5".parse().unwrap(),
        dst: "198.51.100.7".parse().unwrap(),
        protocol: 6,
        src_port: 40000,
        dst_port: 443,
    };
    let question = Question { flow: &flow, live: true, brief: false };
    golden("explain", |report| render::explain(report, &question));
    golden("explain-brief", |report| {
        render::explain(report, &Question { brief: true, ..question })
    });
    golden("explain-default", |report| {
        let live = render::explain(report, &question);
        let offline = render::explain(report, &Question { live: false, ..question });
        format!("{live}\noffline\n\n{offline}")
    });
}

#[test]
fn ordinary_output_fits_100_columns() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for name in ["apply", "apply-confirm", "confirm", "status", "explain", "explain-default"] {
        let text = fs::read_to_string(directory.join(format!("{name}.txt"))).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
    }
}
