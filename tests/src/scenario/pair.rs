//! A testbed with a pair of gateways that run VRRP: `twinwalld` or keepalived, or one of each.
//!
//! In: what to run and how. Out: the same verbs for either, so that a scenario need not know which
//! it drives. Not here: what happens to a pair in a scenario (`run`).

use crate::conntrackd::{self, Conntrackd};
use crate::error::{Attempt, Error};
use crate::keepalived::Keepalived;
use crate::scenario::rules::Rules;
use crate::testbed::Testbed;
use crate::testing::eventually;
use crate::topology::Gateways;
use crate::vrrp::Vrrp;
use crate::{Gateway, clock, host, keepalived};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use twinwall_control::{Request, vrrp};

/// What runs on both gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// Twinwall, which forwards too.
    #[default]
    Twinwall,
    /// The same with its sync channel: sessions are replicated, and each node hears whether the
    /// other lives.
    TwinwallSync,
    /// keepalived; the kernel forwards.
    Keepalived,
    /// keepalived with conntrackd, and a stateful filter in the kernel.
    Conntrackd,
}

impl Peer {
    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Twinwall => "twinwall",
            Self::TwinwallSync => "twinwall with sync",
            Self::Keepalived => "keepalived",
            Self::Conntrackd => "keepalived, conntrackd",
        }
    }

    /// Whether keepalived elects the active gateway.
    #[must_use]
    pub const fn has_keepalived(self) -> bool {
        matches!(self, Self::Keepalived | Self::Conntrackd)
    }
}

/// One of the two gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `gw-a`, which has the higher priority.
    A,
    /// `gw-b`.
    B,
}

impl Side {
    /// The node's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "gw-a",
            Self::B => "gw-b",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// How long a pair may take to agree, besides its own timers.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A pair that is up.
#[derive(Debug)]
pub struct Pair {
    testbed: Testbed,
    peers: [Peer; 2],
    vrrp: Vrrp,
    keepalived: [Option<Keepalived>; 2],
    pub(super) conntrackd: [Option<Conntrackd>; 2],
    pub(super) rules: Rules,
}

impl Pair {
    /// Builds the testbed and starts both gateways.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this machine lacks something; others when the pair doesn't come
    /// up with `gw-a` as the active one.
    pub fn up(peer: Peer, vrrp: Vrrp, binaries: Option<PathBuf>) -> Result<Self, Error> {
        Self::up_with(peer, vrrp, Rules::default(), binaries)
    }

    /// The same with other rules.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn up_with(
        peer: Peer,
        vrrp: Vrrp,
        rules: Rules,
        binaries: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let mut pair = Self::build([peer; 2], vrrp, binaries)?;
        pair.set_rules(rules)?;
        pair.start(Side::A)?;
        pair.start(Side::B)?;
        pair.wait_active(Side::A)?;
        Ok(pair)
    }

    /// Builds the testbed for these on `gw-a` and `gw-b`, and starts nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this machine lacks something; others when a step fails.
    pub fn build(peers: [Peer; 2], vrrp: Vrrp, binaries: Option<PathBuf>) -> Result<Self, Error> {
        if peers.iter().any(|peer| peer.has_keepalived()) {
            host::require("keepalived", "keepalived")?;
        }
        if peers.contains(&Peer::Conntrackd) {
            conntrackd::require()?;
        }
        let sync = peers.contains(&Peer::TwinwallSync);
        let gateways = if vrrp.active_active { Gateways::TwoActive } else { Gateways::Two };
        let mut builder = Testbed::builder().gateways(gateways).vrrp(vrrp.clone()).sync(sync);
        if let Some(binaries) = binaries {
            builder = builder.binaries(binaries);
        }
        let testbed = builder.build()?;
        let (keepalived, conntrackd) = ([None, None], [None, None]);
        let pair = Self { testbed, peers, vrrp, keepalived, conntrackd, rules: Rules::default() };
        pair.write_policy()?;
        Ok(pair)
    }

    /// What gateways let through that are started from now on.
    ///
    /// # Errors
    /// When the policy can't be written.
    pub fn set_rules(&mut self, rules: Rules) -> Result<(), Error> {
        self.rules = rules;
        self.write_policy()
    }

    fn write_policy(&self) -> Result<(), Error> {
        let policy = &self.testbed.record().policy;
        fs::write(policy, self.rules.policy()).attempt(|| format!("write {}", policy.display()))
    }

    /// The testbed.
    #[must_use]
    pub const fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// What runs on a gateway.
    #[must_use]
    pub const fn peer(&self, side: Side) -> Peer {
        let [a, b] = self.peers;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// What `twinwalld` on a gateway says of VRRP.
    ///
    /// # Errors
    /// When it doesn't answer, or something else runs there.
    pub fn status(&self, side: Side) -> Result<vrrp::Status, Error> {
        self.gateway(side)?.ask(&Request::Vrrp)
    }

    /// What the daemon of a gateway has printed.
    #[must_use]
    pub fn log(&self, side: Side) -> String {
        match (self.peer(side), self.gateway(side)) {
            (Peer::Twinwall | Peer::TwinwallSync, Ok(gateway)) => gateway.log(),
            (Peer::Keepalived, Ok(gateway)) => keepalived::log(&gateway),
            (Peer::Conntrackd, Ok(gateway)) => {
                keepalived::log(&gateway) + &conntrackd::log(&gateway)
            }
            (_, Err(error)) => error.to_string(),
        }
    }

    /// What VRRP was told.
    #[must_use]
    pub const fn vrrp(&self) -> &Vrrp {
        &self.vrrp
    }

    /// A gateway.
    ///
    /// # Errors
    /// Never, as the testbed has both.
    pub fn gateway(&self, side: Side) -> Result<Gateway, Error> {
        self.testbed.gateway(side.name())
    }

    /// Starts VRRP on a gateway.
    ///
    /// # Errors
    /// When it ends at once.
    pub fn start(&mut self, side: Side) -> Result<(), Error> {
        let gateway = self.gateway(side)?;
        match self.peer(side) {
            Peer::Twinwall | Peer::TwinwallSync => gateway.start(),
            Peer::Keepalived => self.start_keepalived(&gateway, side, &self.vrrp.clone()),
            Peer::Conntrackd => {
                self.start_copying(side)?;
                let keepalived_lines = conntrackd::notify(&gateway)?;
                let vrrp = Vrrp { keepalived_lines, ..self.vrrp.clone() };
                self.start_keepalived(&gateway, side, &vrrp)
            }
        }
    }

    fn start_keepalived(
        &mut self,
        gateway: &Gateway,
        side: Side,
        vrrp: &Vrrp,
    ) -> Result<(), Error> {
        let started = Keepalived::start(gateway, &vrrp.keepalived(side.name()))?;
        *self.slot(side) = Some(started);
        Ok(())
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it doesn't end.
    pub fn stop(&mut self, side: Side) -> Result<(), Error> {
        match self.peer(side) {
            Peer::Twinwall | Peer::TwinwallSync => self.gateway(side)?.stop(),
            Peer::Keepalived => self.stop_keepalived(side),
            Peer::Conntrackd => {
                self.stop_keepalived(side)?;
                self.kill9_copying(side)
            }
        }
    }

    fn stop_keepalived(&mut self, side: Side) -> Result<(), Error> {
        self.slot(side).take().map_or(Ok(()), |daemon| daemon.stop())
    }

    /// Kills it; conntrackd isn't touched.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn kill9(&mut self, side: Side) -> Result<(), Error> {
        match self.peer(side) {
            Peer::Twinwall | Peer::TwinwallSync => self.gateway(side)?.kill9(),
            Peer::Keepalived | Peer::Conntrackd => {
                self.slot(side).take().map_or(Ok(()), |daemon| daemon.kill9())
            }
        }
    }

    /// Stops it where it is (SIGSTOP), or lets it go on.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn freeze(&mut self, side: Side, frozen: bool) -> Result<(), Error> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        match self.peer(side) {
            Peer::Twinwall | Peer::TwinwallSync => self.gateway(side)?.signal(signal),
            Peer::Keepalived | Peer::Conntrackd => {
                if let Some(daemon) = self.slot(side) {
                    daemon.signal(signal);
                }
                if let Some(daemon) = self.copying(side) {
                    daemon.signal(signal);
                }
                Ok(())
            }
        }
    }

    /// Hands over in good order: by the operator's verb, or where there is none by a stop.
    ///
    /// # Errors
    /// When it is refused.
    pub fn hand_over(&mut self, side: Side) -> Result<(), Error> {
        match self.peer(side) {
            Peer::Twinwall | Peer::TwinwallSync => {
                self.gateway(side)?.twinwall(&["failover", "now"])?.success().map(drop)
            }
            Peer::Keepalived | Peer::Conntrackd => self.stop_keepalived(side),
        }
    }

    /// Undoes [`Self::hand_over`].
    ///
    /// # Errors
    /// When it is refused.
    pub fn hand_back(&mut self, side: Side) -> Result<(), Error> {
        match self.peer(side) {
            Peer::Twinwall | Peer::TwinwallSync => {
                self.gateway(side)?.twinwall(&["failover", "back"])?.success().map(drop)
            }
            Peer::Keepalived | Peer::Conntrackd => self.start(side),
        }
    }

    /// How many of the virtual addresses a gateway has.
    ///
    /// # Errors
    /// When `ip` fails there.
    pub fn held(&self, side: Side) -> Result<usize, Error> {
        self.held_of(side, &self.vrrp.addresses())
    }

    /// How many of these addresses a gateway has.
    ///
    /// # Errors
    /// When `ip` fails there.
    pub fn held_of(&self, side: Side, addresses: &[IpAddr]) -> Result<usize, Error> {
        let text = self.gateway(side)?.run("ip", &["-o", "address", "show"])?;
        let has = |address: &str| {
            let start = format!("{address}/");
            text.split_whitespace().any(|word| word.starts_with(&start))
        };
        Ok(addresses.iter().filter(|address| has(&address.to_string())).count())
    }

    /// Waits until each gateway has all virtual addresses of its own group and none of the other.
    ///
    /// # Errors
    /// When it doesn't come to that.
    pub fn wait_shared(&self) -> Result<u64, Error> {
        let [first, second] = [0, 1].map(|group| self.vrrp.addresses_of(group));
        self.wait("each gateway to be active for its group", |pair| {
            Ok(pair.held_of(Side::A, &first)? == first.len()
                && pair.held_of(Side::B, &second)? == second.len()
                && pair.held(Side::A)? == first.len()
                && pair.held(Side::B)? == second.len())
        })
    }

    /// Waits until a gateway has all virtual addresses and the other one has none. Returns when
    /// that was seen, as a reading of the clock.
    ///
    /// # Errors
    /// When it doesn't come to that.
    pub fn wait_active(&self, side: Side) -> Result<u64, Error> {
        let all = self.vrrp.addresses().len();
        self.wait(&format!("{} to be active alone", side.name()), |pair| {
            Ok(pair.held(side)? == all && pair.held(side.other())? == 0)
        })
    }

    /// Waits until a gateway has all virtual addresses, whatever the other one has.
    ///
    /// # Errors
    /// When it doesn't come to that.
    pub fn wait_holding(&self, side: Side) -> Result<u64, Error> {
        let all = self.vrrp.addresses().len();
        self.wait(&format!("{} to be active", side.name()), |pair| Ok(pair.held(side)? == all))
    }

    /// Waits until one gateway has all virtual addresses and the other one has none.
    ///
    /// # Errors
    /// When it doesn't come to that.
    pub fn wait_one_active(&self) -> Result<u64, Error> {
        let all = self.vrrp.addresses().len();
        self.wait("one gateway to be active alone", |pair| {
            let held = [pair.held(Side::A)?, pair.held(Side::B)?];
            Ok(held == [all, 0] || held == [0, all])
        })
    }

    fn wait(
        &self,
        what: &str,
        condition: impl Fn(&Self) -> Result<bool, Error>,
    ) -> Result<u64, Error> {
        let within = PATIENCE + self.vrrp.interval * 8;
        let met = eventually(within, || match condition(self) {
            Ok(true) => Some(Ok(clock::now())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        });
        met.unwrap_or_else(|| {
            Err(Error::TimedOut {
                what: format!("waiting for {what}"),
                within,
                detail: format!("; {}", self.describe()),
            })
        })
    }

    /// What is known about both, for an error.
    fn describe(&self) -> String {
        let mut text = String::new();
        for side in [Side::A, Side::B] {
            let held = self.held(side).map_or_else(|e| e.to_string(), |held| held.to_string());
            let log = self.log(side);
            let lines: Vec<_> = log.lines().collect();
            let end = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
            text.push_str(&format!("{} holds {held}; its log:\n{}\n", side.name(), end.join("\n")));
        }
        text
    }

    fn slot(&mut self, side: Side) -> &mut Option<Keepalived> {
        let [a, b] = &mut self.keepalived;
        if side == Side::A { a } else { b }
    }
}
