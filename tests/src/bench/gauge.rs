//! What a process has used, and what has gone over the sync link, read from `/proc`.

use crate::error::{Attempt, Error};
use crate::topology::Segment;
use std::fs;
use std::io;

/// A reading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauge {
    /// Processor time of all threads, also of those that have ended, the kernel's share included,
    /// in seconds.
    pub(super) cpu: f64,
    /// Memory that is there, in bytes.
    pub(super) resident: f64,
    /// Bytes sent on the sync link, with IP and UDP headers and without Ethernet's.
    pub(super) sent: f64,
}

/// Units of processor time in `/proc/PID/stat` (`USER_HZ`, the same on all architectures that
/// Debian has).
const TICKS_PER_SECOND: f64 = 100.0;

/// Length of an Ethernet header.
const ETHERNET: u64 = 14;

impl Gauge {
    /// Reads it all for a process, in whose network namespace the sync link is.
    pub(super) fn read(pid: u32) -> Result<Self, Error> {
        let failed = || format!("read what process {pid} uses");
        Ok(Self {
            cpu: cpu(pid).attempt(failed)?,
            resident: resident(pid).attempt(failed)?,
            sent: sent(pid).attempt(failed)?,
        })
    }

    /// What was used since an earlier reading.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu - earlier.cpu,
            resident: self.resident - earlier.resident,
            sent: self.sent - earlier.sent,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

/// From the process's own sum, which keeps what threads used that have ended.
fn cpu(pid: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name may hold spaces; utime and stime are the twelfth and thirteenth after it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let mut ticks = fields.skip(11).map_while(|word| word.parse::<u64>().ok());
    let (user, kernel) = ticks
        .next()
        .zip(ticks.next())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(float(user + kernel) / TICKS_PER_SECOND)
}

fn resident(pid: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| float(kilobytes * 1024)).ok_or(io::ErrorKind::InvalidData.into())
}

fn sent(pid: u32) -> io::Result<f64> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/dev"))?;
    let interface = format!("{}:", Segment::Sync.gateway_interface());
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(interface.as_str()));
    // Eight columns of what was received, then bytes and packets sent.
    let mut columns = line.unwrap_or_default().split_whitespace().skip(8);
    let mut next = || columns.next().and_then(|word| word.parse::<u64>().ok());
    let (bytes, packets) =
        next().zip(next()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(float(bytes.saturating_sub(packets * ETHERNET)))
}
