//! Whether the last counts of deleted keys are whole while packets flow: deleted at once, and hidden
//! from the chains before they are deleted.
//!
//! `cargo run --release -p twinwall-netlink --example lastcounts [ROUNDS]`, as any user; it runs in a
//! network namespace of its own, with more busy threads than processors.
#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, thread};
use twinwall_netlink::dataplane::{Counter, Dataplane, Decision, Marks, Settings, Switch};

const SENDERS: u16 = 3;
const BUSY: usize = 6;
const KEY: (u32, Decision) = (1, Decision::Accept);

fn main() {
    if !common::enter_program() {
        return;
    }
    let rounds = env::args().nth(1).map_or(1_000, |rounds| rounds.parse().unwrap());
    common::ip("link set lo up");
    // New sessions get the key on their way out; all packets are counted on their way in.
    nft(&["table inet watch {
            counter total { }
            chain out { type filter hook output priority 0; ct mark 0 ct mark set 1; }
            chain in { type filter hook input priority -10; counter name total; }
        }"]);
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    let settings =
        Settings { first_queue: 0, queues: 1, open_on_failure: false, nat: Vec::new(), peer: None };
    for (name, hidden) in [("deleted at once", false), ("hidden first", true)] {
        dataplane.build(&settings, &[KEY]).unwrap();
        let before = passed();
        let deleted: u64 = under_load(|| (0..rounds).map(|_| once(&mut dataplane, hidden)).sum());
        let counted = deleted + left(&mut dataplane);
        let passed = passed() - before;
        println!("{name}: {rounds} times, {passed} packets, {} not counted", passed - counted);
    }
}

/// Deletes the key and puts it back. Returns what it had counted.
fn once(dataplane: &mut Dataplane, hidden: bool) -> u64 {
    let keys = [KEY.0];
    let counted = if hidden {
        let counted = dataplane.switch(&Switch { remove: &keys, ..Switch::default() }).unwrap();
        dataplane.settle().unwrap();
        counted
    } else {
        dataplane.remove_keys(&keys).unwrap()
    };
    dataplane.add_keys(&[KEY]).unwrap();
    counted.iter().map(|(_, Counter { packets, .. })| packets).sum()
}

/// What the key has counted since, and what passed while there was none.
fn left(dataplane: &mut Dataplane) -> u64 {
    let mut left = 0;
    dataplane.counters(|_, counter| left += counter.packets).unwrap();
    let exceptions = dataplane.exceptions().unwrap();
    left + exceptions.iter().map(|(_, counter)| counter.packets).sum::<u64>()
}

fn under_load<T>(work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for port in (1001..).take(SENDERS.into()) {
            let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
            socket.connect(socket.local_addr().unwrap()).unwrap();
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // What finds the receive buffer full has been counted too.
                    let _ = socket.send(&[0; 64]);
                }
            });
        }
        for _ in 0..BUSY {
            scope.spawn(|| while !black_box(over.load(Ordering::Relaxed)) {});
        }
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

/// Packets that have come in.
fn passed() -> u64 {
    let text = nft(&["list", "counter", "inet", "watch", "total"]);
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
