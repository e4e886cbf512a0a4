//! The flight recorder of a pair: what the state machines of its daemons were fed with is fed to
//! them again, and the same comes out.

use crate::bed::{Bed, LAN_OUT, binaries};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use twinwall_control::{Request, sync};
use twinwall_testbed::scenario::pair::{Peer, Side};
use twinwall_testbed::traffic::report::Tcp;
use twinwall_testbed::{Process, Vrrp, host};

const SERVER: &str = "198.51.100.7:7000";

/// Feeds a recording to the state machines again.
pub(crate) fn replay(file: &Path, options: &[&str]) -> (Output, String) {
    let program = host::binary(&binaries(), "testbed").unwrap();
    let output = Command::new(program).arg("replay").args(options).arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

/// Has a gateway record into so many MiB: so few that the state machines are written down anew in
/// the course of the test.
fn record_into(bed: &Bed, side: Side, size: u32) {
    let path = bed.gateway(side).unwrap().config_path();
    let settings = fs::read_to_string(&path).unwrap();
    let with = settings.replacen("sync:\n", &format!("sync:\n  recorder: {size}\n"), 1);
    assert_ne!(settings, with, "{settings}");
    fs::write(&path, with).unwrap();
}

fn start(bed: &Bed, node: &str, arguments: &str) -> Process {
    let node = bed.testbed().node(node).unwrap();
    node.traffic(arguments.split_whitespace()).unwrap().spawn().unwrap()
}

fn received(bed: &Bed, side: Side) -> u64 {
    let status: sync::Status = bed.gateway(side).unwrap().ask(&Request::Sync).unwrap();
    status.received
}

/// New sessions until both nodes have told each other of many.
fn exchange(bed: &Bed, to: Side, many: u64) {
    let before = received(bed, to);
    let options = format!("--to {SERVER} --connections 20 --bytes 1000 --again --for 60");
    let client = start(bed, "client", &format!("tcp-connect {options}"));
    bed.wait("sessions come and go", || (received(bed, to) > before + many).then_some(()));
    let _: Tcp = client.stop_and_report().unwrap();
}

#[test]
fn a_recording_of_a_real_pair_gives_the_same_outputs_again() {
    let Some(mut bed) = Bed::build("recording", [Peer::TwinwallSync; 2], Vrrp::default()) else {
        return;
    };
    fs::write(&bed.testbed().record().policy, LAN_OUT).unwrap();
    for side in [Side::A, Side::B] {
        record_into(&bed, side, 1);
        bed.start(side).unwrap();
    }
    bed.wait_active(Side::A).unwrap();
    let mut server = start(&bed, "server", &format!("tcp-serve --listen {SERVER} --for 180"));
    server.wait_ready().unwrap();
    exchange(&bed, Side::B, 300);
    bed.kill9(Side::A).unwrap();
    bed.wait_holding(Side::B).unwrap();
    bed.start(Side::A).unwrap();
    bed.wait_active(Side::A).unwrap();
    bed.hand_over(Side::A).unwrap();
    bed.wait_active(Side::B).unwrap();
    exchange(&bed, Side::A, 300);
    for side in [Side::A, Side::B] {
        bed.stop(side).unwrap();
    }
    drop(server);
    for side in [Side::A, Side::B] {
        let file = bed.gateway(side).unwrap().state_path().join("flight.rec");
        assert_eq!(fs::metadata(&file).unwrap().len(), 1 << 20, "it doesn't grow");
        let (output, text) = replay(&file, &[]);
        assert!(output.status.success(), "{}: {text}{output:?}", side.name());
        for machine in ["replication", "VRRP"] {
            let of = |line: &&str| line.starts_with(machine);
            let lines: Vec<&str> = text.lines().filter(of).collect();
            let fed = |line: &str| line.contains(" inputs, the same outputs");
            assert!(!lines.is_empty() && lines.iter().all(|line| fed(line)), "{machine}: {text}");
        }
        another_input_is_noticed(&file, side);
    }
}

/// A frame that isn't what was recorded isn't taken for it.
fn another_input_is_noticed(file: &Path, side: Side) {
    let mut bytes = fs::read(file).unwrap();
    let (whole, _) = replay(file, &[]);
    // In the state that the first half begins with.
    bytes[64] ^= 0xff;
    fs::write(file, bytes).unwrap();
    let (damaged, _) = replay(file, &[]);
    assert_ne!(whole.stdout, damaged.stdout, "{}", side.name());
}
