//! VRRP in the daemon: one thread that owns the state machine of crate twinwall-vrrp and does what
//! it asks for.
//!
//! ```text
//!            settings          links, addresses
//!               │                     │
//!               ▼                     ▼
//!  commands ► driver ◄──────── surroundings      which interfaces and own addresses there are
//!  health  ►    │  ▲
//!               │  └── receivers                 adverts of others, one pair of sockets a link
//!               ├────► transmit                  adverts and announcements, as whole frames
//!               ├────► placement                 addresses onto interfaces and off them
//!               ├────► keeper ─► gate            who may answer for an address, and until when
//!               └────► events, report            what operators are told
//! ```
//!
//! Goes in: settings, the health of what is tracked, operators' requests. Comes out: adverts,
//! addresses in the kernel, reports. Not here: who is active (crate twinwall-vrrp), and system
//! calls (crate twinwall-netlink).
//!
//! The thread never waits for anything but its own descriptors, so that adverts are on time
//! whatever the rest of the daemon does. It ends on the command to stop.

mod binding;
mod bound;
mod driver;
mod duty;
mod events;
mod handover;
pub mod health;
mod keeper;
mod leftovers;
mod placement;
mod receivers;
mod replication;
mod report;
mod scripts;
pub mod settings;
mod surroundings;
mod transmit;
mod turn;

pub use events::Log;
pub use leftovers::release;

use crate::engine::Unavailable;
use crate::recording::Tape;
use crate::reply::Reply;
use crate::sync;
use crate::wake::Bell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use twinwall_ctsync::model::GroupTag;
use twinwall_vrrp::action::State;
use twinwall_vrrp::router::PeerReport;
use twinwall_vrrp::track::Health;

/// Commands that may wait.
const WAITING: usize = 64;

/// What the thread is asked to do.
#[derive(Debug)]
enum Command {
    Status(Reply),
    FailOver { group: Option<String>, reply: Reply },
    FailBack { group: Option<String>, reply: Reply },
    Health { track: String, health: Health },
    Configure { groups: Vec<settings::Group>, done: tokio::sync::oneshot::Sender<()> },
    Peer(PeerReport),
    PeerState(GroupTag, State),
    Hold(Duration),
    Allow,
    PeerReady(u32),
    Stop,
}

/// The way to the thread, and to its events.
#[derive(Clone, Debug)]
pub struct Sender {
    commands: SyncSender<Command>,
    bell: Bell,
    events: Arc<Log>,
}

/// Why VRRP can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses.
    #[error("VRRP: cannot {attempt}: {source}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("VRRP: cannot {attempt}: {source}")]
    Kernel {
        /// What was attempted.
        attempt: &'static str,
        /// The cause.
        source: twinwall_netlink::socket::Error,
    },
    /// Nothing could keep a daemon that died from answering for its addresses.
    #[error("VRRP: cannot set up the gate: {0}")]
    Gate(#[from] twinwall_netlink::gate::Error),
}

/// Session replication, as VRRP sees it.
#[derive(Debug)]
pub struct Link {
    /// The way to its thread.
    pub sync: sync::Sender,
    /// How long a peer of lower priority isn't relieved, unless all of its sessions are here
    /// before.
    pub preempt_wait: Duration,
}

/// Starts the thread. What a daemon before left behind is removed first. With session replication
/// the two tell each other what they know of the peer.
///
/// # Errors
/// When sockets or the gate can't be had.
pub(crate) fn start(
    groups: Vec<settings::Group>,
    state_dir: PathBuf,
    link: Option<Link>,
    tape: Option<Tape>,
) -> Result<(Sender, JoinHandle<()>), Error> {
    let io = |attempt| move |source| Error::Io { attempt, source };
    let bell = Bell::new().map_err(io("make an event descriptor"))?;
    let (commands, waiting) = sync_channel(WAITING);
    let events = Arc::new(Log::default());
    let sender = Sender { commands, bell: bell.clone(), events: Arc::clone(&events) };
    release(&state_dir);
    let inbox = Inbox { commands: waiting, bell };
    let driver = driver::Driver::new(groups, state_dir, inbox, events, (link, tape))?;
    let thread = std::thread::Builder::new()
        .name("vrrp".into())
        .spawn(move || driver.run())
        .map_err(io("start a thread"))?;
    Ok((sender, thread))
}

/// The thread's end.
#[derive(Debug)]
struct Inbox {
    commands: Receiver<Command>,
    bell: Bell,
}

impl Sender {
    /// Asks for the status.
    ///
    /// # Errors
    /// When too many commands wait, or the thread has ended.
    pub fn status(&self, reply: Reply) -> Result<(), Unavailable> {
        self.send(Command::Status(reply))
    }

    /// Asks to give groups to the peer.
    ///
    /// # Errors
    /// When too many commands wait, or the thread has ended.
    pub fn fail_over(&self, group: Option<String>, reply: Reply) -> Result<(), Unavailable> {
        self.send(Command::FailOver { group, reply })
    }

    /// Asks to take groups back.
    ///
    /// # Errors
    /// When too many commands wait, or the thread has ended.
    pub fn fail_back(&self, group: Option<String>, reply: Reply) -> Result<(), Unavailable> {
        self.send(Command::FailBack { group, reply })
    }

    /// What has happened.
    #[must_use]
    pub fn events(&self) -> &Log {
        &self.events
    }

    /// Tells how a tracked thing is. One that gets lost is told again with the next look.
    pub fn health(&self, track: &str, health: Health) {
        let _ = self.send(Command::Health { track: track.to_owned(), health });
    }

    /// What the sync channel knows of the peer.
    pub(crate) fn peer(&self, report: PeerReport) {
        let _ = self.send(Command::Peer(report));
    }

    /// What the sync channel says of one of the peer's groups.
    pub(crate) fn peer_state(&self, group: GroupTag, state: State) {
        let _ = self.send(Command::PeerState(group, state));
    }

    /// Sessions of the peer are still to come: it isn't relieved for so long.
    pub(crate) fn hold(&self, time: Duration) {
        let _ = self.send(Command::Hold(time));
    }

    /// All sessions of the peer are here.
    pub(crate) fn allow(&self) {
        let _ = self.send(Command::Allow);
    }

    /// The peer has everything that it was to have before a handover.
    pub(crate) fn peer_ready(&self, id: u32) {
        let _ = self.send(Command::PeerReady(id));
    }

    /// Replaces the settings, and returns when they hold.
    ///
    /// # Errors
    /// When too many commands wait, or the thread has ended.
    pub async fn configure(&self, groups: Vec<settings::Group>) -> Result<(), Unavailable> {
        let (done, held) = tokio::sync::oneshot::channel();
        self.send(Command::Configure { groups, done })?;
        held.await.map_err(|_| Unavailable::Stopping)
    }

    /// Ends the thread: gives up what is active and removes all addresses.
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

impl Inbox {
    /// What has come since the last call.
    fn take(&self) -> impl Iterator<Item = Command> {
        self.bell.quiet();
        self.commands.try_iter()
    }
}
