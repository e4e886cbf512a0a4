//! The engine: owns the running policy and is the only one that changes the data plane.
//!
//! ```text
//! start    from the stored state and the kernel's table to a running policy
//! reload   from the running policy to the next one
//! sweep    sessions under keys that are gone: move or end them
//! nat      the policy's NAT rules in the data plane's terms
//! ```
//!
//! One thread, owned by [`crate::daemon`], working through one command after the other. It ends on
//! the command to stop, or when every sender is gone. A command in hand is always finished.

mod nat;
mod reload;
mod start;
mod sweep;

use crate::gate::Gate;
use crate::published::Published;
use crate::reply::{Reply, respond};
use crate::snapshot::{Snapshot, Zones};
use crate::state::Directory;
use crate::worker::Counts;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use twinwall_control::{SourceFile, source};
use twinwall_netlink::dataplane::{Dataplane, Marks, QueueForm, Settings, Switch};
use twinwall_netlink::link::Link;
use twinwall_policy::interfaces::InterfaceZones;
use twinwall_policy::keys::KeyAllocator;
use twinwall_policy::ruleset::RuleSet;

pub(crate) use reload::rule_count;
pub use start::{Error as StartError, Prepared, prepare};

/// Commands that may wait. Each that comes from outside has somebody waiting for its answer.
const WAITING: usize = 32;

/// How often the engine looks for kept keys whose sessions are gone.
const TIDY: Duration = Duration::from_secs(60);

enum Command {
    Apply { files: Vec<SourceFile>, reply: Reply },
    Reload { reply: Reply },
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
    pub fn apply(&self, files: Vec<SourceFile>, reply: Reply) -> Result<(), Unavailable> {
        self.send(Command::Apply { files, reply })
    }

    /// Asks for the daemon's own policy files to be loaded.
    ///
    /// # Errors
    /// When too many commands wait, or the engine has ended.
    pub fn reload(&self, reply: Reply) -> Result<(), Unavailable> {
        self.send(Command::Reload { reply })
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
}

impl Engine {
    /// Works until it is told to stop; then takes the queue out of the table, so that
    /// `queue_failure` decides about new sessions from then on.
    pub fn run(mut self, commands: &Commands) {
        loop {
            match commands.commands.recv_timeout(TIDY) {
                Ok(Command::Apply { files, reply }) => respond(reply, self.apply(files)),
                Ok(Command::Reload { reply }) => self.reload_own(reply),
                Ok(Command::Links(links)) => self.set_links(links),
                Ok(Command::CheckTable) => self.check_table(),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => self.forget_unused(),
                Ok(Command::Stop) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
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

    fn reload_own(&mut self, reply: Reply) {
        let result = match source::read(&self.own_path) {
            Ok(files) => {
                let result = self.apply(files.clone());
                if result.is_ok() {
                    self.own_files = files.into();
                    self.keep_state();
                }
                result
            }
            Err(error) => Err(format!("error: {error}\n{}", self.note())),
        };
        respond(reply, result);
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
