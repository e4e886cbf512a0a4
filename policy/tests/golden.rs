//! Golden files: what a policy compiles to, or which messages it gets, to the letter.
//!
//! `tests/golden/accept` holds policies that load without a warning, `warn` those that load with
//! warnings, `reject` those that don't load. A case is a file `NAME.yaml` or a directory `NAME` of
//! files; what is expected stands beside it in `NAME.txt`. With `UPDATE_GOLDEN=1` in the
//! environment the expected texts are written anew; look at the difference before you keep them.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed test is a panic, and golden files are files"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use twinwall_policy::address::AddressSet;
use twinwall_policy::diag::codes;
use twinwall_policy::diag::render::Style;
use twinwall_policy::matching::{PortRange, Service};
use twinwall_policy::ruleset::{NatRule, Rule, RuleSet, Translation};
use twinwall_policy::zone::ZoneSet;
use twinwall_policy::{SourceText, load};

const CLOSING: &str = "policy not loaded; generation 41 stays active";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The cases of a class: name, files, and where the expected text is.
fn cases(class: &str) -> Vec<(String, Vec<SourceText>, PathBuf)> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(root().join(class)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let files = if path.is_dir() {
            let mut paths: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths.iter().map(|path| read(path)).collect()
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            vec![read(&path)]
        } else {
            continue;
        };
        let expected = root().join(class).join(format!("{name}.txt"));
        cases.push((name, files, expected));
    }
    cases.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    assert!(!cases.is_empty());
    cases
}

fn read(path: &Path) -> SourceText {
    let name = path.file_name().unwrap().to_str().unwrap();
    SourceText { path: name.into(), text: fs::read_to_string(path).unwrap() }
}

/// Compares each case's text with the expected one, or writes it.
fn check(class: &str, show: impl Fn(&str, &[SourceText]) -> String) {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for (name, files, expected) in cases(class) {
        let text = show(&name, &files);
        if update {
            fs::write(&expected, &text).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("=== {class}/{name}, got:\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn accepted_policies_compile_to_what_they_say() {
    check("accept", |name, files| match load(files) {
        Ok(loaded) => {
            assert_eq!(loaded.warning_count, 0, "{name}:\n{}", loaded.text(Style::default()));
            dump(&loaded.rules)
        }
        Err(failure) => panic!("{name}:\n{}", failure.text(Style::default())),
    });
}

#[test]
fn warnings_name_both_rules() {
    check("warn", |name, files| match load(files) {
        Ok(loaded) => {
            assert_ne!(loaded.warning_count, 0, "{name}");
            loaded.text(Style::default())
        }
        Err(failure) => panic!("{name}:\n{}", failure.text(Style::default())),
    });
}

#[test]
fn rejected_policies_say_what_is_wrong_and_where() {
    check("reject", |name, files| match load(files) {
        Ok(_) => panic!("{name} was accepted"),
        Err(failure) => {
            let style = Style { colour: false, closing: Some(CLOSING) };
            let plain = failure.text(style);
            let coloured = failure.text(Style { colour: true, ..style });
            assert_eq!(without_colours(&coloured), plain, "{name}");
            plain
        }
    });
}

#[test]
fn every_code_has_a_golden_case_and_an_entry_in_the_manual() {
    let codes: BTreeSet<String> = codes::ALL.iter().map(|code| code.to_string()).collect();
    assert_eq!(codes.len(), codes::ALL.len(), "codes are unique");
    let mut shown = BTreeSet::new();
    for class in ["reject", "warn"] {
        for (_, _, expected) in cases(class) {
            let text = fs::read_to_string(expected).unwrap();
            for line in text.lines() {
                let rest = line.strip_prefix("error[").or_else(|| line.strip_prefix("warning["));
                if let Some((code, _)) = rest.and_then(|rest| rest.split_once("]: ")) {
                    shown.insert(code.to_owned());
                }
            }
        }
    }
    assert_eq!(shown, codes, "golden cases");
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let manual: BTreeSet<String> = fs::read_to_string(manual)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(code, _)| code.to_owned())
        .collect();
    assert_eq!(manual, codes, "docs/errors.md");
}

/// A text without ANSI escape sequences.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// A rule set in a form that can be read.
fn dump(set: &RuleSet) -> String {
    let mut out = format!("policy {}, queue failure {:?}\n", set.name, set.queue_failure);
    for (index, zone) in set.zones.iter().enumerate() {
        let _ = writeln!(out, "zone {index} {} {}", zone.name, zone.interfaces.join(" "));
    }
    for rule in &set.rules {
        let Rule { seq, name, matches, action, log, on_change } = rule;
        let log = if *log { ", log" } else { "" };
        let _ = writeln!(out, "rule {seq} {name}: {action:?}{log}, {on_change:?}");
        let _ = writeln!(out, "  from {}, to {}", zones(matches.from), zones(matches.to));
        let _ = writeln!(out, "  src {}", addresses(&matches.src));
        let _ = writeln!(out, "  dst {}", addresses(&matches.dst));
        let _ = writeln!(out, "  service {}", services(&matches.services));
    }
    for nat in &set.nat {
        let NatRule { seq, name, from, to, src, dst, families, translation, .. } = nat;
        let _ = writeln!(out, "nat {seq} {name}: v4 {}, v6 {}", families.v4, families.v6);
        let _ = writeln!(out, "  from {}, to {}", zones(*from), zones(*to));
        let _ = writeln!(out, "  src {}", addresses(src));
        let _ = writeln!(out, "  dst {}", addresses(dst));
        let _ = writeln!(out, "  service {}", services(&nat.services));
        let option = |address: Option<String>| address.unwrap_or_else(|| "-".into());
        let _ = match translation {
            Translation::Masquerade => writeln!(out, "  masquerade"),
            Translation::Source { v4, v6 } => writeln!(
                out,
                "  source {} {}",
                option(v4.map(|a| a.to_string())),
                option(v6.map(|a| a.to_string()))
            ),
            Translation::Destination { v4, v6, port } => writeln!(
                out,
                "  destination {} {} port {}",
                option(v4.map(|a| a.to_string())),
                option(v6.map(|a| a.to_string())),
                option(port.map(|port| port.to_string()))
            ),
        };
    }
    out
}

fn zones(set: ZoneSet) -> String {
    if set == ZoneSet::ALL {
        return "any".into();
    }
    if set == ZoneSet::ALL.without(twinwall_policy::zone::ZoneId::SELF) {
        return "any but self".into();
    }
    set.iter().map(|zone| zone.index().to_string()).collect::<Vec<_>>().join(",")
}

fn addresses(set: &AddressSet) -> String {
    if *set == AddressSet::any() {
        return "any".into();
    }
    let v4 = set.v4().iter().map(|(low, high)| {
        format!("{}-{}", std::net::Ipv4Addr::from_bits(*low), std::net::Ipv4Addr::from_bits(*high))
    });
    let v6 = set.v6().iter().map(|(low, high)| {
        format!("{}-{}", std::net::Ipv6Addr::from_bits(*low), std::net::Ipv6Addr::from_bits(*high))
    });
    v4.chain(v6).collect::<Vec<_>>().join(" ")
}

fn services(list: &[Service]) -> String {
    let range = |range: PortRange| {
        if range == PortRange::ANY {
            "any".into()
        } else if range.low() == range.high() {
            range.low().to_string()
        } else {
            format!("{}-{}", range.low(), range.high())
        }
    };
    let one = |service: &Service| match service.protocol {
        None => "any".into(),
        Some(protocol) => {
            format!("{protocol}:{}:{}", range(service.src_port), range(service.dst_port))
        }
    };
    list.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_example_of_the_manual_loads_without_a_warning() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let manual = fs::read_to_string(manual).unwrap();
    let (_, rest) = manual.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let loaded = load(&[SourceText { path: "policy.md".into(), text: example.into() }]);
    let loaded = loaded.unwrap_or_else(|failure| panic!("{}", failure.text(Style::default())));
    assert_eq!(loaded.warning_count, 0, "{}", loaded.text(Style::default()));
    assert!(loaded.tests > 0);
}
