//! `solicit`: makes the kernel ask for neighbours, by ARP or neighbour solicitation, at a steady
//! rate, whatever it knows already; so that an observer can see who answers for an address.
//!
//! Each round forgets the neighbour and asks for it, through one `ip` that reads commands from a
//! pipe: the questions are the kernel's own. Needs `CAP_NET_ADMIN`. Not here: who answers.

use crate::error::{Attempt, Error};
use crate::traffic::limit::{self, Limit};
use crate::traffic::report::Solicit;
use crate::traffic::udp_send::Pace;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// Options of `solicit`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Whom to ask for
    #[arg(long, required = true)]
    pub address: Vec<IpAddr>,
    /// On which interface
    #[arg(long, default_value = "eth0")]
    pub interface: String,
    /// How often each second
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Asks.
///
/// # Errors
/// When `ip` can't be started or ends.
pub fn run(options: &Options) -> Result<Solicit, Error> {
    let limit = Limit::seconds(options.limit)?;
    let mut round = String::new();
    for address in &options.address {
        let entry = format!("{address} dev {}", options.interface);
        // Writing to a String never fails.
        let _ =
            writeln!(round, "neighbour replace {entry} nud none\nneighbour replace {entry} use");
    }
    let mut ip = Command::new("ip")
        .args(["-force", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .attempt(|| "start `ip`".to_owned())?;
    let mut pipe = ip.stdin.take();
    let mut report = Solicit::default();
    let mut pace = Pace::new(options.rate);
    eprintln!("ready");
    while pace.wait(&limit) {
        let Some(pipe) = &mut pipe else { break };
        pipe.write_all(round.as_bytes()).attempt(|| "tell `ip` what to ask for".to_owned())?;
        report.rounds += 1;
    }
    drop(pipe);
    ip.wait().attempt(|| "wait for `ip`".to_owned())?;
    Ok(report)
}
