//! Measures replication between two nodes in one process: bytes on the wire, CPU time, memory,
//! the time of a resync, and what wrong datagrams cost.
//!
//! `cargo run --release -p twinwall-ctsync --example figures [SESSIONS]`
//!
//! Goes in: a number of sessions, 100,000 by default. Comes out: a table. Kernels are not part of
//! it: notifications are built beforehand, and writes are said to be done.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a program that measures has a clock and a command line"
)]

use std::time::{Duration, Instant};
use twinwall_ctsync::channel::{ChannelConfig, Key, KeyRing, OVERHEAD};
use twinwall_ctsync::model::{
    BootId, Delta, EventKind, KernelEvent, Layer4, NodeId, Origin, Proto, Session, Status, Tcp,
    TcpState, Tuple,
};
use twinwall_ctsync::node::Node;
use twinwall_ctsync::replica::{Config, Output, WriteResult};
use twinwall_ctsync::time::Timestamp;

/// IPv4 and UDP.
const IP_UDP: usize = 28;

/// A node, and what it cost.
struct Side {
    node: Node,
    busy: Duration,
    bytes: usize,
    datagrams: usize,
    writes: usize,
}

fn main() {
    let sessions: u32 =
        std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(100_000);
    let (mut a, mut b) = (Side::new(1, 2, 1), Side::new(2, 1, 1));
    let mut now = Timestamp::new(Duration::from_secs(1));
    let mut out = Vec::new();
    for side in [&mut a, &mut b] {
        side.node.start(now, &mut out);
        side.node.dump_end(now, true, &mut out);
        out.clear();
    }
    settle(&mut a, &mut b, &mut now);

    let events: Vec<KernelEvent> = (0..sessions).map(event).collect();
    let (empty_a, empty_b) = (a.node.replica().memory(), b.node.replica().memory());
    a.reset();
    b.reset();
    let batches: Vec<Vec<KernelEvent>> = events.chunks(64).map(<[_]>::to_vec).collect();
    let cpu_before = cpu();
    for events in batches {
        a.time(|node| {
            for event in events {
                node.kernel_event(now, event, &mut out);
            }
        });
        pump(&mut a, &mut b, &mut now);
    }
    settle(&mut a, &mut b, &mut now);
    let cpu = cpu().saturating_sub(cpu_before);
    let per = |busy: Duration| busy.as_secs_f64() * 100_000.0 / f64::from(sessions);
    let each = |bytes: usize| bytes as f64 / f64::from(sessions);
    println!("sessions                                     {sessions}");
    println!("written into the peer's kernel               {}", b.writes);
    println!("CPU of the sender, s per 100,000             {:.3}", per(a.busy));
    println!("CPU of the receiver, s per 100,000           {:.3}", per(b.busy));
    println!("CPU of both, s per 100,000, by the scheduler {:.3}", per(cpu));
    println!("bytes a session, sealed, without IP and UDP  {:.1}", each(a.bytes));
    println!(
        "bytes a session, sealed, with IP and UDP     {:.1}",
        each(a.bytes + a.datagrams * IP_UDP)
    );
    println!(
        "bytes a session of acknowledgements          {:.1}",
        each(b.bytes + b.datagrams * IP_UDP)
    );
    println!(
        "sessions a datagram                          {:.1}",
        f64::from(sessions) / a.datagrams as f64
    );
    for (name, side, empty) in [("sender", &a, empty_a), ("receiver", &b, empty_b)] {
        let memory = side.node.replica().memory();
        println!(
            "bytes of memory a session, {name:<8}          {:.1} (and {empty} fixed)",
            each(memory - empty)
        );
    }

    // One session alone.
    a.reset();
    let one = event(sessions + 1);
    a.time(|node| node.kernel_event(now, one, &mut out));
    a.node.poll(now, &mut out);
    let alone = out.iter().find_map(|output| match output {
        Output::Send(bytes) => Some(bytes.len()),
        _ => None,
    });
    println!("bytes of a session sent alone, sealed        {}", alone.unwrap_or_default());
    println!("bytes of sealing                             {OVERHEAD}");
    out.clear();
    settle(&mut a, &mut b, &mut now);

    resync(&mut a, sessions, &mut now);
    hostile(sessions);
}

/// CPU time of this process. The others are by the clock, and too long on a busy machine.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let spent = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(spent.unwrap_or_default())
}

/// The receiver has started anew with an empty kernel.
fn resync(a: &mut Side, sessions: u32, now: &mut Timestamp) {
    let mut b = Side::new(2, 1, 2);
    let mut out = Vec::new();
    b.node.start(*now, &mut out);
    b.node.dump_end(*now, true, &mut out);
    a.reset();
    let began = *now;
    settle(a, &mut b, now);
    println!("resync of a peer that has nothing, virtual s {:.3}", now.since(began).as_secs_f64());
    println!(
        "CPU of it, sender and receiver, s            {:.3} {:.3}",
        a.busy.as_secs_f64(),
        b.busy.as_secs_f64()
    );
    println!(
        "bytes a session of it, with IP and UDP       {:.1}",
        (a.bytes + a.datagrams * IP_UDP) as f64 / f64::from(sessions)
    );
}

/// What wrong datagrams cost the node that gets them.
fn hostile(sessions: u32) {
    let (mut a, mut b) = (Side::new(1, 2, 1), Side::new(2, 1, 1));
    let mut stranger = Side::new(1, 2, 9);
    let mut now = Timestamp::new(Duration::from_secs(1));
    let mut out = Vec::new();
    for side in [&mut a, &mut b, &mut stranger] {
        side.node.start(now, &mut out);
        side.node.dump_end(now, true, &mut out);
        side.node.poll(now, &mut out);
    }
    out.clear();
    settle(&mut a, &mut b, &mut now);
    let recorded = a.node_sends(now);
    let last = recorded.last().cloned().unwrap_or_default();
    let mut forged = last.clone();
    let from = forged.len() - 1;
    forged.iter_mut().skip(5).take(1).for_each(|byte| *byte = byte.wrapping_add(100));
    forged.iter_mut().skip(from).for_each(|byte| *byte ^= 1);
    let knock = stranger.node_sends(now).pop().unwrap_or_default();
    let mut noise = vec![0x5a; 1400];
    for (name, bytes) in [
        ("random bytes", noise.clone()),
        ("random bytes that begin like data", {
            noise.iter_mut().take(1).for_each(|byte| *byte = 5);
            noise.clone()
        }),
        ("a recorded datagram", last),
        ("a forged datagram of a living session", forged),
        ("a knock with another key", knock),
    ] {
        let count = sessions.min(200_000);
        let began = Instant::now();
        for _ in 0..count {
            let _ = b.node.receive(now, &bytes, &mut out);
        }
        let took = began.elapsed().as_nanos() as f64 / f64::from(count.max(1));
        println!("ns for {name:<37} {took:.0} ({} bytes)", bytes.len());
        out.clear();
    }
}

impl Side {
    fn new(node: u32, peer: u32, run: u8) -> Self {
        let (node, peer) = (NodeId(node), NodeId(peer));
        let mut psk = [if run == 9 { 9 } else { 1 }; 32];
        psk.iter_mut().take(1).for_each(|byte| *byte = 7);
        let boot = BootId(u64::from(node.0) + u64::from(run) * 100);
        let config = Config::new(node, peer, boot, [1, 2]);
        let ring = KeyRing::single(Key::new(psk));
        let seed = [run * 16 + node.0 as u8; 32];
        let node = Node::new(ChannelConfig::new(node, peer), config, ring, seed);
        Self { node, busy: Duration::ZERO, bytes: 0, datagrams: 0, writes: 0 }
    }

    fn reset(&mut self) {
        (self.busy, self.bytes, self.datagrams, self.writes) = (Duration::ZERO, 0, 0, 0);
    }

    fn time(&mut self, verb: impl FnOnce(&mut Node)) {
        let began = Instant::now();
        verb(&mut self.node);
        self.busy += began.elapsed();
    }

    /// Datagrams of the next heartbeats.
    fn node_sends(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for step in 1..20 {
            self.node.poll(now.after(Duration::from_millis(step * 10)), &mut out);
        }
        let sent = out.into_iter().filter_map(|output| match output {
            Output::Send(bytes) => Some(bytes),
            _ => None,
        });
        sent.collect()
    }

    /// Polls while there is something to do, writes at once, and returns what is to be sent.
    fn turn(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while self.node.next_deadline(now).is_some_and(|due| due <= now) {
            let mut out = Vec::new();
            self.time(|node| node.poll(now, &mut out));
            for output in out {
                match output {
                    Output::Send(bytes) => {
                        self.bytes += bytes.len();
                        self.datagrams += 1;
                        sent.push(bytes);
                    }
                    Output::Write { batch, writes } => {
                        self.writes += writes.len();
                        let results = vec![WriteResult::Done; writes.len()];
                        let mut out = Vec::new();
                        self.time(|node| node.written(now, batch, results, &mut out));
                    }
                    _ => {}
                }
            }
        }
        sent
    }
}

/// Lets both have their turns until nothing is sent at this moment.
fn pump(a: &mut Side, b: &mut Side, now: &mut Timestamp) {
    *now = now.after(Duration::from_micros(10));
    let mut to_b = a.turn(*now);
    let mut to_a = b.turn(*now);
    while !to_a.is_empty() || !to_b.is_empty() {
        let mut out = Vec::new();
        for bytes in to_b.drain(..) {
            b.time(|node| {
                let _ = node.receive(*now, &bytes, &mut out);
            });
        }
        answer(b, &mut out, &mut to_a);
        for bytes in to_a.drain(..) {
            a.time(|node| {
                let _ = node.receive(*now, &bytes, &mut out);
            });
        }
        answer(a, &mut out, &mut to_b);
        to_b.extend(a.turn(*now));
        to_a.extend(b.turn(*now));
    }
}

/// Answers of the handshake come out at once.
fn answer(side: &mut Side, out: &mut Vec<Output>, to: &mut Vec<Vec<u8>>) {
    for output in out.drain(..) {
        if let Output::Send(bytes) = output {
            side.bytes += bytes.len();
            side.datagrams += 1;
            to.push(bytes);
        }
    }
}

/// Lets time pass until both have the same and nothing is under way.
fn settle(a: &mut Side, b: &mut Side, now: &mut Timestamp) {
    for _ in 0..100_000 {
        *now = now.after(Duration::from_millis(1));
        pump(a, b, now);
        let (status_a, status_b) = (a.node.replica(), b.node.replica());
        if status_a.digest() == status_b.digest()
            && a.node.status(*now).has_everything
            && b.node.status(*now).has_everything
        {
            return;
        }
    }
    eprintln!("the nodes don't come to the same");
    std::process::exit(1);
}

/// An established TCP session behind source NAT, as a notification of its beginning.
fn event(number: u32) -> KernelEvent {
    // In no order, and each once.
    let [_, b, c, d] = (number.wrapping_mul(0x009e_3779) & 0x00ff_ffff).to_be_bytes();
    let mixed = number.wrapping_mul(0x9e37_79b9);
    let original = Tuple {
        src: [10, b, c, d].into(),
        dst: [198, 51, (mixed >> 24) as u8, (mixed >> 16) as u8].into(),
        protocol: 6,
        layer4: Layer4::Ports {
            src: (mixed >> 8) as u16 | 1024,
            dst: [443, 80, 22][(mixed % 3) as usize],
        },
    };
    let mut session = Session::new(original, original.inverse());
    session.reply.dst = [203, 0, 113, 7].into();
    session.status = Status(0x1e);
    session.mark = 1 + mixed % 200;
    session.timeout = 432_000;
    session.proto = Proto::Tcp(Tcp {
        state: TcpState::ESTABLISHED,
        scale_original: 7,
        scale_reply: (mixed >> 5) as u8 % 10,
        flags_original: 0x23,
        flags_reply: 0x23,
    });
    KernelEvent { kind: EventKind::New, origin: Origin::Traffic, delta: Delta::whole(&session) }
}
