//! The demo's traffic: a ping, and a stream that the server keeps sending.
//!
//! Both run from [`Traffic::start`] to [`Traffic::stop`], which tells what the ends have seen. The
//! ends count for themselves; what passes the gateway is counted there (`witness`).

use crate::error::Error;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use twinwall_testbed::topology::OUTSIDE_V4;
use twinwall_testbed::traffic::report::{Reception, UdpPush};
use twinwall_testbed::{Process, Signal, Testbed};

/// Where the server sends from.
pub(crate) const SERVER_PORT: u16 = 9_000;
/// Where the client listens.
pub(crate) const CLIENT_PORT: u16 = 7_000;
/// Datagrams of the stream in a second.
const STREAM_RATE: u32 = 500;
/// Seconds between two pings.
const PING_INTERVAL: &str = "0.01";
/// Traffic ends by itself after so many seconds, should nobody stop it.
const LONGEST: u32 = 300;

/// One session's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Flow {
    /// UDP that only the server sends, after one datagram of the client.
    Stream,
    /// Echo requests of the client, and their replies.
    Ping,
}

impl Flow {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Stream, Self::Ping];

    /// For readers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Ping => "ping",
        }
    }

    /// The protocol by nft's name. It tells the two apart.
    pub(crate) const fn protocol(self) -> &'static str {
        match self {
            Self::Stream => "udp",
            Self::Ping => "icmp",
        }
    }

    /// Whether a rule of this name matches it.
    pub(crate) fn matches(self, rule: &str) -> bool {
        rule == "client-all" || (rule == "stream" && self == Self::Stream)
    }
}

/// Both flows, running. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// The server's end of the stream, the client's end, ping; `None` when one has failed.
    tools: [Option<Process>; 3],
}

/// What the ends of the stream have seen.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct StreamEnds {
    /// Datagrams that the server sent.
    pub(crate) sent: u64,
    /// Datagrams that the client received.
    pub(crate) received: u64,
    /// Datagrams missing among those up to the last that was received, without those that the
    /// client's own socket had no room for.
    pub(crate) lost: u64,
    /// Whether the server heard the client's last word.
    pub(crate) server_told_to_stop: bool,
}

/// What ping has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PingEnds {
    /// Requests that were sent.
    pub(crate) sent: u64,
    /// Replies that came, each counted once.
    pub(crate) received: u64,
    /// Replies missing from the first change of policy up to the last that came.
    pub(crate) lost: u64,
    /// Replies missing before: the kernel drops what comes of a new ping session while its first
    /// packet is being decided (connection tracking can't have two first packets of ICMP).
    pub(crate) lost_at_start: u64,
    /// Replies that came again.
    pub(crate) duplicated: u64,
}

impl Traffic {
    /// Starts both flows.
    pub(crate) fn start(testbed: &Testbed) -> Result<Self, Error> {
        let server_address = format!("{OUTSIDE_V4}:{SERVER_PORT}");
        let client = testbed.node("client")?;
        let client_address = format!("{}:{CLIENT_PORT}", client.v4());
        let (rate, longest) = (STREAM_RATE.to_string(), LONGEST.to_string());
        let push = ["udp-push", "--listen", &server_address, "--rate", &rate, "--for", &longest];
        let mut server = testbed.node("server")?.traffic(push)?.spawn()?;
        server.wait_ready()?;
        let receive = ["udp-recv", "--listen", &client_address, "--hello", &server_address];
        let receive = client.traffic(receive)?.args(["--stop", "--for", &longest]);
        let mut receiver = receive.spawn()?;
        receiver.wait_ready()?;
        let ping = client.command("ping")?.env("LC_ALL", "C");
        let ping = ping.args(["-n", "-i", PING_INTERVAL, "-w", &longest]);
        let ping = ping.arg(OUTSIDE_V4.to_string()).spawn()?;
        Ok(Self { tools: [server, receiver, ping].map(Some) })
    }

    /// An error when one of them has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        for tool in &mut self.tools {
            if let Some(ended) = tool.take_if(|tool| !tool.is_running()) {
                let said = ended.finish()?.success()?.stdout;
                return Err(Error::Traffic(said));
            }
        }
        Ok(())
    }

    /// Ends both flows. The client ends first: its last word tells the server to stop, if the
    /// gateway lets it pass. `started` is how many pings had been sent before the first change of
    /// policy.
    pub(crate) fn stop(mut self, started: u64) -> Result<(StreamEnds, PingEnds), Error> {
        self.check()?;
        let [Some(server), Some(client), Some(mut ping)] = self.tools else {
            return Err(Error::Traffic(String::new()));
        };
        let received: Reception = client.stop_and_report()?;
        ping.signal(Signal::INT)?;
        let pings = parse_ping(&ping.finish()?.stdout, started)?;
        let pushed: UdpPush = server.stop_and_report()?;
        let stream = StreamEnds {
            sent: pushed.streams.iter().map(|stream| stream.sent).sum(),
            received: received.received,
            lost: received.lost.saturating_sub(received.overrun),
            server_told_to_stop: pushed.streams.iter().any(|stream| stream.stopped),
        };
        Ok((stream, pings))
    }
}

/// Reads what ping from iputils prints with `-n` in the C locale.
fn parse_ping(text: &str, started: u64) -> Result<PingEnds, Error> {
    let mut seen = BTreeSet::new();
    let mut ends = PingEnds::default();
    for line in text.lines().filter(|line| line.contains(" bytes from ")) {
        let number = line
            .split_once("icmp_seq=")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u16>().ok())
            .map(u64::from);
        let new = number.is_some_and(|number| seen.insert(number));
        ends.duplicated += u64::from(!new);
    }
    ends.received = seen.len().try_into().unwrap_or(u64::MAX);
    // Ping counts from 1.
    let last = seen.last().copied().unwrap_or(0);
    let started = started.min(last);
    let missing = |numbers: RangeInclusive<u64>| {
        let missing = numbers.filter(|number| !seen.contains(number)).count();
        missing.try_into().unwrap_or(u64::MAX)
    };
    ends.lost_at_start = missing(1..=started);
    ends.lost = missing(started + 1..=last);
    let sent = text.lines().find_map(|line| line.split_once(" packets transmitted"));
    ends.sent = sent.and_then(|(count, _)| count.trim().parse().ok()).ok_or_else(|| {
        Error::Output { command: "ping".to_owned(), reason: "it has no summary".to_owned() }
    })?;
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_losses_are_told_from_what_was_cut_off() {
        let line = |number: u32| {
            format!("64 bytes from 198.51.100.7: icmp_seq={number} ttl=63 time=0.05 ms\n")
        };
        let text = format!(
            "PING 198.51.100.7 (198.51.100.7) 56(84) bytes of data.\n{}{}{}\n\
             --- 198.51.100.7 ping statistics ---\n\
             9 packets transmitted, 3 received, 66% packet loss, time 1ms\n",
            line(1),
            line(2),
            line(4)
        );
        let ends = |started| parse_ping(&text, started).unwrap();
        let expected = PingEnds { sent: 9, received: 3, lost: 1, lost_at_start: 0, duplicated: 0 };
        assert_eq!(ends(0), expected);
        assert_eq!(ends(2), expected);
        assert_eq!(ends(3), PingEnds { lost: 0, lost_at_start: 1, ..expected });
        assert_eq!(ends(9), PingEnds { lost: 0, lost_at_start: 1, ..expected });
        assert!(parse_ping("ping: unknown host", 0).is_err());
    }
}
