//! NFQUEUE: packets of new sessions come up, verdicts go down.
//!
//! Goes in: the number of a queue. Comes out: packets in batches; back go verdicts, all of a batch
//! in one system call. Not here: how a packet is decided, and the rules that queue it.
//!
//! ```text
//! packet    addresses and ports of an IP packet
//! message   netlink messages of a queue
//! verdicts  what becomes of packets, collected for one send
//! waker     ends a wait from another thread
//! status    the kernel's figures of all queues
//! ```
//!
//! # Batches
//! One send for the verdicts of a batch and one `recvmmsg` for the next save system calls, but a
//! thread that is faster than its packets come would be woken for each of them, and waking costs
//! more than the calls. So after a batch of several packets that wasn't full the next is taken
//! only after [`Config::gather`], in which nothing is woken. A packet that comes alone never waits.
//!
//! # Why not crate nfq
//! Version 0.2.5 of the crate made for this can't do what is needed here:
//!
//! - It receives each packet and sends each verdict by itself: a new connection takes about a
//!   quarter more CPU time than here, from 10,000 to 100,000 a second
//!   (`cargo run --release -p twinwall-netlink --example newconn`).
//! - It keeps its file descriptor to itself. So its receive buffer stays at the system's default,
//!   208 KiB, too little for a burst of some hundred packets; and it waits for ever or not at all,
//!   so that a thread can't be stopped while no packet comes.
//! - It asserts that attributes have the length that it expects, and goes round for ever on an
//!   attribute of length 0.
//! - It gives back an error message that arrives between packets as an error of `recv`, though it
//!   is only about one verdict, whose packet the kernel no longer has.
//! - It throws away the packets that arrive while it waits for the answer to a setting. They stay
//!   in the kernel without a verdict for as long as the queue is bound.

mod message;
pub mod packet;
pub mod status;
mod verdicts;
mod waker;

pub use message::{Event, Packet, events};
pub use verdicts::Verdicts;
use waker::Bell;
pub use waker::Waker;

use crate::socket::Socket;
use crate::sys::mmsg::{BATCH, Datagrams};
use crate::wire::Writer;
use crate::{sys, wire};
use message::{CFG_CMD, CMD_PF_BIND, WAKE_SEQ};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `enum nfqnl_attr_config` and what belongs to it.
const CFG_PARAMS: u16 = 2;
const CFG_QUEUE_MAXLEN: u16 = 3;
const CFG_MASK: u16 = 4;
const CFG_FLAGS: u16 = 5;
const CMD_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const FLAG_FAIL_OPEN: u32 = 1;
const FLAG_GSO: u32 = 4;

/// Bytes that a message may take beside the packet. With the attributes of kernel 6.18 it is
/// under 300; an attribute that comes later may be larger than today's.
const OVERHEAD: usize = 1024;

/// The most of a packet that an attribute can hold.
const MAX_COPY: u32 = 0xffff - 4;

/// Bytes of verdicts that go with one system call: far more than those of a batch.
const MAX_SEND: usize = 64 << 10;

/// How a queue is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of the queue.
    pub queue: u16,
    /// Bytes of each packet that are copied, 1 to 65,531. Extension headers and the packet that
    /// an ICMP error quotes have to be within it.
    pub copy_bytes: u32,
    /// Packets that may wait for a verdict; kernel 6.18 holds at most 65,536. Beyond it packets
    /// are dropped, or pass if `fail_open`.
    pub max_length: u32,
    /// Bytes of the socket's receive buffer; what the system allows if that is less.
    pub receive_buffer: usize,
    /// Whether packets go on at the next base chain, rather than be dropped, while the queue or
    /// the receive buffer is full.
    pub fail_open: bool,
    /// How long packets may gather before a batch is taken if the one before had several and wasn't
    /// full; 0 for not at all. The system adds its timer slack, mostly 50 us.
    pub gather: Duration,
    /// Whether joined segments come up as one packet; else the kernel splits them first.
    pub gso: bool,
}

impl Config {
    /// The settings that hold under overload, for a queue.
    #[must_use]
    pub fn new(queue: u16) -> Self {
        Self {
            queue,
            copy_bytes: 256,
            max_length: 65_536,
            receive_buffer: 16 << 20,
            fail_open: false,
            gather: Duration::from_micros(20),
            gso: true,
        }
    }
}

/// Why a queue can't be had or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program has it.
    #[error("queue {queue} is in use by another program{}", holder(*owner))]
    InUse {
        /// Number of the queue.
        queue: u16,
        /// Netlink port of the other program, mostly its process id; `None` when it left since.
        owner: Option<u32>,
    },
    /// The process may not use packet queues.
    #[error("bind queue {queue}: CAP_NET_ADMIN is missing")]
    NotPermitted {
        /// Number of the queue.
        queue: u16,
    },
    /// A system call failed, or the kernel refused the settings.
    #[error("{action} queue {queue}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Number of the queue.
        queue: u16,
        /// The cause.
        source: io::Error,
    },
}

/// Why [`Queue::receive`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Messages have come, see [`Queue::batch`]. Mostly packets, but there may be none among them.
    Batch,
    /// The time is over.
    Timeout,
    /// The [`Waker`] was called. Packets that came at the same time wait for the next call.
    Woken,
}

/// What happened since the queue was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches received.
    pub batches: u64,
    /// Packets received.
    pub packets: u64,
    /// Verdicts sent.
    pub verdicts: u64,
    /// System calls that carried them.
    pub sends: u64,
    /// Verdicts that the kernel refused: it had flushed the packet already.
    pub refused: u64,
    /// Times that packets were lost because the receive buffer was full; [`status::read`] says how
    /// many.
    pub overruns: u64,
    /// Messages without a readable header.
    pub malformed: u64,
    /// Messages that were cut off because they were larger than expected.
    pub truncated: u64,
}

/// A bound queue. It belongs to one thread at a time. Dropping it gives the queue back; the kernel
/// then drops the packets that still wait.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    queue: u16,
    receive_buffer: usize,
    datagrams: Datagrams,
    /// Whether `datagrams` holds what hasn't been handed out.
    fresh: bool,
    verdicts: Verdicts,
    bell: Arc<Bell>,
    /// How long a receive on the socket waits.
    waits: Duration,
    gather: Duration,
    /// Datagrams in the last batch.
    last: usize,
    stats: Stats,
}

impl Queue {
    /// Takes the queue and sets it up.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn bind(config: &Config) -> Result<Self, Error> {
        let queue = config.queue;
        let failed = |action| move |source| Error::Io { action, queue, source };
        let socket = Socket::open().map_err(failed("open a socket for"))?;
        let (_, receive_buffer) = socket
            .set_buffers(MAX_SEND * 2, config.receive_buffer)
            .map_err(failed("set the buffers of"))?;
        // An error message then holds no copy of the verdict that it is about.
        sys::set_option(sys::borrow(&socket), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)
            .map_err(failed("set the socket of"))?;
        let bell = Bell::new(sys::borrow(&socket)).map_err(failed("make a wake-up for"))?;
        let copy_bytes = config.copy_bytes.clamp(1, MAX_COPY);
        let mut this = Self {
            socket,
            queue,
            receive_buffer,
            datagrams: Datagrams::new(copy_bytes as usize + OVERHEAD),
            fresh: false,
            verdicts: Verdicts::new(queue),
            bell,
            waits: Duration::ZERO,
            gather: config.gather,
            last: 0,
            stats: Stats::default(),
        };
        match this.configure(config, copy_bytes) {
            Ok(()) => Ok(this),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(this.refusal()),
            Err(source) => Err(Error::Io { action: "bind", queue, source }),
        }
    }

    /// Waits for packets, at most for `timeout`, and takes up to 32. A batch that hasn't been
    /// handed out is not replaced.
    ///
    /// # Errors
    /// What `recvmmsg` fails with, but for lost packets, which are counted.
    pub fn receive(&mut self, timeout: Duration) -> Result<Received, Error> {
        let queue = self.queue;
        let failed = |source| Error::Io { action: "receive from", queue, source };
        if !self.fresh && (2..BATCH).contains(&self.last) {
            std::thread::sleep(self.gather.min(timeout));
        }
        let begun = Instant::now();
        let mut left = Some(timeout);
        loop {
            if self.bell.take() {
                return Ok(Received::Woken);
            }
            if self.fresh {
                self.stats.batches += 1;
                return Ok(Received::Batch);
            }
            let Some(wait) = left else { return Ok(Received::Timeout) };
            self.fill(wait).map_err(failed)?;
            if !self.fresh {
                left = timeout.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
            }
        }
    }

    /// The packets of the batch, which are handed out once, and the verdicts to collect. Every
    /// packet has to get one, now or later.
    pub fn batch(&mut self) -> (impl Iterator<Item = Packet<'_>>, &mut Verdicts) {
        let (datagrams, stats) = (&self.datagrams, &mut self.stats);
        let count = if std::mem::take(&mut self.fresh) { BATCH } else { 0 };
        let packets = (0..count)
            .map_while(|index| datagrams.get(index))
            .flat_map(events)
            .filter_map(move |event| match event {
                Event::Packet(packet) => {
                    stats.packets += 1;
                    Some(packet)
                }
                Event::Answer { seq, errno } => {
                    stats.refused += u64::from(errno != 0 && seq != WAKE_SEQ);
                    None
                }
                Event::Malformed => {
                    stats.malformed += 1;
                    None
                }
            });
        (packets, &mut self.verdicts)
    }

    /// The verdicts that wait to be sent.
    pub fn verdicts(&mut self) -> &mut Verdicts {
        &mut self.verdicts
    }

    /// Sends the collected verdicts, those of a batch in one system call. The kernel has carried
    /// them out when this returns.
    ///
    /// # Errors
    /// What `sendto` fails with; verdicts that weren't sent are kept for the next call.
    pub fn flush(&mut self) -> Result<(), Error> {
        let queue = self.queue;
        while !self.verdicts.is_empty() {
            let (piece, count) = self.verdicts.piece(MAX_SEND);
            let length = piece.len();
            self.socket.send(piece).map_err(|source| Error::Io {
                action: "send verdicts to",
                queue,
                source,
            })?;
            self.stats.sends += 1;
            self.stats.verdicts += count as u64;
            self.verdicts.done(length, count);
        }
        Ok(())
    }

    /// Ends the wait of [`Queue::receive`] from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.bell.waker()
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes of the receive buffer that the system gave, by its own counting: twice what was asked
    /// for if it allowed that.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Takes what has arrived, and waits for it if there is time.
    fn fill(&mut self, wait: Duration) -> io::Result<()> {
        let socket = sys::borrow(&self.socket);
        if !wait.is_zero() && wait != self.waits {
            sys::set_receive_timeout(socket, wait)?;
            self.waits = wait;
        }
        loop {
            match self.datagrams.receive(socket, !wait.is_zero()) {
                Ok(count) => {
                    self.fresh = count > 0;
                    self.last = count;
                    self.stats.truncated += self.datagrams.truncated() as u64;
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.stats.overruns += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Binds and sets up in one message, so that there is no moment in which the queue is bound
    /// and drops packets because it doesn't know what to copy.
    fn configure(&mut self, config: &Config, copy_bytes: u32) -> io::Result<()> {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = flag(config.fail_open, FLAG_FAIL_OPEN) | flag(config.gso, FLAG_GSO);
        let [c3, c2, c1, c0] = copy_bytes.to_be_bytes();
        self.ask(|writer| {
            writer.bytes(CFG_CMD, &[CMD_BIND, 0, 0, 0]);
            writer.bytes(CFG_PARAMS, &[c3, c2, c1, c0, COPY_PACKET]);
            writer.be32(CFG_QUEUE_MAXLEN, config.max_length);
            writer.be32(CFG_MASK, FLAG_FAIL_OPEN | FLAG_GSO);
            writer.be32(CFG_FLAGS, flags);
        })
    }

    /// Sends settings and looks for the answer. Packets may come before it: they stay in the batch,
    /// to be handed out.
    fn ask(&mut self, fill: impl FnOnce(&mut Writer)) -> io::Result<()> {
        let seq = self.socket.next_seq();
        let mut writer = Writer::default();
        writer.message(message::MSG_CONFIG, wire::F_ACK, seq, 0, self.queue);
        fill(&mut writer);
        self.socket.send(writer.finished().ok_or(io::ErrorKind::InvalidInput)?)?;
        // The kernel answers within the send. When a whole batch of packets came first, the queue
        // is bound, and what is left of the settings has no way to fail.
        self.fill(Duration::ZERO)?;
        let mut answer = Ok(());
        self.fresh = false;
        for event in (0..BATCH).map_while(|index| self.datagrams.get(index)).flat_map(events) {
            match event {
                Event::Answer { seq: answered, errno } if answered == seq && errno != 0 => {
                    answer = Err(io::Error::from_raw_os_error(errno));
                }
                Event::Packet(_) => self.fresh = true,
                _ => {}
            }
        }
        answer
    }

    /// What `EPERM` means: a command that has no effect is refused too if the capability is
    /// missing.
    fn refusal(&mut self) -> Error {
        let queue = self.queue;
        if self.ask(|writer| writer.bytes(CFG_CMD, &[CMD_PF_BIND, 0, 0, 0])).is_err() {
            return Error::NotPermitted { queue };
        }
        let status = status::read().unwrap_or_default();
        let owner = status.iter().find(|status| status.queue == queue).map(|status| status.owner);
        Error::InUse { queue, owner }
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn holder(owner: Option<u32>) -> String {
    owner.map(|owner| format!(" (netlink port {owner})")).unwrap_or_default()
}
