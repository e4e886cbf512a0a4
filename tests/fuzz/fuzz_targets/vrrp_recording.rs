//! Recordings of VRRP: reading ends, and whatever inputs a recording holds, the state machine
//! takes them.
//!
//! The input is read as a recording, and then as inputs behind a true checkpoint, each preceded by
//! its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use std::time::Duration;
use twinwall_recorder::{Frame, Frames, Recorder, halves, replay};
use twinwall_vrrp::addresses::VirtualAddresses;
use twinwall_vrrp::config::{Election, RouterConfig};
use twinwall_vrrp::group::{GroupConfig, Leg};
use twinwall_vrrp::node::Node;
use twinwall_vrrp::recorded::Recorded;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::types::{InterfaceId, Vrid};

/// The same for every input.
static CHECKPOINT: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    for half in halves(data).into_iter().chain([data]) {
        if let Ok(frames) = Frames::read(half) {
            let _ = frames.count();
        }
        let _ = replay::<Node>(half, |_, _, _| {});
    }
    let mut half = CHECKPOINT.get_or_init(checkpoint).clone();
    let mut contents = data;
    while let [high, low, rest @ ..] = contents {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (input, rest) = rest.split_at(len);
        contents = rest;
        // Another checkpoint could be any state at all; those aren't read from strangers.
        Frame::Step { outputs: 0, input }.write(1, &mut half);
    }
    let _ = replay::<Node>(&half, |_, _, _| {});
});

/// A node that is active with a leg of each family on two interfaces.
fn checkpoint() -> Vec<u8> {
    let leg = |interface, addresses: &[&str], primary: &str| {
        let listed = addresses.iter().map(|address| address.parse().unwrap());
        let listed = VirtualAddresses::new(listed).unwrap();
        let vrid = Vrid::new(7).unwrap();
        let config = RouterConfig::new("leg", InterfaceId(interface), vrid, listed);
        Leg { config, primary: primary.parse().unwrap() }
    };
    let legs = vec![
        leg(1, &["192.0.2.1"], "192.0.2.2"),
        leg(2, &["fe80::1:1", "2001:db8::1"], "fe80::2"),
    ];
    let group = GroupConfig { name: "pair".to_owned(), election: Election::default(), legs };
    let mut node = Recorded::new(Some(Recorder::new(1 << 20, 0)));
    let at = |seconds| Timestamp::new(Duration::from_secs(seconds));
    node.add(group, at(1)).unwrap();
    node.start(at(1), &mut Vec::new());
    node.poll(at(9), &mut Vec::new());
    let recorder = node.recorder().unwrap();
    recorder.take().into_iter().flat_map(|chunk| chunk.bytes).collect()
}
