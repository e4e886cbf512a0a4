//! Holds the manifests to `docs/architecture.md`: who may depend on whom, and what a pure crate
//! may not have beneath it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do, by panicking")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which workspace crates each may depend on, `[dependencies]` only.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("twinwall-policy", &[]),
    ("twinwall-classifier-bench", &["twinwall-policy"]),
    ("twinwall-recorder", &[]),
    ("twinwall-vrrp", &["twinwall-recorder"]),
    ("twinwall-ctsync", &["twinwall-recorder"]),
    ("twinwall-netlink", &[]),
    ("twinwall-control", &[]),
    (
        "twinwall-firewalld",
        &[
            "twinwall-control",
            "twinwall-ctsync",
            "twinwall-netlink",
            "twinwall-policy",
            "twinwall-recorder",
            "twinwall-vrrp",
        ],
    ),
    ("twinwall-cli", &["twinwall-control", "twinwall-policy"]),
    (
        "twinwall-testbed",
        &[
            "twinwall-control",
            "twinwall-ctsync",
            "twinwall-netlink",
            "twinwall-recorder",
            "twinwall-vrrp",
        ],
    ),
];

/// Crates that get time, randomness and I/O as arguments.
const PURE: [&str; 4] =
    ["twinwall-policy", "twinwall-recorder", "twinwall-vrrp", "twinwall-ctsync"];

/// What would give a pure crate a clock, a socket, a thread pool, randomness or the system.
const IMPURE: [&str; 16] = [
    "async-std",
    "chrono",
    "fastrand",
    "getrandom",
    "jiff",
    "libc",
    "mio",
    "nix",
    "rand",
    "rayon",
    "rustix",
    "smol",
    "socket2",
    "time",
    "tokio",
    "tracing-subscriber",
];

/// The only crate whose files may all have unsafe code.
const UNSAFE: &str = "twinwall-netlink";

/// The only file outside of it that may: vector instructions of the classifier.
const UNSAFE_FILE: (&str, &str) = ("twinwall-policy", "classify/engine/simd.rs");

#[test]
fn workspace_crates_depend_only_on_what_the_architecture_allows() {
    let metadata = metadata();
    let packages = workspace(&metadata);
    let names: BTreeSet<&str> = packages.keys().copied().collect();
    let expected: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected, "the workspace and the table of this test differ");
    for (name, allowed) in ALLOWED {
        for dependency in normal_dependencies(packages[name]) {
            let ours = names.contains(dependency);
            assert!(
                !ours || allowed.contains(&dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn pure_crates_have_no_clock_socket_or_randomness_beneath_them() {
    for name in PURE {
        let arguments =
            ["tree", "--package", name, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
        let tree = cargo(&arguments);
        let beneath: BTreeSet<&str> =
            tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(beneath.contains(name), "cargo tree shows nothing for {name}:\n{tree}");
        let found: Vec<_> = IMPURE.iter().filter(|impure| beneath.contains(*impure)).collect();
        assert!(found.is_empty(), "{name} is to be pure and has {found:?} beneath it:\n{tree}");
    }
}

#[test]
fn only_one_crate_and_one_file_may_lift_the_ban_on_unsafe_code() {
    let metadata = metadata();
    for (name, package) in workspace(&metadata) {
        let manifest = package["manifest_path"].as_str().unwrap();
        let text = std::fs::read_to_string(manifest).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{name} leaves the workspace's lints");
        let folder = std::path::Path::new(manifest).parent().unwrap().join("src");
        for file in rust_files(&folder) {
            let text = std::fs::read_to_string(&file).unwrap();
            let lifts = text.contains("unsafe_code");
            let excepted = name == UNSAFE_FILE.0 && file == folder.join(UNSAFE_FILE.1);
            let may = name == UNSAFE || excepted;
            assert!(!lifts || may, "{} lifts the ban on unsafe code", file.display());
        }
    }
}

fn metadata() -> Value {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    serde_json::from_str(&text).unwrap()
}

fn workspace(metadata: &Value) -> BTreeMap<&str, &Value> {
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (package["name"].as_str().unwrap(), package)).collect()
}

fn normal_dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let dependencies = package["dependencies"].as_array().unwrap();
    let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
    normal.map(|dependency| dependency["name"].as_str().unwrap())
}

fn rust_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
