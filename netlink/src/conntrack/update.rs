//! Changes to many sessions: new marks, and ends.
//!
//! Goes in: sessions, named by the bytes that a dump gave, and what becomes of them. Comes out:
//! messages, 64 to a send, and a count of those that the kernel refused. Not here: which sessions,
//! and why.

use super::session::{ID, MARK, MARK_MASK, SessionRef, TUPLE_ORIG, ZONE};
use super::{MSG_DELETE, MSG_NEW};
use crate::socket::{Error, Socket};
use crate::sys;
use crate::wire::{ERROR, Message, Writer};
use std::io;

/// Messages of one send. More gain nothing: at 64 the cost of the call is 2 % of theirs.
const BATCH: usize = 64;

/// How long the kernel may take for the answer to a flush. It answers within the send.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Collects changes, sends them in batches without waiting for answers, and counts the errors
/// that come back. Not a dump's socket: its answers would mix with those to the changes.
#[derive(Debug)]
pub struct Updater {
    socket: Socket,
    writer: Writer,
    waiting: usize,
    last: u32,
    tally: Tally,
}

/// What became of the changes since the last [`Updater::flush`].
#[derive(Debug, Default)]
pub struct Tally {
    /// Changes sent.
    pub sent: u64,
    /// Of those, the sessions that were gone.
    pub gone: u64,
    /// Of those, what the kernel refused for another reason.
    pub refused: u64,
    /// One of these reasons.
    pub reason: Option<io::Error>,
    /// Times that answers were lost, so that `gone` and `refused` are too small.
    pub overruns: u64,
}

impl Updater {
    /// Opens a socket.
    ///
    /// # Errors
    /// What `socket`, `bind` and `setsockopt` fail with.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::open()?;
        // An answer then holds no copy of the message that it is about.
        sys::set_option(sys::borrow(&socket), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        let writer = Writer::with_capacity(BATCH * 192);
        Ok(Self { socket, writer, waiting: 0, last: 0, tally: Tally::default() })
    }

    /// The port of the socket, which the notifications of its changes carry.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Sets the bits `mask` of the session's connmark to those of `key`; the others stay as they
    /// are, whatever `key` has there.
    ///
    /// # Errors
    /// What sending a full batch fails with; see [`Updater::flush`].
    pub fn remark(&mut self, session: SessionRef<'_>, key: u32, mask: u32) -> Result<(), Error> {
        self.begin(MSG_NEW, session)?;
        // The kernel clears the bits of the mask and then flips those of the mark: with a bit of
        // the mark outside the mask it would flip what isn't ours.
        self.writer.be32(MARK, key & mask);
        self.writer.be32(MARK_MASK, mask);
        Ok(())
    }

    /// Ends the session, if it is still the one with this id and not a later one with the same
    /// tuples.
    ///
    /// # Errors
    /// What sending a full batch fails with; see [`Updater::flush`].
    pub fn delete(&mut self, session: SessionRef<'_>, id: u32) -> Result<(), Error> {
        self.begin(MSG_DELETE, session)?;
        self.writer.be32(ID, id);
        Ok(())
    }

    /// Sends what is left. When this returns, the kernel has carried out or refused every change.
    ///
    /// # Errors
    /// [`Error::Io`] when a send failed: the changes of that batch are lost. [`Error::Silent`]
    /// when the kernel didn't answer. [`Error::TooLong`] when a tuple was no tuple. The updater
    /// can be used again, and the tally goes on.
    pub fn flush(&mut self) -> Result<Tally, Error> {
        if self.waiting > 0 {
            self.writer.request_ack();
            self.send()?;
            self.wait()?;
        }
        Ok(std::mem::take(&mut self.tally))
    }

    fn begin(&mut self, kind: u16, session: SessionRef<'_>) -> Result<(), Error> {
        // A full batch is sent only when there is one more change: so a flush always has a last
        // one that can ask for an answer.
        if self.waiting == BATCH {
            self.send()?;
            self.drain()?;
        }
        self.last = self.socket.next_seq();
        self.writer.message(kind, 0, self.last, session.family, 0);
        // Without this attribute a delete would mean all sessions. It is there even if empty, and
        // then the kernel refuses the message.
        self.writer.nested(TUPLE_ORIG, session.original);
        if session.zone != 0 {
            self.writer.be16(ZONE, session.zone);
        }
        self.waiting += 1;
        Ok(())
    }

    fn send(&mut self) -> Result<(), Error> {
        let count = std::mem::take(&mut self.waiting);
        let sent = match self.writer.finished() {
            Some(bytes) => self.socket.send(bytes).map_err(Error::Io),
            None => Err(Error::TooLong),
        };
        self.writer.clear();
        sent?;
        self.tally.sent += count as u64;
        Ok(())
    }

    /// Counts the errors that have come, without waiting.
    fn drain(&mut self) -> Result<(), Error> {
        let tally = &mut self.tally;
        match self.socket.drain(|message| tally.count(message)) {
            Err(Error::Overrun) => self.tally.overruns += 1,
            result => result?,
        }
        Ok(())
    }

    /// Counts errors until the answer to the last change.
    fn wait(&mut self) -> Result<(), Error> {
        loop {
            let (tally, last) = (&mut self.tally, self.last);
            match self.socket.receive(PATIENCE) {
                Ok(None) => return Err(Error::Silent),
                Ok(Some(messages)) => {
                    let mut answered = false;
                    messages.for_each(|message| {
                        tally.count(&message);
                        answered |= message.kind == ERROR && message.seq == last;
                    });
                    if answered {
                        return Ok(());
                    }
                }
                Err(Error::Overrun) => {
                    // The answer may be among those lost. The kernel works within the send, so
                    // all is done either way.
                    tally.overruns += 1;
                    return self.drain();
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Tally {
    fn count(&mut self, message: &Message<'_>) {
        if message.kind != ERROR {
            return;
        }
        match message.errno() {
            0 => {}
            libc::ENOENT => self.gone += 1,
            errno => {
                self.refused += 1;
                self.reason.get_or_insert_with(|| io::Error::from_raw_os_error(errno));
            }
        }
    }
}
