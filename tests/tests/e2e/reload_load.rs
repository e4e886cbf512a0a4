//! Reloads under load: once `apply` has returned, no packet is decided or counted by the old
//! policy, and no session that stays allowed loses one.

use crate::bed::{Bed, policy};
use crate::load::{self, Direction, LANES, Load};
use std::time::{Duration, Instant};

/// How long random reloads go on.
const RANDOM: Duration = Duration::from_secs(5);

/// A rule for lanes, from the first to the last.
#[derive(Clone, Debug)]
struct LaneRule {
    seq: u32,
    name: String,
    lanes: (usize, usize),
    action: &'static str,
}

fn rule(seq: u32, name: &str, lanes: (usize, usize), action: &'static str) -> LaneRule {
    LaneRule { seq, name: name.to_owned(), lanes, action }
}

fn text(rules: &[LaneRule]) -> String {
    let line = |rule: &LaneRule| {
        let LaneRule { seq, name, lanes, action } = rule;
        let (first, last) = (LANES[lanes.0], LANES[lanes.1]);
        format!(
            "seq: {seq}, name: {name}, from: lan, to: wan, service: {{ udp: [{first}-{last}] }}, \
             action: {action}"
        )
    };
    policy(&rules.iter().map(line).collect::<Vec<_>>())
}

/// One rule a lane, and one more for the first lane that decides nothing yet.
fn one_each() -> Vec<LaneRule> {
    vec![
        rule(10, "a", (0, 0), "accept"),
        rule(20, "b", (1, 1), "accept"),
        rule(30, "c", (2, 2), "accept"),
        rule(40, "d", (3, 3), "accept"),
        rule(50, "spare", (0, 0), "accept"),
    ]
}

/// Every kind of change, one after the other.
fn change_step_by_step(test: &str, direction: Direction) {
    let mut rules = one_each();
    let Some(bed) = Bed::up(test, &text(&rules)) else { return };
    let _alone = load::alone();
    let before = bed.packets();
    let load = Load::start(&bed, direction);
    load.check("before any change", &["a", "b", "c", "d"], &["spare"]);

    let sessions = bed.sessions();
    let keys = |sessions: &[twinwall_control::report::Session]| {
        let mut keys: Vec<_> = sessions.iter().map(|s| (s.src, s.src_port, s.key)).collect();
        keys.sort_unstable();
        keys
    };
    for rule in &mut rules {
        rule.seq *= 7;
    }
    let applied = bed.apply(&text(&rules));
    assert_eq!((applied.keys.added, applied.keys.removed), (0, 0), "{applied:?}");
    load.check("renumbered", &["a", "b", "c", "d"], &["spare"]);
    assert_eq!(keys(&bed.sessions()), keys(&sessions), "renumbering keeps keys");

    rules[0].seq = 350;
    rules[4].seq = 70;
    let applied = bed.apply(&text(&rules));
    load.check("swapped", &["spare", "b", "c", "d"], &["a"]);
    // A session that a packet moves while the sweep is at it may be counted by both.
    assert!(applied.sessions.remarked >= load::FLOWS, "{applied:?}");

    rules[2].action = "drop";
    let applied = bed.apply(&text(&rules));
    let passed = load.passed(LANES[2]);
    load.check("accept to drop", &["spare", "b", "c", "d"], &["a"]);
    assert_eq!(load.passed(LANES[2]), passed, "refused packets pass");
    assert!(applied.sessions.ended >= load::FLOWS, "{applied:?}");

    rules.push(rule(1, "top", (1, 1), "accept"));
    bed.apply(&text(&rules));
    load.check("inserted above", &["spare", "top", "c", "d"], &["a", "b"]);

    rules[2].action = "accept";
    bed.apply(&text(&rules));
    load.check("drop to accept", &["spare", "top", "c", "d"], &["a", "b"]);

    let top = rules.pop().unwrap();
    bed.apply(&text(&rules));
    load.check("deleted", &["spare", "b", "c", "d"], &["a"]);

    // So that all rules are listed when everything is added up.
    rules.push(LaneRule { seq: 1_000, ..top });
    bed.apply(&text(&rules));
    load.check("appended", &["spare", "b", "c", "d"], &["a", "top"]);

    let totals = load.finish();
    totals.assert_all_counted(&bed, &before);
    for lane in [0, 1, 3] {
        totals.assert_whole(lane);
    }
    assert!(bed.sessions().iter().all(|session| !session.stale));
}

#[test]
fn each_kind_of_reload_is_exact_while_only_forward_packets_flow() {
    change_step_by_step("reload: forward", Direction::Forward);
}

#[test]
fn each_kind_of_reload_is_exact_while_only_replies_flow() {
    change_step_by_step("reload: replies", Direction::Replies);
}

#[test]
fn each_kind_of_reload_is_exact_while_both_directions_flow() {
    change_step_by_step("reload: both", Direction::Both);
}

/// Random policies one after the other. Three lanes are accepted by all of them, by one rule or
/// another; the fourth is not always.
fn change_at_random(test: &str, direction: Direction, seed: u64) {
    let mut random = Random(seed);
    let mut rules = all_candidates();
    let Some(bed) = Bed::up(test, &text(&rules)) else { return };
    let _alone = load::alone();
    let before = bed.packets();
    let load = Load::start(&bed, direction);
    let end = Instant::now() + RANDOM;
    let mut reloads = 0;
    while Instant::now() < end {
        shuffle(&mut rules, &mut random);
        bed.apply(&text(&rules));
        let first = bed.packets();
        let passed = load.passed(LANES[3]);
        let deciding: Vec<&LaneRule> = (0..LANES.len()).map(|lane| decides(&rules, lane)).collect();
        let what = format!("seed {seed}, reload {reloads}");
        let second = bed.wait(&what, || {
            let now = bed.packets();
            let moved = |rule: &&LaneRule| now[&rule.name] >= first[&rule.name] + 20;
            deciding.iter().all(moved).then_some(now)
        });
        for rule in &rules {
            let idle = !deciding.iter().any(|deciding| deciding.name == rule.name);
            let same = first[&rule.name] == second[&rule.name];
            assert!(!idle || same, "{what}: `{}` has counted late: {rules:?}", rule.name);
        }
        if deciding[3].action != "accept" {
            assert_eq!(load.passed(LANES[3]), passed, "{what}: refused packets pass");
        }
        reloads += 1;
    }
    println!("{reloads} reloads with seed {seed}");
    let totals = load.finish();
    totals.assert_all_counted(&bed, &before);
    for lane in 0..3 {
        totals.assert_whole(lane);
    }
    assert!(bed.sessions().iter().all(|session| !session.stale));
}

/// Rules for one lane and for several; each lane is covered whatever their order is.
fn all_candidates() -> Vec<LaneRule> {
    let mut rules = Vec::new();
    for (lane, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        for copy in 1..=2 {
            rules.push(rule(0, &format!("{name}{copy}"), (lane, lane), "accept"));
        }
    }
    rules.push(rule(0, "ab", (0, 1), "accept"));
    rules.push(rule(0, "bc", (1, 2), "accept"));
    rules.push(rule(0, "abc", (0, 2), "accept"));
    for (seq, rule) in (1..).zip(&mut rules) {
        rule.seq = seq;
    }
    rules
}

fn shuffle(rules: &mut [LaneRule], random: &mut Random) {
    for index in (1..rules.len()).rev() {
        rules.swap(index, random.below(index + 1));
    }
    let mut seq = 0;
    for rule in rules {
        seq += 1 + u32::try_from(random.below(20)).unwrap();
        rule.seq = seq;
        if rule.lanes == (3, 3) {
            rule.action = ["accept", "drop", "reject"][random.below(3)];
        }
    }
}

fn decides(rules: &[LaneRule], lane: usize) -> &LaneRule {
    let covers = |rule: &&LaneRule| rule.lanes.0 <= lane && lane <= rule.lanes.1;
    rules.iter().filter(covers).min_by_key(|rule| rule.seq).unwrap()
}

/// A linear congruential generator: the same numbers for a seed on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn random_reloads_are_exact_while_only_forward_packets_flow() {
    change_at_random("random reloads: forward", Direction::Forward, 1);
}

#[test]
fn random_reloads_are_exact_while_only_replies_flow() {
    change_at_random("random reloads: replies", Direction::Replies, 2);
}

#[test]
fn random_reloads_are_exact_while_both_directions_flow() {
    change_at_random("random reloads: both", Direction::Both, 3);
}
