//! Writes sessions and expectations into the kernel, many to a send.
//!
//! Goes in: [`Request`]s. Comes out: an [`Outcome`] for each, in order. Not here: which sessions,
//! and why.
//!
//! No message asks for an acknowledgement. The kernel works a batch off within the send, and what
//! it refuses is an error message with that message's sequence number, which waits on the socket
//! when the send returns; what has no error was carried out.

use super::entry::Entry;
use super::request::{Outcome, Request, Slot, Step, Verdict};
use super::{Conntrack, TupleRef, encode};
use crate::socket::Error;
use crate::sys::mmsg::Datagrams;
use crate::{sys, wire};
use std::hash::{BuildHasher, RandomState};
use std::io;

/// Requests of one send. More gain nothing: at 64 the cost of the call is 2 % of theirs.
pub const BATCH: usize = 64;

/// An error without a copy of its message has 36 bytes.
const ANSWER: usize = 256;

/// How often a batch is sent at most. A put takes two when there is a session, three when its
/// status is another one than was thought, more when it ends and begins meanwhile.
const ROUNDS: usize = 5;

/// Carries out requests, and reads what became of them.
#[derive(Debug)]
pub struct Writer {
    conntrack: Conntrack,
    bytes: wire::Writer,
    hasher: RandomState,
    slots: Vec<Slot>,
    messages: Vec<Sent>,
    answers: Datagrams,
}

/// A message of the round.
#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: u32,
    slot: usize,
    part: usize,
}

impl Writer {
    /// Opens a socket.
    ///
    /// # Errors
    /// What `socket`, `bind` and `setsockopt` fail with.
    pub fn open() -> io::Result<Self> {
        let conntrack = Conntrack::open()?;
        // An error then holds no copy of the message that it is about.
        let socket = sys::borrow(&conntrack.socket);
        sys::set_option(socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        Ok(Self {
            conntrack,
            bytes: wire::Writer::with_capacity(BATCH * 512),
            hasher: RandomState::new(),
            slots: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(2 * BATCH),
            answers: Datagrams::new(ANSWER),
        })
    }

    /// The port of the socket, which the notifications of its changes carry.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.conntrack.socket.port()
    }

    /// Carries out the requests in order and appends an outcome for each. They go 64 to a send;
    /// this blocks for about 5 us a request.
    ///
    /// # Errors
    /// [`Error::Io`] when a send failed, [`Error::Overrun`] when answers were lost again and
    /// again. There are outcomes up to the batch of 64 in which that happened; of the requests of
    /// that batch it isn't known, and those behind it weren't tried.
    pub fn write(
        &mut self,
        requests: &[Request<'_>],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Error> {
        let mut rest = requests;
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at_checked(self.batch(rest)).unwrap_or((rest, &[]));
            self.carry_out(batch)?;
            let clash = Outcome::Clash;
            outcomes.extend(self.slots.iter().map(|slot| slot.outcome.unwrap_or(clash)));
            rest = behind;
        }
        Ok(())
    }

    /// How many of the requests make the next batch. It has no two requests for the same session,
    /// since a request that needs a second try would be overtaken by a later one.
    fn batch(&self, requests: &[Request<'_>]) -> usize {
        let mut seen = [0u64; BATCH];
        for (count, request) in requests.iter().take(BATCH).enumerate() {
            let hash = self.hasher.hash_one(request.identity());
            let before = seen.get(..count).unwrap_or_default();
            if before.contains(&hash) {
                return count;
            }
            if let Some(slot) = seen.get_mut(count) {
                *slot = hash;
            }
        }
        requests.len().min(BATCH)
    }

    /// Leaves the outcomes in the slots; `None` for what was neither to be made nor to be found.
    fn carry_out(&mut self, batch: &[Request<'_>]) -> Result<(), Error> {
        self.slots.clear();
        self.slots.extend(batch.iter().map(|request| Slot {
            step: Step::First,
            outcome: request.complete().err().map(Outcome::Incomplete),
            errors: [0; 2],
        }));
        let mut overruns = 0;
        for _ in 0..ROUNDS {
            self.encode(batch);
            if self.messages.is_empty() {
                return Ok(());
            }
            let bytes = self.bytes.finished().ok_or(Error::TooLong)?;
            self.conntrack.socket.send(bytes)?;
            if self.errors()? {
                // Each request can be carried out once more without harm.
                overruns += 1;
                if overruns == ROUNDS - 1 {
                    return Err(Error::Overrun);
                }
                continue;
            }
            for (index, request) in batch.iter().enumerate() {
                let slot = self.slots.get(index).copied();
                let Some(slot) = slot.filter(|slot| slot.outcome.is_none()) else { continue };
                let next = match request.judge(&slot) {
                    Verdict::Done(outcome) => Slot { outcome: Some(outcome), ..slot },
                    Verdict::Again(step) => Slot { step, ..slot },
                    Verdict::Look(entry) => Slot { step: self.look(entry)?, ..slot },
                };
                if let Some(slot) = self.slots.get_mut(index) {
                    *slot = next;
                }
            }
        }
        Ok(())
    }

    /// Writes the messages of all requests that have no outcome yet.
    fn encode(&mut self, batch: &[Request<'_>]) {
        self.bytes.clear();
        self.messages.clear();
        for (index, (request, slot)) in batch.iter().zip(&mut self.slots).enumerate() {
            if slot.outcome.is_some() {
                continue;
            }
            slot.errors = [0; 2];
            let (socket, messages) = (&mut self.conntrack.socket, &mut self.messages);
            let mut part = 0;
            request.encode(slot.step, &mut self.bytes, &mut || {
                let seq = socket.next_seq();
                messages.push(Sent { seq, slot: index, part });
                part += 1;
                seq
            });
        }
    }

    /// Puts the errors that wait on the socket to their requests; true if some were lost.
    fn errors(&mut self) -> Result<bool, Error> {
        let Self { conntrack, slots, messages, answers, .. } = self;
        let mut lost = false;
        loop {
            let count = match answers.receive(sys::borrow(&conntrack.socket), false) {
                Ok(0) => return Ok(lost),
                Ok(count) => count,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    lost = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let datagrams = (0..count).filter_map(|index| answers.get(index));
            let errors = datagrams.flat_map(wire::messages).filter(|m| m.kind == wire::ERROR);
            for message in errors {
                let Some(sent) = messages.iter().find(|sent| sent.seq == message.seq) else {
                    continue;
                };
                let errors = slots.get_mut(sent.slot).map(|slot| &mut slot.errors);
                if let Some(error) = errors.and_then(|errors| errors.get_mut(sent.part)) {
                    *error = message.errno();
                }
            }
        }
    }

    /// What to try on a session whose status is another one than was thought.
    fn look(&mut self, entry: &Entry) -> Result<Step, Error> {
        let here = self.conntrack.entry(TupleRef::Original(&entry.original), entry.zone)?;
        let Some(here) = here else { return Ok(Step::First) };
        let status = here.status.and_then(|here| encode::status_on(entry, here));
        Ok(Step::Change(status))
    }
}
