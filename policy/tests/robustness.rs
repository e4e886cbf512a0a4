//! Whatever stands in the files: an answer, in bounded time, that can be shown.
#![expect(clippy::disallowed_methods, reason = "the deadline needs a clock")]

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::fmt::Write;
use std::time::{Duration, Instant};
use twinwall_policy::diag::codes;
use twinwall_policy::diag::render::Style;
use twinwall_policy::{Failure, Loaded, Options, SourceText, load, load_with};
use unicode_width::UnicodeWidthStr;

/// Far more than anything here takes, so that a slow machine is no failure; what this catches is
/// work that grows out of bounds.
const DEADLINE: Duration = Duration::from_secs(30);

const POLICY: &str = include_str!("golden/accept/edge-pair.yaml");

fn file(text: &str) -> [SourceText; 1] {
    [SourceText { path: "policy.yaml".into(), text: text.into() }]
}

/// Loads a policy, shows what comes of it, and checks the messages.
fn load_and_show(text: &str) -> Result<Loaded, Failure> {
    let start = Instant::now();
    let outcome = load(&file(text));
    let style = Style { colour: false, closing: Some("policy not loaded") };
    let (diagnostics, shown) = match &outcome {
        Ok(loaded) => (&loaded.warnings, loaded.text(style)),
        Err(failure) => (&failure.diagnostics, failure.text(style)),
    };
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    let lines = text.split('\n').count() as u32 + text.matches('\r').count() as u32;
    for diagnostic in diagnostics {
        assert!(!diagnostic.message.is_empty());
        for place in &diagnostic.places {
            assert!((1..=lines).contains(&place.line), "{place:?}");
            assert!(place.column >= 1);
            assert!(place.excerpt.text.width() <= 72, "{place:?}");
            assert!(place.excerpt.indent + place.excerpt.width <= 73, "{place:?}");
        }
    }
    if let Err(failure) = &outcome {
        assert!(failure.error_count > 0);
        assert!(shown.contains("policy not loaded"));
    }
    outcome
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn random_bytes_are_an_error_at_most() {
    let bytes = prop::collection::vec(any::<u8>(), 0..400);
    let outcome = runner(2000).run(&bytes, |bytes| {
        let _ = load_and_show(&String::from_utf8_lossy(&bytes));
        Ok(())
    });
    outcome.unwrap();
}

const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    ": ",
    "- ",
    "\n",
    "\n  - ",
    "\n    ",
    " ",
    "\t",
    "\"",
    "'",
    "#",
    " #",
    "&a ",
    "*a",
    "!t ",
    "|",
    ">",
    "?",
    "%",
    "@",
    "~",
    "null",
    "any",
    "self",
    "0",
    "-1",
    "99999999999999999999",
    "10.0.0.0/8",
    "::/0",
    "2001:db8::",
    "a-b",
    "\u{feff}",
    "é",
    "東京",
    "\u{202e}",
    "\0",
    "\r",
    "\r\n",
    "---",
    "...",
    "true",
    "version",
    "seq",
    "rules:",
    "groups:",
    "x\u{301}",
];

/// Changes to a valid policy: where, how much is cut out, what is put there.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    let token = prop_oneof![
        select(TOKENS).prop_map(str::to_owned),
        (any::<prop::sample::Index>(), 0..80_usize).prop_map(|(at, length)| {
            let at = at.index(POLICY.len());
            POLICY[at..(at + length).min(POLICY.len())].to_owned()
        }),
        Just(String::new()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, token), 1..5)
}

#[test]
fn a_policy_with_slips_of_the_pen_is_an_error_at_most() {
    assert!(POLICY.is_ascii());
    let outcome = runner(4000).run(&mutations(), |mutations| {
        let mut text = POLICY.to_owned();
        for (at, cut, insert) in mutations {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((at + cut).min(text.len()));
            text.replace_range(at..end, &insert);
        }
        let _ = load_and_show(&text);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_policy_cut_off_anywhere_is_an_error_at_most() {
    for end in 0..POLICY.len() {
        let _ = load_and_show(&POLICY[..end]);
    }
}

/// A policy with many rules, made by `rule`.
fn rules(count: usize, rule: impl Fn(usize) -> String) -> String {
    let mut text = String::from(
        "version: 1\nzones:\n  lan: { interfaces: eth1 }\n  wan: { interfaces: eth0 }\nrules:\n",
    );
    for i in 0..count {
        let _ = writeln!(text, "{}", rule(i));
    }
    text
}

fn flow(i: usize) -> String {
    let (a, b) = (i >> 8 & 255, i & 255);
    format!(
        "  - {{ seq: {i}, name: r{i}, from: lan, to: wan, src: 10.{}.{a}.{b}, service: {{ tcp: 443 }}, action: accept }}",
        i >> 16
    )
}

#[test]
fn two_hundred_thousand_rules_load() {
    let loaded = load_and_show(&rules(200_000, flow)).unwrap();
    assert_eq!(loaded.rules.rules.len(), 200_002);
    assert_eq!(loaded.warning_count, 0);
}

#[test]
fn the_outcome_does_not_depend_on_the_number_of_threads() {
    let odd = |i: usize| match i % 97 {
        0 => format!(
            "  - seq: {i}\n    name: r{i}\n    src:\n      - 10.0.0.{}\n    action: drop",
            i % 300
        ),
        1 => format!("  - {{ seq: {i}, name: r{}, from: lam, action: accept }} # ä", i % 500),
        2 => format!("  # - {{ seq: {i} }}"),
        _ => flow(i),
    };
    for text in [rules(6000, flow), rules(6000, odd)] {
        let outcome = |threads| load_with(&file(&text), &Options { threads, ..Options::default() });
        let one = outcome(1);
        for threads in [2, 3, 4, 7] {
            assert_eq!(one, outcome(threads));
        }
    }
}

#[test]
fn a_hundred_thousand_faults_are_counted_and_a_thousand_shown() {
    let text = rules(100_000, |i| format!("  - {{ seq: {i}, name: r{i}, acton: drop }}"));
    let failure = load_and_show(&text).unwrap_err();
    assert_eq!(failure.error_count, 100_000);
    assert_eq!(failure.diagnostics.len(), 1000);
    assert!(failure.text(Style::default()).ends_with("\n99000 more messages are not shown\n"));
}

#[test]
fn names_that_are_nearly_right_are_looked_for_in_bounded_time() {
    let mut text =
        rules(3000, |i| format!("  - {{ seq: {i}, name: r{i}, src: server-{i}x, action: drop }}"));
    text.push_str("objects:\n");
    for i in 0..20_000 {
        let _ = writeln!(text, "  server-{i}: {{ host: 10.0.{}.{} }}", i >> 8, i & 255);
    }
    assert_eq!(load_and_show(&text).unwrap_err().error_count, 3000);
}

#[test]
fn groups_may_be_nested_deep_but_not_blow_up() {
    let chain = |count: usize| {
        let mut text = String::from("version: 1\nobjects:\n  o: { host: 10.0.0.1 }\ngroups:\n");
        for i in 0..count {
            let _ = writeln!(
                text,
                "  g{i}: [{}]",
                if i == 0 { "o".into() } else { format!("g{}", i - 1) }
            );
        }
        let _ =
            writeln!(text, "rules:\n  - {{ seq: 1, name: r, src: g{}, action: drop }}", count - 1);
        text
    };
    assert!(load_and_show(&chain(50_000)).is_ok());

    let mut doubling = String::from(
        "version: 1\nobjects:\n  a: { host: 10.0.0.1 }\n  b: { host: 10.0.0.3 }\ngroups:\n  g0: [a, b]\n",
    );
    for i in 1..100 {
        let _ = writeln!(doubling, "  g{i}: [g{}, g{}, a]", i - 1, i - 1);
    }
    assert!(load_and_show(&doubling).is_ok());

    // Each rule takes all the ranges of the group along.
    let mut wide =
        rules(20_000, |i| format!("  - {{ seq: {i}, name: r{i}, src: all, action: drop }}"));
    wide.push_str("objects:\n  all:\n    host:\n");
    for i in 0..4000 {
        let _ = writeln!(wide, "      - 10.0.{}.{}", i >> 7, (i & 127) * 2);
    }
    let failure = load_and_show(&wide).unwrap_err();
    assert_eq!(failure.diagnostics[0].code, codes::TOO_MANY);
}

#[test]
fn texts_made_to_hurt_the_scanner_are_refused_in_bounded_time() {
    let n = 200_000;
    for text in [
        "[".repeat(n),
        "{".repeat(n),
        "- ".repeat(n),
        "? ".repeat(n),
        "a: ".repeat(n),
        "[a: ".repeat(n),
        "{a: ".repeat(n),
        "- [".repeat(n),
        "\"".repeat(n),
        "'\n".repeat(n),
        "a\n".repeat(n),
        "&a ".repeat(n),
        "!a ".repeat(n),
        "#\n".repeat(n),
        format!("version: 1\nname: {}", "a ".repeat(n)),
        format!("version: 1\nname: [{}", "a, ".repeat(n)),
        format!("- {}", "[a, [b, c]: d]: [".repeat(n / 10)),
        format!("{}a", " ".repeat(n)),
        (0..2000).map(|i| format!("{}- a\n", " ".repeat(i))).collect(),
        (0..2000).map(|i| format!("{}a:\n", " ".repeat(i))).collect(),
    ] {
        let begin: String = text.chars().take(20).collect();
        let outcome = load_and_show(&text);
        assert!(outcome.is_err(), "{begin:?}");
    }
}

#[test]
fn rules_that_all_match_alike_are_looked_through_in_bounded_time() {
    let same = rules(20_000, |i| format!("  - {{ seq: {i}, name: r{i}, action: drop }}"));
    assert_eq!(load_and_show(&same).unwrap().warning_count, 19_999);
    let ports = rules(20_000, |i| {
        format!(
            "  - {{ seq: {i}, name: r{i}, service: {{ tcp: [{}, {}] }}, action: drop }}",
            i + 1,
            i + 30_001
        )
    });
    assert!(load_and_show(&ports).is_ok());
    let lists = rules(5000, |i| {
        let list: Vec<_> = (0..16).map(|k| format!("10.{}.{}.{k}", i >> 8, i & 255)).collect();
        format!(
            "  - {{ seq: {i}, name: r{i}, src: [{}], dst: [{}], action: accept }}",
            list.join(", "),
            list.join(", ")
        )
    });
    assert!(load_and_show(&lists).is_ok());
}

#[test]
fn no_files_and_empty_files_are_errors() {
    assert_eq!(load(&[]).unwrap_err().error_count, 1);
    assert!(load(&file("")).is_err());
    let two =
        [file("").into_iter().next().unwrap(), file("version: 1\n").into_iter().next().unwrap()];
    assert!(load(&two).is_err());
}

#[test]
fn many_tests_have_the_same_outcome_as_few() {
    // So many tests that they are run with hash tables, and one less than a fault.
    let port = |i: usize| 1000 + i;
    let mut text = rules(3000, |i| {
        format!(
            "  - {{ seq: {i}, name: r{i}, from: lan, to: wan, service: {{ tcp: {} }}, action: accept }}",
            port(i)
        )
    });
    text.push_str("tests:\n");
    for i in 0..1000 {
        let rule = if i == 500 { 501 } else { i };
        let _ = writeln!(
            text,
            "  - {{ name: t{i}, from: lan, src: 10.0.0.1, dst: 192.0.2.1, proto: tcp, dport: {}, expect: accept, rule: r{rule} }}",
            port(i)
        );
    }
    let failure = load_and_show(&text).unwrap_err();
    assert_eq!(failure.error_count, 1);
    assert!(failure.diagnostics[0].message.contains("`t500` failed"));
}
