//! The sync thread: waits, hands what comes to the state machine, and does what it asks for.
//!
//! ```text
//! events   what VRRP and the log are told
//! renew    other settings while it runs
//! work     what the other threads are to do, and what came of it
//! ```

mod events;
mod renew;
mod roles;
mod work;

use super::filter::Filter;
use super::identity::{identity, random};
use super::kernel::{self, Hands, Job, Standing};
use super::masters::Masters;
use super::notification::kernel_event;
use super::offers::Exchange;
use super::pen::Pen;
use super::settings::Settings;
use super::silence::Silence;
use super::socket::Datagrams;
use super::{Command, Error, Inbox, Surroundings, classify, keys, policies, report, rules};
use crate::clock::since_boot;
use crate::reply::respond;
use crate::snapshot::Policy;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use twinwall_control::pair::Policies;
use twinwall_control::sync::Status;
use twinwall_ctsync::model::{GroupTag, Role};
use twinwall_ctsync::node::Node;
use twinwall_ctsync::replica::{Output, Write};
use twinwall_ctsync::time::Timestamp;
use twinwall_netlink::conntrack::Listener;
use twinwall_netlink::sys;

/// Room for the notifications of some 60,000 sessions that begin at once.
const NOTIFICATIONS: usize = 64 << 20;
/// Datagrams, and reads of 32 notifications, before the others get their turn.
const TURN: usize = 64;
/// Or so long. Heartbeats are to go out in time, and the thread that writes isn't to wait for work.
const SLICE: Duration = Duration::from_millis(1);
/// Datagrams that may be refused in a [`TICK`]. When there are more, the kernel drops for the rest
/// of it what the living sessions can't have next.
const BESIEGED: u32 = 300;
/// When even more have to be refused, which somebody has to compose from what he has just heard,
/// nothing is heard for the rest of it.
const REFUSED: u32 = 3_000;
const TICK: Duration = Duration::from_millis(100);
/// How long after a takeover running sessions have shown their windows; and a sixth of how long
/// the others are given before they are looked at again.
const SETTLED: Duration = Duration::from_secs(10);
/// The shortest wait of a thread that had nothing to do.
const PAUSE: Duration = Duration::from_micros(200);
/// The priority among real-time threads: above the one that writes sessions, below VRRP. Heartbeats
/// tell a dead peer from a live one.
const REALTIME: i32 = 2;

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Driver {
    node: Node,
    datagrams: Datagrams,
    listener: Listener,
    masters: Masters,
    hands: Hands,
    filter: Filter,
    inbox: Inbox,
    surroundings: Surroundings,
    exchange: Exchange,
    settings: Settings,
    /// What this node is for its virtual routers, as it was told last.
    roles: Vec<(GroupTag, Role)>,
    out: Vec<Output>,
    /// For what is written at once.
    pen: Pen,
    /// Writes that the writing thread has no room for yet, and batches that it has.
    to_write: VecDeque<(u64, Vec<Write>)>,
    handed_on: usize,
    /// Of which policy the state machine has the key table, or is about to have it: how often
    /// policies had been switched.
    table: Option<u64>,
    /// The state machine knows that its key table is out of date.
    table_changes: bool,
    /// A dump or a key table that the listing thread has no room for yet.
    jobs: VecDeque<Job>,
    refused: u32,
    next_tick: Timestamp,
    overruns: u64,
    silence: Silence,
    /// When this node may take over even if sessions of the peer are still missing.
    held_until: Option<Timestamp>,
    /// All sessions of the peer are here, and it isn't known yet which policy it has.
    complete: bool,
    /// Whether the last round brought nothing about.
    idle: bool,
    /// When windows are believed, after a takeover.
    believe_at: Option<Timestamp>,
    /// Whether there are several groups, and for which ones this node is active.
    several: bool,
    active: Vec<GroupTag>,
    /// How often this node began to stand by, and the last of these times in which all sessions
    /// could forget their windows, once or a second time.
    stood_by: u64,
    forgotten: Option<Standing>,
    /// When windows are forgotten once more.
    forget_again_at: Option<Timestamp>,
}

impl Driver {
    /// # Errors
    /// When keys, sockets or threads can't be had.
    pub(super) fn new(
        settings: &Settings,
        inbox: Inbox,
        surroundings: Surroundings,
    ) -> Result<Self, Error> {
        let io = |attempt| move |source| Error::Io { attempt, source };
        let ring = keys::read(&settings.key_file)?;
        let datagrams =
            Datagrams::open(settings.local, settings.peer).map_err(io("open the sync socket"))?;
        let (listener, _) =
            Listener::open(NOTIFICATIONS).map_err(io("listen to conntrack's notifications"))?;
        let filter = Filter::new(settings.replicate.clone(), surroundings.mask);
        let random = random().map_err(io("get random numbers"))?;
        let (node, config) = identity(settings, random, surroundings.mask);
        let hands = kernel::start(filter.clone(), config.clone(), &inbox.bell)
            .map_err(io("start the threads that write and list sessions"))?;
        let pen = Pen::open().map_err(io("open a socket to write sessions"))?;
        listener
            .ignore_with_handshakes(&work::ports(&hands, &pen))
            .map_err(io("filter conntrack's notifications"))?;
        let mut node = Node::new(node, config, ring, random.seed);
        if let Some(tape) = &surroundings.tape {
            node.record(tape.recorder());
        }
        let (engine, heard) = (surroundings.engine.clone(), Arc::clone(&surroundings.heard));
        let exchange = Exchange::new(engine, heard, settings.hold);
        Ok(Self {
            node,
            datagrams,
            listener,
            masters: Masters::open().map_err(io("open a socket to look sessions up"))?,
            hands,
            filter,
            inbox,
            surroundings,
            exchange,
            settings: settings.clone(),
            roles: Vec::new(),
            out: Vec::new(),
            pen,
            to_write: VecDeque::new(),
            handed_on: 0,
            table: None,
            table_changes: false,
            jobs: VecDeque::new(),
            refused: 0,
            next_tick: Timestamp::ZERO,
            overruns: 0,
            silence: Silence::default(),
            held_until: None,
            complete: false,
            idle: false,
            believe_at: None,
            several: false,
            active: Vec::new(),
            stood_by: 0,
            forgotten: None,
            forget_again_at: None,
        })
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        if let Err(error) = sys::set_realtime(REALTIME) {
            tracing::info!(%error, "session replication runs without real-time priority");
        }
        self.hold(now());
        // Before the peer is greeted: what its keys stand for here has to be known by the time that
        // sessions come.
        let published = self.surroundings.published.load_full();
        self.table = Some(published.switches);
        let table = rules::of(&published.policy.installed);
        self.node.set_policy(now(), table.keyspace, table.rules, &mut self.out);
        self.node.start(now(), &mut self.out);
        self.perform();
        loop {
            self.wait();
            self.inbox.bell.quiet();
            let now = now();
            self.read_notifications(now);
            self.read_datagrams(now);
            self.read_results(now);
            let commands: Vec<Command> = self.inbox.commands.try_iter().collect();
            for command in commands {
                if matches!(command, Command::Stop) {
                    self.node.stop(now, &mut self.out);
                    self.perform();
                    return self.record();
                }
                self.command(command, now);
            }
            if self.next_tick <= now {
                self.next_tick = now.after(TICK);
                self.refused = 0;
                self.datagrams.connect();
                self.silence.look(now, self.settings.peer.ip());
                if self.held_until.take_if(|until| *until <= now).is_some() {
                    let missing = if !self.complete {
                        "sessions of the peer are still missing"
                    } else if !self.has_forgotten() {
                        "old TCP windows are not yet forgotten"
                    } else {
                        "policies of the peer are still missing"
                    };
                    let wait = self.settings.preempt_wait;
                    tracing::warn!(
                        "sync: {missing} after {wait:?}: this node may take over all the same"
                    );
                }
                self.forget_again(now);
                if self.believe_at.take_if(|at| *at <= now).is_some() {
                    self.ask(Job::Believe(self.policy(), self.sessions()));
                }
            }
            let published = self.surroundings.published.load_full();
            self.exchange.look(now, &published, &mut self.node);
            self.allow_when_settled(now);
            if self.refused < BESIEGED {
                // A new session's before the peer knows of it.
                self.datagrams.admit(self.node.channel().living(), false);
            }
            // Keys are found out before sessions are written, and of keys that notifications had the
            // peer hears after it knows of the policy.
            self.look_at_policy(now);
            self.idle = self.out.is_empty();
            self.perform();
            self.node.poll(now, &mut self.out);
            self.idle &= self.out.is_empty();
            self.perform();
            self.hand_on();
            self.record();
        }
    }

    fn wait(&self) {
        let now = now();
        let deadline = self.node.next_deadline(now).unwrap_or(self.next_tick).min(self.next_tick);
        let deadline = self.masters.due().map_or(deadline, |due| due.min(deadline));
        let mut timeout = deadline.since(now);
        if self.idle {
            // What is due can't be done yet: the other threads are to get on with it, and packets too,
            // which a real-time thread that spins would keep from their processor.
            timeout = timeout.max(PAUSE);
        }
        if !self.to_write.is_empty() || !self.jobs.is_empty() {
            // The bell rings when there is room again, but for the last result.
            timeout = timeout.min(Duration::from_millis(1));
        }
        let timeout = Timespec::try_from(timeout).ok();
        let hears = self.refused < REFUSED;
        let datagrams = hears.then(|| self.datagrams.as_fd());
        let others = [sys::borrow(&self.listener), self.inbox.bell.as_fd()];
        let mut waiting: Vec<PollFd<'_>> = others
            .into_iter()
            .chain(datagrams)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        // Interrupted or not, everything is looked at.
        let _ = poll(&mut waiting, timeout.as_ref());
    }

    /// A reload makes another key table, or has made one.
    fn look_at_policy(&mut self, now: Timestamp) {
        let published = self.surroundings.published.load();
        if self.table == Some(published.switches) {
            return;
        }
        if !std::mem::replace(&mut self.table_changes, true) {
            self.node.policy_changes(now, &mut self.out);
        }
        if published.switches.is_multiple_of(2) {
            self.table = Some(published.switches);
            self.jobs.push_back(Job::Rules(Arc::clone(&published.policy), published.switches));
        }
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.surroundings.published.load().policy)
    }

    fn read_notifications(&mut self, now: Timestamp) {
        let policy = self.policy();
        let Self { listener, node, out, filter, masters, .. } = self;
        let mut overrun = false;
        let end = since_boot() + SLICE;
        for _ in 0..TURN {
            let read = listener.read(|event| {
                masters.note(&event);
                if let Some(event) = kernel_event(event, filter, &policy) {
                    node.kernel_event(now, event, out);
                }
            });
            match read {
                Ok(read) => {
                    overrun |= read.overrun;
                    if read.drained || since_boot() > end {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read conntrack's notifications");
                    break;
                }
            }
        }
        let unlooked =
            masters.look(now, filter, &policy, |event| node.kernel_event(now, event, out));
        if unlooked {
            self.node.overrun(now, &mut self.out);
        }
        if overrun {
            self.overruns += 1;
            tracing::warn!("conntrack's notifications were lost: listing all sessions");
            self.node.overrun(now, &mut self.out);
        }
    }

    fn read_datagrams(&mut self, now: Timestamp) {
        let Self { datagrams, node, out, refused, .. } = self;
        let end = since_boot() + SLICE;
        for _ in 0..TURN {
            if *refused >= REFUSED || since_boot() > end {
                return;
            }
            let Some(datagram) = datagrams.receive() else { return };
            if node.receive(now, datagram, out).is_err() {
                *refused += 1;
                if *refused == BESIEGED {
                    datagrams.admit(node.channel().living(), true);
                }
            }
        }
    }

    fn command(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::Status(reply) => {
                respond(reply, Ok(self.status(now)));
            }
            Command::Resync(reply) => {
                self.node.resync(now, &mut self.out);
                respond(reply, Ok(self.status(now)));
            }
            Command::Policies(reply) => {
                // Nobody waits any more when this fails.
                let _ = reply.try_send(self.policies());
            }
            Command::Roles(roles) => self.take_roles(roles, now),
            Command::Places(sessions, reply) => {
                let places = sessions.iter().map(|identity| self.node.place(identity)).collect();
                // Nobody waits any more when this fails.
                let _ = reply.try_send(places);
            }
            Command::Barrier(id) => self.node.barrier(now, id, &mut self.out),
            Command::Configure(settings, reply) => {
                // Nobody waits any more when this fails.
                let _ = reply.send(self.configure(*settings, now).map_err(|e| e.to_string()));
            }
            Command::Stop => {}
        }
    }

    /// Does everything that has been asked for, and what that brings about.
    fn perform(&mut self) {
        let mut outputs = VecDeque::from(std::mem::take(&mut self.out));
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Send(datagram) => self.datagrams.send(&datagram),
                Output::Write { batch, writes } => self.write(batch, writes),
                Output::Dump(_) => {
                    let policy = self.policy();
                    self.jobs.push_back(Job::Dump(policy));
                }
                // Without a key only the session's next packet shows its zones: the filter asks.
                Output::Classify { session, .. } => {
                    let identity = session.identity();
                    let key = classify::key(&session, &self.policy(), self.surroundings.mask);
                    self.node.classified(now(), identity, key, &mut self.out);
                }
                Output::Event(event) => self.tell(event, now()),
                Output::Greet { .. } => {}
            }
            outputs.extend(self.out.drain(..));
        }
    }

    /// Hands over what the flight recorder has. Each time wakes the thread that writes it, so nothing
    /// that is to be sent or written into the kernel waits for it.
    fn record(&mut self) {
        if let (Some(tape), Some(recorder)) = (&mut self.surroundings.tape, self.node.recorder()) {
            tape.write(recorder);
        }
    }

    fn status(&self, now: Timestamp) -> Status {
        let policies = Some(self.policies());
        Status { policies, ..report::status(&self.node, self.overruns, now) }
    }

    fn policies(&self) -> Policies {
        let status = self.node.offer_status();
        policies::report(&self.surroundings.published.load(), Some((self.node.liveness(), &status)))
    }
}

/// The time.
fn now() -> Timestamp {
    Timestamp::new(since_boot())
}
