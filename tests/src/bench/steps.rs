//! What the rows have in common: sessions are made on one node and waited for on the other.

use crate::error::Error;
use crate::process::Process;
use crate::scenario::pair::{Pair, Peer, Side};
use crate::testing::eventually;
use crate::topology::OUTSIDE_V4;
use crate::traffic::report::{Made, Watched};
use std::time::Duration;
use twinwall_control::{Request, sync};

/// How long making and watching may take.
const LIMIT: Duration = Duration::from_secs(180);

/// How long a watch goes on when nothing comes any more.
const IDLE: Duration = Duration::from_secs(10);

/// The sessions of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sessions {
    pub(super) first: u32,
    pub(super) count: u32,
    /// Per second; 0 for as fast as it goes.
    pub(super) rate: f64,
}

impl Sessions {
    /// Begins to make them.
    pub(super) fn make(self, pair: &Pair, side: Side, mark: u32) -> Result<Process, Error> {
        let options = [
            "sessions-make".to_owned(),
            format!("--first={}", self.first),
            format!("--count={}", self.count),
            format!("--rate={}", self.rate),
            format!("--mark={mark}"),
            format!("--for={}", LIMIT.as_secs()),
        ];
        pair.gateway(side)?.traffic(options)?.time_limit(LIMIT).spawn()
    }

    /// Begins to watch for them, until they are there or nothing has come for a while.
    pub(super) fn watch(self, pair: &Pair, side: Side) -> Result<Process, Error> {
        let mut process = self.watching(pair, side, IDLE, LIMIT)?;
        process.wait_ready()?;
        Ok(process)
    }

    /// Waits for them, but not for longer than this.
    pub(super) fn wait(self, pair: &Pair, side: Side, within: Duration) -> Result<Watched, Error> {
        self.watching(pair, side, within, within)?.report()
    }

    fn watching(
        self,
        pair: &Pair,
        side: Side,
        idle: Duration,
        within: Duration,
    ) -> Result<Process, Error> {
        let options = [
            "sessions-watch".to_owned(),
            format!("--first={}", self.first),
            format!("--count={}", self.count),
            format!("--idle={}", idle.as_secs_f64()),
            format!("--for={}", within.as_secs_f64()),
        ];
        pair.gateway(side)?.traffic(options)?.time_limit(LIMIT).spawn()
    }

    /// Makes them all on `gw-a` and waits until they are on `gw-b`, or no more come.
    pub(super) fn settle(self, pair: &Pair, mark: u32) -> Result<(Made, Watched), Error> {
        let watch = self.watch(pair, Side::B)?;
        let made = self.make(pair, Side::A, mark)?.report()?;
        Ok((made, watch.report()?))
    }
}

/// The connmark that sessions from the LAN to the server have: with Twinwall the key of the rule
/// that lets them through, read from a session of that kind.
pub(super) fn mark(pair: &Pair) -> Result<u32, Error> {
    if pair.peer(Side::A) != Peer::TwinwallSync {
        return Ok(0);
    }
    let to = OUTSIDE_V4.to_string();
    let client = pair.testbed().node("client")?;
    let gateway = pair.gateway(Side::A)?;
    let found = eventually(Duration::from_secs(20), || {
        client.command("ping").ok()?.args(["-n", "-c", "1", "-W", "1", &to]).output().ok()?;
        let list = ["-L", "-p", "icmp", "--orig-dst", &to];
        let text = gateway.run("conntrack", &list).ok()?;
        let words = text.split_whitespace().filter_map(|word| word.strip_prefix("mark="));
        words.filter_map(|word| word.parse().ok()).find(|mark| *mark != 0)
    });
    found.ok_or_else(|| Error::TimedOut {
        what: "waiting for a session through gw-a".to_owned(),
        within: Duration::from_secs(20),
        detail: String::new(),
    })
}

/// What Twinwall says of replication; nothing of others.
pub(super) fn status(pair: &Pair, side: Side) -> Option<sync::Status> {
    let twinwall = pair.peer(side) == Peer::TwinwallSync;
    twinwall.then(|| pair.gateway(side).ok()?.ask(&Request::Sync).ok()).flatten()
}

/// Waits until both nodes are ready to copy, with nothing left to be done.
pub(super) fn wait_quiet(pair: &Pair) -> Result<(), Error> {
    let within = Duration::from_secs(20);
    let quiet = |side| {
        let Some(status) = status(pair, side) else {
            return pair.peer(side) != Peer::TwinwallSync;
        };
        status.peer == "alive" && status.equal && status.complete && status.peer_complete
    };
    let found = eventually(within, || (quiet(Side::A) && quiet(Side::B)).then_some(()));
    found.ok_or_else(|| Error::TimedOut {
        what: "waiting for both nodes to agree".to_owned(),
        within,
        detail: String::new(),
    })
}
