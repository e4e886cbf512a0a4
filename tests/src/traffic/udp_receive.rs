//! `udp-recv` and `udp-echo`: counts numbered datagrams, or sends them back.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::traffic::address::Listen;
use crate::traffic::limit::{self, Limit, TICK};
use crate::traffic::packet::{LONGEST, STOP};
use crate::traffic::reception::Reception;
use crate::traffic::report;
use crate::traffic::socket::{self, timespec};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Datagrams that are taken from one socket before the next has its turn.
const TURN: usize = 256;

/// Sources that `udp-echo` tells apart.
const SOURCES: usize = 65_536;

/// Options of `udp-recv`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT[-PORT]")]
    pub listen: Listen,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
    /// End when so many distinct datagrams have come
    #[arg(long)]
    pub count: Option<u64>,
    /// End when nothing has come for so many seconds, after the first datagram
    #[arg(long, value_name = "SECONDS")]
    pub idle: Option<f64>,
    /// First send one datagram from each port to this address, as a client of udp-push does
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub hello: Option<SocketAddr>,
    /// In the end tell the address of --hello to stop
    #[arg(long, requires = "hello")]
    pub stop: bool,
}

/// Options of `udp-echo`.
#[derive(Clone, Debug, clap::Args)]
pub struct EchoOptions {
    /// Where to listen; not a wildcard, or the answer may come from another address
    #[arg(long, value_name = "ADDRESS:PORT[-PORT]")]
    pub listen: Listen,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
    /// End when so many datagrams have come
    #[arg(long)]
    pub count: Option<u64>,
}

/// Receives and counts.
///
/// # Errors
/// When a socket can't be had or breaks.
pub fn run(options: &Options) -> Result<report::Reception, Error> {
    let limit = Limit::seconds(options.limit)?;
    let sockets = open(options.listen)?;
    let tell = |word: &[u8]| {
        for (socket, to) in sockets.iter().zip(options.hello.into_iter().cycle()) {
            // Whoever waits for this notices that it doesn't come.
            let _ = socket.send_to(word, to);
        }
    };
    eprintln!("ready");
    tell(b"hello");
    let goal = Goal::new(options.count, options.idle.map(seconds));
    let mut reception = Reception::default();
    receive(&sockets, &limit, &goal, &mut reception).attempt(|| "receive".to_owned())?;
    if options.stop {
        tell(STOP);
    }
    Ok(reception.report(sockets.iter().map(socket::overrun).sum()))
}

/// Receives and sends back.
///
/// # Errors
/// When a socket can't be had or breaks.
pub fn echo(options: &EchoOptions) -> Result<report::UdpEcho, Error> {
    let limit = Limit::seconds(options.limit)?;
    let sockets = open(options.listen)?;
    let mut report = report::UdpEcho::default();
    let mut sources = HashSet::new();
    eprintln!("ready");
    let wanted = options.count.unwrap_or(u64::MAX);
    each_datagram(&sockets, &limit, |socket, arrival| {
        let Arrival::Datagram(source, datagram) = arrival else { return false };
        report.datagrams += 1;
        report.returned += u64::from(send_back(socket, source, datagram, &limit));
        if sources.len() < SOURCES {
            sources.insert(source);
        }
        report.datagrams >= wanted
    })
    .attempt(|| "receive".to_owned())?;
    report.sources = sources.len();
    report.overrun = sockets.iter().map(socket::overrun).sum();
    Ok(report)
}

/// Sends one datagram, and waits for room in the send buffer if there is none.
fn send_back(socket: &UdpSocket, to: SocketAddr, datagram: &[u8], limit: &Limit) -> bool {
    while !limit.is_over() {
        match socket.send_to(datagram, to) {
            Ok(_) => return true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket::wait_for_room(socket, limit.slice().min(TICK));
            }
            Err(_) => return false,
        }
    }
    false
}

/// When enough has been received. Shared between sender and receiver, so that the sender can say
/// how much that is once it is done.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    /// Distinct datagrams and errors.
    count: Arc<AtomicU64>,
    /// A reading of the clock after which nothing more is waited for.
    until: Arc<AtomicU64>,
    idle: Option<Duration>,
}

impl Goal {
    pub(crate) fn new(count: Option<u64>, idle: Option<Duration>) -> Self {
        Self {
            count: Arc::new(AtomicU64::new(count.unwrap_or(u64::MAX))),
            until: Arc::new(AtomicU64::new(u64::MAX)),
            idle,
        }
    }

    /// A goal that its second half sets later.
    pub(crate) fn later() -> (Self, Self) {
        let goal = Self::new(None, None);
        (goal.clone(), goal)
    }

    /// From now on wait for so many datagrams, but no longer than so many seconds.
    pub(crate) fn set(&self, count: u64, linger: f64) {
        self.count.store(count, Ordering::Relaxed);
        let wait = u64::try_from(seconds(linger).as_nanos()).unwrap_or(u64::MAX);
        self.until.store(clock::now().saturating_add(wait), Ordering::Relaxed);
    }

    fn is_reached(&self, reception: &Reception, errors: u64, now: u64) -> bool {
        let since = clock::between(reception.last(), now);
        reception.received() + errors >= self.count.load(Ordering::Relaxed)
            || now >= self.until.load(Ordering::Relaxed)
            || self.idle.is_some_and(|idle| reception.received() > 0 && since >= idle)
    }
}

/// Receives until the goal or the limit. Returns the errors that the sockets reported, by kind.
pub(crate) fn receive(
    sockets: &[UdpSocket],
    limit: &Limit,
    goal: &Goal,
    reception: &mut Reception,
) -> io::Result<BTreeMap<String, u64>> {
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    each_datagram(sockets, limit, |socket, arrival| {
        let now = clock::now();
        match arrival {
            Arrival::Datagram(source, datagram) => {
                let port = socket.local_addr().map_or(0, |local| local.port());
                reception.add(source, port, datagram, now);
            }
            Arrival::Error(error) => *errors.entry(socket::kind(&error)).or_default() += 1,
            Arrival::Nothing => {}
        }
        goal.is_reached(reception, errors.values().sum(), now)
    })?;
    Ok(errors)
}

fn open(listen: Listen) -> Result<Vec<UdpSocket>, Error> {
    listen.sockets().map(socket::udp).collect()
}

enum Arrival<'a> {
    Datagram(SocketAddr, &'a [u8]),
    Error(io::Error),
    /// Nothing for a while.
    Nothing,
}

/// Calls `take` for each datagram, and regularly without one, until it returns `true` or the limit
/// is over.
fn each_datagram(
    sockets: &[UdpSocket],
    limit: &Limit,
    mut take: impl FnMut(&UdpSocket, Arrival<'_>) -> bool,
) -> io::Result<()> {
    let Some(any) = sockets.first() else { return Ok(()) };
    let ready = epoll::create(CreateFlags::CLOEXEC)?;
    for (socket, index) in sockets.iter().zip(0..) {
        epoll::add(&ready, socket, EventData::new_u64(index), EventFlags::IN)?;
    }
    let mut events = Vec::with_capacity(64);
    let mut buffer = vec![0; LONGEST + 1];
    while !limit.is_over() {
        let wait = timespec(limit.slice().min(TICK));
        match epoll::wait(&ready, spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if events.is_empty() && take(any, Arrival::Nothing) {
            return Ok(());
        }
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(socket) = sockets.get(index) else { continue };
            for _ in 0..TURN {
                let arrival = match socket.recv_from(&mut buffer) {
                    Ok((length, source)) => {
                        Arrival::Datagram(source, buffer.get(..length).unwrap_or_default())
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Arrival::Error(error),
                };
                if take(socket, arrival) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
