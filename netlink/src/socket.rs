//! Netlink sockets: buffers, requests that wait for their answer, dumps.
//!
//! Goes in: messages that [`crate::wire::Writer`] wrote. Comes out: the messages of the answer, or
//! the kernel's error. Every wait has an end. Not here: what the messages mean.

use crate::sys;
use crate::wire::{self, DONE, ERROR, Message};
use mnl::{Bus, Socket as MnlSocket};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// How long the kernel may take for the next part of an answer. It answers within the send, so
/// this only ends a wait for something that will never come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest part of a dump that the kernel sends at once is 32 KiB; notifications and queued
/// packets can be larger.
const RECEIVE: usize = 256 << 10;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Io(#[from] io::Error),
    /// The kernel refused the message with this sequence number.
    #[error("the kernel refused the request: {source}")]
    Refused {
        /// Sequence number of the message.
        seq: u32,
        /// The errno.
        source: io::Error,
    },
    /// No answer came.
    #[error("no answer from the kernel within {} s", PATIENCE.as_secs())]
    Silent,
    /// The message can't be expressed: an attribute is longer than 65,535 bytes.
    #[error("netlink message too long")]
    TooLong,
    /// The socket's receive buffer was full and messages are lost.
    #[error("netlink messages were lost: receive buffer full")]
    Overrun,
}

impl Error {
    /// The errno that the kernel refused with, if it did.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// A netlink socket.
pub struct Socket {
    mnl: MnlSocket,
    buffer: Vec<u32>,
    seq: u32,
}

// SAFETY: `mnl_socket` is a heap-allocated struct of a file descriptor and an address, used only
// through `&self` and `&mut self` of this owner; nothing of it is tied to a thread.
#[expect(unsafe_code, reason = "the mnl crate leaves out the marker for its plain C struct")]
unsafe impl Send for Socket {}

impl Socket {
    /// Opens a netfilter socket.
    ///
    /// # Errors
    /// What `socket` and `bind` fail with.
    pub fn open() -> io::Result<Self> {
        Self::on(Bus::Netfilter)
    }

    /// Opens a socket to interfaces, addresses and routes.
    ///
    /// # Errors
    /// What `socket` and `bind` fail with.
    pub fn open_route() -> io::Result<Self> {
        Self::on(Bus::Route)
    }

    fn on(bus: Bus) -> io::Result<Self> {
        let mnl = MnlSocket::new(bus)?;
        Ok(Self { mnl, buffer: vec![0; RECEIVE / size_of::<u32>()], seq: 0 })
    }

    /// Asks for buffers of this many bytes, beyond the system's limits if the process may, and
    /// returns what the kernel gave to (send, receive). It doubles numbers for its own overhead.
    ///
    /// # Errors
    /// What `setsockopt` and `getsockopt` fail with.
    pub fn set_buffers(&self, send: usize, receive: usize) -> io::Result<(usize, usize)> {
        Ok((sys::set_send_buffer(self.fd(), send)?, sys::set_receive_buffer(self.fd(), receive)?))
    }

    /// Joins a multicast group: a `NFNLGRP_` number of `linux/netfilter/nfnetlink.h`, on a route
    /// socket an `RTNLGRP_` number of `linux/rtnetlink.h`.
    ///
    /// # Errors
    /// What `setsockopt` fails with.
    pub fn join(&self, group: u32) -> io::Result<()> {
        sys::netlink_join(self.fd(), group)
    }

    /// Leaves a group again.
    ///
    /// # Errors
    /// What `setsockopt` fails with.
    pub fn leave(&self, group: u32) -> io::Result<()> {
        sys::netlink_leave(self.fd(), group)
    }

    /// The port that the kernel gave to this socket. Notifications of changes that it asked for
    /// carry it.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.mnl.portid()
    }

    /// The next sequence number.
    pub fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1).max(1);
        self.seq
    }

    /// Sends bytes in one `sendto`. A transaction has to fit: split in two it is not applied.
    ///
    /// # Errors
    /// What `sendto` fails with; `EMSGSIZE` when the send buffer is too small.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.mnl.send(bytes)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Waits for the next datagram and returns its messages; `None` when the deadline passed.
    ///
    /// # Errors
    /// [`Error::Overrun`] when the kernel had to drop datagrams since the last call.
    pub fn receive(&mut self, deadline: Duration) -> Result<Option<wire::Messages<'_>>, Error> {
        if !sys::poll_readable(self.fd(), deadline)? {
            return Ok(None);
        }
        let buffer = sys::as_bytes_mut(&mut self.buffer);
        match self.mnl.recv_raw(buffer) {
            Ok(length) => Ok(Some(wire::messages(buffer.get(..length).unwrap_or_default()))),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Err(Error::Overrun),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends one message that asks for an acknowledgement and waits for it. Messages that come
    /// before it go to `each`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's errno.
    pub fn request(
        &mut self,
        bytes: &[u8],
        seq: u32,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        self.send(bytes)?;
        loop {
            let Some(messages) = self.receive(PATIENCE)? else { return Err(Error::Silent) };
            for message in messages {
                match message.kind {
                    ERROR if message.seq == seq => return accepted(&message),
                    ERROR => {}
                    _ if message.seq == seq => each(&message),
                    _ => {}
                }
            }
        }
    }

    /// Sends a dump request and hands every message of the answer to `each`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's errno.
    pub fn dump(
        &mut self,
        bytes: &[u8],
        seq: u32,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        self.send(bytes)?;
        loop {
            let Some(messages) = self.receive(PATIENCE)? else { return Err(Error::Silent) };
            for message in messages.filter(|message| message.seq == seq) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => return accepted(&message),
                    _ => each(&message),
                }
            }
        }
    }

    /// Reads what has already arrived, without waiting, and hands each message to `each`.
    ///
    /// # Errors
    /// [`Error::Overrun`] when messages were lost.
    pub fn drain(&mut self, mut each: impl FnMut(&Message<'_>)) -> Result<(), Error> {
        while let Some(messages) = self.receive(Duration::ZERO)? {
            messages.for_each(|message| each(&message));
        }
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        sys::borrow(self)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.mnl.as_raw_fd()
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("fd", &self.as_raw_fd()).finish_non_exhaustive()
    }
}

fn accepted(message: &Message<'_>) -> Result<(), Error> {
    match message.errno() {
        0 => Ok(()),
        errno => {
            Err(Error::Refused { seq: message.seq, source: io::Error::from_raw_os_error(errno) })
        }
    }
}
