//! What the tools report. Times are readings of [`crate::clock::now`] in nanoseconds.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How many flows or connections a report lists; totals count all.
pub const LISTED: usize = 1_000;

/// What `udp-send` and `burst` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UdpSend {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams that it would not take, even when tried again.
    pub unsent: u64,
    /// Distinct source ports.
    pub flows: u32,
    /// When the first was sent.
    pub first_ns: u64,
    /// When the last was sent.
    pub last_ns: u64,
    /// Datagrams per second from the first to the last.
    pub rate_pps: f64,
    /// Milliseconds that the schedule was put off because the machine was too busy to keep it.
    pub put_off_ms: f64,
    /// Errors that the sockets reported, by kind. `refused` and `host-unreachable` come from ICMP;
    /// the kernel merges those of one socket that come faster than they are read.
    pub errors: BTreeMap<String, u64>,
    /// The source of each flow, in order; at most [`LISTED`].
    pub sources: Vec<SocketAddr>,
    /// What came back, where that was asked for.
    pub replies: Option<Reception>,
}

/// What was received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reception {
    /// Numbered datagrams, repeated ones included.
    pub datagrams: u64,
    /// Distinct ones.
    pub received: u64,
    /// Numbers missing below the highest of each flow.
    pub lost: u64,
    /// Numbers seen again.
    pub duplicated: u64,
    /// Datagrams with a number below one that came before.
    pub reordered: u64,
    /// Datagrams that are not numbered.
    pub foreign: u64,
    /// Datagrams that arrived here but found the socket's buffer full. They are part of `lost`,
    /// unless they were the last.
    pub overrun: u64,
    /// UDP payload in bytes.
    pub bytes: u64,
    /// When the first came; 0 if none did.
    pub first_ns: u64,
    /// When the last came; 0 if none did.
    pub last_ns: u64,
    /// When the youngest of those that came was sent. Later ones were all lost.
    pub last_sent_ns: u64,
    /// The longest time between two datagrams.
    pub longest_gap_ms: f64,
    /// When it ended.
    pub longest_gap_end_ns: u64,
    /// Distinct flows.
    pub flows_total: usize,
    /// The flows, by source; at most [`LISTED`].
    pub flows: Vec<Flow>,
}

/// One flow of a [`Reception`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Where it comes from, as seen here.
    pub source: SocketAddr,
    /// The local port.
    pub port: u16,
    /// The sender's number for it.
    pub flow: u32,
    /// Distinct datagrams.
    pub received: u64,
    /// Numbers missing below the highest.
    pub lost: u64,
    /// Numbers seen again.
    pub duplicated: u64,
    /// Datagrams with a number below one that came before.
    pub reordered: u64,
    /// The highest number; numbers begin with 0.
    pub highest: u64,
    /// When the first came.
    pub first_ns: u64,
    /// When the last came.
    pub last_ns: u64,
    /// When the youngest of those that came was sent.
    pub last_sent_ns: u64,
    /// The longest time between two datagrams.
    pub longest_gap_ms: f64,
    /// When it ended.
    pub longest_gap_end_ns: u64,
    /// The longest time from sender to receiver.
    pub longest_delay_ms: f64,
}

/// What `udp-echo` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpEcho {
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams sent back.
    pub returned: u64,
    /// Datagrams that found the socket's buffer full.
    pub overrun: u64,
    /// Distinct sources, up to 65,536.
    pub sources: usize,
}

/// What `udp-push` did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UdpPush {
    /// One for each client that asked.
    pub streams: Vec<PushedStream>,
}

/// One stream of `udp-push`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PushedStream {
    /// The client.
    pub to: SocketAddr,
    /// Datagrams sent, numbered from 0.
    pub sent: u64,
    /// Datagrams that the kernel would not take.
    pub unsent: u64,
    /// When the first was sent; 0 if none was.
    pub first_ns: u64,
    /// When the last was sent; 0 if none was.
    pub last_ns: u64,
    /// Whether the client ended it.
    pub stopped: bool,
}

/// What one side of a `stream` did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Datagrams that the kernel took, numbered from 0 together with those in `unsent`.
    pub sent: u64,
    /// Numbers that it would not take.
    pub unsent: Vec<u64>,
    /// The time between two datagrams on schedule.
    pub interval_ns: u64,
    /// When the first was sent; 0 if none was.
    pub first_ns: u64,
    /// When the last was sent; 0 if none was.
    pub last_ns: u64,
    /// Milliseconds that the schedule was put off because the machine was too busy to keep it.
    pub put_off_ms: f64,
    /// Datagrams that arrived here but found the socket's buffer full.
    pub overrun: u64,
    /// What came, in order: the number, when it was sent, when it came.
    pub arrivals: Vec<(u64, u64, u64)>,
}

/// What `solicit` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solicit {
    /// How often it has made the kernel ask for each address.
    pub rounds: u64,
}

/// How a TCP connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did what it was to do.
    Completed,
    /// The other side closed it too early.
    Closed,
    /// It was reset.
    Reset,
    /// The connection was refused: by a reset, or by an ICMP error that says so.
    Refused,
    /// An ICMP error, or no route.
    Unreachable,
    /// No answer to the attempt to connect, or the kernel gave up.
    TimedOut,
    /// It was up but did not get done before the tool's time was over.
    Stalled,
    /// Something else; `error` says what.
    Failed,
}

/// One TCP connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// This side; `null` if it never came so far.
    pub local: Option<SocketAddr>,
    /// The other side, as seen from here.
    pub peer: SocketAddr,
    /// How it ended.
    pub outcome: Outcome,
    /// The cause, if it did not complete.
    pub error: Option<String>,
    /// Milliseconds until it was up; for a server 0.
    pub connect_ms: f64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes received that are not the ones that were sent.
    pub corrupt: u64,
    /// The longest time without progress, while there was something to do. Where this side only
    /// receives, the sender's own pauses are part of it.
    pub longest_stall_ms: f64,
    /// When that ended.
    pub longest_stall_end_ns: u64,
    /// Stalls that were asked for: when each ended, and how many nanoseconds it took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<(u64, u64)>,
    /// When the connection ended.
    pub ended_ns: u64,
}

/// What `tcp-connect` and `tcp-serve` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tcp {
    /// Connections tried or accepted.
    pub connections: usize,
    /// How many ended in which way.
    pub outcomes: BTreeMap<Outcome, usize>,
    /// Milliseconds until a connection was up: the median of those that were.
    pub connect_ms_median: f64,
    /// The longest of them.
    pub connect_ms_longest: f64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes received that are not the ones that were sent.
    pub corrupt: u64,
    /// The longest stall of any connection.
    pub longest_stall_ms: f64,
    /// The connections; at most [`LISTED`].
    pub list: Vec<Connection>,
}

impl Tcp {
    /// How many connections ended in this way.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// Sums up.
    #[must_use]
    pub fn of(mut connections: Vec<Connection>) -> Self {
        let mut outcomes = BTreeMap::new();
        for connection in &connections {
            *outcomes.entry(connection.outcome).or_default() += 1;
        }
        let mut times: Vec<_> =
            connections.iter().map(|c| c.connect_ms).filter(|&ms| ms > 0.0).collect();
        times.sort_by(f64::total_cmp);
        let total = |field: fn(&Connection) -> u64| connections.iter().map(field).sum();
        Self {
            connections: connections.len(),
            outcomes,
            connect_ms_median: times.get(times.len() / 2).copied().unwrap_or(0.0),
            connect_ms_longest: times.last().copied().unwrap_or(0.0),
            sent: total(|c| c.sent),
            received: total(|c| c.received),
            corrupt: total(|c| c.corrupt),
            longest_stall_ms: connections.iter().map(|c| c.longest_stall_ms).fold(0.0, f64::max),
            list: {
                connections.truncate(LISTED);
                connections
            },
        }
    }
}

/// What one side of a `tcp-steady` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpSteady {
    /// Milliseconds between two chunks in each direction of a connection.
    pub interval_ms: u64,
    /// Bytes of a chunk.
    pub chunk: u32,
    /// Milliseconds of a slot of the time line.
    pub slot_ms: u64,
    /// When the first slot begins; slots begin at multiples of their length, so that the time
    /// lines of several processes can be added up. 0 if nothing came.
    pub first_slot_ns: u64,
    /// Bytes that came, of all connections, slot by slot.
    pub received: Vec<u64>,
    /// The connections, by their flow.
    pub list: Vec<Steady>,
}

/// One connection of a `tcp-steady`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    /// Its number among those that the other side opened, from 0; the same on both sides. `null`
    /// when nothing came.
    pub flow: Option<u32>,
    /// Whether this side accepted it.
    pub accepted: bool,
    /// This side; `null` if it never came so far.
    pub local: Option<SocketAddr>,
    /// The other side, as seen from here.
    pub peer: SocketAddr,
    /// How it ended.
    pub outcome: Outcome,
    /// The cause, if it did not complete.
    pub error: Option<String>,
    /// Bytes that the kernel took.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
    /// Bytes that came and are not the ones that were sent.
    pub corrupt: u64,
    /// Milliseconds that its schedule was put off because the machine was too busy to keep it.
    pub put_off_ms: f64,
    /// When the youngest chunk that came was sent.
    pub last_sent_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
    /// Chunks that were under way for long: when each was sent and when it came. Those that were
    /// sent during a delay in the list came no earlier for the same cause and are not listed.
    pub delays: Vec<(u64, u64)>,
}

/// What `ftp-serve` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FtpServe {
    /// Control connections.
    pub sessions: usize,
    /// Files sent whole.
    pub transfers: usize,
    /// What went wrong, at most [`LISTED`].
    pub errors: Vec<String>,
}

/// What `ftp-get` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FtpGet {
    /// Whether the whole file arrived unchanged.
    pub complete: bool,
    /// The verb that set up the data connection: `PASV`, `EPSV`, `PORT` or `EPRT`.
    pub verb: String,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Bytes that are not the ones that were sent.
    pub corrupt: u64,
    /// This side of the control connection.
    pub control_local: Option<SocketAddr>,
    /// This side of the data connection.
    pub data_local: Option<SocketAddr>,
    /// The other side of the data connection, as seen from here.
    pub data_peer: Option<SocketAddr>,
    /// Why it isn't complete.
    pub error: Option<String>,
}

/// What `ftp-session` did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FtpSession {
    /// Transfers tried in passive and in active mode.
    pub tried: [u64; 2],
    /// Those that arrived whole.
    pub complete: [u64; 2],
    /// Bytes that are not the ones that were sent.
    pub corrupt: u64,
    /// Transfers that came to nothing: when they began and ended, and why. At most [`LISTED`].
    pub failed: Vec<(u64, u64, String)>,
    /// Why the control connection ended before its time.
    pub lost: Option<String>,
}

/// What `inject` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inject {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Those that it would not take, by the reason.
    pub errors: BTreeMap<String, u64>,
}

/// What `sessions-make` did. Times are readings of the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Sessions that are new.
    pub made: u64,
    /// Those that were there already, or that the kernel refused.
    pub others: u64,
    /// Just before the first.
    pub begun_ns: u64,
    /// Just after the last.
    pub ended_ns: u64,
    /// Just before the system call of each, if that was asked for.
    pub stamps_ns: Vec<u64>,
}

/// What `sessions-watch` saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Wanted sessions that are there.
    pub present: u64,
    /// Those that aren't.
    pub missing: u64,
    /// Those that have another mark, translation or state, if that was asked for.
    pub changed: u64,
    /// A few of either.
    pub examples: Vec<String>,
    /// When the number of sessions rose last, as a reading of the clock.
    pub last_ns: u64,
}

/// What `sessions-hear` heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// When each session was heard of first, as a reading of the clock; 0 if it wasn't.
    pub stamps_ns: Vec<u64>,
    /// How often notifications were lost.
    pub overruns: u64,
}

/// What one side of `pulse` received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Connections that were up.
    pub connections: u32,
    /// Those that broke.
    pub broken: u32,
    /// Why the last of them did.
    pub error: Option<String>,
    /// Pulses received.
    pub received: u64,
    /// Times without a pulse that were too long, of all connections: which connection, from when to
    /// when, as readings of the clock. One that lasted to the end has its end there.
    pub gaps: Vec<(u32, u64, u64)>,
}
