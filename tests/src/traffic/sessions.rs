//! `sessions-make`, `sessions-watch` and `sessions-hear`: sessions that are written straight into a
//! node's connection tracking, and whether another node has them.
//!
//! A session is named by its number, each number with tuples of its own, from an address of the LAN
//! to one of the server's outside net: established TCP without translation, or `--mixed`. So two
//! nodes can be compared session by session. What any node has besides is left alone. Not here: who
//! copies sessions from one node to another.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::topology::OUTSIDE_V4;
use crate::traffic::limit::{self, Limit};
use crate::traffic::report::{Heard, Made, Watched};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Event, Layer4, Listener, Outcome, ProtoInfo, Request, Select, Status, TcpEnd,
    TcpInfo, Tuple, Writer,
};
use twinwall_netlink::sys;

/// Sessions of one source address; ports go up from [`FIRST_PORT`].
const EACH: u32 = 32_768;
const FIRST_PORT: u16 = 1024;
/// Source addresses end in a number from 0 up.
const SOURCES: [u8; 3] = [10, 0, 16];
const TO_PORTS: [u16; 4] = [443, 80, 993, 22];
/// The highest count: every source address used up.
pub const MOST: u32 = EACH * 256;
/// An odd number, and the one that undoes a multiplication with it modulo 2^32.
const SCATTER: u32 = 0x9e37_79b1;
const GATHER: u32 = 0x0e8b_2f51;

/// The port that mixed ones go to.
const MIXED_TO: u16 = 443;
/// How many sessions are named in a report.
const EXAMPLES: usize = 5;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ESTABLISHED: u8 = 3;
/// `IP_CT_TCP_FLAG_SACK_PERM`.
const SACK_PERM: u8 = 0x02;
/// Room for what is heard while this program waits for its turn.
const BUFFER: usize = 64 << 20;
/// How often the table is counted.
const LOOK: Duration = Duration::from_millis(1);

/// Which sessions.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Which {
    /// Number of the first session
    #[arg(long, default_value_t = 0)]
    pub first: u32,
    /// How many sessions
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    pub count: u32,
    /// Half of them UDP, a quarter IPv6, a quarter with their source translated, all to port 443
    #[arg(long)]
    pub mixed: bool,
}

/// Options of `sessions-make`.
#[derive(Clone, Debug, clap::Args)]
pub struct MakeOptions {
    /// Which ones
    #[command(flatten)]
    pub which: Which,
    /// Sessions per second; 0 for as fast as it goes
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Sessions per system call
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// The connmark of all of them
    #[arg(long, default_value_t = 0)]
    pub mark: u32,
    /// The seconds that all of them have left
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub timeout: u32,
    /// Report when each was written, for up to 100,000
    #[arg(long)]
    pub stamps: bool,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Options of `sessions-watch`.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchOptions {
    /// Which ones
    #[command(flatten)]
    pub which: Which,
    /// Count those that have another connmark than this, another translation or another state
    #[arg(long)]
    pub mark: Option<u32>,
    /// The bits of the connmark that count
    #[arg(long, default_value_t = 0x00ff_ffff, requires = "mark")]
    pub mask: u32,
    /// End when nothing has come for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub idle: f64,
    /// End after so many seconds at the latest; 0 looks once
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Options of `sessions-hear`.
#[derive(Clone, Debug, clap::Args)]
pub struct HearOptions {
    /// Which ones
    #[command(flatten)]
    pub which: Which,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Sessions that are stamped at most.
const STAMPED: usize = 100_000;

/// Makes sessions.
///
/// # Errors
/// When the kernel can't be asked; what it refuses is counted instead.
pub fn make(options: &MakeOptions) -> Result<Made, Error> {
    let limit = Limit::seconds(options.limit)?;
    let failed = || "write sessions".to_owned();
    let mut writer = Writer::open().attempt(failed)?;
    let Which { first, count, .. } = options.which;
    let end = first.saturating_add(count).min(MOST);
    let mut made = Made { begun_ns: clock::now(), ..Made::default() };
    let mut outcomes = Vec::new();
    let mut next = first;
    while next < end && limit.sleep_until(due(made.begun_ns, next - first, options.rate)) {
        let to = next.saturating_add(options.batch).min(end);
        let entries: Vec<Entry> = (next..to).map(|number| options.entry(number)).collect();
        let requests: Vec<Request<'_>> = entries.iter().map(Request::Put).collect();
        if options.stamps && made.stamps_ns.len() < STAMPED {
            made.stamps_ns.extend(requests.iter().map(|_| clock::now()));
        }
        outcomes.clear();
        writer.write(&requests, &mut outcomes).map_err(io::Error::other).attempt(failed)?;
        let new = outcomes.iter().filter(|outcome| **outcome == Outcome::Created).count();
        made.made += new as u64;
        made.others += (outcomes.len() - new) as u64;
        next = to;
    }
    made.ended_ns = clock::now();
    Ok(made)
}

/// Waits until sessions are there, and says which aren't.
///
/// # Errors
/// When the kernel can't be asked.
pub fn watch(options: &WatchOptions) -> Result<Watched, Error> {
    let limit = Limit::seconds(options.limit)?;
    let failed = || "list sessions".to_owned();
    let mut conntrack = Conntrack::open().attempt(failed)?;
    eprintln!("ready");
    let wanted = options.which.count;
    let idle = Duration::try_from_secs_f64(options.idle).unwrap_or(Duration::MAX);
    let (mut most, mut progress) = (0, clock::now());
    loop {
        let there = conntrack.count().map_err(io::Error::other).attempt(failed)?;
        let now = clock::now();
        if there > most {
            (most, progress) = (there, now);
        }
        let over = limit.is_over() || clock::between(progress, now) > idle;
        // Only a list tells the wanted ones from others; it takes as long as a hundred counts.
        if there >= wanted || over {
            let found = Watched { last_ns: progress, ..list(&mut conntrack, options)? };
            if found.missing == 0 || over {
                return Ok(found);
            }
            thread::sleep(LOOK * 20);
        }
        thread::sleep(LOOK);
    }
}

/// Notes when each session is heard of.
///
/// # Errors
/// When the kernel can't be listened to.
pub fn hear(options: &HearOptions) -> Result<Heard, Error> {
    let limit = Limit::seconds(options.limit)?;
    let failed = || "listen to conntrack".to_owned();
    let (mut listener, _) = Listener::open(BUFFER).attempt(failed)?;
    eprintln!("ready");
    let Which { first, count, .. } = options.which;
    let wanted = usize::try_from(count).unwrap_or(usize::MAX).min(STAMPED);
    let mut heard = Heard { stamps_ns: vec![0; wanted], ..Heard::default() };
    let mut left = wanted;
    while left > 0 && !limit.is_over() {
        sys::poll_readable(sys::borrow(&listener), limit.slice()).attempt(failed)?;
        let read = listener.read(|event| {
            let Event::Session { entry, .. } = event else { return };
            let number = options.which.number(&entry.original);
            let place = number.and_then(|number| number.checked_sub(first));
            let place = place.and_then(|place| usize::try_from(place).ok());
            if let Some(stamp) = place.and_then(|place| heard.stamps_ns.get_mut(place))
                && *stamp == 0
            {
                *stamp = clock::now();
                left -= 1;
            }
        });
        heard.overruns += u64::from(read.attempt(failed)?.overrun);
    }
    Ok(heard)
}

/// When the session after so many others is due.
fn due(begun: u64, after: u32, rate: f64) -> u64 {
    if rate <= 0.0 {
        return begun;
    }
    let wait = Duration::try_from_secs_f64(f64::from(after) / rate).unwrap_or(Duration::MAX);
    begun.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
}

/// Which of them this node has, and as what.
fn list(conntrack: &mut Conntrack, options: &WatchOptions) -> Result<Watched, Error> {
    let Which { first, count, .. } = options.which;
    let mut seen = vec![false; usize::try_from(count).unwrap_or(usize::MAX)];
    let mut report = Watched::default();
    let dumped = conntrack.entries(Select::default(), |found| {
        let Some(number) = options.which.number(&found.original) else { return };
        let place = number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        let Some(seen) = place.and_then(|place| seen.get_mut(place)) else { return };
        *seen = true;
        let Some(mark) = options.mark else { return };
        let what = |entry: &Entry, mark: u32| (mark & options.mask, entry.reply, state(entry));
        let there = found.mark.unwrap_or(0);
        if what(&found, there) != what(&options.which.entry(number), mark) {
            report.changed += 1;
            let now = format!("mark {there}, state {}", state(&found));
            example(&mut report, &found.original, &now);
        }
    });
    dumped.map_err(io::Error::other).attempt(|| "list sessions".to_owned())?;
    for (number, seen) in (first..).zip(&seen) {
        if *seen {
            report.present += 1;
        } else {
            report.missing += 1;
            example(&mut report, &options.which.tuple(number), "missing");
        }
    }
    Ok(report)
}

fn state(entry: &Entry) -> u8 {
    match entry.proto {
        Some(ProtoInfo::Tcp(tcp)) => tcp.state,
        _ => 0,
    }
}

fn example(report: &mut Watched, tuple: &Tuple, what: &str) {
    if report.examples.len() < EXAMPLES {
        let Tuple { src, dst, protocol, layer4, .. } = tuple;
        report.examples.push(format!("{src} to {dst}, {layer4:?}, protocol {protocol}: {what}"));
    }
}

impl MakeOptions {
    fn entry(&self, number: u32) -> Entry {
        let (timeout, mark) = (Some(self.timeout), Some(self.mark));
        Entry { timeout, mark, ..self.which.entry(number) }
    }
}

impl Which {
    /// The session of this number, without timeout and mark.
    fn entry(self, number: u32) -> Entry {
        let original = self.tuple(number);
        let mut reply = original.inverse();
        if self.mixed && number % 4 == 1 {
            // An address that no policy translates to, so that no port is taken twice.
            if let IpAddr::V4(source) = original.src {
                reply.dst = IpAddr::V4(Ipv4Addr::new(192, 0, 0, source.octets()[3]));
            }
        }
        let end = TcpEnd { scale: 7, flags: TcpEnd::WINDOW_SCALE | SACK_PERM };
        let established = TcpInfo { state: ESTABLISHED, ends: Some([end; 2]) };
        Entry {
            reply: Some(reply),
            status: Some(Status(Status::SEEN_REPLY.0 | Status::ASSURED.0)),
            proto: (original.protocol == TCP).then_some(ProtoInfo::Tcp(established)),
            ..Entry::new(original, 0)
        }
    }

    /// Numbers that follow each other have tuples that don't: no format shall gain by their order.
    fn tuple(self, number: u32) -> Tuple {
        let place = number.wrapping_mul(SCATTER) % MOST;
        let source = u8::try_from(place / EACH).unwrap_or(u8::MAX);
        let port = u16::try_from(place % EACH).unwrap_or(0).saturating_add(FIRST_PORT);
        let [.., high, low] = place.wrapping_mul(SCATTER).to_be_bytes();
        let to = TO_PORTS.get(usize::from(high) % TO_PORTS.len()).copied().unwrap_or(0);
        let ([a, b, c], [d, e, f, _]) = (SOURCES, OUTSIDE_V4.octets());
        let v6 =
            |net, last: u8| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 1, last.into()));
        let (src, dst) = match self.mixed && number % 4 == 3 {
            true => (v6(0x10, source), v6(0x40, low)),
            false => (
                IpAddr::V4(Ipv4Addr::new(a, b, c, source)),
                IpAddr::V4(Ipv4Addr::new(d, e, f, low)),
            ),
        };
        let protocol = if self.mixed && number % 2 == 1 { UDP } else { TCP };
        let to = if self.mixed { MIXED_TO } else { to };
        Tuple { src, dst, protocol, layer4: Layer4::Ports { src: port, dst: to }, zone: None }
    }

    /// The number of a session, if it is one of these.
    fn number(self, original: &Tuple) -> Option<u32> {
        let Layer4::Ports { src, .. } = original.layer4 else { return None };
        let last = match original.src {
            IpAddr::V4(source) => source.octets()[3],
            IpAddr::V6(source) => source.octets()[15],
        };
        let port = u32::from(src.checked_sub(FIRST_PORT)?);
        let place = u32::from(last).checked_mul(EACH)?.checked_add(port)?;
        let number = place.wrapping_mul(GATHER) % MOST;
        (port < EACH && self.tuple(number) == *original).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Which; 2] = [
        Which { first: 0, count: MOST, mixed: false },
        Which { first: 0, count: MOST, mixed: true },
    ];

    #[test]
    fn a_session_is_known_by_its_number() {
        for (which, other) in [(KINDS[0], KINDS[1]), (KINDS[1], KINDS[0])] {
            for wanted in [0, 1, 2, 3, EACH - 1, EACH, 1_000_000, MOST - 1] {
                assert_eq!(which.number(&which.tuple(wanted)), Some(wanted));
            }
            assert_eq!(other.number(&which.tuple(7)), None);
            assert_eq!(which.number(&which.tuple(7).inverse()), None);
        }
    }

    #[test]
    fn no_two_of_them_share_a_tuple() {
        for which in KINDS {
            let mut seen = std::collections::HashSet::new();
            for entry in (0..200_000).map(|number| which.entry(number)) {
                assert!(seen.insert(entry.original), "{:?}", entry.original);
                assert!(seen.insert(entry.reply.unwrap()), "{:?}", entry.reply);
            }
        }
    }

    #[test]
    fn sessions_are_due_at_their_rate() {
        assert_eq!(due(5, 1_000_000, 0.0), 5);
        assert_eq!(due(5, 20_000, 20_000.0), 1_000_000_005);
    }
}
