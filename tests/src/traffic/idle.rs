//! `idle`: sessions that carry nothing, written straight into this node's connection tracking, and
//! looked for later.
//!
//! They are the same for the same count: half TCP and half UDP, a quarter IPv6, a quarter with
//! their source translated. Not here: traffic.

use crate::error::Error;
use crate::traffic::report::Idle;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Layer4, Outcome, ProtoInfo, Request, Select, Status, TcpEnd, TcpInfo, Tuple,
    Writer,
};

/// Options of `idle`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub count: u32,
    /// Their connmark
    #[arg(long)]
    pub mark: u32,
    /// The bits of the mark that count when they are looked for
    #[arg(long, default_value_t = 0x00ff_ffff)]
    pub mask: u32,
    /// Their timeout in seconds
    #[arg(long, default_value_t = 7_200)]
    pub timeout: u32,
    /// Look for them instead
    #[arg(long)]
    pub check: bool,
}

/// The port that they all go to.
pub const PORT: u16 = 443;
/// Established, of `enum tcp_conntrack`.
const ESTABLISHED: u8 = 3;
/// How many sessions are named in a report.
const EXAMPLES: usize = 5;

/// Writes them, or looks for them.
///
/// # Errors
/// When connection tracking can't be spoken to.
pub fn run(options: &Options) -> Result<Idle, Error> {
    if options.check { check(options) } else { write(options) }
}

fn write(options: &Options) -> Result<Idle, Error> {
    let failed = |source| Error::Io { attempt: "write idle sessions".to_owned(), source };
    let entries: Vec<Entry> = (0..options.count).map(|index| entry(options, index)).collect();
    let requests: Vec<_> = entries.iter().map(Request::Put).collect();
    let mut outcomes = Vec::with_capacity(requests.len());
    let mut writer = Writer::open().map_err(failed)?;
    writer.write(&requests, &mut outcomes).map_err(|error| failed(io::Error::other(error)))?;
    let mut report = Idle::default();
    for (entry, outcome) in entries.iter().zip(outcomes) {
        match outcome {
            Outcome::Created | Outcome::Updated => report.sessions += 1,
            other => {
                report.missing += 1;
                example(&mut report, &entry.original, &format!("{other:?}"));
            }
        }
    }
    Ok(report)
}

fn check(options: &Options) -> Result<Idle, Error> {
    let failed = |source| Error::Io { attempt: "list sessions".to_owned(), source };
    let mut wanted: HashMap<Tuple, Entry> = (0..options.count)
        .map(|index| entry(options, index))
        .map(|entry| (entry.original, entry))
        .collect();
    let mut report = Idle::default();
    let mut conntrack = Conntrack::open().map_err(failed)?;
    let dumped = conntrack.entries(Select::default(), |found| {
        let Some(entry) = wanted.remove(&found.original) else { return };
        report.sessions += 1;
        let key = |entry: &Entry| entry.mark.unwrap_or(0) & options.mask;
        let state = |entry: &Entry| match entry.proto {
            Some(ProtoInfo::Tcp(tcp)) => tcp.state,
            _ => 0,
        };
        let what = |entry: &Entry| (key(entry), entry.reply, state(entry));
        if what(&found) != what(&entry) {
            report.changed += 1;
            let now = format!("mark {:?}, state {}", found.mark, state(&found));
            example(&mut report, &found.original, &now);
        }
    });
    dumped.map_err(|error| failed(io::Error::other(error)))?;
    report.missing = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
    for original in wanted.keys().take(EXAMPLES) {
        example(&mut report, original, "missing");
    }
    Ok(report)
}

fn example(report: &mut Idle, tuple: &Tuple, what: &str) {
    if report.examples.len() < EXAMPLES {
        report.examples.push(format!(
            "{} to {}, {:?}, protocol {}: {what}",
            tuple.src, tuple.dst, tuple.layer4, tuple.protocol
        ));
    }
}

fn entry(options: &Options, index: u32) -> Entry {
    let tcp = index.is_multiple_of(2);
    let original = original(index, if tcp { 6 } else { 17 });
    let mut reply = turned(&original);
    if index % 4 == 1 {
        // Addresses that the policy's translation doesn't use, so that no port is taken twice.
        let [.., high, low] = (index >> 14).to_be_bytes();
        reply.dst = IpAddr::V4(Ipv4Addr::new(192, 0, high, low));
    }
    let end = TcpEnd { scale: 7, flags: 3 };
    let established = TcpInfo { state: ESTABLISHED, ends: Some([end; 2]) };
    Entry {
        reply: Some(reply),
        status: Some(Status(Status::SEEN_REPLY.0 | Status::ASSURED.0)),
        proto: tcp.then_some(ProtoInfo::Tcp(established)),
        timeout: Some(options.timeout),
        mark: Some(options.mark),
        ..Entry::new(original, 0)
    }
}

/// Hosts of the LAN that the testbed doesn't have, and servers outside.
fn original(index: u32, protocol: u8) -> Tuple {
    let [.., high, low] = (index >> 14).to_be_bytes();
    let port = 1024 + u16::try_from(index & 0x3fff).unwrap_or(0);
    let (src, dst) = if index % 4 == 3 {
        let host = u16::from_be_bytes([high, low]);
        let server = Ipv6Addr::new(0x2001, 0xdb8, 0x40, 0, 0, 0, 1, 1);
        let client = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 1, host);
        (IpAddr::V6(client), IpAddr::V6(server))
    } else {
        let client = Ipv4Addr::new(10, 0, 128 | high, low);
        (IpAddr::V4(client), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 200)))
    };
    let layer4 = Layer4::Ports { src: port, dst: PORT };
    Tuple { src, dst, protocol, layer4, zone: None }
}

fn turned(tuple: &Tuple) -> Tuple {
    let layer4 = match tuple.layer4 {
        Layer4::Ports { src, dst } => Layer4::Ports { src: dst, dst: src },
        other => other,
    };
    Tuple { src: tuple.dst, dst: tuple.src, layer4, ..*tuple }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_of_them_share_a_tuple() {
        let options = Options { count: 200_000, mark: 7, mask: 0xff, timeout: 60, check: false };
        let mut seen = HashSet::new();
        for entry in (0..options.count).map(|index| entry(&options, index)) {
            assert!(seen.insert(entry.original), "{:?}", entry.original);
            assert!(seen.insert(entry.reply.unwrap()), "{:?}", entry.reply);
        }
    }
}
