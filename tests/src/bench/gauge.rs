//! What a process has used, and what has gone over the sync link, read from `/proc`.

use crate::error::{Attempt, Error};
use crate::topology::Segment;
use crate::usage;
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

/// Length of an Ethernet header.
const ETHERNET: u64 = 14;

impl Gauge {
    /// Reads it all for a process, in whose network namespace the sync link is.
    pub(super) fn read(pid: u32) -> Result<Self, Error> {
        let failed = || format!("read what process {pid} uses");
        Ok(Self {
            cpu: usage::processor_time(pid).attempt(failed)?.as_secs_f64(),
            resident: float(usage::resident(pid).attempt(failed)?),
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
