//! The VRRP thread: waits, hands what comes to the state machine, and ties groups to interfaces.

use super::bound::Bound;
use super::events::{Entry, Log};
use super::handover::Pending;
use super::keeper::Keeper;
use super::placement::Placer;
use super::receivers::{self, Place, Receivers};
use super::replication::Replication;
use super::settings::Group;
use super::surroundings::Surroundings;
use super::transmit::Transmitter;
use super::turn::Turn;
use super::{Command, Error, Inbox, Link, leftovers, report};
use crate::clock::since_boot;
use crate::recording::Tape;
use crate::reply::respond;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use twinwall_netlink::raw::Packet;
use twinwall_netlink::socket::Socket;
use twinwall_netlink::sys;
use twinwall_vrrp::action::Output;
use twinwall_vrrp::receive::{Datagram, Discard};
use twinwall_vrrp::recorded::Recorded;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::track::Health;
use twinwall_vrrp::types::{Family, InterfaceId};
use twinwall_vrrp::wire::{Endpoints, Ipv4Packet};

/// The priority among real-time threads: low, and above that of session replication.
pub(super) const REALTIME: i32 = 3;

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) node: Recorded,
    /// Where its inputs are recorded.
    tape: Option<Tape>,
    pub(super) groups: Vec<Bound>,
    pub(super) surroundings: Surroundings,
    pub(super) receivers: Receivers,
    pub(super) transmitter: Transmitter,
    pub(super) route: Socket,
    pub(super) placer: Placer,
    /// What waits for it.
    pub(super) turn: Turn,
    pub(super) keeper: Option<Keeper>,
    pub(super) events: Arc<Log>,
    pub(super) out: Vec<Output>,
    pub(super) handovers: Vec<Pending>,
    /// Groups whose addresses could not be put where they belong, and when that is tried again.
    pub(super) retries: BTreeMap<String, Timestamp>,
    /// When addresses of a group that somebody had removed were put back.
    pub(super) restored: BTreeMap<String, Vec<Timestamp>>,
    pub(super) health: BTreeMap<String, Health>,
    inbox: Inbox,
    pub(super) state_dir: PathBuf,
    next_tick: Timestamp,
    /// What the sync channel has to do with it.
    pub(super) replication: Replication,
}

impl Driver {
    /// # Errors
    /// When sockets or the gate can't be had.
    pub(super) fn new(
        groups: Vec<Group>,
        state_dir: PathBuf,
        inbox: Inbox,
        events: Arc<Log>,
        (link, tape): (Option<Link>, Option<Tape>),
    ) -> Result<Self, Error> {
        let io = |attempt| move |source| Error::Io { attempt, source };
        let keeper = match guarded(groups.iter()) {
            guarded if guarded.is_empty() => None,
            guarded => Some(Keeper::start(guarded)?),
        };
        let unbound = |settings| Bound { settings, seat: Err("not started".to_owned()) };
        Ok(Self {
            node: Recorded::new(tape.as_ref().map(Tape::recorder)),
            tape,
            groups: groups.into_iter().map(unbound).collect(),
            surroundings: Surroundings::open()?,
            receivers: Receivers::default(),
            transmitter: Transmitter::open().map_err(io("open a packet socket"))?,
            route: Socket::open_route().map_err(io("open a route socket"))?,
            placer: Placer::start(inbox.bell.clone())
                .map_err(io("start the thread that places addresses"))?,
            turn: Turn::default(),
            keeper,
            events,
            out: Vec::new(),
            handovers: Vec::new(),
            retries: BTreeMap::new(),
            restored: BTreeMap::new(),
            health: BTreeMap::new(),
            inbox,
            state_dir,
            next_tick: Timestamp::ZERO,
            replication: Replication::new(link, now()),
        })
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        if let Err(error) = sys::set_realtime(REALTIME) {
            tracing::info!(%error, "VRRP runs without real-time priority");
        }
        // Before interfaces are made, which may take seconds: until one is active, this node stands
        // by, and has much to do as such.
        self.tell_roles();
        self.look(now());
        loop {
            self.wait();
            let now = now();
            self.listen(now);
            self.go_on(now, None);
            if self.surroundings.catch_up() {
                self.look(now);
            }
            let commands: Vec<Command> = self.inbox.take().collect();
            for command in commands {
                match command {
                    Command::Stop => return self.end(now),
                    command => self.command(command, now),
                }
            }
            if self.next_tick <= now {
                self.receivers.tick();
                self.switch_idle_off(now);
                // What was removed while other changes were under way.
                self.restore(now);
                self.next_tick = now.after(receivers::TICK);
            }
            self.retry(now);
            self.start_at_last(now, false);
            self.node.poll(now, &mut self.out);
            self.perform(now, None);
            self.expire_handovers(now);
            self.tell_roles();
            if let (Some(tape), Some(recorder)) = (&mut self.tape, self.node.recorder()) {
                tape.write(recorder);
            }
            if let Some(keeper) = &self.keeper {
                keeper.alive();
            }
        }
    }

    /// Waits until there is something to read or something is due.
    fn wait(&self) {
        let now = now();
        let ticking = (!self.groups.is_empty()).then_some(self.next_tick);
        let due = [self.node.next_deadline(), ticking].into_iter().flatten().min();
        let timeout = due.and_then(|due| Timespec::try_from(due.since(now)).ok());
        let news =
            [sys::borrow(&self.surroundings.links), sys::borrow(&self.surroundings.addresses)];
        let bell = std::os::fd::AsFd::as_fd(&self.inbox.bell);
        let descriptors = news.into_iter().chain([bell]).chain(self.receivers.descriptors());
        let mut waiting: Vec<PollFd<'_>> =
            descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // Interrupted or not, everything is looked at.
        let _ = poll(&mut waiting, timeout.as_ref());
    }

    /// Takes in the packets that have arrived.
    fn listen(&mut self, now: Timestamp) {
        let Self { receivers, node, out, events, surroundings, .. } = self;
        let mut receive = |place: Place, packet: Packet<'_>| {
            let interface = InterfaceId(packet.interface);
            let (source, outcome) = match (place, packet) {
                ((_, Family::V4), Packet { bytes, .. }) => match Ipv4Packet::parse(bytes) {
                    Ok(packet) => {
                        let (source, destination) = (packet.source, packet.destination);
                        let endpoints = Endpoints::V4 { source, destination };
                        let (hop_limit, payload) = (packet.ttl, packet.payload);
                        let datagram = Datagram { interface, hop_limit, endpoints, payload };
                        (IpAddr::V4(source), node.receive(now, &datagram, out))
                    }
                    Err(error) => {
                        let source = packet.source;
                        let reason = Discard::Header(error);
                        (source, Err(node.refuse(now, interface, Some(source), reason)))
                    }
                },
                ((_, Family::V6), Packet { source, destination, hop_limit, bytes, .. }) => {
                    // The kernel always says these; without them the packet is nobody's.
                    let (Some(destination), Some(hop_limit)) = (destination, hop_limit) else {
                        return;
                    };
                    let Ok(endpoints) = Endpoints::new(source, destination) else { return };
                    let datagram = Datagram { interface, hop_limit, endpoints, payload: bytes };
                    (source, node.receive(now, &datagram, out))
                }
            };
            if let Err(refused) = outcome
                && let Some(more) = refused.say
            {
                let name = surroundings.link(interface.0).map_or("?", |link| link.name.as_str());
                let more = match more {
                    0 => String::new(),
                    more => format!(" ({more} more since this was last told)"),
                };
                let text = format!(
                    "packet from {source} on {name} was discarded: {}{more}",
                    refused.reason
                );
                events.add(Entry {
                    group: name.to_owned(),
                    event: "discard",
                    text,
                    ..Entry::default()
                });
            }
        };
        while receivers.read(&mut receive) {}
    }

    fn command(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::Status(reply) => {
                let status = report::status(
                    &self.node,
                    &self.groups,
                    &self.surroundings,
                    &self.receivers,
                    now,
                );
                respond(reply, Ok(status));
            }
            Command::FailOver { group, reply } => self.fail_over(group.as_deref(), reply, now),
            Command::FailBack { group, reply } => self.fail_back(group.as_deref(), reply, now),
            Command::Health { track, health } => {
                self.health.insert(track.clone(), health);
                self.node.track(&track, health, now, &mut self.out);
                self.perform(now, None);
            }
            Command::Configure { groups, done } => {
                self.configure(groups, now);
                // Nobody waits any more when this fails.
                let _ = done.send(());
            }
            Command::Peer(report) => {
                self.start_at_last(now, true);
                self.node.peer_report(now, report, &mut self.out);
                self.perform(now, None);
            }
            Command::PeerState(group, state) => self.peer_state(group, state, now),
            Command::Hold(time) => self.hold(now.after(time), now),
            Command::Allow => self.allow(now),
            Command::PeerReady(id) => self.peer_is_ready(id, now),
            Command::Stop => {}
        }
    }

    /// Gives everything up, in good order.
    fn end(mut self, now: Timestamp) {
        self.node.stop(now, &mut self.out);
        self.perform(now, None);
        // Replication goes on until the interfaces are gone, which may take seconds. What ends here
        // from now on has not ended.
        self.tell_roles();
        self.settle(now, None);
        for index in 0..self.groups.len() {
            self.unbind(index, "stopped".to_owned(), now);
        }
        if let (Some(tape), Some(recorder)) = (&mut self.tape, self.node.recorder()) {
            tape.write(recorder);
        }
        // The gate goes after the addresses.
        self.keeper = None;
        leftovers::release(&self.state_dir);
    }
}

/// All addresses of these groups.
pub(super) fn guarded<'a>(groups: impl Iterator<Item = &'a Group>) -> Vec<IpAddr> {
    groups.flat_map(Group::addresses).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The time.
pub(super) fn now() -> Timestamp {
    Timestamp::new(since_boot())
}
