//! Why a packet is decided as it is.

use super::sessions;
use super::words::{counted, printable};
use crate::tuple::{in_words, name};
use std::fmt::Write;
use twinwall_control::FlowQuery;
use twinwall_control::report::{Explain, Tried};

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The flow.
    pub flow: &'a FlowQuery,
    /// Whether the daemon was asked, which knows sessions.
    pub live: bool,
    /// Whether to leave out rules that differ in more than one field.
    pub brief: bool,
}

/// The decision first, then every rule that was tried.
#[must_use]
pub fn explain(report: &Explain, question: &Question<'_>) -> String {
    let flow = question.flow;
    let words =
        in_words(&name(flow.protocol), (flow.src, flow.src_port), (flow.dst, flow.dst_port));
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{what:<8} {}", printable(value));
    };
    line("flow", &format!("{words}, from {} to {}", flow.from, flow.to));
    line("decision", &format!("{} by rule {}", report.action, report.rule));
    line("nat", report.nat.as_deref().unwrap_or("none"));
    match &report.session {
        Some(session) => {
            let [first, second] = sessions::one(session);
            line("session", &first);
            line("", &second);
        }
        None if question.live => line("session", "none"),
        None => {}
    }
    text.push('\n');
    text.push_str(&tried(report, question.brief));
    text
}

fn tried(report: &Explain, brief: bool) -> String {
    let shown: Vec<&Tried> =
        report.tried.iter().filter(|tried| !brief || tried.reasons.len() <= 1).collect();
    let widest = shown.iter().filter_map(|tried| tried.seq).max().unwrap_or(0);
    let width = widest.max(1).ilog10() as usize + 1;
    let mut text = String::new();
    for tried in &shown {
        let seq = tried.seq.map_or_else(|| "-".into(), |seq| seq.to_string());
        let outcome = if tried.matched { "matches" } else { "does not match" };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{seq:>width$}  {}: {outcome}", printable(&tried.name));
        for reason in &tried.reasons {
            let _ = writeln!(text, "{:width$}    {}", "", printable(reason));
        }
    }
    let hidden = report.tried.len() - shown.len();
    if hidden > 0 {
        let rules = counted(hidden as u64, "rule");
        let differ = if hidden == 1 { "differs" } else { "differ" };
        let _ = writeln!(text, "{rules} that {differ} in more than one field left out");
    }
    text
}
