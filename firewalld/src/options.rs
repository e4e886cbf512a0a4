//! The command line of `twinwalld`.

use clap::Parser;
use std::path::PathBuf;
use twinwall_netlink::dataplane::Marks;
use twinwall_netlink::dataplane::marks;

/// Classifies new sessions by a policy and lets the kernel decide and count the rest.
#[derive(Clone, Debug, Parser)]
#[command(name = "twinwalld", version, about, max_term_width = 100)]
pub struct Options {
    /// Policy file, or a directory whose *.yaml files add up; read at start and on SIGHUP
    #[arg(long, value_name = "PATH", default_value = "/etc/twinwall/policy.yaml")]
    pub policy: PathBuf,

    /// The daemon's own settings: virtual routers; read at start and on SIGHUP. The default file
    /// need not be there
    #[arg(long, value_name = "PATH", default_value = crate::config::DEFAULT_PATH)]
    pub config: PathBuf,

    /// Remove addresses and interfaces that a daemon which died has left behind, and end
    #[arg(long)]
    pub release: bool,

    /// Where the running policy and its session keys are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/twinwall")]
    pub state_dir: PathBuf,

    /// Control socket for twinwall
    #[arg(long, value_name = "PATH", default_value = twinwall_control::DEFAULT_SOCKET)]
    pub socket: PathBuf,

    /// First NFQUEUE number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first_queue: u16,

    /// NFQUEUE workers, one queue each [default: processors, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,

    /// Bits of connmark and packet mark for session keys: a run of 12 to 28 of the lowest bits
    #[arg(long, value_name = "MASK", default_value = "0x00ffffff", value_parser = hex)]
    pub mark_mask: u32,

    /// Four more bits of the packet mark, for the way to the daemon and back
    #[arg(long, value_name = "MASK", default_value = "0xf0000000", value_parser = hex)]
    pub control_bits: u32,

    /// Lines of the session log a second; more are counted and left out
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub log_rate: u32,
}

impl Options {
    /// The owned bits.
    ///
    /// # Errors
    /// When the two masks can't be used.
    pub fn marks(&self) -> Result<Marks, marks::Error> {
        Marks::new(self.mark_mask, self.control_bits)
    }

    /// How many workers: as asked, or one for each processor up to four.
    #[must_use]
    pub fn worker_count(&self) -> u16 {
        const AT_MOST: usize = 4;
        self.workers.unwrap_or_else(|| {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            processors.min(AT_MOST) as u16
        })
    }
}

fn hex(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").ok_or("write it in hexadecimal, as 0x00ffffff")?;
    u32::from_str_radix(digits, 16).map_err(|error| error.to_string())
}
