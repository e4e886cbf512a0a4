//! The program as its users run it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do, by panicking")]

use serde_json::Value;
use std::process::{Command, Output};

const QUICK: [&str; 6] = ["--rounds", "1", "--updates", "2000", "--readers", "1"];

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_classifier-bench")).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.is_empty(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn figures_are_one_json_object_with_every_figure_in_it() {
    let arguments = ["--generate", "mixed", "--size", "50", "--seed", "7", "--json"];
    let figures = json(&bench(&[&arguments[..], &QUICK].concat()));
    assert_eq!(figures["rules"], 50);
    assert_eq!(figures["mismatches"], 0);
    assert!(figures["lookups"].as_u64().unwrap() >= 100_000);
    for name in ["batched_ns", "scalar_ns", "build_ms", "bytes_per_rule", "updates_per_s"] {
        let value = figures[name].as_f64().unwrap_or_default();
        assert!(value > 0.0, "{name} in {figures}");
    }
    assert!(figures["p99_ns"].is_number(), "{figures}");
    // Nothing, where the machine let no reader run.
    let loss = &figures["reader_loss"];
    assert!(loss.is_number() || loss.is_null(), "{figures}");
}

#[test]
fn written_files_are_measured_like_the_load_that_they_were_written_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let written =
        bench(&["--generate", "ipc", "--size", "40", "--headers", "500", "--write", path]);
    assert!(written.status.success(), "{written:?}");
    let file = |kind: &str| format!("{path}/ipc_40.{kind}");
    let (rules, trace) = (file("rules"), file("trace"));
    let files = ["--rules", &rules, "--trace", &trace, "--json", "--peers"];
    let figures = json(&bench(&[&files[..], &QUICK].concat()));
    assert_eq!((&figures["rules"], &figures["mismatches"]), (&40.into(), &0.into()));
    let peers = figures["peers"].as_array().unwrap();
    let names: Vec<_> = peers.iter().map(|peer| peer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["linear scan", "tuple space search"]);
    assert!(peers.iter().all(|peer| peer["mismatches"] == 0), "{peers:?}");
}

#[test]
fn file_that_is_no_filter_set_is_named_with_line_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.rules");
    std::fs::write(&path, "@10.0.0.0/8\t0.0.0.0/0\t0 : 1\t2\n").unwrap();
    let path = path.to_str().unwrap();
    let output = bench(&["--rules", path, "--trace", path, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    let reason = "line 1: expected `:` between the destination ports";
    assert!(errors.contains(path) && errors.contains(reason), "{errors}");
    assert!(output.stdout.is_empty());
}

#[test]
fn command_line_that_says_nothing_to_do_is_refused() {
    for arguments in [&[][..], &["--rules", "x"], &["--generate", "nothing"], &["--seed", "1"]] {
        assert_eq!(bench(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
