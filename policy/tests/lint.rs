//! Warnings about rules against the plain truth: every flow of a small world is tried.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is a panic"
)]

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use twinwall_policy::diag::codes;
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::matching::Match;
use twinwall_policy::ruleset::Rule as Compiled;
use twinwall_policy::zone::ZoneId;
use twinwall_policy::{Loaded, SourceText, load};

/// A rule as it is written; empty lists stand for any.
#[derive(Clone, Debug)]
struct Rule {
    from: Vec<&'static str>,
    to: Vec<&'static str>,
    src: Vec<&'static str>,
    dst: Vec<&'static str>,
    service: Vec<&'static str>,
    action: &'static str,
}

const ZONES: &[&str] = &["lan", "wan", "self"];
const ADDRESSES: &[&str] = &[
    "10.0.0.0/30",
    "10.0.0.0/31",
    "10.0.0.2/31",
    "10.0.0.0",
    "10.0.0.3",
    "10.0.0.1-10.0.0.2",
    "0.0.0.0/0",
    "2001:db8::/126",
    "2001:db8::/127",
    "2001:db8::2/127",
    "2001:db8::1",
    "::/0",
];
const SERVICES: &[&str] =
    &["tcp-1", "tcp-12", "tcp-all", "udp-2", "tcp-low", "tcp-high", "ping4", "ping6", "esp"];
const ACTIONS: &[&str] = &["accept", "drop", "reject"];

fn list(from: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![
        3 => Just(Vec::new()),
        3 => select(from).prop_map(|one| vec![one]),
        2 => subsequence(from, 2..4),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let sides = (list(ZONES), list(ZONES), list(ADDRESSES), list(ADDRESSES), list(SERVICES));
    (sides, select(ACTIONS)).prop_map(|((from, to, src, dst, service), action)| Rule {
        from,
        to,
        src,
        dst,
        service,
        action,
    })
}

/// Rules, and then some that are like one of them but for one side.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..7, rule()), 0..6);
    (prop::collection::vec(rule(), 1..6), edits).prop_map(|(mut rules, edits)| {
        for (index, side, other) in edits {
            let mut rule = index.get(&rules).clone();
            match side {
                0 => rule.from = other.from,
                1 => rule.to = other.to,
                2 => rule.src = other.src,
                3 => rule.dst = other.dst,
                4 => rule.service = other.service,
                5 => rule.action = other.action,
                _ => {}
            }
            rules.push(rule);
        }
        rules
    })
}

fn write(rules: &[Rule]) -> String {
    let mut text = String::from(
        "version: 1\n\
         zones: { lan: { interfaces: eth1 }, wan: { interfaces: eth0 } }\n\
         services:\n  tcp-1: { tcp: 1 }\n  tcp-12: { tcp: [1, 2] }\n  tcp-all: { tcp: any }\n  \
         udp-2: { udp: 2 }\n  tcp-low: { tcp: 1-3 }\n  tcp-high: { tcp: 3-65535 }\n  \
         ping4: { icmp: echo-request }\n  ping6: { icmpv6: echo-request }\n  \
         esp: { protocol: esp }\nrules:\n",
    );
    for (i, rule) in rules.iter().enumerate() {
        let _ = write!(text, "  - {{ seq: {i}, name: r{i}, action: {}", rule.action);
        let sides = [
            ("from", &rule.from),
            ("to", &rule.to),
            ("src", &rule.src),
            ("dst", &rule.dst),
            ("service", &rule.service),
        ];
        for (key, list) in sides.into_iter().filter(|(_, list)| !list.is_empty()) {
            let quoted: Vec<_> = list.iter().map(|entry| format!("\"{entry}\"")).collect();
            let _ = write!(text, ", {key}: [{}]", quoted.join(", "));
        }
        text.push_str(" }\n");
    }
    text
}

fn loaded(rules: &[Rule]) -> Loaded {
    let text = write(rules);
    let file = SourceText { path: "p".into(), text: text.clone() };
    load(&[file]).unwrap_or_else(|failure| panic!("{text}\n{}", failure.text(Default::default())))
}

/// Flows such that two rules of this world differ only if they differ on one of them.
fn flows() -> Vec<Flow> {
    let v4 = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.1"];
    let v6 = ["2001:db8::", "2001:db8::1", "2001:db8::2", "2001:db8::3", "::1"];
    let upper = [
        (6, 9, 0),
        (6, 9, 1),
        (6, 9, 2),
        (6, 9, 3),
        (6, 9, 4),
        (17, 9, 2),
        (17, 9, 3),
        (1, 8, 0),
        (1, 8, 1),
        (1, 0, 0),
        (58, 128, 0),
        (58, 129, 0),
        (50, 0, 0),
        (99, 0, 0),
    ];
    let zones: Vec<ZoneId> = (0..4).filter_map(ZoneId::new).collect();
    let mut flows = Vec::new();
    for family in [v4, v6] {
        for (src, dst) in family.iter().flat_map(|src| family.iter().map(move |dst| (src, dst))) {
            for (protocol, src_port, dst_port) in upper {
                let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
                let tuple = Tuple { src, dst, protocol, src_port, dst_port };
                for &from in &zones {
                    flows.extend(zones.iter().map(|&to| Flow { tuple, from, to }));
                }
            }
        }
    }
    flows
}

/// Whether a rule decides any flow, were it to stand at `place`.
fn decides(rules: &[Compiled], place: usize, matches: &Match, flows: &[Flow]) -> bool {
    flows.iter().any(|flow| {
        matches.contains(flow) && !rules[..place].iter().any(|rule| rule.matches.contains(flow))
    })
}

/// The rules of a message, by their numbers.
fn numbers(message: &str) -> Vec<usize> {
    let names = message.split('`').skip(1).step_by(2);
    names.filter_map(|name| name.strip_prefix('r')?.parse().ok()).collect()
}

#[test]
fn warnings_are_true_and_single_shadows_are_all_found() {
    let flows = flows();
    let seen = RefCell::new(BTreeMap::new());
    let mut runner = TestRunner::new(Config {
        cases: 1500,
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&rules(), |rules| {
        let loaded = loaded(&rules);
        let compiled = &loaded.rules.rules;
        let mut warned = vec![false; rules.len()];
        for warning in loaded.warnings.iter().filter(|warning| warning.code != codes::UNUSED) {
            *seen.borrow_mut().entry(warning.code).or_insert(0) += 1;
            let message = &warning.message;
            let numbers = numbers(message);
            let number = numbers[0];
            if warning.code == codes::PARTLY_SHADOWED {
                let above = &compiled[numbers[1]];
                prop_assert_ne!(above.action, compiled[number].action, "{}", message);
                prop_assert!(is_true_of_one_entry(&rules, number, message, &flows), "{}", message);
                continue;
            }
            warned[number] = true;
            let rule = &compiled[number];
            prop_assert!(!decides(compiled, number, &rule.matches, &flows), "{}", message);
            match warning.code {
                codes::EMPTY_MATCH => {
                    prop_assert!(!flows.iter().any(|flow| rule.matches.contains(flow)));
                }
                codes::DUPLICATE_RULE => {
                    let above = &compiled[numbers[1]];
                    prop_assert_eq!(above.action, rule.action);
                    for flow in &flows {
                        prop_assert_eq!(above.matches.contains(flow), rule.matches.contains(flow));
                    }
                }
                codes::SHADOWED_RULE => {
                    let above = &compiled[numbers[1]].matches;
                    for flow in &flows {
                        prop_assert!(!rule.matches.contains(flow) || above.contains(flow));
                    }
                }
                _ => {}
            }
        }
        for (number, rule) in compiled.iter().take(rules.len()).enumerate() {
            let shadowed =
                compiled[..number].iter().any(|above| above.matches.covers(&rule.matches));
            prop_assert!(!shadowed || warned[number], "rule {} of {}", number, write(&rules));
        }
        Ok(())
    });
    outcome.unwrap();
    let seen = seen.into_inner();
    for code in [
        codes::DUPLICATE_RULE,
        codes::SHADOWED_RULE,
        codes::UNREACHABLE_RULE,
        codes::PARTLY_SHADOWED,
        codes::EMPTY_MATCH,
    ] {
        assert!(seen.get(&code).is_some_and(|count| *count > 5), "{code}: {seen:?}");
    }
}

#[test]
fn first_rule_that_covers_another_is_named_among_many() {
    let mut runner = TestRunner::new(Config {
        cases: 12,
        rng_seed: RngSeed::Fixed(8),
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&prop::collection::vec(rule(), 150..400), |rules| {
        let loaded = loaded(&rules);
        let compiled = &loaded.rules.rules;
        let single = [codes::SHADOWED_RULE, codes::DUPLICATE_RULE];
        let warned: BTreeMap<usize, usize> = (loaded.warnings.iter())
            .filter(|warning| single.contains(&warning.code))
            .map(|warning| numbers(&warning.message))
            .map(|numbers| (numbers[0], numbers[1]))
            .collect();
        prop_assert_eq!(loaded.warning_count, loaded.warnings.len());
        for (number, rule) in compiled.iter().take(rules.len()).enumerate() {
            let first = compiled[..number].iter().position(|a| a.matches.covers(&rule.matches));
            let empty = loaded.warnings.iter().any(|warning| {
                warning.code == codes::EMPTY_MATCH && numbers(&warning.message) == [number]
            });
            // A family in which a rule matches nothing needs no cover.
            if let Some(first) = first.filter(|_| !empty) {
                let named = warned.get(&number);
                prop_assert!(named.is_some_and(|named| *named <= first), "{} {:?}", number, named);
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

/// Twenty addresses, from one to the next so far that another such list fits between.
fn hosts(first: usize) -> String {
    let each: Vec<_> = (0..20).map(|n| format!("10.0.0.{}", first + 12 * n)).collect();
    format!("[{}]", each.join(", "))
}

/// Whether the last rule is said to be shadowed by the one before it, which is below so many others.
fn is_found(count: usize, above: &str, cover: &str, last: &str) -> bool {
    let mut text = String::from("version: 1\nzones: { lan: { interfaces: eth1 } }\nrules:\n");
    let above = (0..count).map(|n| (format!("above{n}"), above, "accept"));
    let rest = [("cover".to_owned(), cover, "drop"), ("last".to_owned(), last, "accept")];
    for (seq, (name, src, action)) in above.chain(rest).enumerate() {
        let _ = writeln!(
            text,
            "  - {{ seq: {seq}, name: {name}, from: lan, to: self, src: {src}, action: {action} }}"
        );
    }
    let file = SourceText { path: "p".into(), text };
    let loaded =
        load(&[file]).unwrap_or_else(|failure| panic!("{}", failure.text(Default::default())));
    let message = "rule `last` is shadowed by rule `cover`";
    loaded.warnings.iter().any(|warning| warning.message == message)
}

#[test]
fn shadows_are_found_below_any_number_of_rules_that_cover_only_in_part() {
    for count in [1, 31, 32, 62, 63, 64, 65, 500] {
        // Their addresses are around the last rule's, but not the same.
        assert!(is_found(count, &hosts(0), "10.0.0.0/24", "10.0.0.18"), "{count} lists");
        // They match the first flow of the last rule.
        assert!(is_found(count, "10.0.0.0", "10.0.0.0/24", "10.0.0.0/25"), "{count} hosts");
    }
}

#[test]
fn shadows_of_and_by_long_lists_are_found_below_63_rules_that_only_seem_to_cover() {
    for count in [1, 31, 32, 62, 63] {
        assert!(is_found(count, &hosts(0), &hosts(6), "10.0.0.18"), "{count} lists");
        // They cover the first entry of the last rule.
        assert!(is_found(count, "10.0.0.0/28", "10.0.0.0/24", &hosts(0)), "{count} networks");
    }
}

/// Whether a rule with one list cut down to the entry that a message names never decides, for one
/// of the lists that have the entry.
fn is_true_of_one_entry(rules: &[Rule], number: usize, message: &str, flows: &[Flow]) -> bool {
    let entry = message.split('`').nth(1).unwrap();
    let sides: [fn(&mut Rule) -> &mut Vec<&'static str>; 5] = [
        |rule| &mut rule.from,
        |rule| &mut rule.to,
        |rule| &mut rule.src,
        |rule| &mut rule.dst,
        |rule| &mut rule.service,
    ];
    sides.into_iter().any(|side| {
        let mut rules = rules.to_vec();
        let list = side(&mut rules[number]);
        if !list.contains(&entry) {
            return false;
        }
        list.retain(|other| *other == entry);
        let compiled = loaded(&rules).rules.rules;
        !decides(&compiled, number, &compiled[number].matches, flows)
    })
}
