//! `tcp-steady`: many TCP connections at once, each of which carries a small chunk every few
//! milliseconds in both directions, from the beginning to the end.
//!
//! One side has `--to`, the other `--listen`. SIGTERM to the side that connected ends all in good
//! order: both ends then have read everything. The report says of each connection how it ended and
//! when something was under way for long, and has a time line of all that came. One thread serves
//! all connections, so that it takes few turns of a busy machine.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::traffic::limit::{self, Limit};
use crate::traffic::packet::HEADER;
use crate::traffic::report::{Steady, TcpSteady};
use crate::traffic::socket;
use crate::traffic::steady::{Connection, Rhythm, TimeLine};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::set_current_timer_slack;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU64;
use std::time::Duration;

/// How long connections may take to end in good order, in seconds.
const FAREWELL: f64 = 10.0;

/// How long to wait for a connection to come up.
const CONNECT: Duration = Duration::from_secs(10);

/// Options of `tcp-steady`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Open connections to this address
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "listen")]
    pub to: Option<SocketAddr>,
    /// Accept them at this address
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "to")]
    pub listen: Option<SocketAddr>,
    /// How many connections; a listener ends when so many have ended
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// Milliseconds between two chunks in each direction of a connection
    #[arg(long, value_name = "MS", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub interval: u64,
    /// Bytes of a chunk; both sides need the same
    #[arg(long, default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(24..=1_000_000))]
    pub chunk: u32,
    /// List chunks that were under way for longer than so many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub late: u64,
    /// Milliseconds of a slot of the time line
    #[arg(long, value_name = "MS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub slot: u64,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Connects or accepts, sends and receives.
///
/// # Errors
/// When the address can't be had, or waiting fails; what happens to a connection is reported
/// instead.
pub fn run(options: &Options) -> Result<TcpSteady, Error> {
    let limit = Limit::seconds(options.limit)?;
    // As fine as the kernel can, so that chunks go out one by one.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let mut side = Side::open(options)?;
    eprintln!("ready");
    side.serve(&limit).attempt(|| "serve the connections".to_owned())?;
    Ok(side.into_report(options))
}

struct Side {
    listener: Option<TcpListener>,
    rhythm: Rhythm,
    wanted: usize,
    connections: Vec<Connection>,
    /// Those that never came up.
    failed: Vec<Steady>,
    line: TimeLine,
}

impl Side {
    fn open(options: &Options) -> Result<Self, Error> {
        let chunk = usize::try_from(options.chunk).unwrap_or(HEADER).max(HEADER);
        let [interval, late, slot] =
            [options.interval, options.late, options.slot].map(|ms| ms.saturating_mul(1_000_000));
        let mut side = Self {
            listener: None,
            rhythm: Rhythm { interval, chunk, late },
            wanted: usize::try_from(options.connections).unwrap_or(usize::MAX),
            connections: Vec::new(),
            failed: Vec::new(),
            line: TimeLine::new(slot),
        };
        if let Some(address) = options.listen {
            let listener = TcpListener::bind(address)
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .attempt(|| format!("listen on TCP {address}"))?;
            side.listener = Some(listener);
        }
        if let Some(to) = options.to {
            side.connect(to, options.connections);
        }
        Ok(side)
    }

    /// One after the other; their chunks are spread evenly over the interval.
    fn connect(&mut self, to: SocketAddr, count: u32) {
        let opened: Vec<_> = (0..count).map(|_| socket::tcp(None, to, CONNECT)).collect();
        let start = clock::now();
        for (flow, stream) in (0..count).zip(opened) {
            let place = self.rhythm.interval * u64::from(flow) / u64::from(count.max(1));
            let begin = Some((flow, start + place));
            match stream.and_then(|stream| Connection::new(stream, to, self.rhythm, begin)) {
                Ok(connection) => self.connections.push(connection),
                Err(error) => {
                    let mut report = Steady::untried(Some(flow), to);
                    report.conclude(Err(error.into()));
                    self.failed.push(report);
                }
            }
        }
    }

    fn serve(&mut self, limit: &Limit) -> io::Result<()> {
        while !limit.is_over() && !self.is_through() {
            self.turn(limit.slice())?;
        }
        self.listener = None;
        self.connections.iter_mut().for_each(Connection::end);
        let until = clock::now() + u64::try_from(seconds(FAREWELL).as_nanos()).unwrap_or(0);
        while !self.is_through() && clock::now() < until {
            self.turn(clock::between(clock::now(), until).min(seconds(0.02)))?;
        }
        Ok(())
    }

    /// Whether every connection has ended, and no more will come.
    fn is_through(&self) -> bool {
        let awaited = self.listener.is_some() && self.connections.len() < self.wanted;
        !awaited && self.connections.iter().all(Connection::is_over)
    }

    /// Waits until there is something to do, at most so long, and does it.
    fn turn(&mut self, at_most: Duration) -> io::Result<()> {
        let now = clock::now();
        let due = self.connections.iter().filter_map(Connection::due).min();
        let wait = due.map_or(at_most, |due| clock::between(now, due).min(at_most));
        let open = || self.connections.iter().filter(|connection| !connection.is_over());
        let mut ready: Vec<_> =
            open().map(|connection| PollFd::new(connection.socket(), connection.wants())).collect();
        ready.extend(self.listener.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        match poll(&mut ready, Some(&socket::timespec(wait))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stirred: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
        let now = clock::now();
        let open = self.connections.iter_mut().filter(|connection| !connection.is_over());
        for (connection, stirred) in open.zip(stirred) {
            if stirred || connection.due().is_some_and(|due| due <= now) {
                connection.work(&mut self.line);
            }
        }
        self.accept()
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Some(listener) = self.listener.as_ref().filter(|_| self.room()) {
            let Ok((stream, peer)) = listener.accept() else { break };
            self.connections.push(Connection::new(stream, peer, self.rhythm, None)?);
        }
        Ok(())
    }

    fn room(&self) -> bool {
        self.connections.len() < self.wanted
    }

    fn into_report(self, options: &Options) -> TcpSteady {
        let ended = self.connections.into_iter().map(Connection::into_report);
        let mut list: Vec<Steady> = ended.chain(self.failed).collect();
        list.sort_by_key(|connection| connection.flow);
        let (first_slot_ns, received) = self.line.finish();
        TcpSteady {
            interval_ms: options.interval,
            chunk: options.chunk,
            slot_ms: options.slot,
            first_slot_ns,
            received,
            list,
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
