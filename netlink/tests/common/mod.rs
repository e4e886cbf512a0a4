//! What the tests share: a network namespace of each test's own, and the pieces that they set up
//! in it.
//!
//! Goes in: the name of a test. Comes out: the test runs again as a process of its own, in new user
//! and network namespaces, so that any user can run it and nothing of the host is touched. Not
//! here: tests.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test is a panic")]

pub(crate) mod conntrack;
pub(crate) mod entries;
pub(crate) mod ruleset;
pub(crate) mod segment;
pub(crate) mod space;
pub(crate) mod traffic;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// Set in the process that is inside; holds the name of the test.
const INSIDE: &str = "TWINWALL_TEST_INSIDE";

/// True inside the namespace: then the test's body has to run. False outside: then the body has
/// been run, or skipped because this user may not make namespaces, and the test has to return.
pub(crate) fn inside(test: &str) -> bool {
    // In two steps: a network namespace made before its user is known has files in /proc/net that
    // belong to the host's root.
    enter(test, &["-Ur", "unshare", "-n"])
}

/// The same without any capability inside.
pub(crate) fn inside_without_capabilities(test: &str) -> bool {
    enter(test, &["-Un"])
}

fn enter(test: &str, spaces: &[&str]) -> bool {
    if env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        return true;
    }
    let possible = Command::new("unshare").args(spaces).arg("true").stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        skip(test, "this user can't make a network namespace with `unshare`");
        return false;
    }
    let output = Command::new("unshare")
        .args(spaces)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    print!("{text}{errors}");
    assert!(output.status.success(), "{test} failed in its namespace:\n{text}{errors}");
    assert!(text.contains("1 passed"), "there is no test named {test}");
    false
}

/// For a program that is no test: starts it again in namespaces of its own; true inside.
pub(crate) fn enter_program() -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let status = Command::new("unshare")
        .args(["-Ur", "unshare", "-nm"])
        .args(env::args_os())
        .env(INSIDE, "program")
        .status()
        .unwrap();
    std::process::exit(status.code().unwrap_or(1));
}

/// Says that a test did not run. In CI that is a failure.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} can't run: {reason}");
    let line = format!("SKIPPED {test}: {reason}\n");
    let _ = io::stderr().write_all(line.as_bytes());
    if let Some(path) = env::var_os("TWINWALL_SKIPPED") {
        let file = fs::File::options().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// Runs `ip` with these words, in the namespace that the test is in.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Calls `condition` until it returns a value; fails after 10 s.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
