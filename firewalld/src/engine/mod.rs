//! The engine: owns the running policy and is the only one that changes the data plane.
//!
//! ```text
//! start    from the stored state and the kernel's table to a running policy
//! reload   from the running policy to the next one
//! trial    policies that have to be confirmed
//! offers   policies of the peer
//! stored   what a daemon after this one has to know
//! sweep    sessions under keys that are gone: move or end them
//! nat      the policy's NAT rules in the data plane's terms
//! ```
//!
//! One thread, owned by [`crate::daemon`], working through one command after the other. It ends on
//! the command to stop, or when every sender is gone. A command in hand is always finished.

mod nat;
mod offers;
mod reload;
mod start;
mod stored;
mod sweep;
mod trial;

use crate::confirmed::{Confirmed, Offered};
use crate::gate::Gate;
use crate::published::Published;
use crate::snapshot::{Snapshot, Zones};
use crate::state::Directory;
use crate::worker::Counts;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use twinwall_control::{SourceFile, pair, report};
use twinwall_ctsync::offer::Delivery;
use twinwall_netlink::dataplane::{Dataplane, Marks, Peer, QueueForm, Settings, Switch};
use twinwall_netlink::link::Link;
use twinwall_policy::interfaces::InterfaceZones;
use twinwall_policy::keys::KeyAllocator;
use twinwall_policy::ruleset::RuleSet;

pub(crate) use reload::rule_count;
pub use start::{Error as StartError, Prepared, prepare};
use trial::Trial;

/// Commands that may wait. Each that comes from outside has somebody waiting for its answer.
const WAITING: usize = 32;

/// How often the engine looks for kept keys whose sessions are gone.
const TIDY: Duration = Duration::from_secs(60);

/// Where the outcome of a command goes to. Somebody who no longer waits gets nothing.
pub type Outcome<T> = oneshot::Sender<Result<T, String>>;

enum Command {
    Apply { files: Vec<SourceFile>, reply: Outcome<report::Apply> },
    Try { files: Option<Vec<SourceFile>>, within: Duration, reply: Outcome<report::Apply> },
    Confirm { reply: Outcome<pair::Confirmed> },
    Offer { offer: Delivery, hold: bool },
    ApplyOffered { reply: Outcome<report::Apply> },
    Reload { reply: Outcome<report::Apply> },
    Peer(Peer, Outcome<()>),
    Links(Vec<Link>),
    CheckTable,
    Stop,
}

/// The way to the engine.
#[derive(Clone, Debug)]
pub struct Sender {
    commands: SyncSender<Command>,
    ended: Arc<AtomicBool>,
}

/// Why a command was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many commands wait.
    #[error("twinwalld is busy: too many requests wait")]
    Busy,
    /// The engine has ended.
    #[error("twinwalld is stopping")]
    Stopping,
}

/// The receiving end, for [`Engine::run`].
#[derive(Debug)]
pub struct Commands {
    commands: Receiver<Command>,
    ended: Arc<AtomicBool>,
}

/// Both ends.
#[must_use]
pub fn channel() -> (Sender, Commands) {
    let (sender, receiver) = sync_channel(WAITING);
    let ended = Arc::new(AtomicBool::new(false));
    (Sender { commands: sender, ended: Arc::clone(&ended) }, Commands { commands: receiver, ended })
}

impl Sender {
    /// Asks for a policy to be loaded.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn apply(
        &self,
        files: Vec<SourceFile>,
        reply: Outcome<report::Apply>,
    ) -> Result<(), Unavailable> {
        self.send(Command::Apply { files, reply })
    }

    /// Asks for a policy to be loaded, and for the one before to come back unless it is confirmed
    /// within this time. `None` stands for the daemon's own files.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn try_policy(
        &self,
        files: Option<Vec<SourceFile>>,
        within: Duration,
        reply: Outcome<report::Apply>,
    ) -> Result<(), Unavailable> {
        self.send(Command::Try { files, within, reply })
    }

    /// Confirms the policy that waits for it.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn confirm(&self, reply: Outcome<pair::Confirmed>) -> Result<(), Unavailable> {
        self.send(Command::Confirm { reply })
    }

    /// Hands over a policy of the peer. What becomes of it is published.
    ///
    /// # Errors
    /// When too many commands wait: the offer again.
    pub fn offer(&self, offer: Delivery, hold: bool) -> Result<(), Delivery> {
        match self.commands.try_send(Command::Offer { offer, hold }) {
            Err(TrySendError::Full(Command::Offer { offer, .. })) => Err(offer),
            // Who is stopping decides nothing any more.
            _ => Ok(()),
        }
    }

    /// Asks for the policy of the peer that is kept here to be loaded.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn apply_offered(&self, reply: Outcome<report::Apply>) -> Result<(), Unavailable> {
        self.send(Command::ApplyOffered { reply })
    }

    /// Asks for the daemon's own policy files to be loaded.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn reload(&self, reply: Outcome<report::Apply>) -> Result<(), Unavailable> {
        self.send(Command::Reload { reply })
    }

    /// Tells between which addresses the sync channel is, which is not filtered.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn peer(&self, peer: Peer, reply: Outcome<()>) -> Result<(), Unavailable> {
        self.send(Command::Peer(peer, reply))
    }

    /// Tells which interfaces there are now.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn links(&self, links: Vec<Link>) -> Result<(), Unavailable> {
        self.send(Command::Links(links))
    }

    /// Asks to look whether the table is still there.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn check_table(&self) -> Result<(), Unavailable> {
        self.send(Command::CheckTable)
    }

    /// Ends the engine after the commands that wait. Waits for room.
    pub fn stop(&self) {
        // The engine has ended already when this fails.
        drop(self.commands.send(Command::Stop));
    }

    /// Whether the engine takes no more commands.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn send(&self, command: Command) -> Result<(), Unavailable> {
        if self.has_ended() {
            return Err(Unavailable::Stopping);
        }
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable::Busy,
            TrySendError::Disconnected(_) => Unavailable::Stopping,
        })
    }
}

/// The engine's state.
#[derive(Debug)]
pub struct Engine {
    dataplane: Dataplane,
    allocator: KeyAllocator,
    directory: Directory,
    gate: Arc<Gate<Snapshot>>,
    published: Arc<ArcSwap<Published>>,
    links: Vec<Link>,
    settings: Settings,
    files: Arc<[SourceFile]>,
    own_files: Arc<[SourceFile]>,
    own_path: PathBuf,
    counts: Vec<Arc<Counts>>,
    sweeper: Option<sweep::Sockets>,
    confirmed: Arc<Confirmed>,
    trial: Option<Trial>,
    offered: Option<Arc<Offered>>,
    /// The latest confirmation that the peer has told of.
    heard: Arc<AtomicU64>,
}

impl Engine {
    /// Works until it is told to stop; then takes the queue out of the table, so that
    /// `queue_failure` decides about new sessions from then on.
    pub fn run(mut self, commands: &Commands) {
        let mut tidy = Instant::now();
        loop {
            self.look_at_trial();
            if tidy.elapsed() >= TIDY {
                self.forget_unused();
                tidy = Instant::now();
            }
            let wait = TIDY.saturating_sub(tidy.elapsed());
            let wait = self.trial_left().map_or(wait, |left| left.min(wait));
            match commands.commands.recv_timeout(wait) {
                Ok(Command::Apply { files, reply }) => tell(reply, self.apply(files)),
                Ok(Command::Try { files, within, reply }) => {
                    tell(reply, self.try_policy(files, within));
                }
                Ok(Command::Confirm { reply }) => tell(reply, self.confirm()),
                Ok(Command::Offer { offer, hold }) => self.take_offer(offer, hold),
                Ok(Command::ApplyOffered { reply }) => tell(reply, self.apply_offered()),
                Ok(Command::Reload { reply }) => tell(reply, self.reload_own()),
                Ok(Command::Peer(peer, reply)) => tell(reply, self.set_peer(peer)),
                Ok(Command::Links(links)) => self.set_links(links),
                Ok(Command::CheckTable) => self.check_table(),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        commands.ended.store(true, Ordering::Relaxed);
        if let Err(error) = self.dataplane.leave(self.settings.open_on_failure) {
            tracing::error!(%error, "cannot take the queue out of the table");
        }
    }

    /// How packets get to the workers.
    #[must_use]
    pub fn queue_form(&self) -> QueueForm {
        self.dataplane.queue_form()
    }

    fn marks(&self) -> Marks {
        self.dataplane.marks()
    }

    /// The ends of the sync channel are others: packets between them are let through.
    fn set_peer(&mut self, peer: Peer) -> Result<(), String> {
        let settings = Settings { peer: Some(peer), ..self.settings.clone() };
        self.dataplane.adopt(&settings).map_err(|error| error.to_string())?;
        self.settings = settings;
        Ok(())
    }

    /// The closing line of a message about a policy that was not loaded.
    fn note(&self) -> String {
        format!("policy not loaded; generation {} stays active", self.published.load().generation)
    }

    fn set_links(&mut self, links: Vec<Link>) {
        self.links = links;
        let policy = Arc::clone(&self.published.load().policy);
        let zones = self.zones_of(policy.installed.rules());
        let snapshot = Snapshot { policy: Arc::clone(&policy), zones: Arc::clone(&zones) };
        if let Err(stuck) = self.gate.replace(Arc::new(snapshot)) {
            tracing::warn!(%stuck, "interfaces changed");
        }
        // Shown only when every worker goes by it.
        self.publish(|published| published.zones = zones);
        self.renew_nat(policy.installed.rules());
    }

    /// NAT rules name the interfaces of their zones: a new macvlan of a virtual router is one more.
    fn renew_nat(&mut self, rules: &RuleSet) {
        let settings = match reload::settings_for(&self.settings, rules, &self.links) {
            Ok(settings) if settings.nat != self.settings.nat => settings,
            Ok(_) => return,
            Err(reason) => return tracing::error!("NAT rules stay as they are: {reason}"),
        };
        let switch = Switch { nat: Some(&settings.nat), ..Switch::default() };
        match self.dataplane.switch(&switch) {
            Ok(_) => self.settings = settings,
            Err(error) => tracing::error!(%error, "NAT rules stay as they are"),
        }
    }

    fn zones_of(&self, rules: &RuleSet) -> Arc<Zones> {
        Arc::new(Zones::new(InterfaceZones::new(&rules.zones), &self.links))
    }

    /// Shows a change to the readers.
    fn publish(&self, change: impl FnOnce(&mut Published)) {
        let mut next = Published::clone(&self.published.load());
        next.epoch += 1;
        change(&mut next);
        self.published.store(Arc::new(next));
    }
}

fn tell<T>(reply: Outcome<T>, outcome: Result<T, String>) {
    drop(reply.send(outcome));
}
