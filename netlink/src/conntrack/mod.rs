//! Sessions in the kernel's connection tracking: list, look up, re-mark, end, hear of, write.
//!
//! ```text
//! Session, Updater       what the sweep of a reload needs: marks, and sessions named by bytes
//! Entry, Expectation     all that ctnetlink says of a session, or of one that has yet to begin
//! Listener, Event        notifications of them
//! Select                 which of them a dump gives
//! Request, Writer        makes, changes and ends them, many to a send
//! ```
//!
//! Goes in: plain data. Comes out: plain data. Not here: what a mark means, which sessions are
//! replicated, where they are forwarded.
//!
//! A dump and an [`Updater`] have a socket each, so that the sessions of the one can be changed by
//! the other while it still runs. The kernel walks its table bucket by bucket: a session that
//! lasts through the whole dump is in it, unless the table is resized meanwhile; one that begins
//! or ends meanwhile may be or not.

mod encode;
mod entry;
pub mod events;
mod expectation;
mod filter;
mod proto;
mod request;
mod select;
mod session;
mod tuple;
mod update;
pub mod writer;
#[cfg(test)]
mod written_tests;

pub use encode::{Field, Translation};
pub use entry::{Entry, SeqAdjust, SynProxy};
pub use events::{Event, Kind, Listener};
pub use expectation::{Expectation, ExpectedNat};
pub use proto::{DccpInfo, ProtoInfo, SctpInfo, TcpEnd, TcpInfo};
pub use request::{Outcome, Request};
pub use select::Select;
pub use session::{Counter, Session, SessionRef, Status, sessions};
pub use tuple::{Layer4, Tuple};
pub use update::{Tally, Updater};
pub use writer::Writer;

use crate::socket::{Error, Socket};
use crate::wire::{self, Message, attributes, be32};
use std::io;

/// `NFNL_SUBSYS_CTNETLINK`, the upper byte of the message types, and `enum cntl_msg_types`.
const SUBSYSTEM: u16 = 1 << 8;
const MSG_NEW: u16 = SUBSYSTEM;
const MSG_GET: u16 = SUBSYSTEM | 1;
const MSG_DELETE: u16 = SUBSYSTEM | 2;
const MSG_GET_STATS: u16 = SUBSYSTEM | 5;
const MSG_GET_UNCONFIRMED: u16 = SUBSYSTEM | 7;

/// `CTA_STATS_GLOBAL_ENTRIES`.
const STATS_GLOBAL_ENTRIES: u16 = 1;

/// Sessions whose connmark has, within `mask`, the bits of `mark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkFilter {
    /// The bits.
    pub mark: u32,
    /// Which of them count.
    pub mask: u32,
}

/// What a dump saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Sessions, or expectations.
    pub sessions: u64,
    /// Messages that couldn't be read.
    pub unreadable: u64,
}

/// A session by one of its directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TupleRef<'a> {
    /// By its original direction.
    Original(&'a Tuple),
    /// By its reply direction.
    Reply(&'a Tuple),
}

/// Asks the kernel about sessions.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens a socket.
    ///
    /// # Errors
    /// What `socket` and `bind` fail with.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open()? })
    }

    /// Hands every session of both families to `each`, or those that the filter lets through; the
    /// kernel applies it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EPERM` without `CAP_NET_ADMIN`.
    pub fn dump(
        &mut self,
        filter: Option<MarkFilter>,
        mut each: impl FnMut(&Session<'_>),
    ) -> Result<Dumped, Error> {
        let seq = self.socket.next_seq();
        let mut writer = wire::Writer::default();
        writer.message(MSG_GET, wire::F_DUMP, seq, libc::AF_UNSPEC as u8, 0);
        if let Some(MarkFilter { mark, mask }) = filter {
            writer.be32(session::MARK, mark & mask);
            writer.be32(session::MARK_MASK, mask);
        }
        let mut dumped = Dumped::default();
        self.socket.dump(writer.finished().ok_or(Error::TooLong)?, seq, |message| {
            match Session::parse(message) {
                Some(session) => {
                    dumped.sessions += 1;
                    each(&session);
                }
                None => dumped.unreadable += 1,
            }
        })?;
        Ok(dumped)
    }

    /// Looks a session up in a conntrack zone, 0 if there are none, and returns what `read` takes
    /// from it; `None` when there is no such session.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EPERM` without `CAP_NET_ADMIN`.
    pub fn get<T>(
        &mut self,
        tuple: TupleRef<'_>,
        zone: u16,
        mut read: impl FnMut(&Session<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let found = self
            .look_up(tuple, zone, |message| Session::parse(message).map(|session| read(&session)));
        found.map(Option::flatten)
    }

    /// How many sessions this network namespace has, unconfirmed ones included.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EPERM` without `CAP_NET_ADMIN`.
    pub fn count(&mut self) -> Result<u32, Error> {
        let seq = self.socket.next_seq();
        let mut writer = wire::Writer::default();
        writer.message(MSG_GET_STATS, wire::F_ACK, seq, libc::AF_UNSPEC as u8, 0);
        let mut count = None;
        self.socket.request(writer.finished().ok_or(Error::TooLong)?, seq, |message| {
            let body = message.payload.get(wire::NFGENMSG..).unwrap_or_default();
            let entries = attributes(body).find(|(kind, _)| *kind == STATS_GLOBAL_ENTRIES);
            count = entries.and_then(|(_, payload)| be32(payload));
        })?;
        count.ok_or(Error::Io(io::ErrorKind::InvalidData.into()))
    }

    fn look_up<T>(
        &mut self,
        tuple: TupleRef<'_>,
        zone: u16,
        mut read: impl FnMut(&Message<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let (kind, tuple) = match tuple {
            TupleRef::Original(tuple) => (session::TUPLE_ORIG, tuple),
            TupleRef::Reply(tuple) => (session::TUPLE_REPLY, tuple),
        };
        let seq = self.socket.next_seq();
        let mut writer = wire::Writer::default();
        writer.message(MSG_GET, wire::F_ACK, seq, tuple.family(), 0);
        writer.nest(kind, |w| tuple.write(w));
        if zone != 0 {
            writer.be16(session::ZONE, zone);
        }
        let mut found = None;
        let bytes = writer.finished().ok_or(Error::TooLong)?;
        match self.socket.request(bytes, seq, |message| found = Some(read(message))) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
            answer => answer.map(|()| found),
        }
    }
}
