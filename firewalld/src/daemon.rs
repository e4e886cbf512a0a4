//! Puts the daemon together, keeps it running, and takes it apart.
//!
//! ```text
//! thread queue-N    one for each queue: packets up, verdicts down
//! thread engine     owns the running policy; the only one that changes the data plane
//! thread observer   answers questions, samples counters
//! thread links      follows the interfaces
//! thread warden     notices when somebody deletes the table
//! thread journal    writes the session log
//! thread vrrp       elects the active gateway of a pair; thread keeper keeps its gate open
//! thread sync       replicates sessions to the peer; sync-write, sync-list help it
//! thread recorder   writes the inputs of the last two into a file
//! event loop        control socket, signals, watchdog
//! ```

use crate::config::Config;
use crate::control::Socket;
use crate::desk::Desk;
use crate::engine::{self, Engine, Prepared};
use crate::journal::Journal;
use crate::links::Follower;
use crate::lock::{self, Lock};
use crate::observer::{self, Observer};
use crate::options::Options;
use crate::pulse::Pulse;
use crate::recording::{self, Tape};
use crate::worker::{Shared, Workers};
use crate::{sync, vrrp, warden, watchdog};
use arc_swap::ArcSwap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use twinwall_netlink::dataplane::{Guard, Peer};
use twinwall_netlink::nfqueue;

/// Why the daemon can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another one runs.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// No policy, no data plane.
    #[error(transparent)]
    Start(#[from] engine::StartError),
    /// A queue can't be had.
    #[error("cannot start the queue workers: {0}")]
    Queue(#[from] nfqueue::Error),
    /// A queue that worked failed.
    #[error("a queue worker failed: {0}")]
    Failed(nfqueue::Error),
    /// The daemon's settings are wrong.
    #[error("{0}")]
    Config(String),
    /// Virtual routers can't be had.
    #[error(transparent)]
    Vrrp(#[from] vrrp::Error),
    /// Sessions can't be replicated.
    #[error(transparent)]
    Sync(#[from] sync::Error),
    /// The interfaces can't be listed.
    #[error("cannot list the interfaces: {0}")]
    Links(twinwall_netlink::socket::Error),
    /// The control socket can't be bound.
    #[error("cannot listen on {path}: {source}")]
    Socket {
        /// The path.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The system refuses something else.
    #[error("cannot {attempt}: {source}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// What the process ends with: 78 (`EX_CONFIG` of `sysexits.h`) when trying again can't help
    /// before somebody has edited a file, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        const CONFIG: u8 = 78;
        match self {
            Self::Config(_)
            | Self::Start(engine::StartError::Policy(_) | engine::StartError::Marks(_)) => CONFIG,
            _ => 1,
        }
    }
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// When it can't start, or when a queue fails.
pub fn run(options: &Options) -> Result<(), Error> {
    let io = |attempt| move |source| Error::Io { attempt, source };
    if options.release {
        // Not beside a daemon that runs: the addresses are its own then.
        let _lock = Lock::take()?;
        vrrp::release(&options.state_dir);
        return Ok(());
    }
    let config =
        Config::read(&options.config, "twinwalld does not start").map_err(Error::Config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("start the event loop"))?;
    let lock = Lock::take()?;
    let follower = Follower::open().map_err(io("watch the interfaces"))?;
    let links = follower.links().map_err(Error::Links)?;
    let peer = config.sync.as_ref().map(|sync| Peer { local: sync.local, peer: sync.peer });
    let prepared = engine::prepare(options, peer, links)?;
    let journal = Journal::start(options.log_rate).map_err(io("start the session log"))?;
    let marks = options.marks().map_err(engine::StartError::from)?;
    let pulse = Pulse::start().map_err(io("watch the clock"))?;
    let shared = Shared { gate: prepared.gate.clone(), marks, journal, pulse };
    let (failures, failed) = mpsc::unbounded_channel();
    let workers =
        Workers::start(options.first_queue, options.worker_count(), &shared, move |error| {
            // Nobody listens when the daemon is stopping anyway.
            drop(failures.send(error));
        })?;
    let parts = Parts { prepared, workers, shared };
    let result = runtime.block_on(serve(options, config, parts, follower, failed));
    drop(lock);
    result
}

/// Bytes of the flight recorder's file where there are no settings of it.
const RECORDER: usize = 8 << 20;

struct Parts {
    prepared: Prepared,
    workers: Workers,
    shared: Shared,
}

async fn serve(
    options: &Options,
    config: Config,
    parts: Parts,
    follower: Follower,
    mut failed: mpsc::UnboundedReceiver<nfqueue::Error>,
) -> Result<(), Error> {
    let io = |attempt| move |source| Error::Io { attempt, source };
    let Parts { prepared, workers, shared } = parts;
    let published = prepared.published.clone();
    let replicated = prepared.published.clone();
    let heard = Arc::clone(&prepared.heard);
    let (engine_sender, commands) = engine::channel();
    let guard = Guard::open().map_err(engine::StartError::from)?;
    let engine = prepared.take_over(workers.counts())?;
    let form = engine.queue_form();
    let (sync_sender, sync_inbox) = match &config.sync {
        Some(_) => sync::channel().map(|(sender, inbox)| (Some(sender), Some(inbox)))?,
        None => (None, None),
    };
    let observer = Observer::new(published, shared.marks, form, workers.counts(), options)
        .with_replication(sync_sender.clone());
    let (observer_sender, questions) = observer::channel();
    let engine_thread = spawn("engine", move || Engine::run(engine, &commands))?;
    spawn("observer", move || observer.run(&questions))?;
    let news = engine_sender.clone();
    spawn("links", move || follower.run(&news))?;
    let news = engine_sender.clone();
    spawn("warden", move || warden::run(guard, &news))?;
    // Last, so that a node that becomes active can decide what comes to it.
    let state_dir = options.state_dir.clone();
    let link = sync_sender.clone().zip(config.sync.as_ref());
    let link =
        link.map(|(sync, settings)| vrrp::Link { sync, preempt_wait: settings.preempt_wait });
    let [tape, vrrp_tape] = tapes(&config, &state_dir)?;
    let (vrrp, vrrp_thread) = vrrp::start(config.groups.clone(), state_dir, link, vrrp_tape)?;
    let sync_thread = match (&config.sync, sync_inbox) {
        (Some(settings), Some(inbox)) => {
            let mask = shared.marks.key_mask();
            let vrrp = vrrp.clone();
            let surroundings = sync::Surroundings {
                published: replicated,
                mask,
                vrrp,
                tape,
                engine: engine_sender.clone(),
                heard,
            };
            Some(sync::start(settings, inbox, surroundings)?)
        }
        _ => None,
    };
    let (groups, watched) = watch::channel(Arc::from(config.groups));
    let desk = Desk {
        engine: engine_sender.clone(),
        observer: observer_sender,
        vrrp: vrrp.clone(),
        sync: sync_sender
            .clone()
            .zip(config.sync.clone().map(|settings| Arc::new(ArcSwap::from_pointee(settings)))),
        groups: Arc::new(groups),
        config: options.config.clone(),
    };
    let socket = Socket::bind(&options.socket)
        .map_err(|source| Error::Socket { path: options.socket.display().to_string(), source })?;
    let mut hangup = signal(SignalKind::hangup()).map_err(io("wait for SIGHUP"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io("wait for SIGINT"))?;
    tracing::info!(socket = %options.socket.display(), "ready");
    watchdog::ready();
    let gate = shared.gate.clone();
    let health = vrrp::health::watch(watched, shared.gate.clone(), waiting_packets, vrrp.clone());
    let serving = async {
        tokio::join!(socket.serve(desk.clone()), watchdog::feed(gate), health, async {
            while hangup.recv().await.is_some() {
                if let Some(text) = desk.reload().await.refusal {
                    tracing::error!("reload failed\n{text}");
                }
            }
        })
    };
    let result = tokio::select! {
        _ = serving => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(error) = failed.recv() => Err(Error::Failed(error)),
    };
    watchdog::stopping();
    // The peer takes over first, while this node still forwards.
    vrrp.stop();
    if vrrp_thread.join().is_err() {
        tracing::error!("the VRRP thread had panicked");
    }
    if let Some(sync) = &sync_sender {
        sync.stop();
    }
    if sync_thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the sync thread had panicked");
    }
    // First the queue expression goes, then the workers answer what is left in the queues.
    engine_sender.stop();
    if engine_thread.join().is_err() {
        tracing::error!("the engine had panicked");
    }
    workers.stop();
    tracing::info!("stopped");
    result
}

/// The flight recorder of replication and that of VRRP.
fn tapes(config: &Config, state_dir: &Path) -> Result<[Option<Tape>; 2], Error> {
    let size = config.sync.as_ref().map_or(RECORDER, |sync| sync.recorder);
    if size == 0 || config.sync.is_none() && config.groups.is_empty() {
        return Ok([None, None]);
    }
    let tapes = recording::start(&state_dir.join("flight.rec"), size);
    let io = |source| Error::Io { attempt: "open the flight recorder's file", source };
    Ok(tapes.map_err(io)?.map(Some))
}

/// Packets that wait for a verdict in the fullest queue.
fn waiting_packets() -> u64 {
    let queues = nfqueue::status::read().unwrap_or_default();
    queues.iter().map(|queue| u64::from(queue.waiting)).max().unwrap_or(0)
}

fn spawn(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map_err(|source| Error::Io { attempt: "start a thread", source })
}
