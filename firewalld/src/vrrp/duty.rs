//! Doing what the state machine asks for: adverts, addresses, announcements, events.

use super::bound::{Leg, Placed};
use super::driver::{Driver, now as clock};
use super::events::Entry;
use super::keeper::Owned;
use super::placement::{Changes, Placed as Outcome, device};
use super::receivers::Receivers;
use super::transmit::Transmitter;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;
use twinwall_vrrp::action::{Action, Output};
use twinwall_vrrp::group::Group;
use twinwall_vrrp::router::Router;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::track::Health;
use twinwall_vrrp::types::{GroupId, RouterId};

/// How long a group whose addresses could not be put where they belong stays out.
const RETRY: Duration = Duration::from_secs(5);
/// How long a macvlan that is no longer used stays on: what is under way to it is still forwarded.
const IDLE: Duration = Duration::from_secs(1);
/// How often in [`DISPUTE`] addresses that somebody removes are put back; then the group gives up.
const RESTORES: usize = 5;
const DISPUTE: Duration = Duration::from_secs(10);

impl Driver {
    /// Does everything that has been asked for, or begins to: what follows a change of addresses
    /// waits until that is done, while other groups go on. `removed` is a group that the state
    /// machine has already forgotten; then, and when too much waits, everything is done before this
    /// returns.
    pub(super) fn perform(&mut self, now: Timestamp, removed: Option<&Group>) {
        while !self.out.is_empty() {
            let mut changes = Changes::default();
            let mut changed = BTreeSet::new();
            for output in std::mem::take(&mut self.out) {
                let Output { router: id, action } = &output;
                match action {
                    Action::AddAddresses { accept } => {
                        if let Some(leg) = self.leg_mut(*id) {
                            (leg.placed, leg.off_at) = (Some(Placed { accept: *accept }), None);
                            changes.put(leg);
                            changed.insert(id.group);
                            let (device, parent) = (leg.device, leg.parent);
                            if let Some(keeper) = &self.keeper {
                                keeper.needs(device);
                                keeper.begins(parent);
                            }
                        }
                    }
                    Action::RemoveAddresses => {
                        if let Some(leg) = self.leg_mut(*id) {
                            (leg.placed, leg.off_at) = (None, Some(now.after(IDLE)));
                            changes.take(leg);
                            changed.insert(id.group);
                        }
                    }
                    _ => {
                        self.change(&mut changes, &mut changed);
                        self.do_in_turn(output, now, removed);
                    }
                }
            }
            self.change(&mut changes, &mut changed);
            self.go_on(now, removed);
            if removed.is_some() || self.turn.is_full() {
                self.settle(now, removed);
            }
        }
        self.node.carried_out(now, clock());
    }

    /// Has addresses changed after everything that waits already.
    fn change(&mut self, changes: &mut Changes, groups: &mut BTreeSet<GroupId>) {
        if !changes.is_empty() {
            self.tell_gate();
            self.turn.push(std::mem::take(changes), std::mem::take(groups));
            self.turn.begin(&mut self.placer);
        }
    }

    /// Does what is asked for, unless it has to wait until addresses of its group are in place.
    fn do_in_turn(&mut self, output: Output, now: Timestamp, removed: Option<&Group>) {
        // Whoever resigns does so at once: then a peer takes over.
        let resigns =
            matches!(output.action, Action::SendAdvert { priority } if priority.is_resign());
        if resigns || !self.turn.concerns(output.router.group) {
            self.carry_out(output, now, removed);
        } else {
            self.turn.wait(output);
        }
    }

    fn carry_out(&mut self, output: Output, now: Timestamp, removed: Option<&Group>) {
        let Output { router: id, action } = output;
        match action {
            Action::SendAdvert { priority } => {
                self.on_leg(id, removed, |transmitter, receivers, leg, router| {
                    transmitter.advert(leg, router, priority, receivers)
                });
            }
            Action::Announce => {
                self.on_leg(id, removed, |transmitter, _, leg, _| {
                    transmitter.announce(leg, &leg.addresses)
                });
            }
            Action::Event(event) => {
                if let Some((group, router)) = self.names(id) {
                    self.events.add(Entry::of(&group, &router, &event));
                }
                self.follow_handover(id, &event, now);
            }
            Action::AddAddresses { .. } | Action::RemoveAddresses => {}
        }
    }

    /// Goes on with what has waited, as far as addresses are in place.
    pub(super) fn go_on(&mut self, now: Timestamp, removed: Option<&Group>) {
        if let Some(outcome) = self.placer.finished() {
            self.placed(outcome, now);
        }
        self.turn.begin(&mut self.placer);
        while let Some(output) = self.turn.next(&self.placer) {
            let still = match output.action {
                // What became of it meanwhile counts, not what it was to become.
                Action::SendAdvert { .. } | Action::Announce => {
                    self.leg_mut(output.router).is_some_and(|leg| leg.placed.is_some())
                }
                _ => true,
            };
            if still {
                self.carry_out(output, now, removed);
            }
            self.turn.begin(&mut self.placer);
        }
    }

    /// Waits until everything that waits is done.
    pub(super) fn settle(&mut self, now: Timestamp, removed: Option<&Group>) {
        self.go_on(now, removed);
        while let Some(outcome) = self.placer.wait() {
            self.placed(outcome, now);
            self.go_on(now, removed);
        }
    }

    /// A change of addresses is done: takes the groups out for which it failed.
    fn placed(&mut self, outcome: Outcome, now: Timestamp) {
        let Err(errors) = outcome else { return };
        let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        texts.dedup();
        let text = texts.join("; ");
        let mut out_of_service = Vec::new();
        for bound in &self.groups {
            let Ok(seat) = &bound.seat else { continue };
            let concerned = seat.legs.iter().any(|leg| {
                leg.placed.is_some() && errors.iter().any(|error| device(error.step) == leg.device)
            });
            if concerned {
                // It can't be active after all: what follows for it isn't done.
                self.turn.forget(seat.id);
                out_of_service
                    .push((bound.settings.name.clone(), bound.settings.addresses_track()));
            }
        }
        for (group, track) in out_of_service {
            let entry = Entry {
                group: group.clone(),
                event: "addresses",
                text: text.clone(),
                ..Entry::default()
            };
            self.events.add(entry);
            self.retries.insert(group, now.after(RETRY));
            self.node.track(&track, Health::Bad, now, &mut self.out);
        }
    }

    /// Tells the gate which addresses are this node's.
    pub(super) fn tell_gate(&self) {
        let Some(keeper) = &self.keeper else { return };
        let mut owned = Owned::default();
        let seats = self.groups.iter().filter_map(|bound| bound.seat.as_ref().ok());
        for leg in seats.flat_map(|seat| &seat.legs) {
            let Some(placed) = leg.placed else { continue };
            owned.alive.extend(leg.addresses.iter().map(|address| (*address, leg.mac)));
            if placed.accept {
                owned.accept.extend(leg.addresses.iter());
            }
        }
        keeper.set(owned);
    }

    /// Has interfaces switched off that have been idle for a while.
    pub(super) fn switch_idle_off(&mut self, now: Timestamp) {
        let Some(keeper) = &self.keeper else { return };
        let seats = self.groups.iter_mut().filter_map(|bound| bound.seat.as_mut().ok());
        for leg in seats.flat_map(|seat| &mut seat.legs).filter(|leg| leg.has_macvlan()) {
            if leg.off_at.take_if(|at| *at <= now).is_some() {
                keeper.switch_off([leg.device]);
            }
        }
    }

    /// Lets groups that were taken out try again.
    pub(super) fn retry(&mut self, now: Timestamp) {
        let due: Vec<String> = self
            .retries
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.retries.remove(&name);
            if let Some(bound) = self.groups.iter().find(|bound| bound.settings.name == name) {
                let track = bound.settings.addresses_track();
                self.node.track(&track, Health::Good, now, &mut self.out);
            }
        }
    }

    /// Puts back what somebody else has removed; gives up when that goes on and on.
    pub(super) fn restore(&mut self, now: Timestamp) {
        // What is still to be put there isn't missing.
        if self.turn.is_waiting(&self.placer) || !self.lacks_any() {
            return;
        }
        // News of IPv6 addresses may come after the answer to what added them.
        self.surroundings.look_anew();
        let mut changes = Changes::default();
        let mut concerned = Vec::new();
        for (index, bound) in self.groups.iter().enumerate() {
            let lacking = bound.legs().filter(|(_, leg)| self.lacks(leg));
            let names: Vec<&str> = lacking
                .map(|(router, leg)| {
                    changes.put(leg);
                    router.name.as_str()
                })
                .collect();
            if !names.is_empty() {
                concerned.push((index, names.join(", ")));
            }
        }
        if concerned.is_empty() {
            return;
        }
        self.change(&mut changes, &mut BTreeSet::new());
        self.settle(now, None);
        for (index, routers) in concerned {
            self.restored_group(index, &routers, now);
        }
        self.perform(now, None);
    }

    fn restored_group(&mut self, index: usize, routers: &str, now: Timestamp) {
        let Some(bound) = self.groups.get(index) else { return };
        let (group, track) = (bound.settings.name.clone(), bound.settings.addresses_track());
        let times = self.restored.entry(group.clone()).or_default();
        times.retain(|at| now.since(*at) < DISPUTE);
        times.push(now);
        let gives_up = times.len() > RESTORES;
        if let Ok(seat) = &bound.seat {
            for leg in seat.legs.iter().filter(|leg| leg.placed.is_some()) {
                if let Err(error) = self.transmitter.announce(leg, &leg.addresses) {
                    tracing::debug!(%error, "cannot announce addresses");
                }
            }
        }
        let text = if gives_up {
            times.clear();
            format!("another program keeps removing addresses of {routers}: this node gives up")
        } else {
            format!("another program removed addresses of {routers}: put back")
        };
        self.events.add(Entry {
            group: group.clone(),
            event: "addresses",
            text,
            ..Entry::default()
        });
        if gives_up {
            self.retries.insert(group, now.after(DISPUTE));
            self.node.track(&track, Health::Bad, now, &mut self.out);
        }
    }

    fn lacks_any(&self) -> bool {
        let seats = self.groups.iter().filter_map(|bound| bound.seat.as_ref().ok());
        seats.flat_map(|seat| &seat.legs).any(|leg| self.lacks(leg))
    }

    /// Whether addresses that are to be there are not, or their macvlan is switched off.
    fn lacks(&self, leg: &Leg) -> bool {
        let off = self.surroundings.link(leg.device).is_some_and(|link| !link.up);
        leg.placed.is_some()
            && (leg.has_macvlan() && off
                || leg.addresses.iter().any(|address| !self.surroundings.has(leg.device, *address)))
    }

    fn leg_mut(&mut self, id: RouterId) -> Option<&mut Leg> {
        let seats = self.groups.iter_mut().filter_map(|bound| bound.seat.as_mut().ok());
        seats.into_iter().find(|seat| seat.id == id.group)?.legs.get_mut(id.leg)
    }

    fn names(&self, id: RouterId) -> Option<(String, String)> {
        let bound =
            self.groups.iter().find(|b| b.seat.as_ref().is_ok_and(|seat| seat.id == id.group))?;
        let router = bound.settings.routers.get(id.leg)?;
        Some((bound.settings.name.clone(), router.name.clone()))
    }

    /// Sends something for a virtual router. What fails is not repeated: the next advert is soon.
    fn on_leg(
        &mut self,
        id: RouterId,
        removed: Option<&Group>,
        send: impl FnOnce(&mut Transmitter, &Receivers, &Leg, &Router) -> io::Result<()>,
    ) {
        let Self { node, groups, transmitter, receivers, .. } = self;
        let mut seats = groups.iter().filter_map(|bound| bound.seat.as_ref().ok());
        let leg = seats.find(|seat| seat.id == id.group).and_then(|seat| seat.legs.get(id.leg));
        let router = node.router(id).or_else(|| removed?.legs().get(id.leg));
        if let (Some(leg), Some(router)) = (leg, router)
            && let Err(error) = send(transmitter, receivers, leg, router)
        {
            tracing::debug!(%error, router = router.config().name, "VRRP packet not sent");
        }
    }
}
