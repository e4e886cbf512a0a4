//! The daemon dies, or is stopped, and starts again: sessions go on under their keys, counters go
//! on, and new sessions get what the policy says.

use crate::bed::{Bed, OUTSIDE, SOON, at, policy};
use crate::load::{self, Direction, LANES, Load};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;
use twinwall_control::report::Session;
use twinwall_testbed::Signal;
use twinwall_testbed::testing::eventually;
use twinwall_testbed::traffic::report::{Outcome, Reception, Tcp, UdpSend};

/// Packets a second in these tests.
const RATE: u64 = 5_000;

/// A rule for each lane, in an order that starts at `base` and runs up or down.
fn lanes(base: u32, reversed: bool) -> Vec<String> {
    let rule = |(place, port): (usize, &u16)| {
        let place = if reversed { LANES.len() - place } else { place };
        let seq = base + u32::try_from(place).unwrap();
        format!(
            "seq: {seq}, name: lane-{port}, from: lan, to: wan, \
             service: {{ udp: [{port}] }}, action: accept"
        )
    };
    LANES.iter().enumerate().map(rule).collect()
}

fn keys(bed: &Bed) -> BTreeMap<String, u32> {
    let name = |s: &Session| format!("{} {} {}", s.src, s.src_port, s.dst_port);
    bed.sessions().iter().map(|session| (name(session), session.key)).collect()
}

/// Whether a new session gets through.
fn passes(bed: &Bed, to: &str) -> bool {
    let options = format!("udp-send --to {to} --count 3 --rate 500 --replies --linger 0.3");
    let sent: UdpSend = bed.traffic("client", &options);
    sent.replies.unwrap().received == 3
}

/// Sends new sessions that nobody answers for, and checks what becomes of them.
fn assert_without_daemon(bed: &Bed, open: bool) {
    bed.watch_passed("forward", "new", &["udp dport 7777"]);
    for to in OUTSIDE {
        let to = at(to, 7777);
        let _server = bed.serve("server", &format!("udp-recv --listen {to}"));
        let _: UdpSend =
            bed.traffic("client", &format!("udp-send --to {to} --count 20 --rate 1000"));
    }
    assert_eq!(bed.seen("new").packets, if open { 40 } else { 0 });
}

#[test]
fn established_sessions_lose_nothing_while_the_daemon_is_dead_and_when_it_comes_back() {
    for direction in [Direction::Both, Direction::Replies] {
        let name = format!("kill -9: {direction:?}");
        let Some(bed) = Bed::up(&name, &policy(&lanes(10, false))) else { return };
        let _alone = load::alone();
        let before = bed.packets();
        let load = Load::start_at(&bed, direction, RATE);
        let keys_before = keys(&bed);
        let started = bed.status();
        let sum = |packets: &BTreeMap<String, u64>| packets.values().sum::<u64>();
        for _ in 0..3 {
            let counted = bed.packets();
            bed.gateway.kill9().unwrap();
            bed.gateway.start().unwrap();
            let after = bed.packets();
            assert!(counted.iter().all(|(rule, packets)| after[rule] >= *packets), "{after:?}");
            bed.wait("it counts on", || (sum(&bed.packets()) > sum(&after) + 200).then_some(()));
        }
        let status = bed.status();
        assert_ne!(status.pid, 0);
        assert_eq!((status.generation, &status.loaded), (started.generation, &started.loaded));
        assert_eq!(keys(&bed), keys_before, "{direction:?}: the same keys");
        let totals = load.finish();
        totals.assert_all_counted(&bed, &before);
        (0..LANES.len()).for_each(|lane| totals.assert_whole(lane));
    }
}

#[test]
fn new_sessions_work_after_a_crash_and_are_dropped_and_counted_meanwhile() {
    let Some(bed) = Bed::up("kill -9: new sessions", &policy(&lanes(10, false))) else { return };
    let to = OUTSIDE.map(|to| at(to, 7001));
    let _echoes = to.clone().map(|to| bed.serve("server", &format!("udp-echo --listen {to}")));
    assert!(to.iter().all(|to| passes(&bed, to)));
    bed.gateway.kill9().unwrap();
    assert!(!to.iter().any(|to| passes(&bed, to)), "closed is the default");
    assert_without_daemon(&bed, false);
    bed.gateway.start().unwrap();
    assert!(to.iter().all(|to| passes(&bed, to)));
    assert_eq!(bed.exception("unclassified"), 6 + 40);
}

#[test]
fn a_policy_that_was_edited_while_the_daemon_was_dead_is_a_reload() {
    let Some(bed) = Bed::up("kill -9: edited", &policy(&lanes(10, false))) else { return };
    let _alone = load::alone();
    let load = Load::start_at(&bed, Direction::Forward, RATE);
    let keys_before = keys(&bed);
    bed.gateway.kill9().unwrap();
    // Renumbered, and the last lane is refused.
    let mut edited = lanes(100, true);
    edited[3] = edited[3].replace("accept", "drop");
    bed.write_policy(&policy(&edited));
    bed.gateway.start().unwrap();
    let passed = load.passed(LANES[3]);
    assert_eq!(bed.status().generation, 2);
    let name = |port: u16| format!("lane-{port}");
    let names = LANES.map(name);
    load.check("after the start", &names.each_ref().map(String::as_str), &["(default)"]);
    assert_eq!(load.passed(LANES[3]), passed, "refused packets pass");
    let mut kept = keys(&bed);
    let refused = format!(" {}", LANES[3]);
    kept.retain(|session, _| !session.ends_with(&refused));
    assert_eq!(kept.len() as u64, 3 * load::FLOWS);
    assert!(kept.iter().all(|(session, key)| keys_before[session] == *key), "the same keys");
    let totals = load.finish();
    (0..3).for_each(|lane| totals.assert_whole(lane));
}

#[test]
fn a_syn_that_its_sender_has_repeated_does_not_come_when_a_stopped_daemon_goes_on() {
    let rule = "seq: 10, name: web, from: lan, to: wan, service: { tcp: 7001 }, action: accept";
    let Some(bed) = Bed::up("SIGSTOP: late packets", &policy(&[rule])) else { return };
    let condition = ["tcp dport 7001 tcp flags & (syn | ack) == syn"];
    bed.watch("forward", "came", &condition);
    bed.watch_passed("forward", "went", &condition);
    for (to, n) in OUTSIDE.into_iter().zip(1..) {
        let to = at(to, 7001);
        let _server = bed.serve("server", &format!("tcp-serve --listen {to}"));
        bed.gateway.signal(Signal::STOP).unwrap();
        let client = bed
            .start("client", &format!("tcp-connect --to {to} --bytes 1000 --connect-timeout 20"));
        let came = bed.seen("came").packets;
        bed.wait("a SYN and its repetition wait", || {
            (bed.seen("came").packets >= came + 2).then_some(())
        });
        bed.gateway.signal(Signal::CONT).unwrap();
        let report: Tcp = client.report().unwrap();
        assert_eq!(report.count(Outcome::Completed), 1, "{report:?}");
        // That with which the handshake went on.
        assert_eq!(bed.seen("went").packets, n);
        let told = bed.gateway.log().matches("TCP packets that waited were dropped").count();
        assert!(told as u64 >= n, "{}", bed.gateway.log());
    }
}

/// Reloads one policy after the other until the daemon is killed, at a moment within a reload that
/// differs from turn to turn.
fn kill_while_reloading(bed: &Bed, turn: u64, policies: &[String]) {
    thread::scope(|scope| {
        // Ends with the daemon.
        scope.spawn(|| policies.iter().cycle().find(|policy| bed.try_apply(policy).is_err()));
        let seen = bed.status().generation;
        bed.wait("it reloads", || (bed.status().generation > seen).then_some(()));
        thread::sleep(Duration::from_millis(turn * 7 % 40));
        bed.gateway.kill9().unwrap();
    });
}

/// Checks that every session is where the policy wants it.
fn assert_settled(bed: &Bed, load: &Load<'_>, turn: u64) {
    let wrong = || {
        let sessions = bed.sessions().into_iter();
        sessions.filter(|s| s.stale || s.action.as_deref() != Some("accept")).collect::<Vec<_>>()
    };
    let settled = eventually(SOON, || wrong().is_empty().then_some(()));
    assert!(settled.is_some(), "turn {turn}: {:?}\n{}", wrong(), bed.gateway.log());
    let passed = || LANES.map(|port| load.passed(port));
    let before = passed();
    bed.wait("every lane flows", || {
        let more = passed().into_iter().zip(before).all(|(now, before)| now > before + 50);
        more.then_some(())
    });
}

#[test]
fn a_crash_within_a_reload_that_moves_sessions_as_a_whole_loses_no_packet() {
    // Each lane has two rules that take turns: all sessions of one become those of the other.
    let twice = |swapped: bool| {
        let both = [lanes(10, false), lanes(20, false)].into_iter().enumerate();
        let all = both.flat_map(|(copy, rules)| {
            let name = ["lane", "copy"][(copy + usize::from(swapped)) % 2];
            rules.into_iter().map(move |rule| rule.replace("lane", name))
        });
        policy(&all.collect::<Vec<_>>())
    };
    let policies = [twice(true), twice(false)];
    let Some(bed) = Bed::up("kill -9: swaps", &policies[1]) else { return };
    let _alone = load::alone();
    let load = Load::start_at(&bed, Direction::Both, RATE);
    for turn in 0..6 {
        kill_while_reloading(&bed, turn, &policies);
        bed.gateway.start().unwrap();
        assert_settled(&bed, &load, turn);
    }
    let totals = load.finish();
    (0..LANES.len()).for_each(|lane| totals.assert_whole(lane));
    for reason in ["again", "invalid", "unclassified"] {
        assert_eq!(bed.exception(reason), 0, "{reason}");
    }
}

#[test]
fn after_a_crash_within_any_reload_every_session_gets_its_rule_again() {
    // A rule comes and goes that takes some sessions of another one, so that each has to be looked
    // at; without a daemon that is not possible.
    let some = "seq: 1, name: some, from: lan, to: wan, src: [10.0.0.0/30, \"2001:db8:10::5\"], \
        service: { udp: [7001-7003] }, action: accept";
    let mut with = lanes(100, true);
    with.push(some.to_owned());
    let policies = [policy(&with), policy(&lanes(10, false))];
    let Some(bed) = Bed::up("kill -9: any reload", &policies[1]) else { return };
    let _alone = load::alone();
    let load = Load::start_at(&bed, Direction::Both, RATE);
    for turn in 0..6 {
        kill_while_reloading(&bed, turn, &policies);
        bed.gateway.start().unwrap();
        assert_settled(&bed, &load, turn);
    }
    load.finish();
}

#[test]
fn after_a_stop_established_sessions_go_on_and_queue_failure_decides_about_new_ones() {
    for open in [false, true] {
        let (word, verdict) = if open { ("open", "accept") } else { ("closed", "drop") };
        let text = policy(&lanes(10, false))
            .replace("defaults: {", &format!("defaults: {{ queue_failure: {word},"));
        let Some(bed) = Bed::up(&format!("stop: {word}"), &text) else { return };
        let _alone = load::alone();
        let before = bed.packets();
        let load = Load::start_at(&bed, Direction::Both, RATE);
        bed.gateway.stop().unwrap();
        for hook in ["forward", "input"] {
            let chain = format!("unclassified-{hook}");
            let list = ["list", "chain", "inet", "twinwall", &chain];
            let shown = bed.gateway.run("nft", &list).unwrap();
            assert!(shown.contains(&format!("queue_failure {word}")), "{shown}");
            assert!(shown.contains(&format!(" {verdict} comment")), "{shown}");
        }
        let table = bed.gateway.run("nft", &["list", "table", "inet", "twinwall"]).unwrap();
        assert!(table.contains("chain forward") && !table.contains("queue num"), "{table}");
        assert_without_daemon(&bed, open);
        bed.gateway.start().unwrap();
        assert_eq!(bed.exception("unclassified"), 40);
        let totals = load.finish();
        (0..LANES.len()).for_each(|lane| totals.assert_whole(lane));
        let sum = |packets: BTreeMap<String, u64>| packets.values().sum::<u64>();
        let counted = || sum(bed.packets()) - sum(before.clone());
        bed.wait("all is counted", || (counted() == totals.offered()).then_some(()));
    }
}

#[test]
fn queue_failure_changes_with_a_reload() {
    let text = |word: &str| {
        policy(&lanes(10, false))
            .replace("defaults: {", &format!("defaults: {{ queue_failure: {word},"))
    };
    let Some(bed) = Bed::up("queue_failure", &text("closed")) else { return };
    bed.apply(&text("open"));
    assert_eq!(bed.status().queue_failure, "open");
    bed.gateway.kill9().unwrap();
    assert_without_daemon(&bed, true);
    bed.gateway.start().unwrap();
    assert_eq!(bed.status().queue_failure, "open", "what was applied is still in force");
    bed.apply(&text("closed"));
    bed.gateway.kill9().unwrap();
    let list = ["list", "chain", "inet", "twinwall", "unclassified-forward"];
    let shown = bed.gateway.run("nft", &list).unwrap();
    assert!(shown.contains("queue_failure closed"), "{shown}");
}

#[test]
fn sighup_loads_the_policy_file_again() {
    let Some(bed) = Bed::up("SIGHUP", &policy(&lanes(10, false))) else { return };
    let _alone = load::alone();
    let before = bed.packets();
    let load = Load::start_at(&bed, Direction::Forward, RATE);
    let keys_before = keys(&bed);
    for (turn, reversed) in [(2, true), (3, false), (4, true)] {
        bed.write_policy(&policy(&lanes(100, reversed)));
        bed.gateway.reload().unwrap();
        bed.wait("it is loaded", || (bed.status().generation == turn).then_some(()));
    }
    assert_eq!(keys(&bed), keys_before, "it was only renumbered");
    let totals = load.finish();
    totals.assert_all_counted(&bed, &before);
    (0..LANES.len()).for_each(|lane| totals.assert_whole(lane));
}

#[test]
fn a_second_daemon_is_refused_and_does_not_disturb_the_first() {
    let Some(bed) = Bed::up("second daemon", &policy(&lanes(10, false))) else { return };
    let to = at(OUTSIDE[0], 7001);
    let server = bed.serve("server", &format!("udp-recv --listen {to}"));
    let sender = bed.start("client", &format!("udp-send --to {to} --count 1000000 --rate 1000"));
    bed.wait("it flows", || (bed.rule("lane-7001").packets > 100).then_some(()));
    let status = bed.status();
    let record = bed.testbed().record();
    let folder = bed.gateway.folder();
    for (state, socket) in [("state", "control.sock"), ("other", "other.sock")] {
        let daemon = bed.gateway.command(record.binaries.join("twinwalld")).unwrap();
        let daemon = daemon.arg("--policy").arg(&record.policy);
        let daemon = daemon.arg("--state-dir").arg(folder.join(state));
        let output = daemon.arg("--socket").arg(folder.join(socket)).output().unwrap();
        assert_ne!(output.code(), 0);
        let said = output.stdout + &output.stderr;
        assert!(said.contains("another twinwalld runs in this network namespace"), "{said}");
    }
    let after = bed.status();
    assert_eq!((after.pid, after.generation), (status.pid, status.generation));
    let other = at(OUTSIDE[1], 7001);
    let _echo = bed.serve("server", &format!("udp-echo --listen {other}"));
    assert!(passes(&bed, &other));
    let sent: UdpSend = sender.stop_and_report().unwrap();
    bed.wait("all is counted", || (bed.rule("lane-7001").packets >= sent.sent + 6).then_some(()));
    let got: Reception = server.stop_and_report().unwrap();
    assert_eq!(got.lost, 0, "{got:?}");
}
