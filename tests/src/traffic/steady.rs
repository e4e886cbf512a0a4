//! One TCP connection that carries a small chunk each way at a steady rate, and knows how long each
//! chunk was under way.
//!
//! A chunk is a numbered header with the time of sending ([`super::packet`]) and bytes that tell
//! their place ([`super::pattern`]). In: readings of the clock, and word that the end has come. Out:
//! what came, told to a [`TimeLine`], and a [`Steady`]. Nothing here waits: the tool
//! ([`super::tcp_steady`]) does, for all of its connections at once.

use crate::clock;
use crate::traffic::packet::{HEADER, Header};
use crate::traffic::pattern;
use crate::traffic::reception::milliseconds;
use crate::traffic::report::{Outcome, Steady};
use crate::traffic::transfer::{Break, ending};
use rustix::event::PollFlags;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// Delays that are kept of a connection.
const DELAYS: usize = 1_000;

/// Slots of a time line: an hour of those that the demo uses. What comes later is counted, but not
/// in a slot.
const SLOTS: usize = 360_000;

/// Bytes that came, by time, of all connections together.
#[derive(Debug)]
pub struct TimeLine {
    slot: u64,
    first: Option<u64>,
    bytes: Vec<u64>,
}

impl TimeLine {
    /// With slots of so many nanoseconds, at least one.
    #[must_use]
    pub const fn new(slot: u64) -> Self {
        Self { slot: if slot == 0 { 1 } else { slot }, first: None, bytes: Vec::new() }
    }

    /// Counts bytes that came at a reading of the clock.
    pub fn add(&mut self, now: u64, bytes: u64) {
        let number = now / self.slot;
        let first = *self.first.get_or_insert(number);
        let Ok(index) = usize::try_from(number.saturating_sub(first)) else { return };
        if index < SLOTS {
            if index >= self.bytes.len() {
                self.bytes.resize(index + 1, 0);
            }
            if let Some(slot) = self.bytes.get_mut(index) {
                *slot += bytes;
            }
        }
    }

    /// When the first slot begins, 0 without one, and the bytes of each.
    #[must_use]
    pub fn finish(self) -> (u64, Vec<u64>) {
        (self.first.unwrap_or(0).saturating_mul(self.slot), self.bytes)
    }
}

/// What all connections of a tool have in common.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Nanoseconds between two chunks; not 0.
    pub interval: u64,
    /// Bytes of a chunk, at least [`HEADER`].
    pub chunk: usize,
    /// A chunk that was under way for longer, in nanoseconds, is listed.
    pub late: u64,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    rhythm: Rhythm,
    report: Steady,
    /// When the next chunk is due; `None` while it is not known which flow this is, and after the
    /// last one.
    due: Option<u64>,
    number: u64,
    /// What the kernel has not yet taken of the last chunk.
    unsent: Vec<u8>,
    /// What has come of a chunk that isn't whole.
    partial: Vec<u8>,
    expected: u64,
    /// The last chunk has been made.
    ending: bool,
    /// The other side knows that.
    shut: bool,
    /// The other side sends no more.
    closed: bool,
    over: bool,
}

impl Connection {
    /// Takes a connection over. With a flow it begins to send at that reading of the clock, without
    /// one once the other side has said which it is.
    ///
    /// # Errors
    /// When its options can't be set.
    pub fn new(
        stream: TcpStream,
        peer: SocketAddr,
        rhythm: Rhythm,
        flow: Option<(u32, u64)>,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut report = Steady::untried(flow.map(|(flow, _)| flow), peer);
        report.local = stream.local_addr().ok();
        Ok(Self {
            stream,
            rhythm,
            report,
            due: flow.map(|(_, start)| start),
            number: 0,
            unsent: Vec::new(),
            partial: Vec::new(),
            expected: 0,
            ending: false,
            shut: false,
            closed: false,
            over: false,
        })
    }

    /// Its socket, to wait for.
    #[must_use]
    pub const fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether it is through, well or not.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// What to wait for.
    #[must_use]
    pub const fn wants(&self) -> PollFlags {
        let read = if self.closed { PollFlags::empty() } else { PollFlags::IN };
        if self.unsent.is_empty() { read } else { read.union(PollFlags::OUT) }
    }

    /// When it has to be looked at again to send, whatever comes.
    #[must_use]
    pub const fn due(&self) -> Option<u64> {
        match (self.over || !self.unsent.is_empty(), self.ending, self.shut) {
            (true, ..) | (_, true, true) => None,
            (_, true, false) => Some(0),
            (_, false, _) => self.due,
        }
    }

    /// Sends no more chunks, and says so to the other side once the last one is out.
    pub const fn end(&mut self) {
        self.ending = true;
    }

    /// Sends what is due and takes what has come.
    pub fn work(&mut self, line: &mut TimeLine) {
        if self.over {
            return;
        }
        if let Err(error) = self.receive(line) {
            return self.conclude(Err(error));
        }
        if self.closed && !self.report.accepted && !self.shut {
            // The side that opened a connection is the one to end it.
            return self.conclude(Err(Break::Closed));
        }
        self.ending |= self.closed;
        if let Err(error) = self.send() {
            return self.conclude(Err(error));
        }
        if self.closed && self.shut {
            self.conclude(Ok(()));
        }
    }

    /// Gives up what isn't through.
    #[must_use]
    pub fn into_report(mut self) -> Steady {
        if !self.over {
            self.conclude(Err(Break::Time));
        }
        self.report
    }

    fn conclude(&mut self, result: Result<(), Break>) {
        self.over = true;
        self.report.conclude(result);
    }

    fn send(&mut self) -> Result<(), Break> {
        loop {
            self.flush()?;
            if !self.unsent.is_empty() {
                return Ok(());
            }
            if self.ending {
                if !self.shut {
                    self.shut = true;
                    self.stream.shutdown(Shutdown::Write)?;
                }
                return Ok(());
            }
            let now = clock::now();
            let Some((due, flow)) = self.due.zip(self.report.flow).filter(|(due, _)| *due <= now)
            else {
                return Ok(());
            };
            self.prepare(flow, now);
            // A schedule that can't be kept is put off by whole intervals: chunks in a burst would
            // measure nothing, and connections are not to come into step with each other.
            let missed = now.saturating_sub(due) / self.rhythm.interval;
            let put_off = missed.saturating_mul(self.rhythm.interval);
            self.report.put_off_ms += milliseconds(put_off);
            self.due = Some(due.saturating_add(self.rhythm.interval).saturating_add(put_off));
        }
    }

    fn prepare(&mut self, flow: u32, now: u64) {
        self.unsent.resize(self.rhythm.chunk, 0);
        pattern::fill(&mut self.unsent, self.number.wrapping_mul(place(self.rhythm.chunk)));
        let header = Header { flow, number: self.number, sent: now }.encode();
        if let Some(start) = self.unsent.first_chunk_mut() {
            *start = header;
        }
        self.number += 1;
    }

    fn flush(&mut self) -> Result<(), Break> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => {
                    self.unsent.drain(..written.min(self.unsent.len()));
                    self.report.sent += place(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, line: &mut TimeLine) -> Result<(), Break> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    return Ok(());
                }
                Ok(length) => {
                    let now = clock::now();
                    self.report.received += place(length);
                    line.add(now, place(length));
                    self.partial.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    self.take_chunks(now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_chunks(&mut self, now: u64) {
        let size = self.rhythm.chunk;
        let mut rest = std::mem::take(&mut self.partial);
        let whole = rest.len() - rest.len() % size;
        for chunk in rest.get(..whole).unwrap_or_default().chunks_exact(size) {
            self.take(chunk, now);
        }
        rest.drain(..whole);
        self.partial = rest;
    }

    fn take(&mut self, chunk: &[u8], now: u64) {
        let number = self.expected;
        self.expected += 1;
        let header = Header::decode(chunk).filter(|header| {
            header.number == number && self.report.flow.is_none_or(|flow| flow == header.flow)
        });
        let Some(header) = header else {
            self.report.corrupt += place(chunk.len());
            return;
        };
        let body = chunk.get(HEADER..).unwrap_or_default();
        let at = number.wrapping_mul(place(chunk.len())).wrapping_add(place(HEADER));
        self.report.corrupt += pattern::count_wrong(body, at);
        if self.report.flow.is_none() {
            self.report.flow = Some(header.flow);
            self.due = Some(now);
        }
        self.report.last_sent_ns = header.sent;
        let late = now.saturating_sub(header.sent) > self.rhythm.late;
        // What was sent during a delay that is listed waited for the same cause.
        let listed = self.report.delays.last().is_some_and(|&(_, until)| header.sent < until);
        if late && !listed && self.report.delays.len() < DELAYS {
            self.report.delays.push((header.sent, now));
        }
    }
}

impl Steady {
    /// A connection of which nothing is known yet; one that was accepted has no flow.
    #[must_use]
    pub fn untried(flow: Option<u32>, peer: SocketAddr) -> Self {
        Self {
            flow,
            accepted: flow.is_none(),
            local: None,
            peer,
            outcome: Outcome::Completed,
            error: None,
            sent: 0,
            received: 0,
            corrupt: 0,
            put_off_ms: 0.0,
            last_sent_ns: 0,
            ended_ns: 0,
            delays: Vec::new(),
        }
    }

    /// Notes how it ended, now.
    pub fn conclude(&mut self, result: Result<(), Break>) {
        self.ended_ns = clock::now();
        (self.outcome, self.error) = ending(result);
    }
}

/// A length as a place in a stream.
fn place(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_begin_at_multiples_and_lie_side_by_side() {
        let mut line = TimeLine::new(10);
        for (now, bytes) in [(1_004, 1), (1_009, 2), (1_031, 4)] {
            line.add(now, bytes);
        }
        assert_eq!(line.finish(), (1_000, vec![3, 0, 0, 4]));
        assert_eq!(TimeLine::new(0).finish(), (0, vec![]));
    }
}
