//! TCP sessions that move from one gateway to another, and back.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::space::{INNER, Pair, SERVER};
use common::traffic::{
    FIRST, SECOND, connect, echo, entries, exchange, listen, portable, replicate,
};
use common::{eventually, inside};
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Outcome, ProtoInfo, Request, TcpEnd, TcpInfo, Writer,
};

const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1);

#[test]
fn a_session_that_comes_back_flows_once_its_old_windows_are_forgotten() {
    if !inside("a_session_that_comes_back_flows_once_its_old_windows_are_forgotten") {
        return;
    }
    let pair = Pair::new([FIRST, SECOND]);
    echo(listen(&pair, 443));
    let mut stream = connect(&pair, (SERVER, 443));
    exchange(&mut stream, 100_000);
    replicate(&pair, TcpInfo::portable);
    pair.take_over();
    exchange(&mut stream, 30_000_000);
    let [mut first, mut second] =
        [0, 1].map(|i: usize| pair.gateways[i].run(|| Conntrack::open().unwrap()));
    let only = |conntrack: &mut Conntrack| {
        let all = entries(conntrack);
        let [entry] = &all[..] else { panic!("there is one session: {all:?}") };
        entry.clone()
    };
    let entry = only(&mut second);
    let mut writer = pair.gateways[0].run(|| Writer::open().unwrap());
    let mut outcomes = Vec::new();
    writer.write(&[Request::Put(&entry)], &mut outcomes).unwrap();
    assert!(has_windows(&only(&mut first)), "an update leaves them");
    writer.write(&[Request::Renew(&entry)], &mut outcomes).unwrap();
    assert_eq!(outcomes, [Outcome::Updated, Outcome::Created]);
    let renewed = only(&mut first);
    assert!(!has_windows(&renewed));
    assert_eq!(portable(renewed), portable(entry));
    // With the old windows all packets would be invalid from here on.
    pair.hand_over(1, 0);
    exchange(&mut stream, 3_000_000);
    assert!(has_windows(&only(&mut first)));
}

fn has_windows(entry: &Entry) -> bool {
    matches!(entry.proto, Some(ProtoInfo::Tcp(tcp)) if tcp.has_windows())
}

#[test]
fn transfers_that_run_while_the_gateways_change_run_on_and_are_soon_held_to_their_windows() {
    if !inside(
        "transfers_that_run_while_the_gateways_change_run_on_and_are_soon_held_to_their_windows",
    ) {
        return;
    }
    let pair = Pair::new([FIRST, SECOND]);
    for port in [80, 443, 9000] {
        echo(listen(&pair, port));
    }
    let mut streams = [
        connect(&pair, (INNER, 8080)),
        connect(&pair, (SERVER, 443)),
        connect(&pair, (SERVER, 9000)),
        connect(&pair, (SERVER6, 9000)),
    ];
    let mut conntrack = pair.gateways[1].run(|| Conntrack::open().unwrap());
    let mut writer = pair.gateways[1].run(|| Writer::open().unwrap());
    let mut sessions = || {
        let mut sessions = entries(&mut conntrack);
        sessions.retain(|entry| entry.original.protocol == 6);
        sessions
    };
    // How many transfers of some megabytes have come through.
    let through = [const { AtomicUsize::new(0) }; 4];
    let done = AtomicBool::new(false);
    let all_get_through = || {
        let before = through.each_ref().map(|count| count.load(Ordering::Relaxed));
        eventually("each transfer makes progress", || {
            let more = |(count, before): (&AtomicUsize, usize)| {
                // The one that began before may have been almost through.
                count.load(Ordering::Relaxed) > before + 1
            };
            through.iter().zip(before).all(more).then_some(())
        });
    };
    thread::scope(|scope| {
        for (stream, through) in streams.iter_mut().zip(&through) {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    exchange(stream, 2_000_000);
                    through.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        all_get_through();
        replicate(&pair, |tcp| tcp.portable().liberal());
        pair.take_over();
        all_get_through();
        let taken = sessions();
        assert_eq!(taken.len(), 4);
        assert!(taken.iter().all(is_liberal));

        let strict = taken.iter().map(|entry| Request::Liberal {
            original: &entry.original,
            zone: entry.zone,
            on: false,
        });
        let mut outcomes = Vec::new();
        writer.write(&strict.collect::<Vec<_>>(), &mut outcomes).unwrap();
        assert_eq!(outcomes, [Outcome::Updated; 4]);
        all_get_through();
        done.store(true, Ordering::Relaxed);
    });
    for entry in sessions() {
        assert!(!is_liberal(&entry));
        let (forth, back) = entry.counters.unwrap();
        assert!(forth.packets > 0 && back.packets > 0, "nothing went through {entry:?}");
    }
}

fn is_liberal(entry: &Entry) -> bool {
    let Some(ProtoInfo::Tcp(tcp)) = entry.proto else { return false };
    tcp.ends.unwrap().iter().all(|end| end.flags & TcpEnd::BE_LIBERAL != 0)
}
