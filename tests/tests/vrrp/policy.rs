//! The policy of a pair: what is confirmed on one node runs on both, and nothing else does.

use crate::bed::Bed;
use std::fs;
use std::path::PathBuf;
use twinwall_control::pair::{Confirmed, Outcome, Policies};
use twinwall_control::{Request, SourceFile, report, sync};
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::pair::{Peer, Side};

const BOTH: [Side; 2] = [Side::A, Side::B];

/// A policy that only its name tells from another one.
pub(crate) fn named(name: &str) -> String {
    format!(
        "\
version: 1
name: {name}
defaults: {{ action: drop, log: false, on_change: rematch }}
zones:
  wan: {{ interfaces: [eth0] }}
  lan: {{ interfaces: [eth1] }}
  dmz: {{ interfaces: [eth2] }}
rules:
  - {{ seq: 10, name: out, from: lan, to: wan, action: accept }}
"
    )
}

/// A pair with replication that has met, gw-a active.
fn up(test: &str) -> Option<Bed> {
    let mut bed = Bed::build(test, [Peer::TwinwallSync; 2], Vrrp::default())?;
    fs::write(&bed.testbed().record().policy, named("first")).unwrap();
    for side in BOTH {
        bed.start(side).unwrap();
    }
    bed.wait_active(Side::A).unwrap();
    wait_met(&bed);
    Some(bed)
}

/// Waits until each node has heard which policy the other one has.
#[track_caller]
pub(crate) fn wait_met(bed: &Bed) {
    for side in BOTH {
        bed.wait("the nodes know each other's policy", || policies(bed, side).there);
    }
}

pub(crate) fn policies(bed: &Bed, side: Side) -> Policies {
    let status: sync::Status = bed.gateway(side).unwrap().ask(&Request::Sync).unwrap();
    status.policies.unwrap()
}

fn running(bed: &Bed, side: Side) -> String {
    bed.gateway(side).unwrap().status().unwrap().policy
}

fn ask(bed: &Bed, side: Side, request: &Request) -> Result<report::Apply, String> {
    bed.gateway(side).unwrap().ask(request).map_err(|error| error.to_string())
}

pub(crate) fn files(text: &str) -> Vec<SourceFile> {
    vec![SourceFile { path: "policy.yaml".into(), text: text.into() }]
}

fn apply(bed: &Bed, side: Side, text: &str) -> report::Apply {
    ask(bed, side, &Request::Apply { files: files(text) }).unwrap()
}

/// Applies a policy, and waits until this has become of it on the peer. On a busy machine the
/// report may come before that.
#[track_caller]
fn apply_and_wait(bed: &Bed, side: Side, text: &str, expected: &str) -> Outcome {
    let peer = apply(bed, side, text).peer.unwrap();
    if peer.state == expected {
        return peer;
    }
    assert!(["pending", "unreachable"].contains(&&*peer.state), "{peer:?}, not {expected}");
    bed.wait(&format!("the peer has {expected} it"), || {
        policies(bed, side).offer.filter(|offer| offer.state == expected)
    })
}

fn try_for(bed: &Bed, side: Side, text: &str, confirm_ms: u64) -> report::Apply {
    let request = Request::Try { files: Some(files(text)), confirm_ms };
    let report = ask(bed, side, &request).unwrap();
    assert!(report.confirm_within_ms.is_some() && report.peer.is_none(), "{report:?}");
    report
}

/// What became of an offer; nothing without one.
fn state(outcome: Option<&Outcome>) -> &str {
    outcome.map_or("", |outcome| &outcome.state)
}

#[track_caller]
fn wait_running(bed: &Bed, side: Side, name: &str) {
    bed.wait(&format!("{} runs {name}", side.name()), || {
        (running(bed, side) == name).then_some(())
    });
}

#[track_caller]
fn wait_same(bed: &Bed, name: &str) {
    bed.wait(&format!("both run {name}"), || {
        let both = BOTH.map(|side| policies(bed, side));
        let same = |one: &Policies| one.same == Some(true) && one.here.policy == name;
        (both.iter().all(same) && both[0].here.confirmed == both[1].here.confirmed).then_some(())
    });
}

/// Sets a key in a section `sync`; the daemon has to read it again.
fn set(bed: &Bed, side: Side, line: &str) {
    let gateway = bed.gateway(side).unwrap();
    let text = fs::read_to_string(gateway.config_path()).unwrap();
    gateway.configure(&format!("{}\n  {line}\n", text.trim_end())).unwrap();
}

#[test]
fn a_policy_that_is_applied_on_either_node_runs_on_both_and_outlives_their_daemons() {
    let Some(mut bed) = up("policy: apply") else { return };
    apply_and_wait(&bed, Side::A, &named("second"), "taken");
    assert_eq!(
        (running(&bed, Side::A), running(&bed, Side::B)),
        ("second".into(), "second".into())
    );
    assert_eq!(policies(&bed, Side::B).here.from_peer, Some(true));
    apply_and_wait(&bed, Side::B, &named("third"), "taken");
    wait_same(&bed, "third");
    let generations = BOTH.map(|side| policies(&bed, side).here.generation);
    bed.kill9(Side::A).unwrap();
    bed.stop(Side::B).unwrap();
    for side in BOTH {
        bed.start(side).unwrap();
        assert_eq!(running(&bed, side), "third");
    }
    wait_met(&bed);
    wait_same(&bed, "third");
    // Nothing goes back and forth.
    assert_eq!(BOTH.map(|side| policies(&bed, side).here.generation), generations);
}

#[test]
fn a_node_that_comes_back_takes_the_newer_policy_before_it_takes_over() {
    let Some(mut bed) = up("policy: comes back") else { return };
    bed.stop(Side::A).unwrap();
    bed.wait_holding(Side::B).unwrap();
    let report = apply(&bed, Side::B, &named("meanwhile"));
    assert_eq!(state(report.peer.as_ref()), "unreachable", "{report:?}");
    bed.start(Side::A).unwrap();
    bed.wait("gw-a is active", || (bed.state(Side::A) == "active").then_some(()));
    assert_eq!(running(&bed, Side::A), "meanwhile");
    wait_same(&bed, "meanwhile");
}

#[test]
fn of_two_policies_confirmed_apart_the_later_one_wins_on_both() {
    let Some(bed) = up("policy: apart") else { return };
    bed.shell("gw-a", "ip link set eth3 down");
    for side in BOTH {
        bed.wait("the peer is silent", || {
            let status: sync::Status = bed.gateway(side).unwrap().ask(&Request::Sync).unwrap();
            (status.peer != "alive").then_some(())
        });
    }
    apply(&bed, Side::B, &named("earlier"));
    apply(&bed, Side::A, &named("later"));
    assert_eq!(
        (running(&bed, Side::A), running(&bed, Side::B)),
        ("later".into(), "earlier".into())
    );
    let generation = policies(&bed, Side::A).here.generation;
    bed.shell("gw-a", "ip link set eth3 up");
    wait_same(&bed, "later");
    assert_eq!(policies(&bed, Side::A).here.generation, generation, "A had it already");
}

#[test]
fn what_the_peer_refuses_is_told_on_both_sides_and_changes_nothing_there() {
    let Some(bed) = up("policy: refused") else { return };
    // The same rule stands for more rules in the kernel of a gateway with more interfaces: here
    // with those of other virtual routers.
    bed.shell(
        "gw-b",
        "for n in $(seq 20); do ip link add link eth1 name mv$n \
         address 00:00:5e:00:01:$(printf %02x $((100 + n))) type macvlan; done",
    );
    bed.wait("the daemon knows of them", || {
        let status = bed.gateway(Side::B).unwrap().status().unwrap();
        (1..=20)
            .all(|n| {
                let lan =
                    |one: &report::Interface| one.name == format!("mv{n}") && one.zone == "lan";
                status.interfaces.iter().any(lan)
            })
            .then_some(())
    });
    let ranges: Vec<String> = (0..100).map(|n| format!("10.7.{n}.2")).collect();
    let nat = format!(
        "nat:\n  - {{ seq: 10, name: many, from: lan, to: wan, src: [{}], snat: 203.0.113.1 }}\n",
        ranges.join(", ")
    );
    let peer = apply_and_wait(&bed, Side::A, &(named("large") + &nat), "refused");
    assert!(peer.reason.contains("NAT rule 'many'"), "{peer:?}");
    assert_eq!((running(&bed, Side::A), running(&bed, Side::B)), ("large".into(), "first".into()));
    let there = policies(&bed, Side::B);
    assert_eq!(state(there.offered.as_ref()), "refused", "{there:?}");
    assert_eq!((there.same, there.here.policy.as_str()), (Some(false), "first"));
    assert_eq!(state(policies(&bed, Side::A).offer.as_ref()), "refused");
    // Once there are no more of them, an operator takes it.
    bed.shell("gw-b", "for n in $(seq 20); do ip link del mv$n; done");
    bed.wait("it can be loaded now", || ask(&bed, Side::B, &Request::ApplyOffered).ok());
    wait_same(&bed, "large");
}

#[test]
fn with_hold_an_offer_waits_for_an_operator() {
    let Some(bed) = up("policy: hold") else { return };
    set(&bed, Side::B, "policy: hold");
    ask(&bed, Side::B, &Request::Reload).unwrap();
    wait_same(&bed, "first");
    let refused = ask(&bed, Side::B, &Request::ApplyOffered).unwrap_err();
    assert!(refused.contains("no policy of the peer waits here"), "{refused}");
    for name in ["second", "third"] {
        apply_and_wait(&bed, Side::A, &named(name), "held");
    }
    assert_eq!(running(&bed, Side::B), "first");
    let shown = bed.gateway(Side::B).unwrap().twinwall(&["status"]).unwrap().success().unwrap();
    assert!(shown.stdout.contains("offered   third is kept here"), "{shown:?}");
    let report = ask(&bed, Side::B, &Request::ApplyOffered).unwrap();
    assert_eq!(report.policy, "third");
    wait_same(&bed, "third");
    // The other way round there is nothing that holds.
    apply(&bed, Side::B, &named("fourth"));
    wait_same(&bed, "fourth");
}

#[test]
fn a_policy_that_is_not_confirmed_goes_and_one_that_is_goes_to_the_peer() {
    let Some(bed) = up("policy: confirm") else { return };
    try_for(&bed, Side::A, &named("tried"), 600_000);
    assert_eq!((running(&bed, Side::A), running(&bed, Side::B)), ("tried".into(), "first".into()));
    assert!(policies(&bed, Side::A).trial.is_some());
    bed.wait("the peer hears of it", || policies(&bed, Side::B).there.filter(|there| there.trial));
    try_for(&bed, Side::A, &named("tried"), 1_000);
    wait_running(&bed, Side::A, "first");
    assert!(bed.log(Side::A).contains("the policy was not confirmed"));
    assert!(policies(&bed, Side::A).trial.is_none());
    let confirm = || -> Result<Confirmed, String> {
        bed.gateway(Side::A).unwrap().ask(&Request::Confirm).map_err(|error| error.to_string())
    };
    let nothing = confirm().unwrap_err();
    assert!(nothing.contains("no policy waits for its confirmation"), "{nothing}");
    try_for(&bed, Side::A, &named("tried"), 600_000);
    assert_eq!(confirm().unwrap().policy, "tried");
    wait_same(&bed, "tried");
}

#[test]
fn what_happens_during_a_trial_does_what_is_written() {
    let Some(mut bed) = up("policy: trial") else { return };
    // A second trial: the confirmed policy comes back, not the first trial's.
    try_for(&bed, Side::A, &named("one"), 600_000);
    try_for(&bed, Side::A, &named("two"), 1_000);
    wait_running(&bed, Side::A, "first");
    // A bad policy and a reload change nothing.
    try_for(&bed, Side::A, &named("one"), 600_000);
    let bad = Request::Apply { files: files("version: 1\nrules: 7\n") };
    ask(&bed, Side::A, &bad).unwrap_err();
    let refused = ask(&bed, Side::A, &Request::Reload).unwrap_err();
    assert!(refused.contains("a policy waits for its confirmation"), "{refused}");
    assert_eq!(running(&bed, Side::A), "one");
    // An offer of the peer waits, and comes when the trial is over.
    apply_and_wait(&bed, Side::B, &named("offered"), "waiting");
    assert_eq!(running(&bed, Side::A), "one");
    // A failover changes nothing, and neither does what the daemon was killed with.
    bed.hand_over(Side::A).unwrap();
    bed.wait_active(Side::B).unwrap();
    assert_eq!((running(&bed, Side::A), running(&bed, Side::B)), ("one".into(), "offered".into()));
    bed.kill9(Side::A).unwrap();
    bed.start(Side::A).unwrap();
    assert_ne!(running(&bed, Side::A), "one");
    wait_same(&bed, "offered");
    // Another policy that is confirmed ends the trial.
    try_for(&bed, Side::A, &named("one"), 600_000);
    apply_and_wait(&bed, Side::A, &named("last"), "taken");
    assert!(policies(&bed, Side::A).trial.is_none());
    wait_same(&bed, "last");
}

#[test]
fn own_files_on_trial_are_not_what_a_killed_daemon_comes_up_with() {
    let Some(mut bed) = up("policy: own files") else { return };
    let own: PathBuf = bed.testbed().record().policy.clone();
    fs::write(&own, named("edited")).unwrap();
    let request = Request::Try { files: None, confirm_ms: 600_000 };
    assert_eq!(ask(&bed, Side::A, &request).unwrap().policy, "edited");
    bed.kill9(Side::A).unwrap();
    bed.start(Side::A).unwrap();
    assert_eq!(running(&bed, Side::A), "first");
    bed.stop(Side::A).unwrap();
    bed.start(Side::A).unwrap();
    assert_eq!(running(&bed, Side::A), "first");
    // Who says so gets them.
    assert_eq!(ask(&bed, Side::A, &Request::Reload).unwrap().policy, "edited");
    wait_same(&bed, "edited");
}

#[test]
fn a_reload_of_unchanged_files_leaves_the_policy_of_the_peer() {
    let Some(bed) = up("policy: reload") else { return };
    apply(&bed, Side::A, &named("second"));
    wait_same(&bed, "second");
    let report = ask(&bed, Side::B, &Request::Reload).unwrap();
    assert_eq!(report.policy, "second");
    assert!(report.warnings.iter().any(|text| text.contains("policy of the peer stays")));
    fs::write(&bed.testbed().record().policy, named("edited")).unwrap();
    assert_eq!(ask(&bed, Side::B, &Request::Reload).unwrap().policy, "edited");
    wait_same(&bed, "edited");
}

#[test]
fn a_changed_section_holds_at_a_reload_and_a_bad_one_changes_nothing() {
    let Some(bed) = up("policy: section sync") else { return };
    let alive = |side: Side| {
        let status: sync::Status = bed.gateway(side).unwrap().ask(&Request::Sync).unwrap();
        (status.peer == "alive" && status.complete).then_some(())
    };
    let gateway = bed.gateway(Side::B).unwrap();
    let before = fs::read_to_string(gateway.config_path()).unwrap();
    let bad = before.replace("key-file: ", "key-file: /nowhere");
    for (text, reason) in [
        (bad, "session replication is as before: session replication: cannot read the key file"),
        (before.replace("local: 10.255.0.2", "local: fe80::1"), "don't go together"),
    ] {
        gateway.configure(&text).unwrap();
        let refused = ask(&bed, Side::B, &Request::Reload).unwrap_err();
        assert!(refused.contains(reason), "{refused}");
        bed.wait("they go on as before", || alive(Side::A).and(alive(Side::B)));
    }
    gateway.configure(&before).unwrap();
    // Another port on both: they lose each other and meet again, and so do they with others.
    for line in ["port: 4790", "heartbeat: 4ms"] {
        set(&bed, Side::B, line);
        ask(&bed, Side::B, &Request::Reload).unwrap();
        if line.starts_with("port") {
            bed.wait("they don't hear each other", || alive(Side::A).is_none().then_some(()));
        }
        set(&bed, Side::A, line);
        ask(&bed, Side::A, &Request::Reload).unwrap();
        bed.wait("they have met again", || alive(Side::A).and(alive(Side::B)));
    }
    apply_and_wait(&bed, Side::A, &named("elsewhere"), "taken");
}

#[test]
fn a_large_policy_arrives_while_the_link_fails_now_and_then() {
    let Some(bed) = up("policy: large") else { return };
    let mut text = named("large");
    for number in 0..20_000u32 {
        let [_, b, c, d] = (number * 7).to_be_bytes();
        text.push_str(&format!(
            "  - {{ seq: {}, name: r{number}, from: lan, to: wan, dst: 9.{b}.{c}.{d}, action: drop }}\n",
            number + 20
        ));
    }
    let gateway = bed.gateway(Side::A).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4 {
                bed.shell(
                    "gw-a",
                    "ip link set eth3 down; sleep 0.1; ip link set eth3 up; sleep 0.2",
                );
            }
        });
        let request = Request::Apply { files: files(&text) };
        let _: report::Apply = gateway.ask(&request).unwrap();
    });
    wait_same(&bed, "large");
}
