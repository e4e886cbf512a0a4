//! The testbed keeps its own promises: reachability, isolation, and nothing left behind.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do, by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use twinwall_testbed::testing::{eventually, need};
use twinwall_testbed::topology::{OUTSIDE_V4, OUTSIDE_V6};
use twinwall_testbed::{Builder, Error, Gateways, Signal, Testbed, host};

/// For whatever has to happen soon, on however busy a machine.
const SOON: Duration = Duration::from_secs(20);

/// The user of the tests that give up root.
const NOBODY: u32 = 65_534;

fn build(builder: Builder) -> Option<Testbed> {
    need("testbed", builder.build())
}

fn ping(testbed: &Testbed, from: &str, to: &str) -> bool {
    let command = testbed.node(from).unwrap().command("ping").unwrap();
    command.args(["-c", "1", "-W", "5", to]).output().unwrap().code() == 0
}

/// Processes in the same PID namespace as this one was.
fn processes_in(namespace: &Path) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| fs::read_link(entry.path().join("ns/pid")).is_ok_and(|ns| ns == namespace))
        .count()
}

fn pid_namespace(process: u32) -> PathBuf {
    fs::read_link(format!("/proc/{process}/ns/pid")).unwrap()
}

#[test]
fn every_host_reaches_every_other_in_both_families() {
    let Some(testbed) = build(Testbed::builder()) else { return };
    let hosts = ["client", "client2", "server", "dmz"];
    for from in hosts {
        for to in hosts.into_iter().chain(["gw-a"]).filter(|&to| to != from) {
            for address in testbed.node(to).unwrap().both() {
                assert!(ping(&testbed, from, &address.to_string()), "{from} to {to} {address}");
            }
        }
    }
    for outside in [OUTSIDE_V4.to_string(), OUTSIDE_V6.to_string()] {
        assert!(ping(&testbed, "client", &outside), "{outside}");
        assert!(ping(&testbed, "dmz", &outside), "{outside}");
    }
}

#[test]
fn both_gateways_of_a_pair_forward_and_share_a_link() {
    let Some(testbed) = build(Testbed::builder().gateways(Gateways::TwoStatic)) else {
        return;
    };
    assert!(ping(&testbed, "gw-a", "10.255.0.2"));
    assert!(ping(&testbed, "gw-b", "2001:db8:ff::1"));
    let client = testbed.node("client").unwrap();
    client.run("ip", &["route", "add", "198.51.100.7/32", "via", "10.0.0.3"]).unwrap();
    assert!(ping(&testbed, "client", "198.51.100.7"));
    let switch = testbed.node("switch").unwrap();
    switch.run("ip", &["link", "set", "gw-b-lan", "down"]).unwrap();
    let command = client.command("ping").unwrap().args(["-c", "1", "-W", "1", "198.51.100.7"]);
    assert_ne!(command.output().unwrap().code(), 0, "the leg of gw-b is cut");
    assert!(ping(&testbed, "client2", "198.51.100.7"), "gw-a still forwards");
}

#[test]
fn two_testbeds_do_not_see_each_other() {
    let (Some(one), Some(two)) = (build(Testbed::builder()), build(Testbed::builder())) else {
        return;
    };
    one.node("server")
        .unwrap()
        .run("ip", &["address", "add", "203.0.113.77/32", "dev", "eth0"])
        .unwrap();
    assert!(ping(&one, "gw-a", "203.0.113.77"));
    let elsewhere = two.node("gw-a").unwrap().command("ping").unwrap();
    let output = elsewhere.args(["-c", "1", "-W", "1", "203.0.113.77"]).output().unwrap();
    assert_ne!(output.code(), 0);
    drop(one);
    assert!(ping(&two, "client", "198.51.100.7"), "the other goes on");
}

#[test]
fn nothing_is_left_after_drop() {
    let interfaces = || fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    let named = || fs::read_dir("/run/netns").map_or(0, Iterator::count);
    let before = (interfaces(), named());
    let Some(testbed) = build(Testbed::builder().gateways(Gateways::Two)) else { return };
    assert_eq!((interfaces(), named()), before, "nothing of it is visible outside");
    let namespace = pid_namespace(testbed.record().holder);
    let folder = testbed.record().folder.clone();
    let node = testbed.node("client").unwrap();
    node.run("sh", &["-c", "sleep 1000 >/dev/null 2>&1 &"]).unwrap();
    let running = node.command("sleep").unwrap().arg("1000").spawn().unwrap();
    eventually(SOON, || (processes_in(&namespace) >= 3).then_some(())).unwrap();
    drop(testbed);
    assert_eq!(processes_in(&namespace), 0);
    assert!(!folder.exists());
    let output = running.finish().unwrap();
    assert_eq!(output.code(), 137, "its command was killed with it");
    assert_eq!((interfaces(), named()), before);
}

/// `testbed up --attached` in a process that can be killed.
struct Attached {
    process: Child,
    base: tempfile::TempDir,
    program: PathBuf,
}

impl Attached {
    /// `None` if this machine can't. With `nobody`, as that user if the test runs as root.
    fn start(nobody: bool) -> Option<Self> {
        // Tells by its error whether this machine can.
        drop(build(Testbed::builder().user_namespace(nobody))?);
        let base = tempfile::tempdir().unwrap();
        let program = base.path().join("testbed");
        let original = host::binary(&host::binaries().unwrap(), "testbed").unwrap();
        let root = rustix::process::geteuid().is_root();
        let mut command = if nobody && root {
            // The build folder may be closed to others.
            fs::copy(original, &program).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            chown(base.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            let mut command = Command::new("setpriv");
            let user = NOBODY.to_string();
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(&program);
            command
        } else {
            symlink(original, &program).unwrap();
            Command::new(&program)
        };
        command.args(["up", "--name", "x", "--no-daemon", "--attached"]);
        command.env("TWINWALL_TESTBED_DIR", base.path().join("t")).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = command.spawn().unwrap();
        let mut attached = Self { process, base, program };
        let output = BufReader::new(attached.process.stdout.take().unwrap());
        let said: Vec<_> =
            output.lines().map_while(Result::ok).take_while(|l| !l.starts_with("end")).collect();
        assert!(said.iter().any(|line| line == "testbed `x` is up"), "{said:?}");
        Some(attached)
    }

    fn folder(&self) -> PathBuf {
        self.base.path().join("t/x")
    }

    fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.folder().join("record.json")).unwrap()).unwrap()
    }

    fn holder(&self) -> u32 {
        self.record()["holder"].as_u64().unwrap().try_into().unwrap()
    }

    fn exec(&self, user: u32, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        if user != 0 {
            command = Command::new("setpriv");
            let user = user.to_string();
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(&self.program);
        }
        command.env("TWINWALL_TESTBED_DIR", self.base.path().join("t")).current_dir("/");
        let output = command.args(["exec", "--name", "x"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn nothing_is_left_after_the_creator_was_killed() {
    let Some(mut attached) = Attached::start(false) else { return };
    let namespace = pid_namespace(attached.holder());
    attached.exec(0, &["client", "--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 &"]);
    assert!(processes_in(&namespace) >= 2);
    attached.process.kill().unwrap();
    eventually(SOON, || (processes_in(&namespace) == 0).then_some(())).unwrap();
    eventually(SOON, || (!attached.folder().exists()).then_some(())).unwrap();
}

#[test]
fn an_ordinary_user_needs_no_root() {
    let Some(mut attached) = Attached::start(true) else { return };
    let root = rustix::process::geteuid().is_root();
    let user = if root { NOBODY } else { 0 };
    assert_eq!(attached.record()["user_namespace"], true);
    let holder = fs::read_to_string(format!("/proc/{}/status", attached.holder())).unwrap();
    let expected = if root { NOBODY } else { rustix::process::geteuid().as_raw() };
    assert!(holder.contains(&format!("Uid:\t{expected}\t")), "{holder}");
    assert_eq!(attached.exec(user, &["client", "--", "id", "-u"]), "0\n");
    for address in ["198.51.100.7", "2001:db8:40::7", "10.20.0.10"] {
        attached.exec(user, &["client", "--", "ping", "-c", "1", "-W", "5", address]);
    }
    attached.exec(user, &["gw-a", "--", "nft", "add", "table", "inet", "mine"]);
    let namespace = pid_namespace(attached.holder());
    drop(attached.process.stdin.take());
    assert!(attached.process.wait().unwrap().success());
    assert_eq!(processes_in(&namespace), 0);
    assert!(!attached.folder().exists());
}

#[test]
fn a_forced_user_namespace_has_the_same_nodes() {
    let Some(testbed) = build(Testbed::builder().user_namespace(true)) else { return };
    let mine = fs::read_link("/proc/self/ns/user").unwrap();
    let gateway = testbed.node("gw-a").unwrap();
    let its = gateway.run("readlink", &["/proc/self/ns/user"]).unwrap();
    assert_ne!(Path::new(its.trim()), mine);
    assert!(ping(&testbed, "client", "198.51.100.7"));
    assert!(ping(&testbed, "client", "2001:db8:40::7"));
    gateway.run("nft", &["add", "table", "inet", "mine"]).unwrap();
    assert!(
        !testbed.node("client").unwrap().run("nft", &["list", "tables"]).unwrap().contains("mine")
    );
}

#[test]
fn a_testbed_by_hand_stays_until_it_is_taken_down() {
    if build(Testbed::builder()).is_none() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let program = host::binary(&host::binaries().unwrap(), "testbed").unwrap();
    let testbed = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.env("TWINWALL_TESTBED_DIR", base.path().join("t"));
        let output = command.args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, said) = testbed(&["up", "--no-daemon", "--gateways", "2"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("10.255.0.2/24") && said.contains("exec client -- ping"), "{said}");
    let (code, said) = testbed(&["up", "--no-daemon"]);
    assert_eq!(code, 1);
    assert!(said.contains("`default` is already up"), "{said}");
    let (code, said) = testbed(&["list"]);
    assert_eq!(code, 0);
    assert!(said.starts_with("default") && said.contains("gw-b"), "{said}");
    assert_eq!(testbed(&["exec", "gw-b", "--", "sh", "-c", "exit 42"]).0, 42);
    let (code, said) = testbed(&["exec", "gw-c", "--", "true"]);
    assert_eq!(code, 1);
    assert!(said.contains("gw-a, gw-b"), "{said}");
    assert_eq!(testbed(&["down"]).0, 0);
    assert_eq!(testbed(&["list"]), (0, String::new()));
    let (code, said) = testbed(&["exec", "client", "--", "true"]);
    assert_eq!(code, 1);
    assert!(said.contains("no testbed `default` is up"), "{said}");
}

#[test]
fn exec_passes_on_input_output_and_exit_code() {
    let Some(testbed) = build(Testbed::builder()) else { return };
    let client = testbed.node("client").unwrap();
    let shell = |script: &str| client.command("sh").unwrap().args(["-c", script]);
    let output = shell("cat; echo said >&2; exit 7").input("given").output().unwrap();
    assert_eq!((output.code(), output.stdout.as_str()), (7, "given"));
    assert_eq!(output.stderr, "said\n");
    assert_eq!(shell("kill -9 $$").output().unwrap().code(), 137);
    assert_eq!(client.command("/no/such/program").unwrap().output().unwrap().code(), 127);
    let variables = testbed.gateway("a").unwrap().run("env", &[]).unwrap();
    let socket = testbed.gateway("gw-a").unwrap().socket();
    assert!(variables.contains(&format!("TWINWALL_SOCKET={}\n", socket.display())));
    assert!(!client.run("env", &[]).unwrap().contains("TWINWALL_SOCKET"));
}

#[test]
fn signals_reach_the_command() {
    let Some(testbed) = build(Testbed::builder()) else { return };
    let script = "trap 'echo got it; exit 3' HUP; echo ready >&2; while :; do sleep 0.01; done";
    let command = testbed.node("client").unwrap().command("sh").unwrap().args(["-c", script]);
    let mut process = command.time_limit(SOON).spawn().unwrap();
    process.wait_ready().unwrap();
    process.signal(Signal::HUP).unwrap();
    let output = process.finish().unwrap();
    assert_eq!((output.code(), output.stdout.as_str()), (3, "got it\n"));
}

#[test]
fn a_process_is_gone_once_it_is_dropped() {
    let Some(testbed) = build(Testbed::builder()) else { return };
    let client = testbed.node("client").unwrap();
    let script = "trap '' TERM HUP INT; echo ready >&2; exec sleep 7654321";
    let mut process = client.command("sh").unwrap().args(["-c", script]).spawn().unwrap();
    process.wait_ready().unwrap();
    let running = || {
        let look = client.command("sh").unwrap();
        let look = look.args(["-c", "grep -lz '^765432[1]' /proc/[0-9]*/cmdline"]);
        look.output().unwrap().stdout.lines().count()
    };
    eventually(SOON, || (running() == 1).then_some(())).unwrap();
    drop(process);
    assert_eq!(running(), 0);
}

#[test]
fn a_command_that_hangs_is_ended_in_time() {
    let Some(testbed) = build(Testbed::builder()) else { return };
    let command = testbed.node("client").unwrap().command("sleep").unwrap().arg("1000");
    let begun = Instant::now();
    let error = command.time_limit(Duration::from_millis(200)).output().unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() < SOON);
}

#[test]
fn what_a_daemon_said_before_it_ended_is_reported() {
    if build(Testbed::builder()).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let original = host::binary(&host::binaries().unwrap(), "testbed").unwrap();
    symlink(original, folder.path().join("testbed")).unwrap();
    let daemon = folder.path().join("twinwalld");
    fs::write(&daemon, "#!/bin/sh\necho the policy is wrong >&2\nsleep 0.1\nexit 1\n").unwrap();
    fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Testbed::builder().binaries(folder.path()).daemon(true).build().unwrap_err();
    assert!(error.to_string().contains("the policy is wrong"), "{error}");
    fs::remove_file(&daemon).unwrap();
    let error = Testbed::builder().binaries(folder.path()).daemon(true).build().unwrap_err();
    assert!(matches!(error, Error::NotBuilt { .. }), "{error}");
}

#[test]
fn names_are_told_apart() {
    let Some(one) = build(Testbed::builder()) else { return };
    let error = Testbed::builder().name(one.name()).build().unwrap_err();
    assert!(matches!(error, Error::Exists(_)), "{error}");
    let other = build(Testbed::builder()).unwrap();
    let names: BTreeSet<_> = Testbed::list().unwrap().into_iter().map(|r| r.name).collect();
    assert!(names.contains(one.name()) && names.contains(other.name()));
    let opened = Testbed::open(one.name()).unwrap();
    assert_eq!(opened.record(), one.record());
    drop(opened);
    assert!(ping(&one, "client", "10.0.0.6"), "an opened testbed stays up when it is dropped");
    let mut text = String::new();
    fs::File::open(one.record().folder.join("holder.log"))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "", "the holder has nothing to complain about");
}
