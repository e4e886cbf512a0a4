//! `pulse`: many TCP connections, on each of which both sides send a little at a steady rate and
//! note the times in which nothing came.
//!
//! One side has `--to` and the other `--listen`. One thread serves all connections, so that many of
//! them cost the machine no more than their packets. Not here: what the gaps mean.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::traffic::limit::{self, Limit};
use crate::traffic::report::Pulse;
use crate::traffic::socket;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Gaps that are listed at most.
const LISTED: usize = 100_000;
/// How long a connection may take to be up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Options of `pulse`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Open connections to this address
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "listen")]
    pub to: Option<SocketAddr>,
    /// Accept connections at this address
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "to")]
    pub listen: Option<SocketAddr>,
    /// How many connections
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub connections: u32,
    /// Milliseconds between two pulses of a connection, in each direction
    #[arg(long, default_value_t = 20.0)]
    pub every: f64,
    /// Bytes of a pulse
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub bytes: u32,
    /// Report times without a pulse of so many milliseconds and more
    #[arg(long, default_value_t = 25.0)]
    pub gap: f64,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Sends and receives until it is told to end.
///
/// # Errors
/// When connections can't be had; what becomes of them later is reported instead.
pub fn run(options: &Options) -> Result<Pulse, Error> {
    let limit = Limit::seconds(options.limit)?;
    let streams = match (options.to, options.listen) {
        (Some(to), _) => (0..options.connections)
            .map(|_| socket::tcp(None, to, PATIENCE).attempt(|| format!("connect to {to}")))
            .collect::<Result<Vec<_>, _>>()?,
        (None, Some(at)) => accept(at, options.connections, &limit)?,
        (None, None) => Vec::new(),
    };
    let mut side = Side::new(streams, options).attempt(|| "set up connections".to_owned())?;
    if options.to.is_some() {
        eprintln!("ready");
    }
    side.exchange(&limit);
    Ok(side.finish())
}

fn accept(at: SocketAddr, count: u32, limit: &Limit) -> Result<Vec<TcpStream>, Error> {
    let failed = || format!("accept connections at {at}");
    let listener = TcpListener::bind(at).attempt(failed)?;
    listener.set_nonblocking(true).attempt(failed)?;
    eprintln!("ready");
    let mut streams = Vec::new();
    while (streams.len() as u64) < u64::from(count) && !limit.is_over() {
        match listener.accept() {
            Ok((stream, _)) => streams.push(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let timeout = socket::timespec(limit.slice());
                let _ = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&timeout));
            }
            Err(source) => return Err(Error::Io { attempt: failed(), source }),
        }
    }
    Ok(streams)
}

/// A connection.
struct One {
    stream: TcpStream,
    broken: bool,
    /// When the next pulse is due.
    due: u64,
    /// When something came last; 0 if nothing has.
    last: u64,
}

struct Side {
    all: Vec<One>,
    pulse: Vec<u8>,
    every: u64,
    gap: u64,
    report: Pulse,
}

impl Side {
    fn new(streams: Vec<TcpStream>, options: &Options) -> io::Result<Self> {
        let nanoseconds = |ms: f64| {
            let time = Duration::try_from_secs_f64(ms / 1e3).unwrap_or(Duration::MAX);
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
        };
        let every = nanoseconds(options.every).max(1_000_000);
        let (now, count) = (clock::now(), streams.len().max(1) as u64);
        let all = streams.into_iter().zip(0..).map(|(stream, place)| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            // Spread over the interval, so that they don't all send at once.
            Ok(One { stream, broken: false, due: now + every * place / count, last: 0 })
        });
        let all = all.collect::<io::Result<Vec<_>>>()?;
        let connections = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let bytes = usize::try_from(options.bytes).unwrap_or(usize::MAX);
        Ok(Self {
            all,
            pulse: vec![b'p'; bytes],
            every,
            gap: nanoseconds(options.gap),
            report: Pulse { connections, ..Pulse::default() },
        })
    }

    fn exchange(&mut self, limit: &Limit) {
        let mut buffer = vec![0; 64 << 10];
        while !limit.is_over() && self.all.iter().any(|one| !one.broken) {
            self.send(clock::now());
            let next = self.all.iter().filter(|one| !one.broken).map(|one| one.due).min();
            let wait = clock::between(clock::now(), next.unwrap_or(0)).min(limit.slice());
            let ready = self.wait(wait);
            for place in ready {
                self.receive(place, &mut buffer);
            }
        }
    }

    fn send(&mut self, now: u64) {
        let Self { all, pulse, every, report, .. } = self;
        for one in all.iter_mut().filter(|one| !one.broken && one.due <= now) {
            match one.stream.write(pulse) {
                Ok(_) => {}
                // What was sent before isn't acknowledged yet.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => fail(one, report, &error.to_string()),
            }
            // Late pulses aren't made up for.
            one.due += *every * ((now - one.due) / *every + 1);
        }
    }

    /// The places of the connections that can be read.
    fn wait(&self, at_most: Duration) -> Vec<usize> {
        let alive = || self.all.iter().enumerate().filter(|(_, one)| !one.broken);
        let mut waiting: Vec<_> =
            alive().map(|(_, one)| PollFd::new(&one.stream, PollFlags::IN)).collect();
        if !matches!(poll(&mut waiting, Some(&socket::timespec(at_most))), Ok(count) if count > 0) {
            return Vec::new();
        }
        let ready = alive().zip(&waiting).filter(|(_, fd)| !fd.revents().is_empty());
        ready.map(|((place, _), _)| place).collect()
    }

    fn receive(&mut self, place: usize, buffer: &mut [u8]) {
        let Self { all, gap, report, .. } = self;
        let Some(one) = all.get_mut(place) else { return };
        match one.stream.read(buffer) {
            Ok(0) => fail(one, report, "closed"),
            Ok(_) => {
                let now = clock::now();
                note(report, place, one.last, now, *gap);
                (one.last, report.received) = (now, report.received + 1);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => fail(one, report, &error.to_string()),
        }
    }

    fn finish(mut self) -> Pulse {
        let now = clock::now();
        for (place, one) in self.all.iter().enumerate() {
            note(&mut self.report, place, one.last, now, self.gap);
        }
        self.report
    }
}

fn note(report: &mut Pulse, place: usize, last: u64, now: u64, gap: u64) {
    if last > 0 && now.saturating_sub(last) >= gap && report.gaps.len() < LISTED {
        report.gaps.push((u32::try_from(place).unwrap_or(u32::MAX), last, now));
    }
}

fn fail(one: &mut One, report: &mut Pulse, error: &str) {
    one.broken = true;
    report.broken += 1;
    report.error = Some(error.to_owned());
}
