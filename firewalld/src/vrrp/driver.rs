//! The VRRP thread: waits, hands what comes to the state machine, and ties groups to interfaces.

use super::bound::{Bound, Leg, Seat, macvlan_name};
use super::events::{Entry, Log};
use super::handover::Pending;
use super::keeper::Keeper;
use super::receivers::{self, Place, Receivers, Wanted};
use super::replication::Replication;
use super::settings::{Group, Router, Watched};
use super::surroundings::Surroundings;
use super::transmit::Transmitter;
use super::{Command, Error, Inbox, leftovers, report};
use crate::clock::{since_boot, timespec};
use crate::reply::respond;
use crate::sync;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use twinwall_netlink::raw::Packet;
use twinwall_netlink::socket::Socket;
use twinwall_netlink::{link, sys};
use twinwall_vrrp::action::Output;
use twinwall_vrrp::group::{GroupConfig, Leg as LegConfig};
use twinwall_vrrp::node::Node;
use twinwall_vrrp::receive::{Datagram, Discard};
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::track::Health;
use twinwall_vrrp::types::{Family, InterfaceId};
use twinwall_vrrp::wire::{Endpoints, Ipv4Packet};

/// The priority among real-time threads: the lowest, which is still above all ordinary ones.
const REALTIME: i32 = 1;

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) groups: Vec<Bound>,
    pub(super) surroundings: Surroundings,
    pub(super) receivers: Receivers,
    pub(super) transmitter: Transmitter,
    pub(super) route: Socket,
    pub(super) keeper: Option<Keeper>,
    pub(super) events: Arc<Log>,
    pub(super) out: Vec<Output>,
    pub(super) handovers: Vec<Pending>,
    /// Groups whose addresses could not be put where they belong, and when that is tried again.
    pub(super) retries: BTreeMap<String, Timestamp>,
    /// When addresses of a group that somebody had removed were put back.
    pub(super) restored: BTreeMap<String, Vec<Timestamp>>,
    health: BTreeMap<String, Health>,
    inbox: Inbox,
    state_dir: PathBuf,
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
        sync: Option<sync::Sender>,
    ) -> Result<Self, Error> {
        let io = |attempt| move |source| Error::Io { attempt, source };
        let keeper = match guarded(groups.iter()) {
            guarded if guarded.is_empty() => None,
            guarded => Some(Keeper::start(guarded)?),
        };
        let unbound = |settings| Bound { settings, seat: Err("not started".to_owned()) };
        Ok(Self {
            node: Node::new(),
            groups: groups.into_iter().map(unbound).collect(),
            surroundings: Surroundings::open()?,
            receivers: Receivers::default(),
            transmitter: Transmitter::open().map_err(io("open a packet socket"))?,
            route: Socket::open_route().map_err(io("open a route socket"))?,
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
            replication: Replication::new(sync),
        })
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        if let Err(error) = sys::set_realtime(REALTIME) {
            tracing::info!(%error, "VRRP runs without real-time priority");
        }
        self.look(now());
        loop {
            self.wait();
            let now = now();
            self.listen(now);
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
                self.next_tick = now.after(receivers::TICK);
            }
            self.retry(now);
            self.node.poll(now, &mut self.out);
            self.perform(now, None);
            self.expire_handovers(now);
            self.tell_roles();
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
        let timeout = due.map(|due| timespec(due.since(now)));
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
                self.node.peer_report(now, report, &mut self.out);
                self.perform(now, None);
            }
            Command::PeerState(state) => self.peer_state(state, now),
            Command::Hold(time) => self.hold(now.after(time), now),
            Command::Allow => self.allow(now),
            Command::PeerReady(id) => self.peer_is_ready(id, now),
            Command::Stop => {}
        }
    }

    /// Brings everything into line with the interfaces and addresses that there are now.
    pub(super) fn look(&mut self, now: Timestamp) {
        let mut changed = false;
        for index in 0..self.groups.len() {
            if let Some(missing) = self.untied(index, now) {
                self.unbind(index, missing, now);
                changed = true;
            }
        }
        for index in 0..self.groups.len() {
            changed |= self.bind(index, now);
        }
        if changed {
            self.open_receivers();
            if let Err(error) = leftovers::note(&self.state_dir, &self.groups) {
                tracing::error!(%error, "cannot write vrrp.json: after a crash addresses would stay");
            }
        }
        self.report_health(now);
        self.node.start(now, &mut self.out);
        self.perform(now, None);
        self.restore(now);
    }

    /// What a bound group no longer has, if anything. A new own address is taken in here.
    fn untied(&mut self, index: usize, now: Timestamp) -> Option<String> {
        let bound = self.groups.get_mut(index)?;
        let virtual_addresses = excluded(&bound.settings);
        let Bound { settings, seat } = bound;
        let seat = seat.as_mut().ok()?;
        for (place, (router, leg)) in settings.routers.iter().zip(&mut seat.legs).enumerate() {
            let link = self.surroundings.named(&router.interface);
            let Some(link) = link.filter(|link| link.index == leg.parent) else {
                return Some(format!("interface {} is missing", router.interface));
            };
            if self.surroundings.link(leg.device).is_none() {
                return Some(format!("the macvlan interface of {} is missing", router.name));
            }
            let id = twinwall_vrrp::types::RouterId { group: seat.id, leg: place };
            let before = self.node.router(id).map(twinwall_vrrp::router::Router::primary);
            let family = router.family();
            let primary = self.surroundings.primary(link.index, family, &virtual_addresses, before);
            match primary {
                // A link that is down loses its IPv6 addresses; that is a fault already.
                None if !link.running => {}
                None => return Some(format!("interface {} has no {family} address", link.name)),
                Some(primary) if Some(primary) == before => {}
                Some(primary) => {
                    if let Err(error) = self.node.set_primary(id, primary) {
                        return Some(error.to_string());
                    }
                }
            }
            if !leg.has_macvlan()
                && let Some(mac) = link.mac.filter(|mac| *mac != leg.mac)
            {
                leg.mac = mac;
                if leg.placed.is_some() {
                    let sent = self.transmitter.announce(leg, &leg.addresses);
                    tracing::info!(?sent, at = ?now, "the Ethernet address of {} changed", link.name);
                }
            }
        }
        None
    }

    /// Ties a group to its interfaces if that is possible and it isn't yet; whether it did.
    fn bind(&mut self, index: usize, now: Timestamp) -> bool {
        let Some(bound) = self.groups.get(index).filter(|bound| bound.seat.is_err()) else {
            return false;
        };
        let settings = bound.settings.clone();
        let seat = self.tie(&settings, now);
        let tied = seat.is_ok();
        if let Some(bound) = self.groups.get_mut(index) {
            if let Err(missing) = &seat
                && bound.seat.as_ref().err() != Some(missing)
            {
                let (group, text) = (settings.name.clone(), format!("takes no part: {missing}"));
                self.events.add(Entry { group, event: "addresses", text, ..Entry::default() });
            }
            bound.seat = seat;
        }
        tied
    }

    fn tie(&mut self, settings: &Group, now: Timestamp) -> Result<Seat, String> {
        let excluded = excluded(settings);
        let mut found = Vec::new();
        for router in &settings.routers {
            let Router { interface, .. } = router;
            let link = self.surroundings.named(interface);
            let link = link.ok_or_else(|| format!("interface {interface} is missing"))?;
            let mac = link.mac;
            let mac =
                mac.ok_or_else(|| format!("interface {interface} is no Ethernet interface"))?;
            let family = router.family();
            let primary = self.surroundings.primary(link.index, family, &excluded, None);
            let primary =
                primary.ok_or_else(|| format!("interface {interface} has no {family} address"))?;
            found.push((router, link.index, mac, primary));
        }
        let mut legs = Vec::new();
        let mut configs = Vec::new();
        for (router, parent, mac, primary) in found {
            let (device, mac) = match macvlan_name(router, parent) {
                None => (parent, mac),
                Some(name) => {
                    let mac = router.vrid.mac(router.family()).0;
                    let made = link::create_macvlan(&mut self.route, parent, &name, mac);
                    (made.map_err(|error| error.to_string())?, mac)
                }
            };
            let addresses = router.addresses.as_slice().into();
            legs.push(Leg { parent, device, mac, addresses, placed: None, off_at: None });
            configs.push(LegConfig { config: router.config(InterfaceId(parent)), primary });
        }
        let (name, election) = (settings.name.clone(), settings.election());
        let config = GroupConfig { name, election, legs: configs };
        let id = self.node.add(config, now).map_err(|error| error.to_string())?;
        // The macvlan interfaces have just been made: their news are yet to come.
        self.surroundings.catch_up();
        let track = settings.addresses_track();
        self.node.track(&track, Health::Good, now, &mut self.out);
        self.hold_on(now);
        Ok(Seat { id, legs })
    }

    /// Takes a group out of the election, its addresses off their interfaces, and unties it.
    fn unbind(&mut self, index: usize, missing: String, now: Timestamp) {
        let Some(id) = self.groups.get(index).and_then(|bound| Some(bound.seat.as_ref().ok()?.id))
        else {
            return;
        };
        let group = self.node.remove(id, now, &mut self.out);
        self.perform(now, group.as_ref());
        let Some(bound) = self.groups.get_mut(index) else { return };
        let name = bound.settings.name.clone();
        self.retries.remove(&name);
        if let Ok(seat) = std::mem::replace(&mut bound.seat, Err(missing)) {
            for leg in seat.legs.iter().filter(|leg| leg.has_macvlan()) {
                if let Err(error) = link::delete(&mut self.route, leg.device) {
                    tracing::warn!(%error, "VRRP {name}");
                }
            }
        }
    }

    /// Makes the sockets those that the bound groups need.
    fn open_receivers(&mut self) {
        let mut wanted: BTreeMap<Place, Wanted> = BTreeMap::new();
        for (router, leg) in self.groups.iter().flat_map(Bound::legs) {
            let place = wanted.entry((leg.parent, router.family())).or_default();
            place.name.clone_from(&router.interface);
            place.vrids.insert(router.vrid.get());
            place.multicast |= router.peers.is_empty();
        }
        for ((index, family), error) in self.receivers.set(wanted) {
            tracing::error!(%error, index, %family, "cannot hear adverts on an interface");
        }
    }

    /// Tells the state machine how everything tracked is.
    fn report_health(&mut self, now: Timestamp) {
        let Self { groups, surroundings, health, node, out, .. } = self;
        for track in groups.iter().flat_map(|bound| &bound.settings.tracks) {
            let health = match &track.what {
                Watched::Interface(name) => {
                    let runs = surroundings.named(name).is_some_and(|link| link.running);
                    Some(if runs { Health::Good } else { Health::Bad })
                }
                Watched::Queue | Watched::Script(_) => health.get(&track.name).copied(),
            };
            if let Some(health) = health {
                node.track(&track.name, health, now, out);
            }
        }
    }

    /// Takes over other settings. Groups that stay as they are are not disturbed.
    fn configure(&mut self, groups: Vec<Group>, now: Timestamp) {
        for index in 0..self.groups.len() {
            let Some(bound) = self.groups.get_mut(index) else { continue };
            let next = groups.iter().find(|group| group.name == bound.settings.name);
            if next == Some(&bound.settings) {
                continue;
            }
            let only_priority = next.filter(|next| {
                let before = Group { priority: next.priority, ..bound.settings.clone() };
                **next == before
            });
            if let (Some(next), Ok(seat)) = (only_priority, &bound.seat) {
                let id = seat.id;
                if self.node.set_priority(id, next.priority, now, &mut self.out).is_ok() {
                    bound.settings.priority = next.priority;
                    self.perform(now, None);
                    continue;
                }
            }
            self.unbind(index, "the settings changed".to_owned(), now);
        }
        let mut before: Vec<Bound> = std::mem::take(&mut self.groups);
        self.groups = groups
            .into_iter()
            .map(|settings| {
                let known = before.iter().position(|bound| bound.settings == settings);
                match known {
                    Some(index) => before.swap_remove(index),
                    None => Bound { settings, seat: Err("not started".to_owned()) },
                }
            })
            .collect();
        let guarded = guarded(self.groups.iter().map(|bound| &bound.settings));
        match &self.keeper {
            Some(keeper) => keeper.guard(guarded),
            None if guarded.is_empty() => {}
            None => match Keeper::start(guarded) {
                Ok(keeper) => self.keeper = Some(keeper),
                Err(error) => tracing::error!("{error}"),
            },
        }
        self.look(now);
        // Also when only sockets of groups that are gone are to be closed.
        self.open_receivers();
    }

    /// Gives everything up, in good order.
    fn end(mut self, now: Timestamp) {
        self.node.stop(now, &mut self.out);
        self.perform(now, None);
        for index in 0..self.groups.len() {
            self.unbind(index, "stopped".to_owned(), now);
        }
        // The gate goes after the addresses.
        self.keeper = None;
        leftovers::release(&self.state_dir);
    }
}

/// All addresses of these groups.
fn guarded<'a>(groups: impl Iterator<Item = &'a Group>) -> Vec<IpAddr> {
    groups.flat_map(Group::addresses).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The addresses that adverts of a group can't come from: its virtual ones, unless they are the
/// node's own.
fn excluded(group: &Group) -> BTreeSet<IpAddr> {
    if group.priority.is_owner() { BTreeSet::new() } else { group.addresses().collect() }
}

/// The time.
pub(super) fn now() -> Timestamp {
    Timestamp::new(since_boot())
}
