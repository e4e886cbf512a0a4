//! The traffic of a soak: what runs through the pair all the time.
//!
//! In: a pair that is up. Out: processes, what they have complained about so far, and their
//! reports. Not here: what is expected of the gateways ([`super::check`]).

use super::ledger::Ledger;
use crate::error::Error;
use crate::node::Node;
use crate::process::Process;
use crate::testbed::Testbed;
use crate::traffic::report::{FtpServe, FtpSession, Outcome, Reception, Stream, Tcp, UdpPush};
use rustix::process::Signal;
use std::collections::BTreeMap;

/// The policy: a rule of its own for each kind of traffic, so that it shows which one decides.
pub const POLICY: &str = "\
version: 1
name: soak
defaults: { action: drop, log: false, on_change: rematch }
zones:
  wan: { interfaces: [eth0] }
  lan: { interfaces: [eth1] }
  dmz: { interfaces: [eth2] }
services:
  ping: { icmp: echo-request, icmpv6: echo-request }
rules:
  - { seq: 10, name: ftp, from: lan, to: wan, service: { tcp: 21 }, action: accept }
  - { seq: 20, name: exchange-out, from: lan, to: wan, service: { tcp: 7001 }, action: accept }
  - { seq: 30, name: stream-out, from: lan, to: wan, service: { tcp: 7002 }, action: accept }
  - { seq: 40, name: short-out, from: lan, to: wan, service: { tcp: 7003 }, action: accept }
  - { seq: 50, name: udp-out, from: lan, to: wan, service: { udp: 7000 }, action: accept }
  - { seq: 60, name: seldom, from: lan, to: wan, service: { udp: 7009 }, action: accept }
  - { seq: 70, name: ping, from: lan, to: wan, service: ping, action: accept }
  - { seq: 80, name: idle, from: lan, to: wan, service: { tcp: 443, udp: 443 }, action: accept }
  - { seq: 90, name: published, from: wan, to: dmz, service: { tcp: 8001-8003 }, action: accept }
  - { seq: 100, name: inward, from: wan, to: lan, service: { tcp: 7004 }, action: accept }
  - { seq: 110, name: inside, from: lan, to: dmz, service: { tcp: 7005 }, action: accept }
nat:
  - { seq: 10, name: shared, from: lan, to: wan, snat: 203.0.113.1, family: ipv4 }
  - { seq: 20, name: published, from: wan, to_addr: 203.0.113.10, service: { tcp: 8001-8003 }, dnat: 10.20.0.10 }
";

/// Rules whose counters rise all the time.
pub const BUSY: [&str; 7] =
    ["exchange-out", "stream-out", "udp-out", "ping", "published", "inward", "inside"];

/// The rule that a session belongs to, by its protocol and destination port.
#[must_use]
pub fn rule(protocol: &str, port: u16, expected: bool) -> Option<&'static str> {
    Some(match (protocol, port) {
        ("icmp" | "icmpv6", _) => "ping",
        _ if expected => "ftp",
        ("tcp", 21) => "ftp",
        ("tcp", 7001) => "exchange-out",
        ("tcp", 7002) => "stream-out",
        ("tcp", 7003) => "short-out",
        ("tcp", 7004) => "inward",
        ("tcp", 7005) => "inside",
        ("tcp", 8001..=8003) => "published",
        ("udp", 7000) => "udp-out",
        ("udp", 7009) => "seldom",
        _ => return None,
    })
}

/// No process ends by itself before the soak does.
const FOR: &str = "--for 86400";
/// A session that makes no progress for so many seconds is lost.
const GIVE_UP: &str = "--give-up 20";
/// Streams bring something each 10 ms.
const STREAM: &str = "--bytes 0 --rate 6400 --chunk 64";
const EXCHANGE: &str = "--bytes 0 --rate 1280 --chunk 64";
const SHORT: &str = "--bytes 640 --rate 3200 --chunk 64 --again --connect-timeout 15";

/// What a client of the load is, for its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Stream,
    Exchange,
    Short,
}

#[derive(Debug)]
struct TcpLoad {
    name: &'static str,
    sort: Sort,
    client: Process,
}

/// A stream of datagrams with its two sides.
#[derive(Debug)]
struct Datagrams {
    to: &'static str,
    client: Process,
    server: Process,
}

/// All of it. It ends with this value.
#[derive(Debug)]
pub struct Load {
    servers: Vec<Process>,
    tcp: Vec<TcpLoad>,
    datagrams: Vec<Datagrams>,
    pings: Vec<Process>,
    ftp: Vec<Process>,
    ftp_servers: Vec<Process>,
    seldom: (Process, Process),
    /// How much of what each process says was looked at.
    heard: BTreeMap<String, usize>,
}

/// How many sessions of each sort.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Long TCP sessions, in all.
    pub tcp: u32,
    /// Whether short ones come and go.
    pub short: bool,
}

/// Sums of all reports.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Sums {
    /// Long TCP sessions.
    pub sessions: usize,
    /// Short ones that came and went.
    pub short: usize,
    /// Bytes that TCP has brought.
    pub bytes: u64,
    /// FTP transfers in passive and active mode, tried.
    pub ftp_tried: [u64; 2],
    /// Those that arrived whole.
    pub ftp_complete: [u64; 2],
    /// Those that did not, and why.
    pub ftp_failed: Vec<String>,
    /// Datagrams of the streams, both directions.
    pub datagrams: u64,
    /// Those that never came.
    pub lost: u64,
    /// Echo requests.
    pub pings: u64,
    /// Those that were not answered.
    pub unanswered: u64,
    /// Datagrams of sessions that get one each 4 s.
    pub seldom: u64,
    /// Those of them that never came.
    pub seldom_lost: u64,
    /// What is wrong with it.
    pub faults: Vec<String>,
}

impl Load {
    /// Starts all of it and waits until the servers listen.
    ///
    /// # Errors
    /// When a process can't be started.
    pub fn start(testbed: &Testbed, size: Size) -> Result<Self, Error> {
        let nodes = |name| testbed.node(name);
        let (client, server, dmz) = (nodes("client")?, nodes("server")?, nodes("dmz")?);
        let serve = |node: &Node, at: &str, options: &str| -> Result<Process, Error> {
            let mut process = run(node, &format!("tcp-serve --listen {at} {options} {FOR}"))?;
            process.wait_ready()?;
            Ok(process)
        };
        let source = format!("--mode source {STREAM}");
        let mut servers = Vec::new();
        for address in ["198.51.100.7", "[2001:db8:40::7]"] {
            servers.push(serve(&server, &format!("{address}:7001"), "")?);
            servers.push(serve(&server, &format!("{address}:7002"), &source)?);
            servers.push(serve(&server, &format!("{address}:7003"), "")?);
        }
        servers.push(serve(&client, "[2001:db8:10::5]:7004", "")?);
        servers.push(serve(&dmz, "10.20.0.10:7005", &source)?);
        servers.push(serve(&dmz, "10.20.0.10:8001", "")?);
        servers.push(serve(&dmz, "10.20.0.10:8002", &source)?);
        servers.push(serve(&dmz, "10.20.0.10:8003", "")?);
        let mut tcp = Vec::new();
        let mut connect = |name, sort, node: &Node, to: &str, share: u32| {
            let options = match sort {
                Sort::Stream => format!("--mode source --stalls 20 {STREAM}"),
                Sort::Exchange => format!("--stalls 10 {EXCHANGE}"),
                Sort::Short => SHORT.to_owned(),
            };
            let count = (size.tcp * share / 100).max(1);
            let words = format!("tcp-connect --to {to} --connections {count} {options}");
            let client = run(node, &format!("{words} {GIVE_UP} {FOR}"))?;
            tcp.push(TcpLoad { name, sort, client });
            Ok::<_, Error>(())
        };
        let (v4, v6) = ("198.51.100.7", "[2001:db8:40::7]");
        connect("exchanges, SNAT", Sort::Exchange, &client, &format!("{v4}:7001"), 20)?;
        connect("streams, SNAT", Sort::Stream, &client, &format!("{v4}:7002"), 20)?;
        connect("exchanges, DNAT", Sort::Exchange, &server, "203.0.113.10:8001", 10)?;
        connect("streams, DNAT", Sort::Stream, &server, "203.0.113.10:8002", 10)?;
        connect("exchanges, IPv6 out", Sort::Exchange, &client, &format!("{v6}:7001"), 10)?;
        connect("streams, IPv6 out", Sort::Stream, &client, &format!("{v6}:7002"), 10)?;
        connect("exchanges, IPv6 in", Sort::Exchange, &server, "[2001:db8:10::5]:7004", 10)?;
        connect("streams, inside", Sort::Stream, &client, "10.20.0.10:7005", 10)?;
        if size.short {
            connect("short, SNAT", Sort::Short, &client, &format!("{v4}:7003"), 4)?;
            connect("short, IPv6", Sort::Short, &client, &format!("{v6}:7003"), 2)?;
            connect("short, DNAT", Sort::Short, &server, "203.0.113.10:8003", 2)?;
        }
        let (mut ftp, mut ftp_servers) = (Vec::new(), Vec::new());
        for address in [v4, v6] {
            let serve = format!("ftp-serve --listen {address}:21 --size 30000 --rate 60000 {FOR}");
            let mut process = run(&server, &serve)?;
            process.wait_ready()?;
            ftp_servers.push(process);
            let mut process =
                run(&client, &format!("ftp-session --to {address}:21 --size 30000 {FOR}"))?;
            process.wait_ready()?;
            ftp.push(process);
        }
        // Only the server sends, so nobody but the gateways keeps these sessions.
        let mut push =
            run(&server, &format!("udp-push --listen {v4}:7009 --rate 0.25 --count 100000 {FOR}"))?;
        push.wait_ready()?;
        let listen = format!("udp-recv --listen 10.0.0.5:7100-7119 --hello {v4}:7009 {FOR}");
        let receive = run(&client, &listen)?;
        let ping = |to: &str| {
            let command = client.command("ping")?;
            command.args(["-n", "-q", "-i", "0.05", to]).spawn()
        };
        let pings = vec![ping(v4)?, ping("2001:db8:40::7")?];
        let mut load = Self {
            servers,
            tcp,
            datagrams: Vec::new(),
            pings,
            ftp,
            ftp_servers,
            seldom: (receive, push),
            heard: BTreeMap::new(),
        };
        load.begin_datagrams(testbed)?;
        Ok(load)
    }

    /// Begins the streams of datagrams. Their reports list every arrival, so they don't run for
    /// the whole of a soak.
    ///
    /// # Errors
    /// When a process can't be started.
    pub fn begin_datagrams(&mut self, testbed: &Testbed) -> Result<(), Error> {
        for to in ["198.51.100.7:7000", "[2001:db8:40::7]:7000"] {
            let mut server = stream(&testbed.node("server")?, "--listen", to)?;
            server.wait_ready()?;
            let mut client = stream(&testbed.node("client")?, "--to", to)?;
            client.wait_ready()?;
            self.datagrams.push(Datagrams { to, client, server });
        }
        Ok(())
    }

    /// Ends the streams of datagrams, and enters what they have lost.
    ///
    /// # Errors
    /// When a process has failed.
    pub fn end_datagrams(&mut self, ledger: &mut Ledger, sums: &mut Sums) -> Result<(), Error> {
        for Datagrams { to, mut client, mut server } in self.datagrams.drain(..) {
            let _ = client.signal(Signal::TERM);
            let _ = server.signal(Signal::TERM);
            let (client, server): (Stream, Stream) = (client.report()?, server.report()?);
            for (sender, receiver) in [(&client, &server), (&server, &client)] {
                ledger.udp(sender, receiver);
                let came = u64::try_from(receiver.arrivals.len()).unwrap_or(0);
                sums.datagrams += sender.sent;
                sums.lost += sender.sent.saturating_sub(came);
                if came == 0 {
                    sums.faults.push(format!("nothing came of the stream to {to}"));
                }
            }
        }
        Ok(())
    }

    /// What processes have complained about since this was asked last.
    pub fn complaints(&mut self) -> Vec<String> {
        let Self { tcp, ftp, pings, datagrams, servers, ftp_servers, seldom, heard, .. } = self;
        let mut found = Vec::new();
        let named = tcp.iter_mut().map(|load| (load.name.to_owned(), &mut load.client));
        let ftp = ftp.iter_mut().enumerate().map(|(n, p)| (format!("FTP {n}"), p));
        for (name, process) in named.chain(ftp) {
            let said = process.said();
            let from = heard.insert(name.clone(), said.len()).unwrap_or(0);
            let new = said.get(from..).unwrap_or_default();
            let broken = new.lines().filter(|line| line.starts_with("broken"));
            found.extend(broken.map(|line| format!("{name}: {line}")));
            if !process.is_running() {
                found.push(format!("{name} has ended: {said}"));
            }
        }
        let others = servers.iter_mut().chain(ftp_servers).chain(pings);
        let others = others.chain([&mut seldom.0, &mut seldom.1]);
        let both = datagrams.iter_mut().flat_map(|both| [&mut both.client, &mut both.server]);
        for process in others.chain(both) {
            if !process.is_running() {
                found.push(format!("a process of the load has ended: {}", process.said()));
            }
        }
        found
    }

    /// Ends all of it, enters stalls and losses, and adds up.
    ///
    /// # Errors
    /// When a process has failed.
    pub fn finish(mut self, ledger: &mut Ledger, mut sums: Sums) -> Result<Sums, Error> {
        self.end_datagrams(ledger, &mut sums)?;
        for TcpLoad { name, sort, client } in self.tcp {
            let report: Tcp = client.stop_and_report()?;
            if sort == Sort::Short {
                sums.short += report.connections;
            } else {
                sums.sessions += report.connections;
                ledger.tcp(&report, sort == Sort::Stream);
            }
            sums.bytes += report.received;
            let good = report.count(Outcome::Completed) + report.count(Outcome::Stalled);
            if good < report.connections || report.corrupt > 0 {
                let bad = report.connections - good;
                let corrupt = report.corrupt;
                let fault = format!("{name}: {bad} sessions broke, {corrupt} wrong bytes");
                sums.faults.push(fault);
            }
        }
        for client in self.ftp {
            let report: FtpSession = client.stop_and_report()?;
            for mode in 0..2 {
                let add = |sum: &mut [u64; 2], more: [u64; 2]| {
                    if let (Some(sum), Some(more)) = (sum.get_mut(mode), more.get(mode)) {
                        *sum += more;
                    }
                };
                add(&mut sums.ftp_tried, report.tried);
                add(&mut sums.ftp_complete, report.complete);
            }
            sums.ftp_failed
                .extend(report.failed.into_iter().map(|(_, at, why)| format!("{at}: {why}")));
            if let Some(reason) = report.lost {
                sums.faults.push(format!("an FTP control connection broke: {reason}"));
            }
            if report.corrupt > 0 {
                sums.faults.push(format!("FTP: {} wrong bytes", report.corrupt));
            }
        }
        for server in self.ftp_servers {
            let _: FtpServe = server.stop_and_report()?;
        }
        let (receive, push) = self.seldom;
        let pushed: UdpPush = push.stop_and_report()?;
        // What was sent last may still be under way.
        let received: Reception = receive.stop_and_report()?;
        sums.seldom = pushed.streams.iter().map(|stream| stream.sent).sum();
        sums.seldom_lost = sums.seldom.saturating_sub(received.received);
        for mut ping in self.pings {
            let _ = ping.signal(Signal::INT);
            let text = ping.finish()?.stdout;
            let (sent, came) = counted(&text);
            sums.pings += sent;
            sums.unanswered += sent.saturating_sub(came);
            if came == 0 {
                sums.faults.push(format!("no echo request was answered: {text}"));
            }
        }
        Ok(sums)
    }
}

fn run(node: &Node, words: &str) -> Result<Process, Error> {
    node.traffic(words.split_whitespace())?.spawn()
}

/// With real-time priority where that is allowed: a busy machine shall not look like a gap.
fn stream(node: &Node, side: &str, address: &str) -> Result<Process, Error> {
    let plain = ["stream", side, address, "--for", "86400"];
    let allowed = node.command("chrt")?.args(["--fifo", "10", "true"]).output()?.code() == 0;
    if !allowed {
        return node.traffic(plain)?.spawn();
    }
    node.command("chrt")?.args(["--fifo", "10", "traffic"]).args(plain).spawn()
}

/// Requests and answers in what `ping` says at its end.
fn counted(text: &str) -> (u64, u64) {
    let number = |words: &str| {
        let before = text.split(words).next().filter(|before| before.len() < text.len())?;
        before.split_whitespace().next_back()?.parse().ok()
    };
    (number(" packets transmitted").unwrap_or(0), number(" received").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_ping_are_read() {
        let text = "--- 10.0.0.1 ping statistics ---\n\
                    300 packets transmitted, 298 received, 0.67% packet loss, time 15ms\n";
        assert_eq!(counted(text), (300, 298));
        assert_eq!(counted("ping: unknown host"), (0, 0));
    }
}
