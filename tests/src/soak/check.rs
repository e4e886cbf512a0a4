//! What has to hold after each failover.
//!
//! In: a pair whose `gw-a` is active again. Out: nothing, or what is wrong. Every check waits for
//! its condition up to a deadline. Not here: what the traffic complains about ([`super::load`]).

use super::load;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::scenario::pair::{Pair, Side};
use crate::testing::eventually;
use crate::traffic::report::Watched;
use crate::usage;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use twinwall_control::{Request, SessionFilter, report, sync};

/// How long the pair may take until both nodes have the same, and a counter until it rises: a machine
/// that is shared may stand still for ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hosts that all sessions of the load have on one side.
const HOSTS: [&str; 3] = ["10.0.0.5", "10.20.0.10", "2001:db8:10::5"];

/// What makes a session the same one: protocol, addresses and ports as the first packet had them.
type Identity = (String, IpAddr, u16, IpAddr, u16);

/// What must not change about it: its rule and its translations.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    rule: Option<String>,
    snat: Option<String>,
    dnat: Option<String>,
}

/// What a run remembers from one check to the next.
#[derive(Debug)]
pub struct Checks {
    sessions: BTreeMap<Identity, Decision>,
    idle: Option<(u32, u32)>,
    daemons: BTreeMap<&'static str, u32>,
    read: BTreeMap<&'static str, usize>,
    /// How often notifications of a kernel were lost; each time all sessions were listed.
    pub overruns: u32,
}

/// What went wrong, in words.
pub type Wrong = String;

impl Checks {
    /// Notes the sessions that are there from the beginning, at least so many.
    ///
    /// # Errors
    /// When they aren't there in time, or are not decided as the policy has it.
    pub fn begin(pair: &Pair, sessions: usize) -> Result<Self, Wrong> {
        let lasting = |found: &report::Session| {
            let port = found.dst_port;
            found.protocol == "tcp" && !found.expected && port != 7003 && port != 8003
                || found.protocol == "udp" && port == 7009
        };
        let mut noted = BTreeMap::new();
        let complete = eventually(PATIENCE, || {
            let found = sessions_on(pair, Side::A).ok()?;
            noted = found.iter().filter(|one| lasting(one)).map(entry).collect();
            (noted.len() >= sessions).then_some(())
        });
        if complete.is_none() {
            return Err(format!("{} lasting sessions instead of {sessions}", noted.len()));
        }
        let mut checks = Self {
            sessions: noted,
            idle: None,
            daemons: BTreeMap::new(),
            read: BTreeMap::new(),
            overruns: 0,
        };
        for side in [Side::A, Side::B] {
            checks.started(pair, side);
        }
        Ok(checks)
    }

    /// Idle sessions are there from now on: how many, and their mark.
    pub fn with_idle(&mut self, count: u32, mark: u32) {
        self.idle = (count > 0).then_some((count, mark));
    }

    /// A daemon was started on purpose.
    pub fn started(&mut self, pair: &Pair, side: Side) {
        if let Some(pid) = pair.gateway(side).ok().and_then(|gateway| gateway.pid()) {
            self.daemons.insert(side.name(), pid);
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// What doesn't hold.
    pub fn all(&mut self, pair: &Pair) -> Result<(), Wrong> {
        pair.wait_active(Side::A).map_err(words)?;
        self.daemons(pair)?;
        wait_equal(pair)?;
        for side in [Side::A, Side::B] {
            self.sessions(pair, side)?;
        }
        carries(pair, Side::A)?;
        self.idle(pair)?;
        self.logs(pair)?;
        self.daemons(pair)
    }

    /// The daemons are the ones that were started.
    fn daemons(&self, pair: &Pair) -> Result<(), Wrong> {
        for side in [Side::A, Side::B] {
            let now = pair.gateway(side).map_err(words)?.pid();
            let started = self.daemons.get(side.name()).copied();
            if now != started {
                return Err(format!("{}: its daemon was {started:?} and is {now:?}", side.name()));
            }
        }
        Ok(())
    }

    /// Every lasting session is there and decided as before, and every other one by its rule.
    fn sessions(&self, pair: &Pair, side: Side) -> Result<(), Wrong> {
        let mut wrong = String::new();
        let held = eventually(PATIENCE, || {
            wrong = match sessions_on(pair, side) {
                Ok(found) => self.compare(&found),
                Err(error) => error.to_string(),
            };
            wrong.is_empty().then_some(())
        });
        held.ok_or_else(|| format!("{}: {wrong}", side.name()))
    }

    fn compare(&self, found: &[report::Session]) -> String {
        let mut wrong = Vec::new();
        for session in found {
            let rule = load::rule(&session.protocol, session.dst_port, session.expected);
            if rule.is_some() && session.rule.as_deref() != rule {
                wrong.push(format!("{rule:?} doesn't decide {session:?}"));
            }
        }
        let now: BTreeMap<Identity, Decision> = found.iter().map(entry).collect();
        for (identity, before) in &self.sessions {
            match now.get(identity) {
                None => wrong.push(format!("{identity:?} is gone")),
                Some(now) if now != before => {
                    wrong.push(format!("{identity:?} was {before:?} and is {now:?}"));
                }
                Some(_) => {}
            }
        }
        let count = wrong.len();
        wrong.truncate(3);
        if count == 0 { String::new() } else { format!("{count} wrong: {}", wrong.join("; ")) }
    }

    /// All idle sessions are on both nodes.
    fn idle(&self, pair: &Pair) -> Result<(), Wrong> {
        let Some((count, mark)) = self.idle else { return Ok(()) };
        for side in [Side::A, Side::B] {
            let gateway = pair.gateway(side).map_err(words)?;
            let options = format!("--mixed --count {count} --mark {mark} --for 0");
            let found: Watched = traffic(&gateway, &format!("sessions-watch {options}"))?;
            if found.missing > 0 || found.changed > 0 {
                return Err(format!("{}: idle sessions: {found:?}", side.name()));
            }
        }
        Ok(())
    }

    /// What the daemons have said since the last check.
    fn logs(&mut self, pair: &Pair) -> Result<(), Wrong> {
        for side in [Side::A, Side::B] {
            let log = pair.log(side);
            let from = self.read.insert(side.name(), log.len()).unwrap_or(0);
            for line in log.get(from..).unwrap_or_default().lines() {
                if line.contains("panicked") {
                    return Err(format!("{}: {line}", side.name()));
                }
                self.overruns += u32::from(line.contains("notifications were lost"));
            }
        }
        Ok(())
    }
}

/// Waits until both nodes have the same sessions.
///
/// # Errors
/// What each of them says, when they don't come to that.
pub fn wait_equal(pair: &Pair) -> Result<(), Wrong> {
    let mut said = String::new();
    let met = eventually(PATIENCE, || {
        let both = [Side::A, Side::B].map(|side| status(pair, side));
        let equal = both.iter().all(|status| status.as_ref().is_ok_and(settled));
        if !equal {
            said = format!("{both:?}");
        }
        equal.then_some(())
    });
    met.ok_or_else(|| format!("the nodes don't have the same sessions after {PATIENCE:?}: {said}"))
}

fn settled(status: &sync::Status) -> bool {
    let same = status.peer_policy.as_ref() == Some(&status.policy);
    let done = status.complete && status.peer_complete && status.writes_waiting == 0;
    let running = status.resync.as_ref().is_some_and(|resync| resync.running);
    // Sessions come and go all the time: a few are always under way.
    status.peer == "alive" && same && done && !running && status.equal
}

/// Waits until a node counts packets of all traffic.
///
/// # Errors
/// Rules whose counters don't rise.
pub fn carries(pair: &Pair, side: Side) -> Result<(), Wrong> {
    let packets = || -> Result<BTreeMap<String, u64>, Error> {
        let rules: report::Rules = pair.gateway(side)?.ask(&Request::Rules)?;
        Ok(rules.rules.into_iter().map(|rule| (rule.name, rule.packets)).collect())
    };
    let mut before = None;
    let mut still = Vec::new();
    let met = eventually(PATIENCE, || {
        let now = packets().ok()?;
        let before = before.get_or_insert_with(|| now.clone());
        still = load::BUSY
            .into_iter()
            .filter(|rule| now.get(*rule).unwrap_or(&0) <= before.get(*rule).unwrap_or(&0))
            .collect();
        still.is_empty().then_some(())
    });
    let name = side.name();
    met.ok_or_else(|| format!("{name}: nothing is counted by {still:?} for {PATIENCE:?}"))
}

/// What a daemon says of replication.
///
/// # Errors
/// When it doesn't answer.
pub fn status(pair: &Pair, side: Side) -> Result<sync::Status, Error> {
    pair.gateway(side)?.ask(&Request::Sync)
}

/// Resident memory of a daemon in kB.
#[must_use]
pub fn resident(pair: &Pair, side: Side) -> Option<u64> {
    let pid = pair.gateway(side).ok()?.pid()?;
    usage::resident(pid).ok().map(|bytes| bytes / 1024)
}

/// Runs a tool of `traffic` on a gateway.
///
/// # Errors
/// When it fails.
pub fn traffic<T: DeserializeOwned>(gateway: &Gateway, tool: &str) -> Result<T, Wrong> {
    let command = gateway.traffic(tool.split_whitespace());
    command.and_then(crate::process::Command::json).map_err(words)
}

/// The sessions of the load's hosts.
///
/// # Errors
/// When the daemon doesn't answer.
pub fn sessions_on(pair: &Pair, side: Side) -> Result<Vec<report::Session>, Error> {
    let gateway = pair.gateway(side)?;
    let mut all = Vec::new();
    for host in HOSTS {
        let filter = SessionFilter { address: host.parse().ok(), ..SessionFilter::default() };
        let found: report::Sessions = gateway.ask(&Request::Sessions(filter))?;
        all.extend(found.sessions);
    }
    Ok(all)
}

fn entry(session: &report::Session) -> (Identity, Decision) {
    let report::Session { protocol, src, src_port, dst, dst_port, rule, snat, dnat, .. } =
        session.clone();
    ((protocol, src, src_port, dst, dst_port), Decision { rule, snat, dnat })
}

/// An error in words.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err calls")]
pub fn words(error: Error) -> Wrong {
    error.to_string()
}
