//! Rates of what replication asks of connection tracking: make, change, refresh, renew, end, list,
//! hear.
//!
//! `cargo run --release -p twinwall-netlink --example ctreplica -- [SESSIONS]`, in a network
//! namespace of its own. As root it also gets the receive buffer that the daemon would have; any
//! other user gets at most `net.core.rmem_max`, and overruns. Half of the sessions are TCP, a
//! quarter IPv6, a quarter translated. Time is that of the clock, CPU that of the thread which
//! writes; a listener runs in a thread of its own.
#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/common/mod.rs"]
mod common;

use common::conntrack::ports;
use rustix::time::{ClockId, clock_gettime};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use twinwall_netlink::conntrack::events::events;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Listener, Outcome, ProtoInfo, Request, Select, Status, TcpEnd, TcpInfo,
    Writer,
};
use twinwall_netlink::socket::Socket;
use twinwall_netlink::{sys, wire};

const INSIDE: &str = "CTREPLICA_INSIDE";
const BUFFER: usize = 64 << 20;

/// Who hears of the changes meanwhile.
#[derive(Clone, Copy, PartialEq)]
enum Audience {
    Nobody,
    OfTraffic,
    OfAll,
}

fn main() {
    if env::var_os(INSIDE).is_none() {
        let root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let spaces = if root { &["-n"][..] } else { &["-Ur", "unshare", "-n"] };
        let mut command = Command::new("unshare");
        let status = command.args(spaces).args(env::args_os()).env(INSIDE, "1").status();
        std::process::exit(status.unwrap().code().unwrap_or(1));
    }
    let count = env::args().nth(1).map_or(100_000, |count| count.parse().unwrap());
    let entries = (0..count).map(entry).collect::<Vec<_>>();
    fs::write("/proc/sys/net/netfilter/nf_conntrack_events", "0").unwrap();
    println!("notifications off (sessions made so never send any)");
    measure(&entries, Audience::Nobody);
    fs::write("/proc/sys/net/netfilter/nf_conntrack_events", "1").unwrap();
    println!("notifications on, nobody listens");
    measure(&entries, Audience::Nobody);
    println!("a listener that ignores the writer, as on the standby");
    measure(&entries, Audience::OfTraffic);
    println!("a listener that hears all");
    measure(&entries, Audience::OfAll);
    parse(&entries);
}

fn measure(entries: &[Entry], audience: Audience) {
    let mut writer = Writer::open().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let listening = (audience != Audience::Nobody).then(|| {
            let (listener, _) = Listener::open(BUFFER).unwrap();
            if audience == Audience::OfTraffic {
                listener.ignore(&[writer.port()]).unwrap();
            }
            scope.spawn(|| listen(listener, &done))
        });
        write_all(&mut writer, entries);
        list(entries.len());
        let ends = entries.iter().map(|entry| Request::Delete {
            original: &entry.original,
            zone: entry.zone,
            id: None,
        });
        run("end", &mut writer, &ends.collect::<Vec<_>>(), Outcome::Deleted);
        done.store(true, Ordering::Relaxed);
        if let Some(listening) = listening {
            let (events, overruns, cpu) = listening.join().unwrap();
            let (total, each) = (cpu.as_secs_f64(), cpu.as_secs_f64() * 1e6 / f64::from(events));
            let each = if events == 0 { String::new() } else { format!(", {each:.2} us each") };
            println!(
                "  hear         {events:9} events, {overruns} overruns, {total:.2} s CPU{each}"
            );
        }
    });
}

fn write_all(writer: &mut Writer, entries: &[Entry]) {
    let puts = entries.iter().map(Request::Put).collect::<Vec<_>>();
    run("make", writer, &puts, Outcome::Created);
    run("put again", writer, &puts, Outcome::Updated);
    let updates = entries.iter().map(Request::Update).collect::<Vec<_>>();
    run("change", writer, &updates, Outcome::Updated);
    let timeouts = entries.iter().map(|entry| Request::Timeout {
        original: &entry.original,
        zone: entry.zone,
        seconds: 5000,
    });
    run("refresh", writer, &timeouts.collect::<Vec<_>>(), Outcome::Updated);
    let renewals = entries.iter().map(Request::Renew).collect::<Vec<_>>();
    run("renew", writer, &renewals, Outcome::Created);
}

fn run(what: &str, writer: &mut Writer, requests: &[Request<'_>], wanted: Outcome) {
    let mut outcomes = Vec::with_capacity(requests.len());
    let (begun, cpu) = (Instant::now(), cpu());
    writer.write(requests, &mut outcomes).unwrap();
    report(what, requests.len(), begun, cpu);
    assert!(outcomes.iter().all(|outcome| *outcome == wanted), "{what}: {:?}", outcomes.first());
}

fn list(count: usize) {
    let mut conntrack = Conntrack::open().unwrap();
    let (begun, cpu) = (Instant::now(), cpu());
    let mut marks = 0;
    let select = Select::default();
    let dumped = conntrack.entries(select, |entry| marks += u64::from(entry.mark.is_some()));
    report("list", count, begun, cpu);
    assert_eq!((dumped.unwrap().sessions, marks), (count as u64, count as u64));
}

/// What the reader's part of it takes, without the kernel's.
fn parse(entries: &[Entry]) {
    let mut writer = Writer::open().unwrap();
    let mut socket = Socket::open().unwrap();
    (1..=3).for_each(|group| socket.join(group).unwrap());
    let mut datagrams = Vec::new();
    for some in entries.chunks(64).take(100) {
        writer.write(&some.iter().map(Request::Put).collect::<Vec<_>>(), &mut Vec::new()).unwrap();
        socket
            .drain(|message| {
                let mut copy = wire::Writer::default();
                copy.message(message.kind, message.flags, message.seq, 2, 0);
                message.attributes().for_each(|(kind, payload)| copy.bytes(kind, payload));
                datagrams.push(copy.finished().unwrap().to_vec());
            })
            .unwrap();
    }
    let (begun, cpu) = (Instant::now(), cpu());
    let read = datagrams.iter().flat_map(|datagram| events(datagram)).flatten();
    let count = read.map(std::hint::black_box).count();
    println!("without the kernel");
    report("read", count, begun, cpu);
    println!("  an entry takes {} bytes", size_of::<Entry>());
}

/// Reads until there is nothing more to come: events, overruns, CPU.
fn listen(mut listener: Listener, done: &AtomicBool) -> (u32, u32, Duration) {
    let (mut events, mut overruns) = (0, 0);
    let begun = cpu();
    loop {
        let last = done.load(Ordering::Relaxed);
        sys::poll_readable(sys::borrow(&listener), Duration::from_millis(10)).unwrap();
        loop {
            let read = listener.read(|event| drop(std::hint::black_box(event))).unwrap();
            assert_eq!(read.unreadable, 0);
            events += read.events as u32;
            overruns += u32::from(read.overrun);
            if read.drained {
                break;
            }
        }
        if last {
            return (events, overruns, cpu().saturating_sub(begun));
        }
    }
}

fn report(what: &str, count: usize, begun: Instant, cpu_begun: Duration) {
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu().saturating_sub(cpu_begun));
    let rate = count as f64 / seconds;
    let each = cpu.as_secs_f64() * 1e6 / count as f64;
    println!("  {what:12} {rate:9.0} a second, {each:.2} us CPU each");
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn entry(i: u32) -> Entry {
    let [_, b2, b1, b0] = (i >> 14).to_be_bytes();
    let port = 1024 + (i & 0x3fff) as u16;
    let protocol = if i.is_multiple_of(2) { 6 } else { 17 };
    let original = if i % 4 == 3 {
        let client = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, u16::from_be_bytes([b1, b0]), 1);
        ports(client, Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1), protocol, port, 443)
    } else {
        ports(Ipv4Addr::new(10, b2, b1, b0), Ipv4Addr::new(192, 0, 2, 1), protocol, port, 443)
    };
    let reply = if i % 4 == 1 {
        let shared = Ipv4Addr::new(198, 51, 100, b0);
        ports(Ipv4Addr::new(192, 0, 2, 1), shared, protocol, 443, port)
    } else {
        original.inverse()
    };
    let end = TcpEnd { scale: 7, flags: 3 };
    let tcp = ProtoInfo::Tcp(TcpInfo { state: 3, ends: Some([end; 2]) });
    Entry {
        reply: Some(reply),
        status: Some(Status(Status::SEEN_REPLY.0 | Status::ASSURED.0)),
        proto: (protocol == 6).then_some(tcp),
        timeout: Some(3600),
        mark: Some(1 + i % 100),
        ..Entry::new(original, 0)
    }
}
