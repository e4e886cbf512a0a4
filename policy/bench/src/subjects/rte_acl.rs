//! DPDK's rte_acl, in a process of its own that takes its turn when asked (`rte_acl/` beside this
//! crate's sources has it, in C).
//!
//! Goes in: IPv4 rules without zones, headers and their answers. Comes out: nanoseconds a lookup,
//! and how many answers were wrong. The process ends with this value, or when it takes too long.

use super::NONE;
use crate::measure::Timed;
use crate::model::{Networks, Rule};
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use tempfile::NamedTempFile;
use twinwall_policy::flow::Flow;

/// How long it may take to build. 100,000 rules take it 5 to 24 s.
const BUILD_LIMIT: Duration = Duration::from_secs(90);
/// How long a turn may take.
const TURN_LIMIT: Duration = Duration::from_secs(20);
/// Rules that it still builds tables for; with 1,000,000 it fails after minutes.
const MOST_RULES: usize = 200_000;
/// Memory that DPDK reserves, in MB; only what is used is ever touched.
const MEGABYTES: &str = "6144";

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The load has something that this program does not put to rte_acl.
    #[error("{0}")]
    Unfit(&'static str),
    /// The load could not be handed over, or the process not started.
    #[error("starting it: {0}")]
    Start(#[from] io::Error),
    /// It did not become ready.
    #[error("{0}")]
    Failed(String),
}

/// The running process.
pub struct RteAcl {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// The instructions that it uses.
    pub method: String,
    /// Milliseconds that it took to build.
    pub build_ms: f64,
    /// Wrong answers.
    pub mismatches: u64,
}

impl RteAcl {
    /// Starts `program` on a processor, and waits until it has built its tables and checked its
    /// answers.
    ///
    /// # Errors
    ///
    /// When the load isn't for it, or it could not be started, or it failed or took too long.
    pub fn start(
        program: &Path,
        rules: &[Rule],
        headers: &[Flow],
        answers: &[u32],
        cpu: usize,
    ) -> Result<Self, Error> {
        if rules.len() > MOST_RULES {
            return Err(Error::Unfit("more rules than it can build tables for"));
        }
        let mut file = NamedTempFile::new()?;
        hand_over(rules, headers, answers, &mut io::BufWriter::new(file.as_file_mut()))?;
        let mut child = Command::new(program)
            .args([file.path().as_os_str(), cpu.to_string().as_ref(), MEGABYTES.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let (sender, lines) = channel();
        // Ends with the process, which closes its standard output.
        thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|out| BufReader::new(out).lines()) {
                if line.map_or(true, |line| sender.send(line).is_err()) {
                    break;
                }
            }
        });
        let mut peer =
            Self { child, stdin, lines, method: String::new(), build_ms: 0.0, mismatches: 0 };
        let line = peer.lines.recv_timeout(BUILD_LIMIT).map_err(|error| match error {
            RecvTimeoutError::Timeout => Error::Failed(format!("no answer after {BUILD_LIMIT:?}")),
            RecvTimeoutError::Disconnected => Error::Failed("it ended by itself".to_owned()),
        })?;
        peer.ready(&line).ok_or_else(|| Error::Failed(format!("it said `{line}`")))?;
        Ok(peer)
    }

    fn ready(&mut self, line: &str) -> Option<()> {
        let mut words = line.strip_prefix("ready ")?.split(' ');
        self.method = words.next()?.to_owned();
        self.build_ms = words.next()?.parse().ok()?;
        self.mismatches = words.next()?.parse().ok()?;
        Some(())
    }
}

impl Timed for RteAcl {
    fn turn(&mut self) -> Option<f64> {
        let stdin = self.stdin.as_mut()?;
        stdin.write_all(b"\n").and_then(|()| stdin.flush()).ok()?;
        self.lines.recv_timeout(TURN_LIMIT).ok()?.parse().ok()
    }
}

impl Drop for RteAcl {
    fn drop(&mut self) {
        self.stdin = None;
        // It may be busy for minutes, and has nothing to save. Errors: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the load in the form that the program reads.
fn hand_over(
    rules: &[Rule],
    headers: &[Flow],
    answers: &[u32],
    out: &mut impl Write,
) -> Result<(), Error> {
    for rule in rules {
        let Networks::V4 { src, dst } = rule.networks else {
            return Err(Error::Unfit("rules for IPv6"));
        };
        if !rule.any_zone() {
            return Err(Error::Unfit("rules with zones"));
        }
        let (protocol, mask) = rule.protocol.map_or((0, 0), |protocol| (protocol, u8::MAX));
        writeln!(
            out,
            "R {} {} {} {} {} {} {} {} {protocol} {mask}",
            src.bits,
            src.len,
            dst.bits,
            dst.len,
            rule.src_port.low(),
            rule.src_port.high(),
            rule.dst_port.low(),
            rule.dst_port.high(),
        )?;
    }
    for (Flow { tuple, .. }, answer) in headers.iter().zip(answers) {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (tuple.src, tuple.dst) else {
            return Err(Error::Unfit("headers of IPv6"));
        };
        // 0 stands for no rule.
        let answer = if *answer == NONE { 0 } else { answer + 1 };
        let (src, dst) = (src.to_bits(), dst.to_bits());
        let (src_port, dst_port) = (tuple.src_port, tuple.dst_port);
        writeln!(out, "H {src} {dst} {src_port} {dst_port} {} {answer}", tuple.protocol)?;
    }
    out.flush()?;
    Ok(())
}
