//! Packet queues against the kernel, with packets over the loopback interface of a namespace.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::ruleset::{OUTPUT, queue};
use common::{eventually, inside, inside_without_capabilities, ip};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};
use twinwall_netlink::nfqueue::{Config, Error, Packet, Queue, Received, packet, status};

const QUEUE: u16 = 7;
const SECOND: Duration = Duration::from_secs(1);
const NO_WAIT: Duration = Duration::ZERO;

/// What a test keeps of a packet.
#[derive(Clone, Debug)]
struct Seen {
    id: u32,
    hook: u8,
    mark: u32,
    indev: u32,
    outdev: u32,
    hw_protocol: u16,
    payload: Vec<u8>,
    original_len: u32,
}

impl From<Packet<'_>> for Seen {
    fn from(p: Packet<'_>) -> Self {
        Self {
            id: p.id,
            hook: p.hook,
            mark: p.mark,
            indev: p.indev,
            outdev: p.outdev,
            hw_protocol: p.hw_protocol,
            payload: p.payload.to_vec(),
            original_len: p.original_len,
        }
    }
}

/// A namespace with a rule that queues, and a bound queue.
fn bound(config: &Config) -> Queue {
    ip("link set lo up");
    queue(OUTPUT, config.queue);
    Queue::bind(config).unwrap()
}

/// A socket to send from and one that receives what was sent.
fn sockets(address: &str) -> (UdpSocket, UdpSocket) {
    let receiver = UdpSocket::bind((address, 0)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let sender = UdpSocket::bind((address, 0)).unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    (sender, receiver)
}

/// Waits for `count` packets without giving verdicts.
fn take(queue: &mut Queue, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    eventually("packets come up", || {
        if queue.receive(SECOND).unwrap() == Received::Batch {
            seen.extend(queue.batch().0.map(Seen::from));
        }
        (seen.len() >= count).then_some(())
    });
    assert_eq!(seen.len(), count);
    seen
}

#[test]
fn a_packet_comes_up_with_its_fields_and_goes_on_when_accepted() {
    if !inside("a_packet_comes_up_with_its_fields_and_goes_on_when_accepted") {
        return;
    }
    let mut queue = bound(&Config::new(QUEUE));
    for (address, hw_protocol) in [("127.0.0.1", 0x0800), ("::1", 0x86dd)] {
        let (sender, receiver) = sockets(address);
        sender.send(b"hello").unwrap();
        let seen = take(&mut queue, 1).remove(0);
        assert_eq!((seen.hook, seen.mark, seen.indev, seen.outdev), (3, 0, 0, 1));
        assert_eq!(seen.hw_protocol, hw_protocol);
        assert_eq!(seen.original_len as usize, seen.payload.len());
        let fields = packet::parse(&seen.payload).unwrap().outer;
        assert_eq!((fields.src, fields.protocol), (sender.local_addr().unwrap().ip(), 17));
        assert_eq!(fields.a, sender.local_addr().unwrap().port());
        assert_eq!(fields.b, receiver.local_addr().unwrap().port());
        queue.verdicts().accept(seen.id);
        queue.flush().unwrap();
        let mut bytes = [0; 16];
        assert_eq!(receiver.recv(&mut bytes).unwrap(), 5);
    }
    let stats = queue.stats();
    assert_eq!((stats.packets, stats.verdicts, stats.refused), (2, 2, 0));
}

#[test]
fn a_repeated_packet_runs_the_chain_again_with_its_mark() {
    if !inside("a_repeated_packet_runs_the_chain_again_with_its_mark") {
        return;
    }
    let mut queue = bound(&Config::new(QUEUE));
    let (sender, receiver) = sockets("127.0.0.1");
    sender.send(b"again").unwrap();
    let first = take(&mut queue, 1).remove(0);
    // Without a mark the chain queues it once more; with one it lets it pass.
    queue.verdicts().repeat(first.id, 0);
    queue.flush().unwrap();
    let second = take(&mut queue, 1).remove(0);
    assert!(second.id > first.id);
    queue.verdicts().repeat(second.id, 0x8000_0001);
    queue.flush().unwrap();
    assert_eq!(receiver.recv(&mut [0; 16]).unwrap(), 5);
}

#[test]
fn a_dropped_packet_does_not_arrive_and_one_behind_it_does() {
    if !inside("a_dropped_packet_does_not_arrive_and_one_behind_it_does") {
        return;
    }
    let mut queue = bound(&Config::new(QUEUE));
    let (sender, receiver) = sockets("127.0.0.1");
    sender.send(b"a").unwrap();
    sender.send(b"b").unwrap();
    let seen = take(&mut queue, 2);
    queue.verdicts().drop(seen[0].id);
    queue.verdicts().accept(seen[1].id);
    queue.flush().unwrap();
    let mut bytes = [0; 16];
    assert_eq!(receiver.recv(&mut bytes).unwrap(), 1);
    assert_eq!(bytes[0], b'b');
}

#[test]
fn a_batch_of_32_packets_is_answered_with_one_send() {
    if !inside("a_batch_of_32_packets_is_answered_with_one_send") {
        return;
    }
    let mut queue = bound(&Config::new(QUEUE));
    let (sender, receiver) = sockets("127.0.0.1");
    for i in 0..96u8 {
        sender.send(&[i]).unwrap();
    }
    let mut answered = 0;
    while answered < 96 {
        assert_eq!(queue.receive(SECOND).unwrap(), Received::Batch);
        let (packets, verdicts) = queue.batch();
        for packet in packets {
            verdicts.repeat(packet.id, 1);
            answered += 1;
        }
        queue.flush().unwrap();
    }
    let stats = queue.stats();
    assert_eq!((stats.packets, stats.batches, stats.sends), (96, 3, 3));
    for i in 0..96u8 {
        let mut bytes = [0; 1];
        receiver.recv(&mut bytes).unwrap();
        assert_eq!(bytes[0], i);
    }
}

#[test]
fn packets_gather_after_a_batch_of_several_and_a_single_one_does_not_wait() {
    if !inside("packets_gather_after_a_batch_of_several_and_a_single_one_does_not_wait") {
        return;
    }
    const GATHER: Duration = Duration::from_secs(2);
    let mut queue = bound(&Config { gather: GATHER, ..Config::new(QUEUE) });
    let (sender, _receiver) = sockets("127.0.0.1");
    let mut batch = |sent: usize| {
        (0..sent).for_each(|_| assert_eq!(sender.send(b"a").unwrap(), 1));
        let begun = Instant::now();
        assert_eq!(queue.receive(60 * SECOND).unwrap(), Received::Batch);
        (queue.batch().0.count(), begun.elapsed() >= GATHER)
    };
    assert_eq!(batch(1), (1, false));
    assert_eq!(batch(3), (3, false));
    assert_eq!(batch(1), (1, true));
    assert_eq!(batch(40), (32, false));
    assert_eq!(batch(0), (8, false));
}

#[test]
fn a_batch_is_handed_out_once() {
    if !inside("a_batch_is_handed_out_once") {
        return;
    }
    let mut queue = bound(&Config::new(QUEUE));
    assert_eq!(queue.batch().0.count(), 0);
    let (sender, _receiver) = sockets("127.0.0.1");
    sender.send(b"a").unwrap();
    assert_eq!(queue.receive(SECOND).unwrap(), Received::Batch);
    assert_eq!(queue.batch().0.count(), 1);
    assert_eq!(queue.batch().0.count(), 0);
}

#[test]
fn a_verdict_for_a_packet_that_is_gone_is_counted_and_harms_no_other() {
    if !inside("a_verdict_for_a_packet_that_is_gone_is_counted_and_harms_no_other") {
        return;
    }
    let mut queue = bound(&Config::new(QUEUE));
    let (sender, receiver) = sockets("127.0.0.1");
    sender.send(b"a").unwrap();
    let seen = take(&mut queue, 1).remove(0);
    queue.verdicts().accept(seen.id + 1000);
    queue.verdicts().accept(seen.id);
    queue.verdicts().accept(seen.id + 1001);
    queue.flush().unwrap();
    assert_eq!(receiver.recv(&mut [0; 16]).unwrap(), 1);
    assert_eq!(queue.receive(NO_WAIT).unwrap(), Received::Batch);
    assert_eq!(queue.batch().0.count(), 0);
    assert_eq!(queue.stats().refused, 2);
    assert_eq!(queue.receive(NO_WAIT).unwrap(), Received::Timeout);
}

#[test]
fn a_full_receive_buffer_is_counted_and_the_queue_goes_on() {
    if !inside("a_full_receive_buffer_is_counted_and_the_queue_goes_on") {
        return;
    }
    let config = Config { receive_buffer: 4096, fail_open: true, ..Config::new(QUEUE) };
    let mut queue = bound(&config);
    let (sender, receiver) = sockets("127.0.0.1");
    for i in 0..100u8 {
        sender.send(&[i]).unwrap();
    }
    let mut answered = 0;
    while queue.receive(NO_WAIT).unwrap() == Received::Batch {
        let (packets, verdicts) = queue.batch();
        for packet in packets {
            verdicts.accept(packet.id);
            answered += 1;
        }
        queue.flush().unwrap();
    }
    assert!(answered < 100, "the buffer held all");
    assert!(queue.stats().overruns > 0);
    // With fail_open the lost ones passed by themselves.
    for _ in 0..100 {
        receiver.recv(&mut [0; 1]).unwrap();
    }
    sender.send(b"x").unwrap();
    assert_eq!(take(&mut queue, 1).len(), 1);
}

#[test]
fn packets_beyond_the_queue_length_are_dropped_and_reported_by_the_kernel() {
    if !inside("packets_beyond_the_queue_length_are_dropped_and_reported_by_the_kernel") {
        return;
    }
    let mut queue = bound(&Config { max_length: 10, copy_bytes: 100, ..Config::new(QUEUE) });
    let (sender, _receiver) = sockets("127.0.0.1");
    for i in 0..15u8 {
        // A packet that is dropped on its way out is an error for its sender.
        let _ = sender.send(&[i; 200]);
    }
    let seen = take(&mut queue, 10);
    assert!(seen.iter().all(|seen| seen.payload.len() == 100 && seen.original_len == 228));
    let status = status::read().unwrap();
    let row = status.iter().find(|row| row.queue == QUEUE).unwrap();
    assert_eq!((row.waiting, row.copy_bytes, row.dropped_to_user), (10, 100, 0));
    assert_eq!((row.dropped, row.last_id), (5, seen[9].id));
}

#[test]
fn a_second_owner_is_refused_until_the_first_is_gone() {
    if !inside("a_second_owner_is_refused_until_the_first_is_gone") {
        return;
    }
    let first = Queue::bind(&Config::new(QUEUE)).unwrap();
    let error = Queue::bind(&Config::new(QUEUE)).unwrap_err();
    let Error::InUse { queue: QUEUE, owner: Some(owner) } = error else { panic!("{error:?}") };
    let text = format!("queue 7 is in use by another program (netlink port {owner})");
    assert_eq!(error.to_string(), text);
    let other = Queue::bind(&Config::new(QUEUE + 1)).unwrap();
    assert_ne!(first.as_raw_fd(), other.as_raw_fd());
    drop(first);
    Queue::bind(&Config::new(QUEUE)).unwrap();
}

#[test]
fn a_missing_capability_is_told_from_a_queue_in_use() {
    if !inside_without_capabilities("a_missing_capability_is_told_from_a_queue_in_use") {
        return;
    }
    let error = Queue::bind(&Config::new(QUEUE)).unwrap_err();
    assert!(matches!(error, Error::NotPermitted { queue: QUEUE }), "{error:?}");
}

#[test]
fn a_waiting_thread_is_woken_at_once_and_packets_are_not_lost_by_it() {
    if !inside("a_waiting_thread_is_woken_at_once_and_packets_are_not_lost_by_it") {
        return;
    }
    let mut queue = bound(&Config::new(QUEUE));
    let waker = queue.waker();
    let (sender, _receiver) = sockets("127.0.0.1");
    let begun = Instant::now();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.receive(60 * SECOND).unwrap());
        waker.wake();
        assert_eq!(waiting.join().unwrap(), Received::Woken);
    });
    sender.send(b"a").unwrap();
    waker.wake();
    assert_eq!(queue.receive(60 * SECOND).unwrap(), Received::Woken);
    assert_eq!(take(&mut queue, 1).len(), 1);
    assert!(begun.elapsed() < 30 * SECOND);
}

#[test]
fn a_wake_up_is_seen_once_however_often_it_was_called() {
    if !inside("a_wake_up_is_seen_once_however_often_it_was_called") {
        return;
    }
    let mut queue = Queue::bind(&Config::new(QUEUE)).unwrap();
    let waker = queue.waker();
    for _ in 0..1000 {
        waker.clone().wake();
    }
    assert_eq!(queue.receive(60 * SECOND).unwrap(), Received::Woken);
    eventually("nothing is left", || {
        let received = queue.receive(NO_WAIT).unwrap();
        assert_ne!(received, Received::Woken);
        assert_eq!(queue.batch().0.count(), 0);
        (received == Received::Timeout).then_some(())
    });
    assert_eq!(queue.stats().refused, 0);
}

#[test]
fn a_waker_does_not_keep_the_queue_bound() {
    if !inside("a_waker_does_not_keep_the_queue_bound") {
        return;
    }
    let queue = Queue::bind(&Config::new(QUEUE)).unwrap();
    let waker = queue.waker();
    drop(queue);
    waker.wake();
    Queue::bind(&Config::new(QUEUE)).unwrap();
    waker.wake();
}

#[test]
fn a_wait_without_packets_ends_in_time_and_not_before() {
    if !inside("a_wait_without_packets_ends_in_time_and_not_before") {
        return;
    }
    let mut queue = Queue::bind(&Config::new(QUEUE)).unwrap();
    for wait in [NO_WAIT, Duration::from_micros(300), Duration::from_millis(30)] {
        let begun = Instant::now();
        assert_eq!(queue.receive(wait).unwrap(), Received::Timeout);
        assert!(begun.elapsed() >= wait);
        assert!(begun.elapsed() < wait + 10 * SECOND);
    }
}
