//! The command line against a running daemon, as an operator or a script uses it.

use crate::bed::{Bed, CLIENT, OUTSIDE, at, policy};
use serde_json::Value;
use std::fs;
use twinwall_testbed::traffic::report::UdpSend;

const RULES: [&str; 2] = [
    "seq: 10, name: web, from: lan, to: wan, service: { tcp: [443] }, action: accept",
    "seq: 20, name: stream, from: lan, to: wan, service: { udp: [7000] }, action: accept",
];

/// Runs `twinwall` to its end with exit code 0, and reads its JSON.
fn json(bed: &Bed, arguments: &[&str]) -> Value {
    let output = bed.gateway.twinwall(arguments).unwrap();
    assert_eq!(output.code(), 0, "{arguments:?}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

fn rule<'a>(rules: &'a Value, name: &str) -> &'a Value {
    let rules = rules["rules"].as_array().unwrap();
    rules.iter().find(|rule| rule["name"] == name).unwrap()
}

#[test]
fn every_verb_shows_the_same_session_and_the_same_rule() {
    let Some(bed) = Bed::up("operator", &policy(&[RULES[0]])) else { return };
    let folder = bed.gateway.folder();
    let (good, bad) = (folder.join("good.yaml"), folder.join("bad.yaml"));
    fs::write(&good, policy(&RULES)).unwrap();
    fs::write(&bad, policy(&[RULES[0], &RULES[1].replace("to: wan", "to: wann")])).unwrap();
    let path = |path: &std::path::Path| path.display().to_string();

    let applied = json(&bed, &["apply", &path(&good), "--json"]);
    assert_eq!((&applied["generation"], &applied["rules"]), (&2.into(), &2.into()), "{applied}");
    let refused = bed.gateway.twinwall(&["apply", &path(&bad)]).unwrap();
    assert_eq!(refused.code(), 1);
    for words in ["E0202", &format!("{}:10:", path(&bad)), "generation 2 stays active"] {
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }

    let to = at(OUTSIDE[0], 7000);
    let _echo = bed.serve("server", &format!("udp-echo --listen {to}"));
    let from = at(CLIENT[0].parse().unwrap(), 6000);
    let options = format!("udp-send --to {to} --from {from} --count 10 --rate 500 --replies");
    let sent: UdpSend = bed.traffic("client", &options);
    assert_eq!(sent.replies.unwrap().received, 10);

    let rules = json(&bed, &["rules", "--hits", "--json"]);
    let stream = rule(&rules, "stream");
    assert_eq!((&stream["packets"], &stream["sessions"]), (&20.into(), &1.into()), "{rules}");
    assert_eq!((&stream["seq"], &stream["action"]), (&20.into(), &"accept".into()));
    assert!(stream["bytes"].as_u64() >= Some(20 * 92) && stream["last_hit"].is_string());
    assert_eq!(rule(&rules, "web")["packets"], 0);

    let sessions = json(&bed, &["sessions", "--rule", "stream", "--json"]);
    assert_eq!(sessions["total"], 1, "{sessions}");
    let session = &sessions["sessions"][0];
    assert_eq!((&session["from"], &session["to"]), (&"lan".into(), &"wan".into()), "{session}");
    assert_eq!(json(&bed, &["sessions", "--stale", "--json"])["total"], 0);

    let question = ["explain", "--from", "lan", "--to", "wan", "udp", &from, &to, "--json"];
    let explained = json(&bed, &question);
    assert_eq!((&explained["rule"], &explained["action"]), (&"stream".into(), &"accept".into()));
    assert_eq!(explained["session"]["key"], session["key"], "{explained}");
    assert_eq!(explained["tried"].as_array().unwrap().len(), 2, "{explained}");

    let status = json(&bed, &["status", "--json"]);
    assert_eq!((&status["generation"], &status["sessions"]), (&2.into(), &1.into()), "{status}");

    // Back to its own file.
    let applied = json(&bed, &["apply", "--json"]);
    assert_eq!((&applied["rules"], &applied["sessions"]["ended"]), (&1.into(), &1.into()));
    let rules = json(&bed, &["rules", "--json"]);
    assert_eq!(rule(&rules, "(default)")["sessions"], 1, "{rules}");
}
