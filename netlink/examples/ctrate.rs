//! Rates of connection tracking over netlink: make, list, read, re-mark, end.
//!
//! `cargo run --release -p twinwall-netlink --example ctrate -- [SESSIONS]`, as any user; it runs in
//! a network namespace of its own. Half of the sessions are TCP, a quarter is IPv6.
#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/common/mod.rs"]
mod common;

use common::conntrack::{Entry, insert, ports};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;
use twinwall_netlink::conntrack::{Conntrack, MarkFilter, Updater, sessions};
use twinwall_netlink::socket::Socket;
use twinwall_netlink::wire::{self, Writer};

const ROUNDS: usize = 5;
const MASK: u32 = 0x00ff_ffff;

fn main() {
    if !common::enter_program() {
        return;
    }
    let count: u32 = std::env::args().nth(1).map_or(100_000, |count| count.parse().unwrap());
    let begun = Instant::now();
    insert((0..count).map(entry));
    report("make, 64 to a send", count, begun.elapsed().as_secs_f64());

    let mut conntrack = Conntrack::open().unwrap();
    assert_eq!(conntrack.count().unwrap(), count);
    let rounds = |what: &str, of: u32, work: &mut dyn FnMut()| {
        let mut times = [0.0; ROUNDS];
        for time in &mut times {
            let begun = Instant::now();
            work();
            *time = begun.elapsed().as_secs_f64();
        }
        times.sort_by(f64::total_cmp);
        report(what, of, times.get(ROUNDS / 2).copied().unwrap_or_default());
    };
    rounds("list", count, &mut || {
        let mut seen = 0;
        conntrack.dump(None, |session| seen += u32::from(session.mark & MASK != 0)).unwrap();
        assert_eq!(seen, count);
    });
    rounds("list, 1 % let through", count, &mut || {
        let filter = MarkFilter { mark: 7, mask: MASK };
        assert_eq!(conntrack.dump(Some(filter), |_| ()).unwrap().sessions, u64::from(count / 100));
    });
    let datagram = captured();
    rounds("read messages, no kernel", count, &mut || {
        let read = sessions(&datagram).flatten().filter(|s| s.mark & MASK != 0).count();
        assert_eq!(read as u32, count);
    });
    let mut updater = Updater::open().unwrap();
    let mut key = 1000;
    rounds("list and re-mark", count, &mut || {
        key += 1;
        conntrack
            .dump(None, |session| updater.remark(session.reference(), key, MASK).unwrap())
            .unwrap();
        let tally = updater.flush().unwrap();
        assert_eq!((tally.sent, tally.gone + tally.refused), (u64::from(count), 0));
    });
    rounds("re-mark", count, &mut || {
        key += 1;
        for session in sessions(&datagram).flatten() {
            updater.remark(session.reference(), key, MASK).unwrap();
        }
        assert_eq!(updater.flush().unwrap().sent, u64::from(count));
    });
    let begun = Instant::now();
    for session in sessions(&datagram).flatten() {
        updater.delete(session.reference(), session.id).unwrap();
    }
    let tally = updater.flush().unwrap();
    report("end", count, begun.elapsed().as_secs_f64());
    assert_eq!((tally.gone, tally.refused), (0, 0));
}

fn entry(i: u32) -> Entry {
    let [b3, b2, b1, b0] = (i >> 14).to_be_bytes();
    let port = 1024 + (i & 0x3fff) as u16;
    let protocol = if i.is_multiple_of(2) { 6 } else { 17 };
    let mark = 1 + i % 100;
    let tuple = if i % 4 == 3 {
        let client = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, u16::from_be_bytes([b1, b0]), 1);
        ports(client, Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1), protocol, port, 443)
    } else {
        let client = Ipv4Addr::new(10, 1 + b3 + b2, b1, b0);
        ports(client, Ipv4Addr::new(192, 0, 2, 1), protocol, port, 443)
    };
    Entry::new(tuple, mark)
}

/// The messages of a dump, as one datagram.
fn captured() -> Vec<u8> {
    let mut socket = Socket::open().unwrap();
    let seq = socket.next_seq();
    let mut request = Writer::default();
    request.message(1 << 8 | 1, wire::F_DUMP, seq, 0, 0);
    let mut copy = Writer::default();
    socket
        .dump(request.finished().unwrap(), seq, |message| {
            copy.message(message.kind, 0, 0, 0, 0);
            message.attributes().for_each(|(kind, payload)| copy.bytes(kind, payload));
        })
        .unwrap();
    copy.finished().unwrap().to_vec()
}

fn report(what: &str, count: u32, seconds: f64) {
    let rate = f64::from(count) / seconds;
    println!("{what:28} {count} in {:7.1} ms, {rate:9.0} a second", seconds * 1e3);
}
