//! Generated sets, and engines held to the oracle on them.

use std::collections::HashSet;
use twinwall_classifier_bench::compare::wrong_answers;
use twinwall_classifier_bench::generate::{Family, load, near};
use twinwall_classifier_bench::measure::updates;
use twinwall_classifier_bench::model::Networks;
use twinwall_classifier_bench::oracle;
use twinwall_classifier_bench::subjects::{
    Engine, Linear, NONE, Subject, TupleSpace, engine_rules,
};
use twinwall_policy::flow::Flow;

const FAMILIES: [Family; 7] = [
    Family::Acl,
    Family::Fw,
    Family::Ipc,
    Family::Ipv6,
    Family::Zoned,
    Family::Miss,
    Family::Mixed,
];

#[test]
fn same_seed_makes_the_same_load_and_another_seed_another() {
    for family in FAMILIES {
        let first = load(family, 300, 1_000, 5);
        let again = load(family, 300, 1_000, 5);
        let other = load(family, 300, 1_000, 6);
        assert_eq!((&first.rules, &first.headers), (&again.rules, &again.headers), "{family}");
        assert_ne!(first.rules, other.rules, "{family}");
        assert_ne!(first.headers, other.headers, "{family}");
    }
}

#[test]
fn set_has_exactly_the_size_asked_for_and_no_rule_twice() {
    for family in FAMILIES {
        for size in [1, 10, 1_000, 20_000] {
            let rules = load(family, size, 1, 1).rules;
            assert_eq!(rules.len(), size, "{family}");
            assert_eq!(rules.iter().collect::<HashSet<_>>().len(), size, "{family}");
        }
    }
}

#[test]
fn families_are_what_their_names_say() {
    let v6 = |family| {
        let rules = load(family, 1_000, 1, 1).rules;
        rules.iter().filter(|rule| matches!(rule.networks, Networks::V6 { .. })).count()
    };
    assert_eq!([v6(Family::Acl), v6(Family::Fw), v6(Family::Ipc), v6(Family::Miss)], [0; 4]);
    assert_eq!(v6(Family::Ipv6), 1_000);
    assert!((1..1_000).contains(&v6(Family::Mixed)));
    let zoned = load(Family::Zoned, 1_000, 1, 1).rules;
    assert!(zoned.iter().filter(|rule| !rule.any_zone()).count() > 900);
}

#[test]
fn headers_hit_unless_the_family_is_to_miss() {
    for family in FAMILIES {
        let made = load(family, 1_000, 5_000, 2);
        let missed = oracle::answers(&made.rules, &made.headers, 2);
        let missed = missed.iter().filter(|answer| **answer == NONE).count();
        if family == Family::Miss {
            assert!((4_600..4_900).contains(&missed), "{missed} of 5,000 miss");
        } else {
            assert_eq!(missed, 0, "{family}");
        }
    }
}

#[test]
fn oracle_names_the_first_rule_that_matches_field_by_field() {
    for family in FAMILIES {
        let made = load(family, 5_000, 400, 3);
        let headers = [made.headers, near(&made.rules, 400, 4)].concat();
        let plain = |header: &Flow| {
            let place = made.rules.iter().position(|rule| rule.matches(header));
            place.map_or(NONE, |place| place as u32)
        };
        let expected: Vec<u32> = headers.iter().map(plain).collect();
        for threads in [1, 3] {
            assert_eq!(oracle::answers(&made.rules, &headers, threads), expected, "{family}");
        }
    }
}

#[test]
fn linear_scan_gives_the_oracles_answers() {
    hold_to_oracle(Linear::new);
}

#[test]
fn tuple_space_search_gives_the_oracles_answers() {
    hold_to_oracle(TupleSpace::new);
}

#[test]
fn engine_gives_the_oracles_answers() {
    hold_to_oracle(|rules| Engine::build(&engine_rules(rules, 0..)));
}

#[test]
fn wrong_answers_are_counted_whether_asked_alone_or_in_a_batch() {
    let made = load(Family::Ipc, 100, 1_000, 1);
    let expected = oracle::answers(&made.rules, &made.headers, 1);
    let wrong = |alone, batched| {
        let liar = Liar { honest: TupleSpace::new(&made.rules), alone, batched };
        wrong_answers(&liar, &made.headers, &expected, 3)
    };
    assert_eq!([wrong(false, false), wrong(true, true)], [0, 1_000]);
    assert_eq!(wrong(true, false), 1_000);
    // The last of each batch of up to 256; three threads share the headers.
    assert_eq!(wrong(false, true), 6);
}

/// An engine that hides rules in some of its answers.
struct Liar {
    honest: TupleSpace,
    alone: bool,
    batched: bool,
}

impl Subject for Liar {
    type Answer = u32;

    fn lookup(&self, header: &Flow) -> u32 {
        if self.alone { NONE } else { self.honest.lookup(header) }
    }

    fn lookup_batch(&self, headers: &[Flow], answers: &mut [u32]) {
        self.honest.lookup_batch(headers, answers);
        if self.batched
            && let Some(last) = answers.last_mut()
        {
            *last = NONE;
        }
    }

    fn place(answer: u32) -> u32 {
        answer
    }
}

#[test]
fn answers_are_right_after_updates_with_readers_running() {
    for (family, size) in [(Family::Zoned, 400), (Family::Acl, 1), (Family::Fw, 2)] {
        let made = load(family, size, 5_000, 8);
        let updated = updates(&made.rules, &made.headers, 20_000, 2);
        assert_eq!((updated.refused, updated.mismatches), (0, 0), "{family} {size}");
        assert!(updated.compared >= 5_000 && updated.per_s > 0.0, "{family} {size}: {updated:?}");
    }
}

fn hold_to_oracle<S: Subject>(build: impl Fn(&[twinwall_classifier_bench::model::Rule]) -> S) {
    for family in FAMILIES {
        for (size, seed) in [(1, 1), (10, 2), (300, 3), (3_000, 4)] {
            let made = load(family, size, 2_000, seed);
            let headers = [made.headers, near(&made.rules, 2_000, seed)].concat();
            let expected = oracle::answers(&made.rules, &headers, 2);
            let subject = build(&made.rules);
            let mut batch = vec![S::Answer::default(); headers.len()];
            subject.lookup_batch(&headers, &mut batch);
            for ((header, expected), batched) in headers.iter().zip(expected).zip(batch) {
                let answer = S::place(subject.lookup(header));
                assert_eq!(answer, expected, "{family} {size}, seed {seed}: {header:?}");
                assert_eq!(S::place(batched), expected, "{family} {size}, seed {seed}: {header:?}");
            }
        }
    }
}
