//! An ordinary user, in a user namespace, gets the same: without privileges in the first user
//! namespace socket buffers stay small, so transactions are split and queues are shorter.

use crate::bed::{Bed, OUTSIDE, at, binaries, policy};
use crate::load::{self, Direction, LANES, Load};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use twinwall_testbed::testing::need;
use twinwall_testbed::traffic::report::{Outcome, Tcp, UdpSend};
use twinwall_testbed::{Testbed, host};

/// The user of a test that gives up root.
const NOBODY: u32 = 65_534;

/// Packets a second.
const RATE: u64 = 5_000;

fn rules(base: u32, swapped: bool, last: &str) -> String {
    let rule = |(place, port): (usize, &u16)| {
        let name = if swapped { 3 - place } else { place };
        let action = if place == 3 { last } else { "accept" };
        format!(
            "seq: {}, name: rule-{name}, from: lan, to: wan, \
             service: {{ tcp: [{port}], udp: [{port}] }}, action: {action}",
            base + u32::try_from(place).unwrap()
        )
    };
    policy(&LANES.iter().enumerate().map(rule).collect::<Vec<_>>())
}

#[test]
fn in_a_user_namespace_traffic_reloads_and_restarts_are_as_exact_as_for_root() {
    let Some(bed) = Bed::without_daemon("user", Testbed::builder().user_namespace(true)) else {
        return;
    };
    bed.write_policy(&rules(10, false, "accept"));
    bed.gateway.start().unwrap();
    for to in OUTSIDE {
        let port = at(to, LANES[0]);
        let _server = bed.serve("server", &format!("tcp-serve --listen {port}"));
        let tcp: Tcp = bed.traffic("client", &format!("tcp-connect --to {port} --bytes 20000"));
        assert_eq!(tcp.count(Outcome::Completed), 1, "{tcp:?}");
        let denied = bed.rule("(default)").packets;
        let shut = at(to, 7999);
        let sent: UdpSend = bed.traffic(
            "client",
            &format!("udp-send --to {shut} --count 50 --rate 1000 --replies --linger 0.1"),
        );
        assert_eq!(sent.replies.unwrap().received, 0);
        assert_eq!(bed.rule("(default)").packets - denied, 50);
    }
    let _alone = load::alone();
    let before = bed.packets();
    let load = Load::start_at(&bed, Direction::Both, RATE);
    let all = ["rule-0", "rule-1", "rule-2", "rule-3"];
    load.check("before any change", &all, &["(default)"]);
    let applied = bed.apply(&rules(100, false, "accept"));
    assert_eq!((applied.keys.added, applied.keys.removed), (0, 0), "renumbered: {applied:?}");
    bed.apply(&rules(10, true, "accept"));
    load.check("swapped", &all, &["(default)"]);
    bed.apply(&rules(10, false, "drop"));
    let passed = load.passed(LANES[3]);
    load.check("refused", &all, &["(default)"]);
    assert_eq!(load.passed(LANES[3]), passed);
    for _ in 0..2 {
        bed.gateway.kill9().unwrap();
        bed.gateway.start().unwrap();
        load.check("after a crash", &all, &["(default)"]);
    }
    bed.gateway.restart().unwrap();
    load.check("after a restart", &all, &["(default)"]);
    assert_eq!(load.passed(LANES[3]), passed);
    let totals = load.finish();
    totals.assert_all_counted(&bed, &before);
    (0..3).for_each(|lane| totals.assert_whole(lane));
}

#[test]
fn a_user_without_any_privilege_gets_the_same() {
    if !rustix::process::geteuid().is_root() {
        // Then all these tests run without any privilege.
        return;
    }
    let wanted = Testbed::builder().user_namespace(true).binaries(binaries()).build();
    if need("user: nobody", wanted).is_none() {
        return;
    }
    // The build folder may be closed to others.
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let copy = |program: std::path::PathBuf| {
        let path = folder.path().join(program.file_name().unwrap());
        fs::copy(program, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    for program in ["testbed", "traffic", "twinwalld"] {
        copy(host::binary(&binaries(), program).unwrap());
    }
    let this = copy(std::env::current_exe().unwrap());
    let user = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).arg(this);
    command.args(["--exact", "--nocapture", "--test-threads", "1"]);
    command.arg("user::in_a_user_namespace_traffic_reloads_and_restarts_are_as_exact_as_for_root");
    command.env("TWINWALL_TESTBED_DIR", folder.path().join("t"));
    command.env(host::BINARIES_VARIABLE, folder.path()).current_dir("/");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
