//! `udp-send` and `burst`: numbered datagrams at a steady rate, or back to back.
//!
//! Datagrams go out one by one at their time; if the machine is too busy for that, at most
//! [`BACKLOG`] worth of them is made up for, and the rest of the schedule is put off. So every
//! datagram is sent, and never faster than a receiver can be expected to take.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::traffic::address::Source;
use crate::traffic::limit::{self, Limit};
use crate::traffic::packet::{HEADER, Header, LONGEST};
use crate::traffic::reception::{Reception, milliseconds};
use crate::traffic::report::{self, LISTED};
use crate::traffic::socket;
use crate::traffic::udp_receive::{Goal, receive};
use rustix::thread::set_current_timer_slack;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::thread;
use std::time::Duration;

/// How much of the schedule may be made up for at once.
pub const BACKLOG: Duration = Duration::from_millis(5);

/// How often a datagram that the kernel doesn't take is tried again. An ICMP error for an earlier
/// datagram is reported in place of sending, once for each.
const ATTEMPTS: u32 = 8;

/// How long to wait for the errors of the last datagrams when nobody waits for replies, in seconds.
const LAST_ERRORS: f64 = 0.05;

/// Options of `udp-send`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to send
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: SocketAddr,
    /// Datagrams per second, over all flows; 0 sends them back to back
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// How many datagrams, over all flows
    #[arg(long, default_value_t = 1000)]
    pub count: u64,
    /// How many distinct source ports, used in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub flows: u32,
    /// UDP payload in bytes, 24 to 65507; beyond the MTU it is fragmented
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Source address, and first source port
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub from: Option<Source>,
    /// Also count what comes back
    #[arg(long)]
    pub replies: bool,
    /// How long to wait for replies after the last datagram, in seconds; ends early when there are
    /// as many replies and errors as datagrams
    #[arg(long, default_value_t = 1.0)]
    pub linger: f64,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Options of `burst`.
#[derive(Clone, Debug, clap::Args)]
pub struct BurstOptions {
    /// Where to send
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: SocketAddr,
    /// How many datagrams
    #[arg(long, default_value_t = 1000)]
    pub count: u64,
    /// UDP payload in bytes
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Source address, and source port
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub from: Option<Source>,
}

/// Sends.
///
/// # Errors
/// When a socket can't be had; what it reports while sending is counted instead.
pub fn run(options: &Options) -> Result<report::UdpSend, Error> {
    let limit = Limit::seconds(options.limit)?;
    let flows = (0..options.flows)
        .map(|flow| open(options.from, options.to, flow))
        .collect::<Result<Vec<_>, _>>()?;
    // As fine as the kernel can, so that datagrams go out one by one.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    if !options.replies {
        let mut report = send(options, &flows, &limit);
        let _ = limit.at_most(LAST_ERRORS).sleep_until(u64::MAX);
        collect_errors(&flows, &mut report.errors);
        return Ok(report);
    }
    thread::scope(|scope| {
        let listening = limit.clone();
        let flows = flows.as_slice();
        let (goal, whole) = Goal::later();
        let receiver = scope.spawn(move || {
            let mut reception = Reception::default();
            let errors = receive(flows, &listening, &goal, &mut reception)?;
            Ok((reception, errors))
        });
        let mut report = send(options, flows, &limit);
        whole.set(report.sent, options.linger);
        let (reception, errors) = receiver
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the receiver has panicked")))
            .attempt(|| "receive replies".to_owned())?;
        for (kind, count) in errors {
            *report.errors.entry(kind).or_default() += count;
        }
        report.replies = Some(reception.report(flows.iter().map(socket::overrun).sum()));
        Ok(report)
    })
}

/// Sends back to back.
///
/// # Errors
/// As [`run`].
pub fn burst(options: &BurstOptions) -> Result<report::UdpSend, Error> {
    run(&Options {
        to: options.to,
        rate: 0.0,
        count: options.count,
        flows: 1,
        size: options.size,
        from: options.from,
        replies: false,
        linger: 0.0,
        limit: 60.0,
    })
}

/// A connected socket, so that ICMP errors are reported.
fn open(from: Option<Source>, to: SocketAddr, flow: u32) -> Result<UdpSocket, Error> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let from = from.unwrap_or(Source { address: any, port: 0 });
    let local = from
        .socket(flow)
        .ok_or_else(|| io::Error::other("there is no such port"))
        .attempt(|| format!("use source port {} and {flow} more", from.port))?;
    let socket = socket::udp(local)?;
    socket.connect(to).attempt(|| format!("connect UDP {local} to {to}"))?;
    Ok(socket)
}

fn send(options: &Options, flows: &[UdpSocket], limit: &Limit) -> report::UdpSend {
    let mut datagram = vec![0; options.size.clamp(HEADER, LONGEST)];
    let mut report = report::UdpSend {
        sent: 0,
        unsent: 0,
        flows: options.flows,
        first_ns: 0,
        last_ns: 0,
        rate_pps: 0.0,
        put_off_ms: 0.0,
        errors: BTreeMap::new(),
        sources: flows.iter().take(LISTED).filter_map(|flow| flow.local_addr().ok()).collect(),
        replies: None,
    };
    let mut pace = Pace::new(options.rate);
    let mut places = flows.iter().zip(0_u32..).cycle();
    for index in 0..options.count {
        if !pace.wait(limit) {
            break;
        }
        let Some((flow, place)) = places.next() else { break };
        let now = clock::now();
        let number = index / u64::from(options.flows);
        let header = Header { flow: place, number, sent: now }.encode();
        if let Some(start) = datagram.first_chunk_mut() {
            *start = header;
        }
        if deliver(flow, &datagram, limit, &mut report.errors) {
            report.sent += 1;
            report.last_ns = now;
            if report.first_ns == 0 {
                report.first_ns = now;
            }
        } else {
            report.unsent += 1;
        }
    }
    report.put_off_ms = milliseconds(pace.put_off);
    report.rate_pps = rate(report.sent, report.last_ns - report.first_ns);
    report
}

/// Sends one datagram; counts what the socket reports instead.
fn deliver(
    socket: &UdpSocket,
    datagram: &[u8],
    limit: &Limit,
    errors: &mut BTreeMap<String, u64>,
) -> bool {
    let mut attempts = 0;
    while attempts < ATTEMPTS && !limit.is_over() {
        match socket.send(datagram) {
            Ok(_) => return true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket::wait_for_room(socket, limit.slice());
            }
            Err(error) => {
                attempts += 1;
                *errors.entry(socket::kind(&error)).or_default() += 1;
            }
        }
    }
    false
}

/// Errors that came after the last datagram of a flow.
fn collect_errors(flows: &[UdpSocket], errors: &mut BTreeMap<String, u64>) {
    for error in flows.iter().filter_map(|flow| flow.take_error().ok().flatten()) {
        *errors.entry(socket::kind(&error)).or_default() += 1;
    }
}

fn rate(sent: u64, nanoseconds: u64) -> f64 {
    let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
    let intervals = u32::try_from(sent.saturating_sub(1)).unwrap_or(u32::MAX);
    if seconds > 0.0 { f64::from(intervals) / seconds } else { 0.0 }
}

/// A schedule of datagrams at a steady rate.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Nanoseconds between two datagrams; 0 for back to back.
    interval: f64,
    /// When the schedule began, and how many datagrams of it are through.
    start: u64,
    through: f64,
    /// Nanoseconds by which it was put off in all.
    put_off: u64,
}

impl Pace {
    /// So many datagrams per second; 0 for back to back.
    pub(crate) fn new(rate: f64) -> Self {
        let interval = if rate > 0.0 { 1e9 / rate } else { 0.0 };
        Self { interval, start: clock::now(), through: 0.0, put_off: 0 }
    }

    /// Nanoseconds between two datagrams.
    pub(crate) fn interval(&self) -> u64 {
        whole(self.interval)
    }

    /// Nanoseconds by which the schedule was put off in all.
    pub(crate) const fn put_off(&self) -> u64 {
        self.put_off
    }

    /// When the next datagram is due.
    pub(crate) fn due(&self) -> u64 {
        self.start.saturating_add(whole(self.interval * self.through))
    }

    /// Counts the datagram that is due. Puts off the rest if that is long overdue.
    pub(crate) fn count(&mut self, now: u64) {
        let late = clock::between(self.due(), now);
        if self.interval > 0.0 && late > BACKLOG {
            let by = u64::try_from((late - BACKLOG).as_nanos()).unwrap_or(0);
            self.start = self.start.saturating_add(by);
            self.put_off = self.put_off.saturating_add(by);
        }
        self.through += 1.0;
    }

    /// Waits until the next datagram is due, and counts it. `false` when the limit is over.
    pub(crate) fn wait(&mut self, limit: &Limit) -> bool {
        let on_time = limit.sleep_until(self.due());
        self.count(clock::now());
        on_time
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what an absurdly low rate needs"
)]
fn whole(nanoseconds: f64) -> u64 {
    nanoseconds as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_is_kept_is_not_put_off() {
        let mut pace = Pace::new(1000.0);
        let start = pace.due();
        for _ in 0..1000 {
            pace.count(pace.due());
        }
        assert_eq!(pace.due() - start, 1_000_000_000);
        assert_eq!(pace.put_off, 0);
    }

    #[test]
    fn a_long_pause_is_made_up_for_only_in_part() {
        let mut pace = Pace::new(1000.0);
        let late = pace.due() + 1_000_000_000;
        pace.count(late);
        let owed = clock::between(pace.due(), late);
        assert!(owed <= BACKLOG, "{owed:?}");
        assert_eq!(pace.put_off, 995_000_000);
    }
}
