//! A policy that is wrong changes nothing: not the generation, not what passes, not the counters.

use crate::bed::{Bed, OUTSIDE, at, policy};
use std::fs;
use twinwall_testbed::traffic::report::{Reception, UdpSend};

const OPEN: &str =
    "seq: 10, name: open, from: lan, to: wan, service: { udp: [7000] }, action: accept";

/// What is wrong, what the message has to say, and the text.
fn wrong() -> Vec<(&'static str, &'static [&'static str], String)> {
    let rules = |rules: &[&str]| policy(rules);
    let good = rules(&[OPEN]);
    vec![
        ("not yaml", &["E0101", "policy.yaml:"], format!("{good}rules: [\n")),
        ("a list", &["E0105"], "- version: 1\n".into()),
        ("nothing", &["E01"], String::new()),
        (
            "unknown key",
            &["E0106", "did you mean `action`"],
            good.replace("action: accept", "actoin: accept"),
        ),
        ("missing action", &["E0108", "action"], rules(&["seq: 10, name: open, from: lan"])),
        (
            "unknown zone",
            &["E0202", "unknown zone `wann`", "did you mean `wan`"],
            good.replace("to: wan", "to: wann"),
        ),
        ("unknown object", &["E0203", "nowhere"], good.replace("to: wan", "dst: nowhere")),
        ("unknown service", &["E0204"], good.replace("{ udp: [7000] }", "ftp")),
        ("same name", &["E0206"], rules(&[OPEN, &OPEN.replace("seq: 10", "seq: 20")])),
        ("same seq", &["E0207"], rules(&[OPEN, &OPEN.replace("name: open", "name: other")])),
        ("bad address", &["E0301"], good.replace("to: wan", "dst: 10.0.0.256")),
        ("bad port", &["E0303"], good.replace("7000", "70000")),
        (
            "not built yet",
            &["E0109", "schedule"],
            good.replace("action: accept", "action: accept, schedule: office"),
        ),
        (
            "a test of its own fails",
            &["E0501", "must-drop"],
            format!(
                "{good}tests:\n  - {{ name: must-drop, from: lan, src: 10.0.0.5, \
                 dst: 198.51.100.7, proto: udp, dport: 7000, to: wan, expect: drop }}\n"
            ),
        ),
        (
            "nat without a target",
            &["E0401"],
            format!("{good}nat:\n  - {{ seq: 1, name: n, from: lan, to: wan }}\n"),
        ),
    ]
}

#[test]
fn a_wrong_policy_is_refused_with_the_place_and_the_running_one_goes_on() {
    let Some(bed) = Bed::up("bad policies", &policy(&[OPEN])) else { return };
    let to = at(OUTSIDE[0], 7000);
    let server = bed.serve("server", &format!("udp-recv --listen {to}"));
    let sender = bed.start("client", &format!("udp-send --to {to} --count 1000000 --rate 2000"));
    bed.wait("it flows", || (bed.rule("open").packets > 100).then_some(()));
    let (status, sessions) = (bed.status(), bed.sessions());
    for (what, words, text) in wrong() {
        let before = bed.rule("open").packets;
        let Err(refusal) = bed.try_apply(&text) else { panic!("{what} is accepted:\n{text}") };
        for word in words {
            assert!(refusal.contains(word), "{what}: no {word:?} in:\n{refusal}");
        }
        assert!(refusal.contains("policy not loaded; generation 1 stays active"), "{refusal}");
        bed.wait("the counter goes on", || (bed.rule("open").packets > before + 20).then_some(()));
    }
    let after = bed.status();
    assert_eq!((after.generation, after.keys), (status.generation, status.keys));
    assert_eq!((after.pid, &after.loaded), (status.pid, &status.loaded));
    assert_eq!(bed.sessions()[0].key, sessions[0].key);
    let sent: UdpSend = sender.stop_and_report().unwrap();
    bed.wait("all is counted", || (bed.rule("open").packets >= sent.sent).then_some(()));
    assert_eq!(bed.rule("open").packets, sent.sent);
    let got: Reception = server.stop_and_report().unwrap();
    assert_eq!(got.lost, 0, "{got:?}");
}

#[test]
fn every_error_of_a_policy_is_told_at_once() {
    let Some(bed) = Bed::up("bad policies: all", &policy(&[OPEN])) else { return };
    let text = policy(&[
        "seq: 10, name: open, from: lann, to: wan, action: accept",
        "seq: 10, name: open, from: lan, dst: nowhere, action: allow",
    ]);
    let refusal = bed.try_apply(&text).unwrap_err();
    for code in ["E0202", "E0203", "E0206", "E0207", "E0308"] {
        assert!(refusal.contains(code), "{code}:\n{refusal}");
    }
    assert!(refusal.contains("policy.yaml:10:") && refusal.contains('^'), "{refusal}");
}

#[test]
fn sighup_with_a_broken_file_changes_nothing_and_says_why() {
    let Some(bed) = Bed::up("bad policies: SIGHUP", &policy(&[OPEN])) else { return };
    let to = at(OUTSIDE[0], 7000);
    let _server = bed.serve("server", &format!("udp-recv --listen {to}"));
    let _sender = bed.start("client", &format!("udp-send --to {to} --count 1000000 --rate 500"));
    bed.write_policy(&policy(&[&OPEN.replace("to: wan", "to: wann")]));
    bed.gateway.reload().unwrap();
    bed.wait("the log says why", || {
        let log = bed.gateway.log();
        (log.contains("E0202") && log.contains("generation 1 stays active")).then_some(())
    });
    fs::remove_file(bed.policy_path()).unwrap();
    bed.gateway.reload().unwrap();
    bed.wait("the log names the file", || {
        bed.gateway.log().contains("policy.yaml: No such file").then_some(())
    });
    assert_eq!(bed.status().generation, 1);
    let before = bed.rule("open").packets;
    bed.wait("it flows on", || (bed.rule("open").packets > before + 20).then_some(()));
    bed.write_policy(&policy(&[OPEN, "seq: 20, name: more, from: lan, to: dmz, action: accept"]));
    bed.gateway.reload().unwrap();
    bed.wait("a good file is loaded", || (bed.status().generation == 2).then_some(()));
    assert_eq!(bed.rule("more").action, "accept");
}

#[test]
fn a_daemon_with_a_wrong_policy_does_not_start_and_changes_nothing() {
    let Some(bed) =
        Bed::without_daemon("bad policies: start", twinwall_testbed::Testbed::builder())
    else {
        return;
    };
    bed.write_policy(&policy(&[&OPEN.replace("to: wan", "to: wann")]));
    let error = bed.gateway.start().unwrap_err().to_string();
    assert!(error.contains("E0202") && error.contains("does not start"), "{error}");
    assert_eq!(bed.gateway.run("nft", &["list", "tables"]).unwrap(), "");
    assert_eq!(bed.ping("client", OUTSIDE[0], 1).received(), 1);
}
