//! The program as it is called: exit codes, what goes to stdout and to stderr, and how it behaves
//! with a daemon that answers, refuses, is another version or goes away.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use tempfile::TempDir;

const GOOD: &str = "\
version: 1
name: small
zones:
  lan: { interfaces: [eth1] }
  wan: { interfaces: [eth0] }
rules:
  - { seq: 10, name: lan-web, from: lan, to: wan, service: { tcp: [443] }, action: accept }
nat:
  - { seq: 10, name: out, from: lan, to: wan, snat: masquerade, family: ipv4 }
";

const BAD: &str = "\
version: 1
zones: { lan: { interfaces: [eth1] } }
rules:
  - { seq: 10, name: lan-web, from: lna, action: accept }
";

const BAD_MESSAGE: &str = "\
error[E0202]: unknown zone `lna`
 --> policy.yaml:4:37
  |
4 |   - { seq: 10, name: lan-web, from: lna, action: accept }
  |                                     ^^^ not in zones
";

/// A directory with a policy file in it, where the program is called.
struct Place(TempDir);

impl Place {
    fn new(policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("policy.yaml"), policy).unwrap();
        Self(directory)
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    /// A daemon that gives one answer, which may depend on the request.
    fn daemon(&self, answer: impl FnOnce(Value) -> String + Send + 'static) {
        self.serve(|mut stream| {
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            let answer = answer(serde_json::from_str(&request).unwrap());
            // A program that doesn't wait for the answer is what the caller looks for.
            let _ = stream.write_all(answer.as_bytes());
        });
    }

    fn serve(&self, serve: impl FnOnce(UnixStream) + Send + 'static) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || serve(listener.accept().unwrap().0));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinwall"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_clear().env("TWINWALL_SOCKET", self.socket());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// The one object on stdout; nothing may be on stderr.
    fn json(&self) -> Value {
        assert_eq!(self.stderr, "");
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        let value: Value = serde_json::from_str(&self.stdout).unwrap();
        assert!(value.is_object(), "{value}");
        value
    }
}

fn golden(name: &str) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    serde_json::from_str(&fs::read_to_string(directory.join(name)).unwrap()).unwrap()
}

fn ok(report: &Value) -> String {
    format!("{}\n", json!({ "ok": report }))
}

fn refused(text: &str) -> String {
    format!("{}\n", json!({ "error": text }))
}

#[test]
fn good_policy_is_summed_up_in_one_line() {
    let place = Place::new(GOOD);
    let ran = place.run(&["check", "policy.yaml"]);
    assert_eq!(
        ran.stdout,
        "policy.yaml: policy small is good: 1 rule, 2 zones, 1 NAT rule, 0 warnings, no tests\n"
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let json = place.run(&["--json", "check", "policy.yaml"]).json();
    assert_eq!(json["rules"], 1);
    assert_eq!(json["files"], json!(["policy.yaml"]));
    assert_eq!(json["diagnostics"], json!([]));
}

#[test]
fn paths_of_check_add_up_to_one_policy() {
    let place = Place::new(GOOD);
    let more = place.0.path().join("policy.d");
    fs::create_dir(&more).unwrap();
    fs::write(more.join("ssh.yaml"), "rules: [{ seq: 5, name: ssh, action: drop }]\n").unwrap();
    let alone = place.run(&["check", "--json", "policy.yaml"]).json();
    assert_eq!(alone["rules"], 2);
    let both = place.run(&["check", "--json", "policy.yaml", "policy.d"]).json();
    assert_eq!(both["files"], json!(["policy.yaml", "policy.d/ssh.yaml"]), "read once");
}

#[test]
fn warnings_change_the_exit_code_only_when_asked() {
    let again = "  - { seq: 20, name: again, from: lan, to: wan, service: { tcp: [443] }, action: accept }\n";
    let place = Place::new(&GOOD.replace("nat:\n", &format!("{again}nat:\n")));
    let ran = place.run(&["check", "policy.yaml"]);
    assert!(ran.stderr.starts_with("warning[W"), "{}", ran.stderr);
    assert!(ran.stdout.contains("2 rules") && ran.stdout.contains("1 warning"), "{}", ran.stdout);
    assert_eq!(ran.code, 0);
    assert_eq!(place.run(&["check", "policy.yaml", "--strict"]).code, 2);
    let ran = place.run(&["check", "policy.yaml", "--strict", "--json"]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.json()["warnings"], 1);
    assert_eq!(Place::new(GOOD).run(&["check", "policy.yaml", "--strict"]).code, 0);
}

#[test]
fn bad_policy_is_shown_on_stderr_and_as_diagnostics() {
    let place = Place::new(BAD);
    let ran = place.run(&["check", "policy.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with(BAD_MESSAGE), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}'), "no colours but on a terminal");
    let ran = place.run(&["check", "--json", "policy.yaml"]);
    assert_eq!(ran.code, 1);
    let json = ran.json();
    assert_eq!(json["errors"], 1);
    assert_eq!(json["diagnostics"][0]["code"], "E0202");
    assert_eq!(json["diagnostics"][0]["places"][0]["line"], 4);
    assert!(json["error"].as_str().unwrap().contains("unknown zone `lna`"));
}

#[test]
fn policy_that_cannot_be_read_is_an_error() {
    let place = Place::new(GOOD);
    for verb in ["check", "apply"] {
        let ran = place.run(&[verb, "missing.yaml"]);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.starts_with("error: cannot read missing.yaml: No such file"));
    }
}

#[test]
fn apply_sends_the_files_and_reports() {
    let place = Place::new(GOOD);
    let report = golden("apply-warnings.json");
    let answer = ok(&report);
    place.daemon(move |request| {
        let files = json!([{ "path": "policy.yaml", "text": GOOD }]);
        assert_eq!(request, json!({ "verb": "apply", "files": files }));
        answer
    });
    let ran = place.run(&["apply", "policy.yaml"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.starts_with("policy edge-pair-a, generation 43: 1 rule\n"));
    assert!(ran.stderr.starts_with("warning[W0106]: nothing uses"));
}

#[test]
fn apply_without_a_path_and_reload_ask_for_the_daemons_files() {
    for verb in ["apply", "reload"] {
        let place = Place::new(GOOD);
        let report = golden("apply.json");
        let answer = ok(&report);
        place.daemon(move |request| {
            assert_eq!(request, json!({ "verb": "reload" }));
            answer
        });
        let ran = place.run(&[verb, "--json"]);
        assert_eq!(ran.code, 0);
        assert_eq!(ran.json(), report);
    }
}

#[test]
fn words_of_the_daemon_stay_as_they_are() {
    let message = format!("{BAD_MESSAGE}  = note: policy not loaded; generation 41 stays active\n");
    let place = Place::new(BAD);
    let answer = refused(&message);
    place.daemon(move |_| answer);
    let ran = place.run(&["apply", "policy.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr, message);

    let place = Place::new(BAD);
    let answer = refused(&message);
    place.daemon(move |_| answer);
    let ran = place.run(&["apply", "policy.yaml", "--json"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.json(), json!({ "error": message }));
}

#[test]
fn questions_carry_their_filters() {
    let place = Place::new(GOOD);
    place.daemon(|request| {
        let expected = json!({
            "verb": "sessions", "rule": null, "stale": true, "address": "10.0.0.5", "limit": 5
        });
        assert_eq!(request, expected);
        ok(&golden("sessions.json"))
    });
    let ran =
        place.run(&["sessions", "--stale", "--address", "10.0.0.5", "--limit", "5", "--json"]);
    assert_eq!(ran.json()["total"], 12345);

    let place = Place::new(GOOD);
    place.daemon(|request| {
        let expected = json!({
            "verb": "explain", "from": "lan", "to": "wan", "src": "10.0.0.5", "dst": "9.9.9.9",
            "protocol": 17, "src_port": 0, "dst_port": 53
        });
        assert_eq!(request, expected);
        ok(&golden("explain.json"))
    });
    let arguments =
        ["explain", "--from", "lan", "--to", "wan", "--json", "udp", "10.0.0.5", "9.9.9.9:53"];
    assert_eq!(place.run(&arguments).json()["rule"], "lan-web");
}

#[test]
fn rules_have_the_same_json_with_and_without_hits() {
    for arguments in [&["rules", "--json"][..], &["rules", "--hits", "--json"]] {
        let place = Place::new(GOOD);
        place.daemon(|_| ok(&golden("rules.json")));
        let rule = &place.run(arguments).json()["rules"][0];
        for field in ["name", "seq", "action", "sessions", "packets", "bytes", "last_hit"] {
            assert!(rule.get(field).is_some(), "{field}");
        }
    }
}

#[test]
fn explain_asks_a_file_without_any_daemon() {
    let place = Place::new(GOOD);
    let arguments = ["explain", "--policy", "policy.yaml", "--from", "lan", "--to", "wan"];
    let flow = ["tcp", "10.0.0.5:40000", "198.51.100.7:443"];
    let ran = place.run(&[&arguments[..], &flow].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        "flow     tcp 10.0.0.5:40000 198.51.100.7:443, from lan to wan\n\
         decision accept by rule lan-web\n\
         nat      source becomes the address of the egress interface by NAT rule `out`\n\
         \n\
         10  lan-web: matches\n"
    );
    let ran = place.run(&[
        "explain",
        "--policy",
        "policy.yaml",
        "--from",
        "lan",
        "--to",
        "dmz",
        "--json",
        "tcp",
        "10.0.0.5",
        "198.51.100.7:443",
    ]);
    assert_eq!(ran.code, 1);
    let error = "no zone named 'dmz' in the policy; it has (outside), self, lan, wan";
    assert_eq!(ran.json(), json!({ "error": error }));
}

#[test]
fn missing_daemon_is_an_error_with_help() {
    let place = Place::new(GOOD);
    let ran = place.run(&["status"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("error: cannot reach twinwalld at /"), "{}", ran.stderr);
    assert!(ran.stderr.contains("= help: is it running?"), "{}", ran.stderr);
    let ran = place.run(&["status", "--json"]);
    assert_eq!(ran.code, 1);
    assert!(ran.json()["error"].as_str().unwrap().starts_with("cannot reach twinwalld"));
}

#[test]
fn daemon_of_another_version_is_told_from_a_broken_one() {
    type Reply = fn(Value) -> String;
    let cases: [(Reply, &str); 4] = [
        (|_| ok(&json!({ "generation": 1 })), "cannot read the answer of twinwalld: missing field"),
        (|_| refused("cannot read the request: unknown variant"), "another version"),
        (|_| "not json\n".into(), "cannot read the answer of twinwalld"),
        (|_| "{\"ok\":".into(), "closed the connection without an answer"),
    ];
    for (answer, expected) in cases {
        let place = Place::new(GOOD);
        place.daemon(answer);
        let ran = place.run(&["status"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
}

#[test]
fn apply_whose_outcome_is_unknown_says_so() {
    let place = Place::new(GOOD);
    place.daemon(|_| String::new());
    let ran = place.run(&["apply", "policy.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("it may still load the policy"), "{}", ran.stderr);
}

#[test]
fn wrong_arguments_exit_with_1_and_not_with_2() {
    let place = Place::new(GOOD);
    for arguments in [&["plan"][..], &[], &["sessions", "--limit", "x"], &["check"]] {
        let ran = place.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
        let ran = place.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 1, "{arguments:?}");
        assert!(ran.json()["error"].is_string(), "{arguments:?}");
    }
}

#[test]
fn verbs_that_are_not_built_do_not_exist() {
    let place = Place::new(GOOD);
    for verb in ["plan", "rollback", "history", "diff", "doctor", "top"] {
        let ran = place.run(&[verb]);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("unrecognized subcommand"), "{}", ran.stderr);
    }
}

#[test]
fn help_and_version_exit_with_0() {
    let place = Place::new(GOOD);
    for arguments in [&["--help"][..], &["--version"], &["explain", "--help"], &["help", "check"]] {
        let ran = place.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(ran.stdout.contains("twinwall"), "{arguments:?}");
    }
}

#[test]
fn reader_that_goes_away_is_no_error() {
    let place = Place::new(GOOD);
    let mut many = golden("sessions.json");
    let one = many["sessions"][0].clone();
    // More than a pipe holds.
    many["sessions"] = Value::Array(vec![one; 10_000]);
    let answer = ok(&many);
    place.daemon(move |_| answer);
    let mut child =
        place.command(&["sessions"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 10];
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));

    for arguments in [&["--help"][..], &["check", "policy.yaml"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.command(arguments).stdout(writer).output().unwrap();
        let ran = Ran::from(output);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn full_disk_is_an_error() {
    let place = Place::new(GOOD);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.command(&["check", "policy.yaml"]).stdout(full).output().unwrap();
    let ran = Ran::from(output);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: cannot write to stdout: No space left"));
}
