//! Session replication in the daemon: one thread that owns the state machine of crate
//! twinwall-ctsync and does what it asks for.
//!
//! ```text
//!   notifications of conntrack ─► filter ─► convert ─┐
//!   datagrams of the peer ───────────────────────────┼─► driver ─► datagrams
//!   roles, handovers of VRRP ────────────────────────┤      │
//!   key table of the running policy ── rules ────────┤      ├─► kernel: write, list
//!   what is confirmed here ── offers ────────────────┘      ├─► engine: policies of the peer
//!                                                           ├─► flight recorder
//!                                                           └─► VRRP: the peer lives, has everything
//! ```
//!
//! Goes in: settings, and all of the above. Comes out: sessions in the kernel, reports. Not here:
//! what is sent when (crate twinwall-ctsync), and system calls (crate twinwall-netlink).

mod classify;
mod convert;
mod driver;
mod filter;
mod identity;
mod kernel;
mod keys;
mod masters;
mod notification;
mod offers;
mod pen;
pub(crate) mod policies;
mod report;
mod rules;
pub mod settings;
mod silence;
mod socket;
mod windows;

use crate::engine::{self, Unavailable};
use crate::published::Published;
use crate::recording::Tape;
use crate::reply::Reply;
use crate::vrrp;
use crate::wake::Bell;
use arc_swap::ArcSwap;
use settings::Settings;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use twinwall_control::pair::Policies;
use twinwall_ctsync::model::{Direction, GroupTag, Identity, Role, Zone};
use twinwall_ctsync::replica::Place;
use twinwall_netlink::conntrack::Tuple;

/// How long an answer for an operator may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Commands that may wait.
const WAITING: usize = 64;

/// What the thread is asked to do.
#[derive(Debug)]
enum Command {
    Status(Reply),
    Resync(Reply),
    Policies(SyncSender<Policies>),
    Roles(Vec<(GroupTag, Role)>),
    Places(Vec<Identity>, SyncSender<Vec<Option<Place>>>),
    Barrier(u32),
    Configure(Box<Settings>, oneshot::Sender<Result<(), String>>),
    Stop,
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub struct Sender {
    commands: SyncSender<Command>,
    bell: Bell,
}

/// The thread's end.
#[derive(Debug)]
pub struct Inbox {
    commands: Receiver<Command>,
    bell: Bell,
}

/// Why sessions can't be replicated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses.
    #[error("session replication: cannot {attempt}: {source}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The keys can't be had.
    #[error("session replication: {0}")]
    Keys(#[from] keys::Error),
}

/// What the thread works with.
#[derive(Debug)]
pub struct Surroundings {
    /// The running policy.
    pub published: Arc<ArcSwap<Published>>,
    /// The owned bits of the connmark.
    pub mask: u32,
    /// The thread that owns the virtual routers.
    pub vrrp: vrrp::Sender,
    /// The flight recorder, if there is one.
    pub(crate) tape: Option<Tape>,
    /// The thread that loads policies.
    pub engine: engine::Sender,
    /// Where the latest confirmation is noted that the peer has told of.
    pub heard: Arc<AtomicU64>,
}

/// Both ends.
///
/// # Errors
/// When no descriptor can be had.
pub fn channel() -> Result<(Sender, Inbox), Error> {
    let io = |source| Error::Io { attempt: "make an event descriptor", source };
    let bell = Bell::new().map_err(io)?;
    let (commands, waiting) = sync_channel(WAITING);
    Ok((Sender { commands, bell: bell.clone() }, Inbox { commands: waiting, bell }))
}

/// Starts the thread.
///
/// # Errors
/// When keys, sockets or threads can't be had.
pub fn start(
    settings: &Settings,
    inbox: Inbox,
    surroundings: Surroundings,
) -> Result<JoinHandle<()>, Error> {
    let driver = driver::Driver::new(settings, inbox, surroundings)?;
    std::thread::Builder::new()
        .name("sync".into())
        .spawn(move || driver.run())
        .map_err(|source| Error::Io { attempt: "start a thread", source })
}

impl Sender {
    /// Asks for the status.
    ///
    /// # Errors
    /// When too many commands wait, or the thread has ended.
    pub fn status(&self, reply: Reply) -> Result<(), Unavailable> {
        self.send(Command::Status(reply))
    }

    /// Has both nodes compare what they have.
    ///
    /// # Errors
    /// When too many commands wait, or the thread has ended.
    pub fn resync(&self, reply: Reply) -> Result<(), Unavailable> {
        self.send(Command::Resync(reply))
    }

    /// Tells what this node is for its virtual routers.
    pub(crate) fn roles(&self, roles: Vec<(GroupTag, Role)>) {
        let _ = self.send(Command::Roles(roles));
    }

    /// Asks to be told, with this number, when the peer has everything that is here now.
    pub(crate) fn barrier(&self, id: u32) {
        let _ = self.send(Command::Barrier(id));
    }

    /// Where sessions live, each given by its original direction and its conntrack zone; `None`
    /// for those that aren't replicated. Nothing when the thread is too busy to say.
    pub(crate) fn places(&self, sessions: &[(Tuple, u16)]) -> Option<Vec<Option<Place>>> {
        let identity = |(tuple, zone): &(Tuple, u16)| Identity {
            original: convert::tuple(tuple),
            zone: match tuple.zone {
                Some(id) => Zone { id, direction: Direction::Original },
                None => Zone { id: *zone, direction: Direction::Both },
            },
            expected: false,
        };
        let (reply, answer) = sync_channel(1);
        let sessions = sessions.iter().map(identity).collect();
        self.send(Command::Places(sessions, reply)).ok()?;
        answer.recv_timeout(PATIENCE).ok()
    }

    /// Which policy both nodes have. Waits for the answer; nothing when the thread is too busy.
    pub(crate) fn policies(&self) -> Option<Policies> {
        let (reply, answer) = sync_channel(1);
        self.send(Command::Policies(reply)).ok()?;
        answer.recv_timeout(PATIENCE).ok()
    }

    /// Replaces the settings and has the file with the keys read again; returns when they hold.
    ///
    /// # Errors
    /// When they can't be used: then everything is as before.
    pub async fn configure(&self, settings: Settings) -> Result<(), String> {
        let (reply, outcome) = oneshot::channel();
        let command = Command::Configure(Box::new(settings), reply);
        self.send(command).map_err(|reason| reason.to_string())?;
        outcome.await.unwrap_or_else(|_| Err("twinwalld is stopping".into()))
    }

    /// Ends the thread; the peer is told.
    pub fn stop(&self) {
        // The thread has ended already when this fails.
        drop(self.commands.send(Command::Stop));
        self.bell.ring();
    }

    fn send(&self, command: Command) -> Result<(), Unavailable> {
        let sent = self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable::Busy,
            TrySendError::Disconnected(_) => Unavailable::Stopping,
        });
        self.bell.ring();
        sent
    }
}
