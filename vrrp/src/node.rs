//! All groups of a node: which virtual router a packet is for, and what the driver drives.
//!
//! ```text
//!   packet, time, health,          ┌──────┐  Output: send, add, remove, announce, tell
//!   sync channel, operator ──────► │ Node │ ─────────────────────────────────────────►
//!                                  └──────┘  next_deadline: when to call poll
//! ```
//!
//! A driver delivers each packet as soon as it is there, calls [`Node::poll`] when
//! [`Node::next_deadline`] is reached, and does what comes out, in order, before it calls the next
//! verb. Packets that wait are delivered before `poll`.
//!
//! Not here: sockets, addresses in the kernel, the clock, the log.

use crate::action::{Output, State};
use crate::config::ConfigError;
use crate::group::{Group, GroupConfig, HandOverError};
use crate::receive::{Datagram, Discard, admit, oddities, read};
use crate::router::{PeerReport, Received, Router};
use crate::status::{DiscardStatus, GroupStatus, NodeStatus};
use crate::tally::Tally;
use crate::time::Timestamp;
use crate::track::Health;
use crate::types::{Family, GroupId, InterfaceId, Priority, RouterId, Vrid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A packet that was discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Discard,
    /// Whether to say so now: `Some` once a minute at most for each reason and interface, with how
    /// often it happened since it was last said.
    pub say: Option<u64>,
}

/// Where a packet is told apart from others: section 5.2.3 makes a VRID one of its link and
/// family.
type Place = (InterfaceId, Family, Vrid);

/// The groups of a node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Node {
    groups: BTreeMap<GroupId, Group>,
    places: BTreeMap<Place, RouterId>,
    last_id: u32,
    /// Packets that were discarded, by interface. Only interfaces with a virtual router have an
    /// entry.
    discarded: BTreeMap<InterfaceId, Tally<Discard>>,
    /// Those of all other interfaces.
    elsewhere: Tally<Discard>,
}

impl Node {
    /// A node without groups.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a group, which is stopped.
    ///
    /// # Errors
    /// When it can't be used, or not beside the groups that are there. Nothing is added then.
    pub fn add(&mut self, config: GroupConfig, now: Timestamp) -> Result<GroupId, ConfigError> {
        let id = GroupId(self.last_id + 1);
        let group = Group::new(id, config, now)?;
        let mut places = self.places.clone();
        for leg in group.legs() {
            if let Some(other) = places.insert(place(leg), leg.id()) {
                let name = |router: &Router| router.config().name.clone();
                let twin = group.legs().get(other.leg).filter(|_| other.group == id);
                let other = twin.or_else(|| self.router(other)).map(name).unwrap_or_default();
                return Err(ConfigError::DuplicateRouter { router: name(leg), other });
            }
        }
        for leg in group.legs() {
            self.discarded.entry(leg.config().interface).or_default();
        }
        self.places = places;
        self.last_id += 1;
        self.groups.insert(id, group);
        Ok(id)
    }

    /// Stops a group and forgets it. Its virtual routers are no longer there when their last
    /// actions come out, so these are returned with the group, which makes the adverts.
    pub fn remove(&mut self, id: GroupId, now: Timestamp, out: &mut Vec<Output>) -> Option<Group> {
        let mut group = self.groups.remove(&id)?;
        group.stop(now, out);
        self.places.retain(|_, router| router.group != id);
        let used = |interface| self.places.keys().any(|place| place.0 == interface);
        self.discarded.retain(|interface, _| used(*interface));
        Some(group)
    }

    /// The groups.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.iter().map(|(id, group)| (*id, group))
    }

    /// A group.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// A virtual router.
    #[must_use]
    pub fn router(&self, id: RouterId) -> Option<&Router> {
        self.groups.get(&id.group)?.legs().get(id.leg)
    }

    /// Begins to take part in the elections (section 6.4.1).
    pub fn start(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.each(|group| group.start(now, out));
    }

    /// Ends taking part; whoever is active says so first (section 6.4.3). To hand over without a
    /// loss, call [`Self::hand_over`] before and wait for its end.
    pub fn stop(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.each(|group| group.stop(now, out));
    }

    /// When [`Self::poll`] is due; `None` if nothing is to happen by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.groups.values().filter_map(Group::next_deadline).min()
    }

    /// Does what the time asks for. To call it early does nothing.
    pub fn poll(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.each(|group| group.poll(now, out));
    }

    /// What was asked for at `asked` was done only at `done`: adverts went out then. To put
    /// addresses where they belong can take the system longer than three intervals, and a router that
    /// counted that as its own silence would give up what it has just got.
    pub fn carried_out(&mut self, asked: Timestamp, done: Timestamp) {
        self.each(|group| group.carried_out(asked, done));
    }

    /// Takes a packet in (section 7.1).
    ///
    /// # Errors
    /// When it is discarded.
    pub fn receive(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        self.accept(now, datagram, out).map_err(|reason| {
            let source = Some(datagram.endpoints.source());
            self.refuse(now, datagram.interface, source, reason)
        })
    }

    /// Counts a packet that the driver couldn't take apart far enough for [`Self::receive`].
    pub fn refuse(
        &mut self,
        now: Timestamp,
        interface: InterfaceId,
        source: Option<IpAddr>,
        reason: Discard,
    ) -> Refused {
        let tally = self.discarded.get_mut(&interface).unwrap_or(&mut self.elsewhere);
        Refused { reason, say: tally.record(&reason, source, now) }
    }

    /// Reports the health of a tracked thing to all groups that track it. Returns whether any
    /// does.
    pub fn track(
        &mut self,
        name: &str,
        health: Health,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> bool {
        let mut known = false;
        self.each(|group| known |= group.track(name, health, now, out));
        known
    }

    /// Changes a group's configured priority. It does nothing if there is no such group.
    ///
    /// # Errors
    /// When it can't have that priority; it keeps the one that it has.
    pub fn set_priority(
        &mut self,
        id: GroupId,
        priority: Priority,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<(), ConfigError> {
        let group = self.groups.get_mut(&id);
        group.map_or(Ok(()), |group| group.set_priority(priority, now, out))
    }

    /// The interface's own address has changed. It does nothing if there is no such router.
    ///
    /// # Errors
    /// When adverts can't come from that address; the old one stays.
    pub fn set_primary(&mut self, id: RouterId, primary: IpAddr) -> Result<(), ConfigError> {
        let group = self.groups.get_mut(&id.group);
        group.map_or(Ok(()), |group| group.set_primary(id.leg, primary))
    }

    /// The sync channel hasn't every session yet: a peer of lower priority is not relieved before
    /// `until`, or [`Self::allow_preemption`]. The owner of addresses doesn't wait.
    pub fn hold_preemption(&mut self, now: Timestamp, until: Timestamp) {
        self.each(|group| group.hold_preemption(now, until));
    }

    /// The sync channel has every session. Followed by [`Self::poll`] when that is due.
    pub fn allow_preemption(&mut self, now: Timestamp) {
        self.each(|group| group.allow_preemption(now));
    }

    /// Begins to hand a group over in good order. The driver asks the peer, calls
    /// [`Self::peer_ready`] when it has everything, and watches for
    /// [`HandOver`](crate::action::HandOver) events; nothing is given up if that isn't so by
    /// `until`. A handover that is under way goes on as it is. It does nothing if there is no such
    /// group.
    ///
    /// # Errors
    /// When the group is not active here, or the node owns its addresses.
    pub fn hand_over(
        &mut self,
        id: GroupId,
        until: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<(), HandOverError> {
        self.groups.get_mut(&id).map_or(Ok(()), |group| group.hand_over(until, out))
    }

    /// The peer has everything that it needs to take a group over.
    pub fn peer_ready(&mut self, id: GroupId, now: Timestamp, out: &mut Vec<Output>) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.peer_ready(now, out);
        }
    }

    /// Doesn't hand a group over after all.
    pub fn cancel_hand_over(&mut self, id: GroupId, now: Timestamp, out: &mut Vec<Output>) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.cancel_hand_over(now, out);
        }
    }

    /// Takes back what was handed over, as far as the priorities allow it.
    pub fn reclaim(&mut self, id: GroupId, now: Timestamp) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.reclaim(now);
        }
    }

    /// What the sync channel says of the peer's group of the same name: whether both are active is
    /// told. It does nothing if there is no such group.
    pub fn peer_state(&mut self, id: GroupId, state: State, now: Timestamp, out: &mut Vec<Output>) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.peer_state(now, state, out);
        }
    }

    /// Whether the sync channel hears the peer; whenever that changes, or as often as it likes. For
    /// pairs: it is taken for granted that the peer is the only other router of each group.
    pub fn peer_report(&mut self, now: Timestamp, report: PeerReport, out: &mut Vec<Output>) {
        self.each(|group| group.peer_report(now, report, out));
    }

    /// Everything that `vrrp status` shows.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> NodeStatus {
        let interfaces = self.discarded.iter().map(|(id, tally)| (Some(*id), tally));
        let all = interfaces.chain([(None, &self.elsewhere)]);
        let discarded = all
            .map(|(interface, tally)| DiscardStatus { interface, discarded: tally.rows() })
            .filter(|status| !status.discarded.is_empty());
        NodeStatus {
            groups: self.groups.values().map(|group| GroupStatus::of(group, now)).collect(),
            discarded: discarded.collect(),
        }
    }

    fn accept(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Discard> {
        let family = datagram.endpoints.family();
        if !self.discarded.contains_key(&datagram.interface) {
            return Err(Discard::Interface);
        }
        let advert = read(datagram)?;
        let place = (datagram.interface, family, advert.vrid);
        let unknown = Discard::Vrid(advert.vrid);
        let id = *self.places.get(&place).ok_or(unknown)?;
        let group = self.groups.get_mut(&id.group).ok_or(unknown)?;
        let router = group.legs().get(id.leg).ok_or(unknown)?;
        admit(&datagram.endpoints, router.config(), router.primary())?;
        // Collected, since the group is about to change; it is almost always empty.
        let odd: Vec<_> = oddities(&advert, router.config(), router.priority()).collect();
        let received = Received {
            from: datagram.endpoints.source(),
            priority: advert.priority,
            interval: advert.interval,
        };
        group.received(id.leg, now, received, odd.into_iter(), out);
        Ok(())
    }

    fn each(&mut self, verb: impl FnMut(&mut Group)) {
        self.groups.values_mut().for_each(verb);
    }
}

fn place(router: &Router) -> Place {
    let config = router.config();
    (config.interface, config.family(), config.vrid)
}
