//! Datagrams of the sealed channel: strangers open nothing, and true datagrams that were changed
//! on their way are refused, at every stage of the handshake.
//!
//! The input is a list of steps: which true datagram, what is changed in it, or bytes as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use twinwall_ctsync::channel::{Channel, ChannelConfig, ChannelOutput, Greeting, Key, KeyRing};
use twinwall_ctsync::model::{BootId, NodeId};
use twinwall_ctsync::time::Timestamp;

fuzz_target!(|data: &[u8]| {
    let (mut a, mut b) = (channel(1, 2), channel(2, 1));
    let mut now = Timestamp::new(Duration::from_secs(1));
    let mut steps = data;
    // The latest true datagram of each.
    let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
    while let [what, len, rest @ ..] = steps {
        let (bytes, rest) = rest.split_at(rest.len().min((*len).into()));
        steps = rest;
        now = now.after(Duration::from_millis(u64::from(what >> 4) * 20));
        let mut out = Vec::new();
        match what & 15 {
            0 => {
                a.poll(now, &mut out);
                send(&mut from_a, out);
            }
            1 => {
                let taken = b.receive(now, &from_a, &mut out);
                assert!(
                    taken.is_ok_and(|opened| opened.is_none_or(|o| o.plaintext == b"true"))
                        || out.is_empty()
                );
                send(&mut from_b, out);
            }
            2 => {
                let _ = a.receive(now, &from_b, &mut out);
                send(&mut from_a, out);
            }
            3 => from_a = a.seal(b"true").unwrap_or_default(),
            4 => from_b = b.seal(b"true").unwrap_or_default(),
            5 | 6 => {
                let (to, of) = if what & 15 == 5 { (&mut b, &from_a) } else { (&mut a, &from_b) };
                let mut bent = of.clone();
                for (byte, change) in bent.iter_mut().zip(bytes) {
                    *byte ^= change;
                }
                if bent != *of {
                    let taken = to.receive(now, &bent, &mut out);
                    assert!(!matches!(taken, Ok(Some(_))), "a changed datagram was opened");
                    assert!(!out.iter().any(|output| matches!(output, ChannelOutput::Up(_))));
                }
            }
            7 => assert!(b.receive(now, bytes, &mut out).is_err() && out.is_empty()),
            _ => assert!(a.receive(now, bytes, &mut out).is_err() && out.is_empty()),
        }
    }
    let _ = KeyRing::parse(&String::from_utf8_lossy(data));
});

fn send(latest: &mut Vec<u8>, out: Vec<ChannelOutput>) {
    for output in out {
        if let ChannelOutput::Send(bytes) = output {
            *latest = bytes;
        }
    }
}

fn channel(node: u32, peer: u32) -> Channel {
    let (node, peer) = (NodeId(node), NodeId(peer));
    let boot = BootId(node.0.into());
    let greeting = Greeting { node, boot, met: false, digest_key: [1, 2], keyspace: 3 };
    let keys = KeyRing::single(Key::new([0x42; 32]));
    Channel::new(ChannelConfig::new(node, peer), keys, greeting, [node.0 as u8; 32])
}
