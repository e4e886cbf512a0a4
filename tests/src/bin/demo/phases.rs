//! The demo's four policies: what is in them, and which rule has to decide which flow.
//!
//! The texts that are loaded are files of their own, `tests/demo/`, so that they can be loaded by
//! hand; the unit tests hold them to the table here. Not here: how they are loaded.

use crate::error::{Error, io};
use crate::flows::Flow;
use std::fmt::{self, Write};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A rule of one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Its place: `seq` in Twinwall's policy, the rule's number on the appliance.
    pub(crate) number: u32,
    /// Its name, the same in all policies.
    pub(crate) name: &'static str,
    /// Whether it accepts; otherwise it drops.
    pub(crate) accepts: bool,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.name)
    }
}

/// One policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is different from the one before.
    pub(crate) change: &'static str,
    /// The rules that matter, in order.
    pub(crate) rules: [Rule; 2],
    /// For Twinwall.
    pub(crate) policy: &'static str,
    /// For `iptables-restore`, as the old appliance made it.
    pub(crate) appliance: &'static str,
}

const fn rule(number: u32, name: &'static str, accepts: bool) -> Rule {
    Rule { number, name, accepts }
}

macro_rules! phase {
    ($name:literal, $change:literal, $first:expr, $second:expr) => {
        Phase {
            name: $name,
            change: $change,
            rules: [$first, $second],
            policy: include_str!(concat!("../../../demo/", $name, ".yaml")),
            appliance: include_str!(concat!("../../../demo/appliance/", $name, ".iptables")),
        }
    };
}

/// The policy that everything begins with.
pub(crate) const START: Phase = phase!(
    "start",
    "stream is rule 30, client-all is rule 50",
    rule(30, "stream", true),
    rule(50, "client-all", true)
);

/// The policies that follow, in order.
pub(crate) const CHANGES: [Phase; 3] = [
    phase!(
        "renumbered",
        "stream 30 becomes 20, client-all 50 becomes 30; no decision changes",
        rule(20, "stream", true),
        rule(30, "client-all", true)
    ),
    phase!(
        "swapped",
        "client-all comes first now, so the stream belongs to it",
        rule(20, "client-all", true),
        rule(30, "stream", true)
    ),
    phase!(
        "dropped",
        "client-all drops what it accepted: neither flow may pass",
        rule(20, "client-all", false),
        rule(30, "stream", true)
    ),
];

impl Phase {
    /// The rule that has to decide a flow: the first that matches.
    pub(crate) fn decides(&self, flow: Flow) -> Option<Rule> {
        self.rules.into_iter().find(|rule| flow.matches(rule.name))
    }

    /// The rule with this number.
    pub(crate) fn numbered(&self, number: u32) -> Option<Rule> {
        self.rules.into_iter().find(|rule| rule.number == number)
    }

    /// The rule with this name.
    pub(crate) fn named(&self, name: &str) -> Option<Rule> {
        self.rules.into_iter().find(|rule| rule.name == name)
    }
}

/// Writes a policy of Twinwall, with so many rules added, into a folder under this name.
pub(crate) fn write_policy(
    folder: &Path,
    name: &str,
    text: &str,
    padding: u32,
) -> Result<PathBuf, Error> {
    let path = folder.join(name).with_extension("yaml");
    fs::write(&path, text).map_err(io(format!("write {}", path.display())))?;
    // A file takes the policies of a directory `*.d` beside it along.
    let more = path.with_extension("d");
    if padding > 0 && !more.exists() {
        let added = folder.join("added");
        symlink(&added, &more).map_err(io(format!("write {}", more.display())))?;
    }
    Ok(path)
}

/// Writes the rules that are added to each policy.
pub(crate) fn write_padding(folder: &Path, rules: u32) -> Result<(), Error> {
    let added = folder.join("added");
    let file = added.join("added.yaml");
    fs::create_dir(&added)
        .and_then(|()| fs::write(&file, padding(rules)))
        .map_err(io(format!("write {}", file.display())))
}

/// What each policy does with each flow, as a table.
pub(crate) fn overview() -> String {
    let mut text = String::from("\n");
    let _ = writeln!(text, "  {:12}{:16}client-all", "policy", "stream");
    let _ = writeln!(text, "  {:12}{:16}(everything from 10.0.0.5)", "", "(UDP port 9000)");
    let mut before = None;
    for phase in [START].iter().chain(&CHANGES) {
        let cell = |name| {
            phase.named(name).map_or_else(String::new, |rule| {
                format!("{} {}", rule.number, if rule.accepts { "accept" } else { "drop" })
            })
        };
        let note = effect(phase, before);
        let line =
            format!("  {:12}{:16}{:12}{note}", phase.name, cell("stream"), cell("client-all"));
        let _ = writeln!(text, "{}", line.trim_end());
        before = Some(phase);
    }
    text
}

/// What a policy decides otherwise than the one before.
fn effect(phase: &Phase, before: Option<&Phase>) -> String {
    let Some(before) = before else { return String::new() };
    let mut notes = Vec::new();
    for flow in Flow::ALL {
        let (old, new) = (before.decides(flow), phase.decides(flow));
        let name = |rule: Option<Rule>| rule.map(|rule| (rule.name, rule.accepts));
        if let Some((rule, accepts)) = name(new).filter(|_| name(new) != name(old)) {
            let verb = if accepts { "accepts" } else { "drops" };
            notes.push((flow.name(), format!("{rule} {verb}")));
        }
    }
    match notes.as_slice() {
        [] => "decides as before".to_owned(),
        [(flow, what)] => format!("{what} the {flow}"),
        [(_, what), ..] => format!("{what} both"),
    }
}

/// Rules between other zones than those of the demo's traffic, in four shapes, each with an
/// address of its own.
fn padding(rules: u32) -> String {
    let mut text = String::from("version: 1\nrules:\n");
    for index in 0..rules {
        let (high, low) = (index / 250, index % 250 + 1);
        // 100,000 rules use 400 nets of 250 addresses.
        let host = format!("10.{}.{}.{low}", 64 + high / 250, high % 250);
        let port = 1_024 + index % 60_000;
        let matches = match index % 4 {
            0 => format!("from: wan, to: dmz, dst: {host}, service: {{ tcp: [{port}] }}"),
            1 => format!(
                "from: wan, to: dmz, src: 198.18.{}.0/24, dst: {host}, \
                 service: {{ udp: [{port}-{}] }}",
                high % 250,
                port + 99
            ),
            2 => format!("from: dmz, to: wan, src: {host}, service: {{ tcp: [80, 443] }}"),
            _ => format!(
                "from: lan, to: dmz, dst: \"2001:db8:20::{high:x}:{low:x}\", \
                 service: {{ tcp: [{port}] }}"
            ),
        };
        let _ = writeln!(
            text,
            "  - {{ seq: {}, name: added-{index:06}, {matches}, action: accept }}",
            1_000 + index
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Phase> {
        [START].into_iter().chain(CHANGES)
    }

    #[test]
    fn policy_files_say_what_the_table_says() {
        for phase in all() {
            let lines: Vec<_> = phase.policy.lines().filter(|line| line.contains("seq:")).collect();
            assert_eq!(lines.len(), 2, "{}", phase.name);
            for (line, rule) in lines.iter().zip(phase.rules) {
                let action = if rule.accepts { "accept" } else { "drop" };
                let head = format!("seq: {}, name: {},", rule.number, rule.name);
                assert!(line.contains(&head), "{}: {line}", phase.name);
                assert!(line.ends_with(&format!("action: {action} }}")), "{}: {line}", phase.name);
            }
        }
    }

    #[test]
    fn appliance_files_say_what_the_table_says() {
        for phase in all() {
            for rule in phase.rules {
                let number = rule.number;
                let mark = format!("--set-mark 0x{number:04x}0001");
                assert!(phase.appliance.contains(&mark), "{}: {mark}", phase.name);
                let action = if rule.accepts { "ACCEPT" } else { "DROP" };
                let filter = format!(
                    "--mark 0x{number:04x}0000/0xffff0000 -m comment --comment \"{rule}\" -j {action}"
                );
                assert!(phase.appliance.contains(&filter), "{}: {filter}", phase.name);
            }
        }
    }

    #[test]
    fn first_match_decides() {
        let decider = |phase: &Phase, flow| phase.decides(flow).unwrap().name;
        let [renumbered, swapped, dropped] = &CHANGES;
        for phase in [&START, renumbered] {
            assert_eq!(decider(phase, Flow::Stream), "stream");
            assert_eq!(decider(phase, Flow::Ping), "client-all");
        }
        for phase in [swapped, dropped] {
            assert_eq!(decider(phase, Flow::Stream), "client-all");
            assert_eq!(decider(phase, Flow::Ping), "client-all");
        }
        assert!(!dropped.decides(Flow::Stream).unwrap().accepts);
    }

    #[test]
    fn overview_says_what_changes() {
        let text = overview();
        assert!(text.contains("decides as before"), "{text}");
        assert!(text.contains("client-all accepts the stream"), "{text}");
        assert!(text.contains("client-all drops both"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn added_rules_differ_from_each_other() {
        let text = padding(100_000);
        let rules: std::collections::HashSet<_> = text
            .lines()
            .filter_map(|line| line.split_once(", from")?.1.rsplit_once(", action"))
            .map(|(matches, _)| matches)
            .collect();
        assert_eq!(rules.len(), 100_000);
    }
}
