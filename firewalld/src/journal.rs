//! The session log: a line for each new session whose rule says `log`.
//!
//! Workers must not wait for a log, so lines go through a bounded queue; what doesn't fit, or goes
//! beyond the rate, is counted and left out, and a line says how much was. These lines name users'
//! addresses, at level INFO, because the operator asked for them rule by rule.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use twinwall_policy::flow::{Tuple, protocol};
use twinwall_policy::ruleset::Action;

/// Lines that may wait: at 1,000 lines a second some seconds' worth, 1 MB.
const WAITING: usize = 8_192;

/// The start of one session.
#[derive(Clone, Debug)]
pub struct Line {
    /// Rule that decided.
    pub rule: Arc<str>,
    /// What it does.
    pub action: Action,
    /// Ingress zone.
    pub from: Arc<str>,
    /// Egress zone.
    pub to: Arc<str>,
    /// Addresses and ports.
    pub tuple: Tuple,
}

/// The workers' end.
#[derive(Clone, Debug)]
pub struct Journal {
    lines: SyncSender<Line>,
    left_out: Arc<AtomicU64>,
}

impl Journal {
    /// Starts the thread that writes. It ends when the last clone of the journal is gone; it holds
    /// nothing that could be lost but lines.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(rate: u32) -> std::io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        let journal = Self { lines, left_out: Arc::clone(&left_out) };
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write(&waiting, &left_out, rate))?;
        Ok(journal)
    }

    /// Hands in a line, or counts it when there is no room.
    pub fn log(&self, line: Line) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(waiting: &Receiver<Line>, left_out: &AtomicU64, rate: u32) {
    const SECOND: Duration = Duration::from_secs(1);
    let mut second = Instant::now();
    let mut written = 0;
    loop {
        let line = waiting.recv_timeout(SECOND);
        if second.elapsed() >= SECOND {
            second = Instant::now();
            written = 0;
            let missing = left_out.swap(0, Ordering::Relaxed);
            if missing > 0 {
                tracing::warn!(target: "session", missing, "session log: lines left out");
            }
        }
        match line {
            Ok(line) if written < rate => {
                written += 1;
                tracing::info!(target: "session", "{line}");
            }
            Ok(_) => {
                left_out.fetch_add(1, Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, action, from, to, tuple } = self;
        let action = match action {
            Action::Accept => "accept",
            Action::Drop => "drop",
            Action::Reject => "reject",
        };
        write!(f, "rule={rule} action={action} from={from} to={to} src={}", tuple.src)?;
        write!(f, " dst={} proto={}", tuple.dst, protocol_name(tuple.protocol))?;
        match tuple.protocol {
            protocol::ICMP | protocol::ICMPV6 => {
                write!(f, " type={} code={}", tuple.src_port, tuple.dst_port)
            }
            _ if tuple.src_port == 0 && tuple.dst_port == 0 => Ok(()),
            _ => write!(f, " sport={} dport={}", tuple.src_port, tuple.dst_port),
        }
    }
}

/// The name that operators know a protocol by, or its number.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    match number {
        protocol::ICMP => "icmp".into(),
        protocol::TCP => "tcp".into(),
        protocol::UDP => "udp".into(),
        protocol::DCCP => "dccp".into(),
        protocol::ICMPV6 => "icmpv6".into(),
        protocol::SCTP => "sctp".into(),
        protocol::UDPLITE => "udplite".into(),
        47 => "gre".into(),
        50 => "esp".into(),
        51 => "ah".into(),
        other => other.to_string(),
    }
}
