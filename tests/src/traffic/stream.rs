//! `stream`: numbered datagrams at a steady rate in both directions of one session, with the time
//! at which each was sent and came.
//!
//! One side has `--to`, the other `--listen`; that one begins when the first datagram has come.
//! Both directions use one pair of ports, so that what lets one of them through a firewall lets
//! the other through. The report lists every arrival, so that whoever knows when something has
//! happened can say what that did to the stream ([`crate::traffic::gap`]).

use crate::clock;
use crate::error::{Attempt, Error};
use crate::traffic::limit::{self, Limit};
use crate::traffic::packet::{HEADER, Header};
use crate::traffic::reception::milliseconds;
use crate::traffic::report::Stream;
use crate::traffic::socket;
use crate::traffic::udp_send::Pace;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::set_current_timer_slack;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::time::Duration;

/// Arrivals that are listed; a stream that goes on after that is not measured.
pub const ARRIVALS: usize = 1_000_000;

/// How long a side that was told to end goes on receiving, in seconds: the other one ends a moment
/// later, and what is under way then shall not count as lost.
const LINGER: f64 = 0.3;

/// Options of `stream`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Begin a stream with this address
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "listen")]
    pub to: Option<SocketAddr>,
    /// Answer the first stream that comes to this address
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "to")]
    pub listen: Option<SocketAddr>,
    /// Datagrams per second in each direction
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Sends and receives.
///
/// # Errors
/// When the socket can't be had or breaks.
pub fn run(options: &Options) -> Result<Stream, Error> {
    let limit = Limit::seconds(options.limit)?;
    // As fine as the kernel can, so that datagrams go out one by one.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let mut side = Side::open(options)?;
    eprintln!("ready");
    side.wait_for_peer(&limit).attempt(|| "wait for a stream".to_owned())?;
    side.exchange(options.rate, &limit).attempt(|| "receive".to_owned())?;
    side.receive_for(Duration::from_secs_f64(LINGER)).attempt(|| "receive".to_owned())?;
    side.report.overrun = socket::overrun(&side.socket);
    Ok(side.report)
}

struct Side {
    socket: UdpSocket,
    connected: bool,
    report: Stream,
}

impl Side {
    fn open(options: &Options) -> Result<Self, Error> {
        let any = |to: SocketAddr| match to {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let local = options.listen.or_else(|| options.to.map(|to| SocketAddr::new(any(to), 0)));
        let local = local.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let socket = socket::udp(local)?;
        if let Some(to) = options.to {
            socket.connect(to).attempt(|| format!("connect UDP {local} to {to}"))?;
        }
        Ok(Self { socket, connected: options.to.is_some(), report: Stream::default() })
    }

    /// Waits for the first datagram and answers its sender from then on.
    fn wait_for_peer(&mut self, limit: &Limit) -> io::Result<()> {
        while !self.connected && !limit.is_over() {
            self.receive(limit.slice())?;
        }
        Ok(())
    }

    /// Sends on schedule, and receives in between.
    fn exchange(&mut self, rate: f64, limit: &Limit) -> io::Result<()> {
        let mut pace = Pace::new(rate);
        self.report.interval_ns = pace.interval();
        let mut number = 0;
        while self.connected && !limit.is_over() {
            let now = clock::now();
            let wait = clock::between(now, pace.due());
            if wait.is_zero() {
                pace.count(now);
                self.send(number);
                number += 1;
            } else {
                self.receive(wait.min(limit.slice()))?;
            }
        }
        self.report.put_off_ms = milliseconds(pace.put_off());
        Ok(())
    }

    fn receive_for(&mut self, time: Duration) -> io::Result<()> {
        let until = clock::now().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(0));
        loop {
            let left = clock::between(clock::now(), until);
            if left.is_zero() {
                return Ok(());
            }
            self.receive(left)?;
        }
    }

    fn send(&mut self, number: u64) {
        let now = clock::now();
        let mut datagram = [0; HEADER];
        datagram.copy_from_slice(&Header { flow: 0, number, sent: now }.encode());
        // An ICMP error for an earlier datagram is reported once, in place of sending.
        let sent = self.socket.send(&datagram).or_else(|_| self.socket.send(&datagram));
        if sent.is_ok() {
            self.report.sent += 1;
            self.report.last_ns = now;
            if self.report.first_ns == 0 {
                self.report.first_ns = now;
            }
        } else {
            self.report.unsent.push(number);
        }
    }

    /// Waits for so long, or until something has come, and takes that.
    fn receive(&mut self, wait: Duration) -> io::Result<()> {
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut ready, Some(&socket::timespec(wait))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 2048];
        loop {
            let (length, source) = match self.socket.recv_from(&mut buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // An interrupted call, or an ICMP error: what it is about will be missing.
                Err(_) => continue,
            };
            let now = clock::now();
            let Some(header) = buffer.get(..length).and_then(Header::decode) else { continue };
            if !self.connected {
                self.socket.connect(source)?;
                self.connected = true;
            }
            if self.report.arrivals.len() < ARRIVALS {
                self.report.arrivals.push((header.number, header.sent, now));
            }
        }
    }
}
