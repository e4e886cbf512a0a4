//! CPU time of a new connection: crate nfq against the queue of this crate, and the same packets
//! accepted by conntrack alone.
//!
//! `cargo run --release -p twinwall-netlink --example newconn -- [PACKETS [PACKETS A SECOND]]`, as any
//! user. It makes a client, a gateway and a server in network namespaces of their own; the gateway
//! has the table of the product, with one key that accepts. Each packet is a session of its own.
//!
//! What is counted: the time of the sender's process, in which the gateway's receive path runs too,
//! that of the consumer's process, in which packets go on after their verdict, and that of the
//! kernel's softirq threads; less what the sender takes when the gateway ignores its packets.
#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/common/mod.rs"]
mod common;

use common::{eventually, ip};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use twinwall_netlink::conntrack::{Conntrack, Updater};
use twinwall_netlink::dataplane::{Dataplane, Decision, Marks, Settings};
use twinwall_netlink::nfqueue::{Config, Queue, Received, status};

const ROUNDS: usize = 9;
const QUEUE: u16 = 0;
const KEY: u32 = 1;
const GATEWAY_MAC: &str = "02:00:00:00:01:02";
/// Nobody's: packets that are sent to it cross the link and are ignored.
const NOBODY_MAC: &str = "02:00:00:00:09:09";

#[derive(Clone, Copy, PartialEq)]
enum Variant {
    Ignored,
    Accepted,
    Nfq,
    Ours,
    Gathering,
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().unwrap();
    match words[..] {
        ["send", count, rate] => send(number(count), number(rate)),
        ["consume", "nfq"] => consume_nfq(),
        ["consume", "ours"] => {
            consume_ours(&Config { gather: Duration::ZERO, ..Config::new(QUEUE) });
        }
        ["consume", ..] => consume_ours(&Config::new(QUEUE)),
        [] => drive(100_000, 50_000),
        [count] => drive(number(count), 50_000),
        [count, rate, ..] => drive(number(count), number(rate)),
    }
}

fn drive(count: u32, rate: u32) {
    if !common::enter_program() {
        return;
    }
    set_up();
    let variants = [
        ("sender alone", Variant::Ignored),
        ("conntrack and accept", Variant::Accepted),
        ("crate nfq", Variant::Nfq),
        ("this crate, no gathering", Variant::Ours),
        ("this crate", Variant::Gathering),
    ];
    let mut costs = variants.map(|_| [Cost::default(); ROUNDS]);
    for round in 0..ROUNDS {
        for ((name, variant), costs) in variants.iter().zip(&mut costs) {
            let cost = measure(*variant, count, rate);
            println!(
                "round {round}: {name:24} sender {:6.2} us, consumer {:6.2} us, {} lost",
                cost.sender, cost.consumer, cost.lost
            );
            costs.iter_mut().skip(round).take(1).for_each(|slot| *slot = cost);
        }
    }
    // Least and median: on a busy machine only the least says something.
    let figures = |costs: [Cost; ROUNDS]| {
        let mut totals = costs.map(|cost| cost.sender + cost.consumer);
        totals.sort_by(f64::total_cmp);
        let [least, .., _] = totals;
        (least, totals.into_iter().nth(ROUNDS / 2).unwrap_or_default())
    };
    let (alone, rest) = costs.split_first().unwrap();
    let alone = figures(*alone);
    println!("\nCPU time of a new connection without the sender's own, of {ROUNDS} rounds");
    for ((name, _), costs) in variants.iter().skip(1).zip(rest) {
        let (least, median) = figures(*costs);
        let lost: u32 = costs.iter().map(|cost| cost.lost).sum();
        let (least, median) = (least - alone.0, median - alone.1);
        println!("{name:24} least {least:6.2} us, median {median:6.2} us, {lost} lost");
    }
}

/// What a packet costs, in microseconds, and how many packets got lost. A lost packet costs less,
/// so only rates at which none is lost can be compared.
#[derive(Clone, Copy, Default)]
struct Cost {
    sender: f64,
    consumer: f64,
    lost: u32,
}

fn measure(variant: Variant, count: u32, rate: u32) -> Cost {
    forget_sessions();
    let mac = if variant == Variant::Ignored { NOBODY_MAC } else { GATEWAY_MAC };
    ip(&format!("-n client neigh replace 10.1.255.254 lladdr {mac} dev c0 nud permanent"));
    let mut dataplane = Dataplane::open(Marks::default()).unwrap();
    let settings =
        Settings { first_queue: QUEUE, queues: 1, open_on_failure: false, nat: vec![], peer: None };
    if variant == Variant::Accepted {
        nft(
            "table inet plain { chain f { type filter hook forward priority 0; ct mark 0 accept; }; }",
        );
    } else {
        dataplane.build(&settings, &[(KEY, Decision::Accept)]).unwrap();
    }
    let consumer = match variant {
        Variant::Nfq => Some(Consumer::start("nfq")),
        Variant::Ours => Some(Consumer::start("ours")),
        Variant::Gathering => Some(Consumer::start("gathering")),
        _ => None,
    };
    let softirq = softirq_threads();
    let sender = Command::new("ip")
        .args(["netns", "exec", "client"])
        .arg(env::current_exe().unwrap())
        .args(["send", &count.to_string(), &rate.to_string()])
        .output()
        .unwrap();
    assert!(sender.status.success(), "{}", String::from_utf8_lossy(&sender.stderr));
    let sent: u64 = String::from_utf8(sender.stdout).unwrap().trim().parse().unwrap();
    let (mut consumed, mut lost) = (0, 0);
    if let Some(Consumer(child, before)) = &consumer {
        let row = eventually("the queue is empty", || queue_row().filter(|row| row.waiting == 0));
        lost = row.dropped + row.dropped_to_user;
        consumed = cpu_time(&child.id().to_string()) - before;
    }
    let each = |nanoseconds: u64| nanoseconds as f64 / 1e3 / f64::from(count);
    if variant == Variant::Accepted {
        nft("delete table inet plain");
    } else {
        nft("delete table inet twinwall");
    }
    Cost { sender: each(sent + softirq_threads() - softirq), consumer: each(consumed), lost }
}

fn set_up() {
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    ip("netns add client");
    ip("netns add server");
    ip(&format!("link add c address {GATEWAY_MAC} type veth peer c0 netns client"));
    ip("link add s type veth peer s0 netns server");
    for words in [
        "addr add 10.1.255.254/16 dev c",
        "addr add 10.2.255.253/16 dev s",
        "link set c up",
        "link set s up",
        "-n client addr add 10.1.0.1/16 dev c0",
        "-n client link set c0 up",
        "-n client route add default via 10.1.255.254",
        "-n server link set s0 up",
        "route add 10.3.0.0/16 via 10.2.255.254",
        &format!("neigh replace 10.2.255.254 lladdr {NOBODY_MAC} dev s nud permanent"),
    ] {
        ip(words);
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
}

/// Sends packets that are a session each, evenly spread over time, 0 for as fast as possible, and
/// prints the nanoseconds of CPU time that it took.
fn send(count: u32, rate: u32) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let begun = (Instant::now(), cpu_time("self"));
    for i in 0..count {
        let [_, _, high, low] = (i >> 14).to_be_bytes();
        let address = Ipv4Addr::new(10, 3, high, low);
        socket.send_to(b"new", (address, 1024 + (i & 0x3fff) as u16)).unwrap();
        if rate > 0 && i % 64 == 63 {
            let due = Duration::from_secs_f64(f64::from(i) / f64::from(rate));
            thread::sleep(due.saturating_sub(begun.0.elapsed()));
        }
    }
    println!("{}", cpu_time("self") - begun.1);
}

fn consume_nfq() {
    let mut queue = nfq::Queue::open().unwrap();
    queue.bind(QUEUE).unwrap();
    queue.set_copy_range(QUEUE, 256).unwrap();
    queue.set_queue_max_len(QUEUE, 65_536).unwrap();
    queue.set_recv_gso(QUEUE, true).unwrap();
    loop {
        let mut packet = queue.recv().unwrap();
        packet.set_nfmark(Marks::default().answer(packet.get_nfmark(), KEY, false));
        packet.set_verdict(nfq::Verdict::Repeat);
        queue.verdict(packet).unwrap();
    }
}

fn consume_ours(config: &Config) {
    let mut queue = Queue::bind(config).unwrap();
    loop {
        if queue.receive(Duration::from_secs(1)).unwrap() == Received::Batch {
            let (packets, verdicts) = queue.batch();
            for packet in packets {
                verdicts.repeat(packet.id, Marks::default().answer(packet.mark, KEY, false));
            }
            queue.flush().unwrap();
        }
    }
}

/// A consumer, and the CPU time that it had taken when it was ready.
struct Consumer(Child, u64);

impl Consumer {
    fn start(which: &str) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["consume", which])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        // The settings of crate nfq come one after the other: the copy range is not the last.
        eventually("the queue is bound", || queue_row().filter(|row| row.copy_bytes == 256));
        thread::sleep(Duration::from_millis(50));
        let taken = cpu_time(&child.id().to_string());
        Self(child, taken)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn queue_row() -> Option<status::Status> {
    status::read().unwrap().into_iter().find(|row| row.queue == QUEUE)
}

fn forget_sessions() {
    let mut updater = Updater::open().unwrap();
    Conntrack::open()
        .unwrap()
        .dump(None, |session| updater.delete(session.reference(), session.id).unwrap())
        .unwrap();
    updater.flush().unwrap();
}

/// Nanoseconds that a process has run.
fn cpu_time(process: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap()
}

fn softirq_threads() -> u64 {
    let names = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let softirq = |process: &String| {
        fs::read_to_string(format!("/proc/{process}/comm"))
            .is_ok_and(|n| n.starts_with("ksoftirqd"))
    };
    names.filter(softirq).map(|process| cpu_time(&process)).sum()
}

fn nft(words: &str) {
    run("nft", &[words]);
}

fn run(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).status().unwrap();
    assert!(status.success(), "{program} {words:?}");
}
