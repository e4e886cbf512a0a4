//! Tying groups of the settings to the interfaces and addresses that there are, and untying them.
//!
//! A group takes part in elections while each of its virtual routers has its interface, an address
//! of the node's own there, and its macvlan. Whenever anything changes, everything is looked at.

use super::bound::{Bound, Leg, Seat, macvlan_name};
use super::driver::{Driver, guarded, now as clock};
use super::events::Entry;
use super::keeper::Keeper;
use super::leftovers;
use super::receivers::{Place, Wanted};
use super::settings::{Group, Router, Watched};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use twinwall_netlink::link;
use twinwall_vrrp::group::{GroupConfig, Leg as LegConfig};
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::track::Health;
use twinwall_vrrp::types::{InterfaceId, RouterId};

impl Driver {
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
        // Making interfaces takes a while, in which no advert could be heard.
        let now = if changed { clock() } else { now };
        self.report_health(now);
        self.start(now);
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
            let id = RouterId { group: seat.id, leg: place };
            let before = self.node.router(id).map(twinwall_vrrp::router::Router::primary);
            let family = router.family();
            let primary = self.surroundings.primary(link.index, family, &virtual_addresses, before);
            match primary {
                // A link that is down loses its IPv6 addresses; that is a fault already.
                None if !link.running => {}
                None => return Some(format!("interface {} has no {family} address", link.name)),
                Some(primary) if Some(primary) == before => {}
                Some(primary) => {
                    if let Err(error) = self.node.set_primary(id, primary, now) {
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
    pub(super) fn unbind(&mut self, index: usize, missing: String, now: Timestamp) {
        let Some(id) = self.groups.get(index).and_then(|bound| Some(bound.seat.as_ref().ok()?.id))
        else {
            return;
        };
        let group = self.node.remove(id, now, &mut self.out);
        self.perform(now, group.as_ref());
        let Some(bound) = self.groups.get_mut(index) else { return };
        let name = bound.settings.name.clone();
        self.retries.remove(&name);
        self.restored.remove(&name);
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
    pub(super) fn configure(&mut self, groups: Vec<Group>, now: Timestamp) {
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
        let tracks = self.groups.iter().flat_map(|bound| &bound.settings.tracks);
        let names: BTreeSet<&str> = tracks.map(|track| track.name.as_str()).collect();
        self.health.retain(|track, _| names.contains(track.as_str()));
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
}

/// The addresses that adverts of a group can't come from: its virtual ones, unless they are the
/// node's own.
fn excluded(group: &Group) -> BTreeSet<IpAddr> {
    if group.priority.is_owner() { BTreeSet::new() } else { group.addresses().collect() }
}
