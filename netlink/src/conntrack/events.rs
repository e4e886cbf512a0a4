//! Notifications of conntrack: sessions and expectations that begin, change and end.
//!
//! Goes in: what the kernel has queued on a socket. Comes out: [`Event`]s in the order in which
//! they happened, each with the port of the socket that asked for it, and word of an overrun. Not
//! here: what is done about them, merging.
//!
//! With `net.netfilter.nf_conntrack_events` at 2, the default, a session that began while nobody
//! listened in any network namespace never sends a notification, not even when it ends. A node
//! that replicates sets it to 1 when it boots.

use super::entry::Entry;
use super::expectation::{self, Expectation};
use super::filter;
use super::{MSG_DELETE, MSG_NEW};
use crate::socket::Socket;
use crate::sys::mmsg::Datagrams;
use crate::sys::{attach_filter, borrow, socket_drops};
use crate::wire::{self, F_CREATE, Message};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// `NFNLGRP_CONNTRACK_NEW`, `_UPDATE` and `_DESTROY`, then `NFNLGRP_CONNTRACK_EXP_NEW`, `_UPDATE`
/// and `_DESTROY`.
const GROUPS: std::ops::RangeInclusive<u32> = 1..=6;

/// The largest notification has less than 1 KiB; one of an expectation comes in a buffer of a page.
const DATAGRAM: usize = 4096;

/// What happened to a session or an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It began. For an expected session too.
    New,
    /// It changed.
    Update,
    /// It ended.
    Destroy,
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of a session.
    Session {
        /// What happened to it.
        kind: Kind,
        /// The port of the socket that asked for it ([`super::Updater::port`],
        /// [`super::Writer::port`]); 0 if a packet or a timer did it.
        port: u32,
        /// What is said of it, which is only a part.
        entry: Entry,
    },
    /// Of an expectation, which is said whole.
    Expectation {
        /// What happened to it. The kernel doesn't tell of changes.
        kind: Kind,
        /// As for a session.
        port: u32,
        /// The expectation.
        expectation: Expectation,
    },
}

/// What a call of [`Listener::read`] came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Events handed out.
    pub events: usize,
    /// Messages that couldn't be read: a bug here or a kernel unlike all others.
    pub unreadable: usize,
    /// Whether the queue is empty; if not, call again.
    pub drained: bool,
    /// Whether notifications were lost. Said when the queue is empty: from the first loss until
    /// then the kernel drops all, from then on it queues again. So what is listed after this is
    /// whole.
    pub overrun: bool,
}

/// Hears of all sessions and expectations of a network namespace.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    datagrams: Datagrams,
    overrun: bool,
}

impl Listener {
    /// Opens a socket with a receive buffer of this many bytes, beyond the system's limit if the
    /// process may, and returns what the kernel gave, which is twice that. A queued notification
    /// takes up about 1 KiB of it.
    ///
    /// # Errors
    /// What `socket`, `bind` and `setsockopt` fail with: `EPERM` without `CAP_NET_ADMIN`.
    pub fn open(receive_buffer: usize) -> io::Result<(Self, usize)> {
        let socket = Socket::open()?;
        let given = crate::sys::set_receive_buffer(borrow(&socket), receive_buffer)?;
        for group in GROUPS {
            socket.join(group)?;
        }
        Ok((Self { socket, datagrams: Datagrams::new(DATAGRAM), overrun: false }, given))
    }

    /// Leaves out, already in the kernel, what the sockets with these ports asked for; they are
    /// at most 16, and replace those from before. It spares the reader their cost and their room
    /// in the buffer. What is already queued still comes.
    ///
    /// # Errors
    /// `InvalidInput` for more than 16 ports; what `setsockopt` fails with.
    pub fn ignore(&self, ports: &[u32]) -> io::Result<()> {
        self.filter(ports, false)
    }

    /// The same, and leaves out too what is said of TCP sessions whose handshake isn't through
    /// (that aren't assured yet), which is most of what each begins with. The first that is heard
    /// of such a session is then an [`Kind::Update`]. What only an early notification says is let
    /// through: labels, a master, the SYN proxy.
    ///
    /// # Errors
    /// As for [`Listener::ignore`].
    pub fn ignore_with_handshakes(&self, ports: &[u32]) -> io::Result<()> {
        self.filter(ports, true)
    }

    fn filter(&self, ports: &[u32], handshakes: bool) -> io::Result<()> {
        if ports.len() > filter::PORTS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        attach_filter(borrow(&self.socket), &filter::program(ports, handshakes))
    }

    /// Hands what has arrived to `each`, at most 32 datagrams, without waiting.
    ///
    /// # Errors
    /// What `recvmmsg` fails with, but for `ENOBUFS`, which is an overrun.
    pub fn read(&mut self, mut each: impl FnMut(Event)) -> io::Result<Read> {
        let mut read = Read::default();
        let count = match self.datagrams.receive(borrow(&self.socket), false) {
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.overrun = true;
                return Ok(read);
            }
            Err(error) => return Err(error),
        };
        if count == 0 {
            read.drained = true;
            read.overrun = std::mem::take(&mut self.overrun);
            return Ok(read);
        }
        read.unreadable = self.datagrams.truncated();
        for index in 0..count {
            for event in events(self.datagrams.get(index).unwrap_or_default()) {
                match event {
                    Some(event) => {
                        read.events += 1;
                        each(event);
                    }
                    None => read.unreadable += 1,
                }
            }
        }
        Ok(read)
    }

    /// How many notifications the kernel has dropped at this socket. Wraps at 2^32.
    ///
    /// # Errors
    /// What `getsockopt` fails with.
    pub fn drops(&self) -> io::Result<u32> {
        socket_drops(borrow(&self.socket))
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The events of a datagram, and `None` for each message that can't be read.
pub fn events(datagram: &[u8]) -> impl Iterator<Item = Option<Event>> {
    wire::messages(datagram).filter_map(|message| read(&message))
}

/// `None` for a message that is no notification of these, `Some(None)` for an unreadable one.
#[expect(clippy::option_option, reason = "unreadable is something else than unwanted")]
fn read(message: &Message<'_>) -> Option<Option<Event>> {
    let new = if message.flags & F_CREATE == 0 { Kind::Update } else { Kind::New };
    let port = message.port;
    let session = |kind| Entry::parse(message).map(|entry| Event::Session { kind, port, entry });
    let expectation = |kind| {
        let expectation = Expectation::parse(message)?;
        Some(Event::Expectation { kind, port, expectation })
    };
    match message.kind {
        MSG_NEW => Some(session(new)),
        MSG_DELETE => Some(session(Kind::Destroy)),
        expectation::MSG_NEW => Some(expectation(new)),
        expectation::MSG_DELETE => Some(expectation(Kind::Destroy)),
        _ => None,
    }
}
