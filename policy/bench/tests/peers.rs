//! What becomes of a peer that runs as a process of its own, with scripts in its place.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do, by panicking")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;
use twinwall_classifier_bench::generate::{Family, Load, load};
use twinwall_classifier_bench::measure::Timed;
use twinwall_classifier_bench::oracle;
use twinwall_classifier_bench::subjects::RteAcl;

/// One at a time: a script can't be run while another thread's new process still holds it open
/// for writing.
static STARTING: Mutex<()> = Mutex::new(());

fn start(folder: &TempDir, script: &str, load: &Load) -> Result<RteAcl, String> {
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let program: PathBuf = folder.path().join("peer");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let answers = oracle::answers(&load.rules, &load.headers, 1);
    let started = RteAcl::start(&program, &load.rules, &load.headers, &answers, 0);
    started.map_err(|error| error.to_string())
}

#[test]
fn peer_is_handed_rules_and_headers_and_takes_turns() {
    let folder = tempfile::tempdir().unwrap();
    let load = load(Family::Fw, 20, 30, 1);
    // Says how many lines of each kind it got in the places of figures.
    let script = r#"echo "ready words $(grep -c ^R "$1").5 $(grep -c ^H "$1")"
        n=0; while read -r _; do n=$((n + 1)); echo "$n.25"; done"#;
    let mut peer = start(&folder, script, &load).unwrap();
    assert_eq!((peer.method.as_str(), peer.build_ms, peer.mismatches), ("words", 20.5, 30));
    assert_eq!([peer.turn(), peer.turn()], [Some(1.25), Some(2.25)]);
}

#[test]
fn peer_that_fails_says_why_and_gives_no_figures() {
    let folder = tempfile::tempdir().unwrap();
    let load = load(Family::Acl, 20, 30, 1);
    let failure = |script| start(&folder, script, &load).map(drop).unwrap_err();
    assert_eq!(failure("exit 1"), "it ended by itself");
    assert_eq!(failure("echo nonsense"), "it said `nonsense`");
    let mut ended = start(&folder, "echo ready x 1 0", &load).unwrap();
    assert_eq!(ended.turn(), None);
}

#[test]
fn load_that_rte_acl_has_no_words_for_is_not_put_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let failure = |family| {
        let load = load(family, 20, 30, 1);
        start(&folder, "echo ready x 1 0", &load).map(drop).unwrap_err()
    };
    assert_eq!(failure(Family::Ipv6), "rules for IPv6");
    assert!(["rules with zones", "rules for IPv6"].contains(&failure(Family::Zoned).as_str()));
}
