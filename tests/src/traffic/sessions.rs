//! `sessions-make`, `sessions-watch` and `sessions-hear`: sessions that are written straight into a
//! node's connection tracking, and whether another node has them.
//!
//! A session is named by its number: established TCP without translation, from an address of the
//! LAN to one of the server's outside net, each number with tuples of its own. So two nodes can be
//! compared session by session. What any node has besides is left alone. Not here: who copies
//! sessions from one node to another.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::topology::OUTSIDE_V4;
use crate::traffic::limit::Limit;
use crate::traffic::report::{Heard, Made, Watched};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
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

const TCP: u8 = 6;
const ESTABLISHED: u8 = 3;
/// `IP_CT_TCP_FLAG_SACK_PERM`.
const SACK_PERM: u8 = 0x02;
/// Seconds that a session has left: no run takes so long.
const TIMEOUT: u32 = 3600;
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
    /// Report when each was written, for up to 100,000
    #[arg(long)]
    pub stamps: bool,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60.0)]
    pub limit: f64,
}

/// Options of `sessions-watch`.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchOptions {
    /// Which ones
    #[command(flatten)]
    pub which: Which,
    /// End when nothing has come for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub idle: f64,
    /// End after so many seconds at the latest; 0 looks once
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60.0)]
    pub limit: f64,
}

/// Options of `sessions-hear`.
#[derive(Clone, Debug, clap::Args)]
pub struct HearOptions {
    /// Which ones
    #[command(flatten)]
    pub which: Which,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60.0)]
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
    let Which { first, count } = options.which;
    let end = first.saturating_add(count).min(MOST);
    let mut made = Made { begun_ns: clock::now(), ..Made::default() };
    let mut outcomes = Vec::new();
    let mut next = first;
    while next < end && limit.sleep_until(due(made.begun_ns, next - first, options.rate)) {
        let to = next.saturating_add(options.batch).min(end);
        let entries: Vec<Entry> = (next..to).map(|number| entry(number, options.mark)).collect();
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
            let missing = missing(&mut conntrack, options.which)?;
            if missing == 0 || over {
                let present = u64::from(wanted).saturating_sub(missing);
                return Ok(Watched { present, missing, last_ns: progress });
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
    let Which { first, count } = options.which;
    let wanted = usize::try_from(count).unwrap_or(usize::MAX).min(STAMPED);
    let mut heard = Heard { stamps_ns: vec![0; wanted], ..Heard::default() };
    let mut left = wanted;
    while left > 0 && !limit.is_over() {
        sys::poll_readable(sys::borrow(&listener), limit.slice()).attempt(failed)?;
        let read = listener.read(|event| {
            let Event::Session { entry, .. } = event else { return };
            let place = number(&entry.original).and_then(|number| number.checked_sub(first));
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

/// How many of them this node doesn't have.
fn missing(conntrack: &mut Conntrack, which: Which) -> Result<u64, Error> {
    let count = usize::try_from(which.count).unwrap_or(usize::MAX);
    let mut seen = vec![false; count];
    let dumped = conntrack.entries(Select::default(), |entry| {
        let place = number(&entry.original).and_then(|number| number.checked_sub(which.first));
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(seen) = place.and_then(|place| seen.get_mut(place)) {
            *seen = true;
        }
    });
    dumped.map_err(io::Error::other).attempt(|| "list sessions".to_owned())?;
    Ok(seen.iter().filter(|seen| !**seen).count() as u64)
}

/// The session of this number.
fn entry(number: u32, mark: u32) -> Entry {
    let original = tuple(number);
    let end = TcpEnd { scale: 7, flags: TcpEnd::WINDOW_SCALE | SACK_PERM };
    Entry {
        reply: Some(original.inverse()),
        status: Some(Status(Status::SEEN_REPLY.0 | Status::ASSURED.0)),
        proto: Some(ProtoInfo::Tcp(TcpInfo { state: ESTABLISHED, ends: Some([end; 2]) })),
        timeout: Some(TIMEOUT),
        mark: Some(mark),
        ..Entry::new(original, 0)
    }
}

/// Numbers that follow each other have tuples that don't: no format shall gain by their order.
fn tuple(number: u32) -> Tuple {
    let place = number.wrapping_mul(SCATTER) % MOST;
    let [a, b, c] = SOURCES;
    let source = u8::try_from(place / EACH).unwrap_or(u8::MAX);
    let port = u16::try_from(place % EACH).unwrap_or(0).saturating_add(FIRST_PORT);
    let [.., high, low] = place.wrapping_mul(SCATTER).to_be_bytes();
    let to = TO_PORTS.get(usize::from(high) % TO_PORTS.len()).copied().unwrap_or(0);
    let [d, e, f, _] = OUTSIDE_V4.octets();
    Tuple {
        src: IpAddr::V4(Ipv4Addr::new(a, b, c, source)),
        dst: IpAddr::V4(Ipv4Addr::new(d, e, f, low)),
        protocol: TCP,
        layer4: Layer4::Ports { src: port, dst: to },
        zone: None,
    }
}

/// The number of a session, if it is one of these.
fn number(original: &Tuple) -> Option<u32> {
    let (IpAddr::V4(source), Layer4::Ports { src, .. }) = (original.src, original.layer4) else {
        return None;
    };
    let [.., last] = source.octets();
    let port = u32::from(src.checked_sub(FIRST_PORT)?);
    let place = u32::from(last).checked_mul(EACH)?.checked_add(port)?;
    let number = place.wrapping_mul(GATHER) % MOST;
    (port < EACH && tuple(number) == *original).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_number() {
        for wanted in [0, 1, EACH - 1, EACH, 1_000_000, MOST - 1] {
            assert_eq!(number(&tuple(wanted)), Some(wanted));
        }
        let other = Tuple { protocol: 17, ..tuple(7) };
        assert_eq!(number(&other), None);
        assert_eq!(number(&tuple(7).inverse()), None);
    }

    #[test]
    fn no_two_numbers_have_the_same_session() {
        let mut seen = std::collections::HashSet::new();
        assert!((0..200_000).all(|number| seen.insert(tuple(number))));
    }

    #[test]
    fn sessions_are_due_at_their_rate() {
        assert_eq!(due(5, 1_000_000, 0.0), 5);
        assert_eq!(due(5, 20_000, 20_000.0), 1_000_000_005);
    }
}
