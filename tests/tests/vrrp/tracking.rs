//! What is tracked lowers the priority, so that the other node takes over, and no longer than it
//! has to.

use crate::bed::{Bed, SOON};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use twinwall_control::vrrp::Group;
use twinwall_testbed::scenario::pair::Side;
use twinwall_testbed::testing::{eventually, need};
use twinwall_testbed::traffic::report::UdpSend;
use twinwall_testbed::{Vrrp, host};

/// A pair whose `gw-a`, and only that, tracks something, and is active.
fn up(test: &str, lines: &str) -> Option<Bed> {
    let mut bed = Bed::build(test, Default::default(), Vrrp::default())?;
    let vrrp = Vrrp { group_lines: format!("      track:\n{lines}"), ..Vrrp::default() };
    bed.gateway(Side::A).unwrap().configure(&vrrp.twinwalld("gw-a")).unwrap();
    bed.start(Side::A).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait_active(Side::A).unwrap();
    Some(bed)
}

fn group(bed: &Bed) -> Group {
    bed.said(Side::A).groups[0].clone()
}

#[test]
fn a_failing_script_lowers_the_priority() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("bad");
    let script = folder.path().join("check");
    fs::write(&script, format!("#!/bin/sh\n[ ! -e {} ]\n", flag.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let lines = format!(
        "        - script: [{}]\n          name: upstream\n          interval: 200ms\n          \
         lower: 60\n",
        script.display()
    );
    let Some(bed) = up("script", &lines) else { return };
    fs::write(&flag, "").unwrap();
    bed.wait_active(Side::B).unwrap();
    let found = group(&bed);
    assert_eq!((found.base_priority, found.priority), (150, 90));
    assert!(found.blame.iter().any(|blame| blame.name == "upstream"), "{found:?}");
    fs::remove_file(&flag).unwrap();
    bed.wait_active(Side::A).unwrap();
    assert_eq!(group(&bed).blame, []);
}

#[test]
fn a_tracked_interface_lowers_the_priority() {
    let lines = "        - interface: eth3\n          lower: 60\n";
    let Some(bed) = up("interface", lines) else { return };
    bed.shell("gw-b", "ip link set eth3 down");
    bed.wait_active(Side::B).unwrap();
    let found = group(&bed);
    assert_eq!(found.priority, 90);
    assert!(found.blame.iter().any(|blame| blame.name.contains("eth3")), "{found:?}");
    bed.shell("gw-b", "ip link set eth3 up");
    bed.wait_active(Side::A).unwrap();
}

#[test]
fn a_leg_that_comes_back_finds_its_neighbours_at_once() {
    let Some(bed) = Bed::up("tracking: neighbours", Vrrp::default()) else { return };
    // The kernel asks once a second; here, once a minute, so that nothing comes of waiting.
    bed.shell("gw-a", "echo 60000 >/proc/sys/net/ipv6/neigh/eth1/retrans_time_ms");
    bed.shell("switch", "ip link set gw-a-lan down");
    bed.wait_active(Side::B).unwrap();
    bed.wait("the client is looked for in vain", || {
        let ask = "ping -n -c 1 -W 1 2001:db8:10::5 >/dev/null 2>&1 || true; \
                   ip -6 neigh show dev eth1 nud incomplete";
        bed.shell("gw-a", ask).contains("2001:db8:10::5").then_some(())
    });
    bed.shell("switch", "ip link set gw-a-lan up");
    bed.wait_active(Side::A).unwrap();
    bed.wait_reachable("server", "2001:db8:10::5");
}

#[test]
fn a_stalled_queue_lowers_the_priority() {
    let lines = "        - health: queue\n          lower: 60\n";
    let Some(bed) = up("queue", lines) else { return };
    let Some(stall) = Stall::start(bed.gateway(Side::A).unwrap().pid().unwrap()) else { return };
    bed.wait("a worker hangs with a packet, and the other node takes over", || {
        new_sessions(&bed, 10);
        (bed.held(Side::B).unwrap() > 0).then_some(())
    });
    let found = group(&bed);
    assert_eq!(found.priority, 90);
    assert!(found.blame.iter().any(|blame| blame.name.contains("queue")), "{found:?}");
    drop(stall);
    bed.wait_active(Side::A).unwrap();
}

/// Holds up the queue workers of a daemon, each for as long as this lives, when it sends a verdict.
struct Stall(Vec<Child>);

impl Stall {
    /// `None` without `strace`, or where it isn't allowed.
    fn start(daemon: u32) -> Option<Self> {
        need("a stalled queue", host::require("strace", "strace"))?;
        let is_worker = |task: &fs::DirEntry| {
            let name = fs::read_to_string(task.path().join("comm"));
            name.is_ok_and(|name| name.starts_with("queue-"))
        };
        let tasks = fs::read_dir(format!("/proc/{daemon}/task")).unwrap().flatten();
        let workers: Vec<_> = tasks.filter(is_worker).map(|task| task.file_name()).collect();
        assert!(!workers.is_empty(), "the daemon has workers");
        let trace = |worker: &OsString| {
            let calls = "sendmsg,sendto,sendmmsg,write,writev";
            let mut command = Command::new("strace");
            command.arg("-p").arg(worker).args(["-o", "/dev/null", "-e"]);
            command.arg(format!("trace={calls}")).arg("-e");
            command.arg(format!("inject={calls}:delay_enter=60s"));
            command.stderr(Stdio::null()).spawn().unwrap()
        };
        let stall = Self(workers.iter().map(trace).collect());
        let traced = |worker: &OsString| {
            let path = Path::new("/proc").join(worker).join("status");
            fs::read_to_string(path).is_ok_and(|text| !text.contains("TracerPid:\t0\n"))
        };
        let all = eventually(SOON, || workers.iter().all(traced).then_some(()));
        assert!(all.is_some(), "strace is attached to every worker");
        Some(stall)
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends first packets of so many new sessions through the pair, back to back.
pub(crate) fn new_sessions(bed: &Bed, count: u32) -> UdpSend {
    let client = bed.testbed().node("client").unwrap();
    let count = count.to_string();
    let options = ["--rate", "0", "--flows", "16000", "--count", &count, "--for", "10"];
    let to = ["udp-send", "--to", "198.51.100.7:9999"];
    client.traffic(to.into_iter().chain(options)).unwrap().json().unwrap()
}
