//! One TCP connection at work: sends and checks bytes, measures stalls, says how it ended.
//!
//! Both sides use it. Reads and writes wait for at most a moment, so that the tool's limit is kept.

use crate::clock;
use crate::traffic::limit::{Limit, TICK};
use crate::traffic::pattern;
use crate::traffic::reception::milliseconds;
use crate::traffic::report::{Connection, Outcome};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// What the server does with a connection; the client does the counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The server sends back what it receives.
    Echo,
    /// The server receives.
    Sink,
    /// The server sends.
    Source,
}

/// How much is sent, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes to transfer in each direction that is used; 0 for as many as the time allows.
    pub bytes: u64,
    /// Bytes per second for the sending side; 0 for as fast as it goes.
    pub rate: f64,
}

/// What a connection's stalls lead to.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Stalls of at least so many nanoseconds are listed.
    pub list: u64,
    /// After a stall of so many nanoseconds the connection counts as broken.
    pub give_up: u64,
}

impl Default for Watch {
    /// Nothing is listed, and nothing given up.
    fn default() -> Self {
        Self { list: u64::MAX, give_up: u64::MAX }
    }
}

/// Stalls of a connection that are listed.
const STALLS: usize = 10_000;

/// Why a transfer ended before it was done.
#[derive(Debug)]
pub enum Break {
    /// The time is over.
    Time,
    /// The other side has closed the connection.
    Closed,
    /// The connection is broken.
    Error(io::Error),
}

impl From<io::Error> for Break {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

/// A connection at work.
#[derive(Debug)]
pub struct Transfer<'a> {
    stream: TcpStream,
    limit: &'a Limit,
    buffer: Vec<u8>,
    sent: u64,
    received: u64,
    corrupt: u64,
    /// The last progress; 0 while there is nothing to wait for.
    progress: u64,
    stall: u64,
    stall_end: u64,
    watch: Watch,
    stalls: Vec<(u64, u64)>,
}

impl<'a> Transfer<'a> {
    /// Takes a connection over, to read and write so many bytes at once.
    ///
    /// # Errors
    /// When its options can't be set.
    pub fn new(stream: TcpStream, limit: &'a Limit, chunk: usize) -> io::Result<Self> {
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            limit,
            buffer: vec![0; chunk.clamp(1, 1 << 20)],
            sent: 0,
            received: 0,
            corrupt: 0,
            progress: 0,
            stall: 0,
            stall_end: 0,
            watch: Watch::default(),
            stalls: Vec::new(),
        })
    }

    /// The same, with a watch on its stalls.
    #[must_use]
    pub fn watched(mut self, watch: Watch) -> Self {
        self.watch = watch;
        self
    }

    /// Sends, on the plan's schedule, then says that no more will come and waits until the other
    /// side has read it all.
    ///
    /// # Errors
    /// Why it ended before.
    pub fn send_all(&mut self, plan: Plan) -> Result<(), Break> {
        let start = clock::now();
        while let Some(length) = self.next_chunk(self.sent, plan) {
            self.pace(start, plan.rate)?;
            self.send(length)?;
        }
        self.stream.shutdown(Shutdown::Write)?;
        match self.receive_to_end() {
            Err(Break::Closed) => Ok(()),
            other => other,
        }
    }

    /// Receives as much as planned, and checks it.
    ///
    /// # Errors
    /// Why it ended before.
    pub fn receive_all(&mut self, plan: Plan) -> Result<(), Break> {
        while let Some(length) = self.next_chunk(self.received, plan) {
            if self.limit.is_over() {
                return Err(Break::Time);
            }
            self.receive(length)?;
        }
        Ok(())
    }

    /// Sends chunk by chunk and waits for each to come back.
    ///
    /// # Errors
    /// Why it ended before.
    pub fn exchange(&mut self, plan: Plan) -> Result<(), Break> {
        let start = clock::now();
        while let Some(length) = self.next_chunk(self.sent, plan) {
            self.pace(start, plan.rate)?;
            self.send(length)?;
            while self.received < self.sent {
                let missing = usize::try_from(self.sent - self.received).unwrap_or(usize::MAX);
                self.receive(missing)?;
            }
        }
        Ok(())
    }

    /// Sends back whatever comes.
    ///
    /// # Errors
    /// [`Break::Closed`] when the other side is through, or what went wrong.
    pub fn give_back(&mut self) -> Result<(), Break> {
        loop {
            let length = self.receive(usize::MAX)?;
            self.send_received(length)?;
            self.progress = 0;
        }
    }

    /// Receives whatever comes.
    ///
    /// # Errors
    /// [`Break::Closed`] when the other side is through, or what went wrong.
    pub fn receive_to_end(&mut self) -> Result<(), Break> {
        loop {
            self.receive(usize::MAX)?;
        }
    }

    /// Keeps the connection open without sending, and watches that it stays so.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn hold(&mut self, seconds: f64) -> Result<(), Break> {
        let end = self.limit.at_most(seconds);
        while !end.is_over() {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(Break::Closed),
                Ok(_) => {}
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What became of it.
    #[must_use]
    pub fn report(self, result: Result<(), Break>, mut connection: Connection) -> Connection {
        (connection.sent, connection.received) = (self.sent, self.received);
        connection.corrupt = self.corrupt;
        connection.longest_stall_ms = milliseconds(self.stall);
        connection.longest_stall_end_ns = self.stall_end;
        connection.stalls = self.stalls;
        connection.ended_ns = clock::now();
        conclude(&mut connection, result);
        connection
    }

    /// The size of the next chunk; `None` when all is through.
    fn next_chunk(&self, through: u64, plan: Plan) -> Option<usize> {
        let left = if plan.bytes == 0 { u64::MAX } else { plan.bytes.saturating_sub(through) };
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
        (length > 0).then_some(length)
    }

    fn pace(&mut self, start: u64, rate: f64) -> Result<(), Break> {
        if rate > 0.0 {
            let due = Duration::try_from_secs_f64(count(self.sent) / rate).unwrap_or(Duration::MAX);
            let due = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
            // Waiting for the schedule is no stall.
            self.progress = 0;
            if !self.limit.sleep_until(start.saturating_add(due)) {
                return Err(Break::Time);
            }
        }
        Ok(())
    }

    fn send(&mut self, length: usize) -> Result<(), Break> {
        if let Some(chunk) = self.buffer.get_mut(..length) {
            pattern::fill(chunk, self.sent);
        }
        self.send_received(length)
    }

    /// Sends the start of the buffer, all of it.
    fn send_received(&mut self, length: usize) -> Result<(), Break> {
        let mut done = 0;
        self.begin();
        while done < length {
            match self.stream.write(self.buffer.get(done..length).unwrap_or_default()) {
                Ok(written) => {
                    done += written;
                    self.sent += u64::try_from(written).unwrap_or(0);
                    self.advance();
                }
                Err(error) => self.wait_or_fail(error)?,
            }
        }
        Ok(())
    }

    /// Receives up to `most` bytes, at least one.
    fn receive(&mut self, most: usize) -> Result<usize, Break> {
        let room = most.min(self.buffer.len());
        self.begin();
        loop {
            match self.stream.read(self.buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => return Err(Break::Closed),
                Ok(length) => {
                    let bytes = self.buffer.get(..length).unwrap_or_default();
                    self.corrupt += pattern::count_wrong(bytes, self.received);
                    self.received += u64::try_from(length).unwrap_or(0);
                    self.advance();
                    return Ok(length);
                }
                Err(error) => self.wait_or_fail(error)?,
            }
        }
    }

    fn wait_or_fail(&mut self, error: io::Error) -> Result<(), Break> {
        if !is_wait(&error) {
            return Err(error.into());
        }
        if self.limit.is_over() {
            self.advance();
            return Err(Break::Time);
        }
        if clock::now().saturating_sub(self.progress) >= self.watch.give_up {
            self.advance();
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        Ok(())
    }

    /// From now on there is something to wait for.
    fn begin(&mut self) {
        if self.progress == 0 {
            self.progress = clock::now();
        }
    }

    fn advance(&mut self) {
        let now = clock::now();
        let stall = now.saturating_sub(self.progress);
        if stall > self.stall {
            (self.stall, self.stall_end) = (stall, now);
        }
        if stall >= self.watch.list && self.stalls.len() < STALLS {
            self.stalls.push((now, stall));
        }
        self.progress = now;
    }
}

/// A connection of which nothing is known yet.
#[must_use]
pub fn untried(local: Option<SocketAddr>, peer: SocketAddr) -> Connection {
    Connection {
        local,
        peer,
        outcome: Outcome::Completed,
        error: None,
        connect_ms: 0.0,
        sent: 0,
        received: 0,
        corrupt: 0,
        longest_stall_ms: 0.0,
        longest_stall_end_ns: 0,
        stalls: Vec::new(),
        ended_ns: clock::now(),
    }
}

/// Notes how a connection ended.
pub fn conclude(connection: &mut Connection, result: Result<(), Break>) {
    (connection.outcome, connection.error) = ending(result);
}

/// How a connection ended, and the cause if it did not complete.
pub(crate) fn ending(result: Result<(), Break>) -> (Outcome, Option<String>) {
    match result {
        Ok(()) => (Outcome::Completed, None),
        Err(Break::Time) => (Outcome::Stalled, None),
        Err(Break::Closed) => (Outcome::Closed, None),
        Err(Break::Error(error)) => (outcome(&error), Some(error.to_string())),
    }
}

fn outcome(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Outcome::Reset,
        io::ErrorKind::TimedOut => Outcome::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Outcome::Unreachable,
        _ => Outcome::Failed,
    }
}

/// Whether a read or write only had nothing to do.
fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[expect(clippy::cast_precision_loss, reason = "a schedule needs no single bytes beyond 2^52")]
fn count(bytes: u64) -> f64 {
    bytes as f64
}

/// Runs `work` for each of many connections at once, each in a small thread of its own.
///
/// # Errors
/// When a thread can't be started.
pub fn each<T: Send>(count: u32, work: impl Fn(u32) -> T + Sync) -> io::Result<Vec<T>> {
    const STACK: usize = 256 << 10;
    thread::scope(|scope| {
        let threads = (0..count)
            .map(|index| {
                let work = &work;
                thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || work(index))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let results = threads.into_iter().map(|thread| thread.join());
        results
            .collect::<Result<_, _>>()
            .map_err(|_| io::Error::other("a connection's thread has panicked"))
    })
}
