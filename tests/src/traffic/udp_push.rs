//! `udp-push`: a server that goes on sending to whoever sent it one datagram, so that a session has
//! traffic in the reply direction only.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::traffic::limit::{self, Limit, TICK};
use crate::traffic::packet::{HEADER, Header, LONGEST, STOP};
use crate::traffic::report::{self, PushedStream};
use crate::traffic::socket;
use crate::traffic::udp_send::Pace;
use rustix::thread::set_current_timer_slack;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::thread;

/// Clients that are served at once; others are ignored.
const CLIENTS: usize = 1_024;

/// Options of `udp-push`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen; not a wildcard, or the stream may come from another address
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Datagrams per second to each client
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// How many datagrams to each client; the tool ends when all clients have theirs
    #[arg(long)]
    pub count: Option<u64>,
    /// UDP payload in bytes, 24 to 65507
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Serves.
///
/// # Errors
/// When the socket can't be had or breaks.
pub fn run(options: &Options) -> Result<report::UdpPush, Error> {
    let limit = Limit::seconds(options.limit)?;
    let socket = socket::udp(options.listen)?;
    let count = options.count.unwrap_or(u64::MAX);
    let mut datagram = vec![0; options.size.clamp(HEADER, LONGEST)];
    let mut streams: Vec<Stream> = Vec::new();
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    eprintln!("ready");
    while !limit.is_over() {
        hear(&socket, &mut streams, options.rate).attempt(|| "receive".to_owned())?;
        let now = clock::now();
        for stream in streams.iter_mut().filter(|stream| !stream.is_done(count)) {
            stream.send_due(&socket, &mut datagram, now);
        }
        let running = || streams.iter().filter(|stream| !stream.is_done(count));
        if !streams.is_empty() && running().next().is_none() {
            break;
        }
        let next = running().map(|stream| stream.pace.due()).min().unwrap_or(u64::MAX);
        thread::sleep(clock::between(clock::now(), next).min(TICK / 10));
    }
    Ok(report::UdpPush { streams: streams.into_iter().map(|stream| stream.report).collect() })
}

struct Stream {
    report: PushedStream,
    pace: Pace,
}

impl Stream {
    fn new(to: SocketAddr, rate: f64) -> Self {
        let report =
            PushedStream { to, sent: 0, unsent: 0, first_ns: 0, last_ns: 0, stopped: false };
        Self { report, pace: Pace::new(rate.max(0.1)) }
    }

    const fn is_done(&self, count: u64) -> bool {
        self.report.stopped || self.report.sent >= count
    }

    /// Sends one datagram if it is due.
    fn send_due(&mut self, socket: &UdpSocket, datagram: &mut [u8], now: u64) {
        if self.pace.due() > now {
            return;
        }
        self.pace.count(now);
        let header = Header { flow: 0, number: self.report.sent, sent: now };
        if let Some(start) = datagram.first_chunk_mut() {
            *start = header.encode();
        }
        if socket.send_to(datagram, self.report.to).is_ok() {
            self.report.sent += 1;
            self.report.last_ns = now;
            if self.report.first_ns == 0 {
                self.report.first_ns = now;
            }
        } else {
            self.report.unsent += 1;
        }
    }
}

/// Takes in all datagrams that wait: new clients, and those that have had enough.
fn hear(socket: &UdpSocket, streams: &mut Vec<Stream>, rate: f64) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        let (length, source) = match socket.recv_from(&mut buffer) {
            Ok(arrived) => arrived,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let stop = buffer.get(..length) == Some(STOP);
        let known = streams.iter_mut().find(|stream| stream.report.to == source);
        if let Some(stream) = known {
            stream.report.stopped |= stop;
        } else if !stop && streams.len() < CLIENTS {
            streams.push(Stream::new(source, rate));
        }
    }
}
