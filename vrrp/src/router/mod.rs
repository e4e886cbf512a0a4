//! One virtual router: the state machine of RFC 9568 section 6.4.
//!
//! ```text
//!               start (owner)
//!        ┌────────────────────────────┐
//!        │                            ▼
//!  ┌────────────┐  start  ┌────────┐ timer ┌────────┐
//!  │ Initialize │ ──────► │ Backup │ ────► │ Active │
//!  └────────────┘         └────────┘       └────────┘
//!      ▲    ▲                 │  ▲    superior  │ │
//!      │    └─────────────────┘  └──────────────┘ │
//!      └──────────────────────────────────────────┘  stop, fault
//! ```
//!
//! Goes in: adverts, the time, what the group and the sync channel say. Comes out: actions, and
//! the time of the next call of `poll`. Not here: the step to Active itself, which is the group's
//! ([`crate::group`]); a virtual router says only that it is ready.

mod active;
mod backup;
mod burst;
mod handover;
mod initialize;
mod preempt;
mod stats;

pub use preempt::Preemption;
pub use stats::{Adverts, Heard};

use crate::action::{Action, Event, Output, State, Why};
use crate::config::{ConfigError, Election, RouterConfig, Transport};
use crate::receive::Warning;
use crate::tally::Tally;
use crate::time::Timestamp;
use crate::types::{Centiseconds, MacAddress, Priority, RouterId};
use crate::wire::{Advert, Endpoints, FamilyMismatch};
use active::Active;
use backup::Backup;
use initialize::Initialize;
use preempt::Preempt;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// An advert for this virtual router, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Its sender.
    pub from: IpAddr,
    /// The sender's priority.
    pub priority: Priority,
    /// The sender's interval.
    pub interval: Centiseconds,
}

/// Whether the sync channel hears the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PeerReport {
    /// It does.
    Alive,
    /// The peer's heartbeats are missing. It may be dead, or the sync link may be: this router
    /// takes over as soon as an advert is overdue too.
    Silent,
    /// The peer said goodbye, or its host says that nobody listens any more: this router takes
    /// over at once.
    Gone,
}

/// One virtual router on one interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Router {
    id: RouterId,
    config: RouterConfig,
    primary: IpAddr,
    /// With everything that lowers it.
    priority: Priority,
    preempt: Preempt,
    start_delay: Duration,
    phase: Phase,
    since: Timestamp,
    why: Why,
    /// The router that was last heard to be active.
    heard: Option<Heard>,
    peer: Option<PeerReport>,
    /// The sync channel says that the peer is active for this router's group.
    peer_active: bool,
    /// The sync channel doesn't hear the peer, and no advert has come since.
    suspect: bool,
    adverts: Adverts,
    takeovers: u64,
    warnings: Tally<Warning>,
}

/// The state and what belongs to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Phase {
    Initialize(Initialize),
    Backup(Backup),
    Active(Active),
}

impl Router {
    pub(crate) fn new(
        id: RouterId,
        config: RouterConfig,
        primary: IpAddr,
        election: &Election,
        now: Timestamp,
    ) -> Result<Self, ConfigError> {
        config.check(primary)?;
        Ok(Self {
            id,
            config,
            primary,
            priority: election.priority,
            preempt: Preempt::new(election),
            start_delay: election.start_delay,
            phase: Phase::Initialize(Initialize::default()),
            since: now,
            why: Why::NotStarted,
            heard: None,
            peer: None,
            peer_active: false,
            suspect: false,
            adverts: Adverts::default(),
            takeovers: 0,
            warnings: Tally::default(),
        })
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> RouterId {
        self.id
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Initialize(_) => State::Initialize,
            Phase::Backup(_) => State::Backup,
            Phase::Active(_) => State::Active,
        }
    }

    /// Why it is in this state.
    #[must_use]
    pub fn why(&self) -> Why {
        self.why
    }

    /// The address that adverts come from.
    #[must_use]
    pub fn primary(&self) -> IpAddr {
        self.primary
    }

    /// The priority now.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The virtual router's Ethernet address.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        self.config.vrid.mac(self.config.family())
    }

    /// Whether packets to the virtual addresses are taken in while it is active (section 6.4.3).
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.config.accept || self.priority.is_owner()
    }

    /// Where adverts go.
    #[must_use]
    pub fn destinations(&self) -> Vec<IpAddr> {
        match &self.config.transport {
            Transport::Multicast => vec![self.config.family().group()],
            Transport::Unicast(peers) => peers.clone(),
        }
    }

    /// Writes an advert (section 7.2) as it goes to one of the [destinations](Self::destinations),
    /// without the IP header. `priority` is that of [`Action::SendAdvert`].
    ///
    /// # Errors
    /// When the destination is of the other family.
    pub fn write_advert(
        &self,
        priority: Priority,
        destination: IpAddr,
        buffer: &mut Vec<u8>,
    ) -> Result<(), FamilyMismatch> {
        let config = &self.config;
        let advert = Advert {
            vrid: config.vrid,
            priority,
            interval: config.interval,
            addresses: &config.addresses,
        };
        advert.write(&Endpoints::new(self.primary, destination)?, config.checksum, buffer)
    }

    /// When `poll` is due; `None` if nothing is to happen by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Initialize(idle) => idle.deadline(),
            Phase::Backup(backup) => self.backup_deadline(backup),
            Phase::Active(active) => Some(active.deadline(&self.config.repeats)),
        }
    }

    /// The priority is another one.
    pub(crate) fn set_priority(
        &mut self,
        now: Timestamp,
        priority: Priority,
        out: &mut Vec<Output>,
    ) {
        let from = std::mem::replace(&mut self.priority, priority);
        if from != priority {
            self.event(Event::Priority { from, to: priority }, out);
            // The others needn't wait for the next advert to learn it.
            self.advertise_soon(now, out);
        }
    }

    /// The interface's own address is another one.
    pub(crate) fn set_primary(&mut self, primary: IpAddr) -> Result<(), ConfigError> {
        self.config.check_primary(primary)?;
        self.primary = primary;
        Ok(())
    }

    /// Takes an advert in.
    pub(crate) fn received(&mut self, now: Timestamp, advert: Received, out: &mut Vec<Output>) {
        self.adverts.received += 1;
        self.adverts.received_resign += u64::from(advert.priority.is_resign());
        match &self.phase {
            // Section 6.4.1: it takes no part.
            Phase::Initialize(_) => {}
            Phase::Backup(_) => self.backup_received(now, advert),
            Phase::Active(_) => self.active_received(now, advert, out),
        }
    }

    /// Takes in what the sync channel knows. Only news count: that a peer which adverts have shown
    /// to be alive is still reported as gone must not make this router take over again and again.
    pub(crate) fn peer_report(
        &mut self,
        now: Timestamp,
        report: PeerReport,
        out: &mut Vec<Output>,
    ) {
        if self.peer.replace(report) == Some(report) {
            return;
        }
        self.suspect = report == PeerReport::Silent;
        match (&mut self.phase, report) {
            (Phase::Backup(backup), PeerReport::Gone) => {
                backup.ready.get_or_insert(Why::PeerGone);
            }
            (Phase::Active(_), PeerReport::Gone) => self.abandon_hand_over(now, out),
            _ => {}
        }
        self.poll(now, out);
    }

    /// Takes in whether the peer is active for this router's group.
    pub(crate) fn peer_state(&mut self, now: Timestamp, state: State, out: &mut Vec<Output>) {
        self.peer_active = state == State::Active;
        self.poll(now, out);
    }

    /// Does what the time asks for. The driver first delivers the packets that wait in its
    /// sockets: an advert that came in time must not be overtaken by the timer that it resets.
    pub(crate) fn poll(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        match &self.phase {
            Phase::Initialize(_) => self.initialize_poll(now, out),
            Phase::Backup(_) => self.backup_poll(now),
            Phase::Active(_) => self.active_poll(now, out),
        }
    }

    /// Why it could be active now, if it could.
    pub(crate) fn ready(&self) -> Option<Why> {
        match &self.phase {
            Phase::Initialize(idle) => idle.ready.then_some(Why::Owner),
            Phase::Backup(backup) => backup.ready,
            Phase::Active(_) => None,
        }
    }

    /// Puts a warning out, once a minute at most for each kind.
    pub(crate) fn warn(
        &mut self,
        warning: Warning,
        from: Option<IpAddr>,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) {
        if let Some(untold) = self.warnings.record(&warning, from, now) {
            self.event(Event::Warning { warning, from, untold }, out);
        }
    }

    fn output(&self, action: Action, out: &mut Vec<Output>) {
        out.push(Output { router: self.id, action });
    }

    fn event(&self, event: Event, out: &mut Vec<Output>) {
        self.output(Action::Event(event), out);
    }

    /// Changes the state.
    fn enter(&mut self, now: Timestamp, phase: Phase, why: Why, out: &mut Vec<Output>) {
        let from = self.state();
        self.phase = phase;
        let to = self.state();
        if (from, self.why) != (to, why) {
            if from != to {
                self.since = now;
            }
            self.why = why;
            self.event(Event::State { from, to, why }, out);
        }
    }
}
