//! Sync groups: virtual routers that are active on the same node, or on none. A virtual router by
//! itself is a group of one.
//!
//! ```text
//!        LAN ═══════════╤══════════════════════╤═════════
//!                 ┌─────┴─────┐          ┌─────┴─────┐
//!                 │ leg lan   │          │ leg lan   │
//!                 │  node A   │          │  node B   │    a group: lan and wan
//!                 │ leg wan   │          │ leg wan   │
//!                 └─────┬─────┘          └─────┬─────┘
//!        WAN ═══════════╧══════════════════════╧═════════
//! ```
//!
//! - A group becomes active only when every leg could: Active_Down_Timer has fired on each. A leg
//!   that still hears the other node keeps the whole group in Backup, so that a split of one link
//!   doesn't make two nodes fight over the other.
//! - When one leg can't be active any more, the others give up at once, with priority 0.
//! - All legs have one priority, and what is tracked is tracked for all of them. So every leg is
//!   won by the same node, and a fault of one is a fault of all.
//!
//! Goes in: adverts by leg, the time, reports. Comes out: actions of all legs. Not here: which leg
//! a packet is for ([`crate::node`]).

use crate::action::{Output, State, Why};
use crate::config::{ConfigError, Election, RouterConfig};
use crate::receive::Warning;
use crate::router::{PeerReport, Received, Router};
use crate::time::{Timestamp, active_down_interval};
use crate::track::{Blame, Health, Tracks};
use crate::types::{Family, GroupId, Priority, RouterId, Vrid};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A virtual router of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// What it is told.
    pub config: RouterConfig,
    /// The interface's own address, which adverts come from: the primary IPv4 address, or the
    /// link-local IPv6 address.
    pub primary: IpAddr,
}

/// A sync group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// What messages and status call it, and by which a verb can name it.
    pub name: String,
    /// What decides who is active.
    pub election: Election,
    /// Its virtual routers, one or more.
    pub legs: Vec<Leg>,
}

impl GroupConfig {
    /// A virtual router by itself.
    #[must_use]
    pub fn single(leg: Leg, election: Election) -> Self {
        Self { name: leg.config.name.clone(), election, legs: vec![leg] }
    }
}

/// Why a group can't hand over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// There is nothing to hand over.
    #[error("cannot hand over group {group}: it is {state} on this node, not active")]
    NotActive {
        /// The group.
        group: String,
        /// Its state.
        state: State,
    },
    /// The owner always preempts (section 6.1).
    #[error(
        "cannot hand over group {group}: this node owns the addresses and would take them back"
    )]
    Owner {
        /// The group.
        group: String,
    },
}

/// A sync group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    name: String,
    tracks: Tracks,
    legs: Vec<Router>,
    /// The place of the leg that settles a draw.
    leading: usize,
    /// All legs are active.
    active: bool,
    /// Not to become active before then; see [`Group::give_up_together`].
    not_before: Timestamp,
    /// What the sync channel says of the peer's group.
    peer_state: Option<State>,
    /// Until then, adverts of a node that gave up as well may still be under way.
    in_doubt_until: Timestamp,
    /// Whether a peer that gives up one leg is taken to give up all.
    peer_is_group: bool,
    /// When that was last done, and by which leg.
    spread: Option<(usize, Timestamp)>,
}

impl Group {
    pub(crate) fn new(
        id: GroupId,
        config: GroupConfig,
        now: Timestamp,
    ) -> Result<Self, ConfigError> {
        let GroupConfig { name, election, legs } = config;
        if legs.is_empty() {
            return Err(ConfigError::NoLeg { group: name });
        }
        let tracks = Tracks::new(&name, election.priority, &election.tracks, now)?;
        let legs = legs.into_iter().enumerate().map(|(leg, Leg { config, primary })| {
            Router::new(RouterId { group: id, leg }, config, primary, &election, now)
        });
        let legs = legs.collect::<Result<Vec<_>, _>>()?;
        let leading = leading_leg(&legs);
        let mut group = Self {
            name,
            tracks,
            legs,
            leading,
            active: false,
            not_before: Timestamp::ZERO,
            peer_state: None,
            in_doubt_until: Timestamp::ZERO,
            peer_is_group: true,
            spread: None,
        };
        // Nothing is known of the tracked things yet. Nobody is told, since nothing has begun.
        group.apply_tracks(now, &mut Vec::new());
        Ok(group)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its virtual routers.
    #[must_use]
    pub fn legs(&self) -> &[Router] {
        &self.legs
    }

    /// The state: Active if all legs are; Initialize if none takes part.
    #[must_use]
    pub fn state(&self) -> State {
        // Legs are active together; one that is not yet out of Initialize keeps all from it.
        self.legs.iter().map(Router::state).min().unwrap_or(State::Initialize)
    }

    /// The priority while all is well.
    #[must_use]
    pub fn base_priority(&self) -> Priority {
        self.tracks.base()
    }

    /// What lowers the priority, or is a fault.
    #[must_use]
    pub fn blame(&self) -> Vec<Blame> {
        self.tracks.blame()
    }

    /// The state of the peer's group, as the sync channel says.
    #[must_use]
    pub fn peer(&self) -> Option<State> {
        self.peer_state
    }

    /// When `poll` is due; `None` if nothing is to happen by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let waits = self.legs.iter().all(|leg| leg.ready().is_some());
        let legs = self.legs.iter().filter_map(Router::next_deadline);
        legs.chain(waits.then_some(self.not_before)).min()
    }

    pub(crate) fn start(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.each(now, out, |leg, out| leg.start(now, out));
    }

    pub(crate) fn stop(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.each(now, out, |leg, out| leg.stop(now, out));
    }

    pub(crate) fn poll(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.each(now, out, |leg, out| leg.poll(now, out));
    }

    pub(crate) fn received(
        &mut self,
        leg: usize,
        now: Timestamp,
        advert: Received,
        warnings: impl Iterator<Item = Warning>,
        out: &mut Vec<Output>,
    ) {
        let first = out.len();
        self.catch_up(now, out);
        let Some(router) = self.legs.get_mut(leg) else { return };
        for warning in warnings {
            router.warn(warning, Some(advert.from), now, out);
        }
        let priority_before = router.priority_of(advert.from);
        router.received(now, advert, out);
        match priority_before {
            Some(priority) if advert.priority.is_resign() => self.spread(leg, priority, now),
            _ => self.check_spread(leg, &advert, now),
        }
        let Some(router) = self.legs.get(leg) else { return };
        let stays = !advert.priority.is_resign() && router.ready().is_none();
        if stays && !self.active && self.leading == leg && self.in_doubt_until <= now {
            // The other node has kept the leading leg, so it didn't give up as this one did.
            self.not_before = Timestamp::ZERO;
        }
        self.settle(now, first, out);
    }

    /// The active router of a leg has given up, whose priority was this one. A peer whose virtual
    /// routers are a group too gives all of them up at once, but a leg that has failed can't say so:
    /// its adverts would be missed for three intervals. So this counts for all legs whose active
    /// router had the same priority.
    fn spread(&mut self, resigned: usize, priority: Priority, now: Timestamp) {
        if !self.peer_is_group || self.active {
            return;
        }
        let others = self.legs.iter_mut().enumerate().filter(|(leg, _)| *leg != resigned);
        for (_, leg) in others {
            leg.presume_resigned(priority, now);
        }
        self.spread = Some((resigned, now));
    }

    /// A router that is still heard on another leg, later than what was under way can be, has not
    /// given up everything: it isn't taken for a group again.
    fn check_spread(&mut self, leg: usize, advert: &Received, now: Timestamp) {
        let Some((resigned, at)) = self.spread else { return };
        let silence = now.since(at);
        let interval = advert.interval.duration();
        if leg != resigned && silence >= interval && silence <= interval * 3 {
            self.peer_is_group = false;
        }
    }

    pub(crate) fn track(
        &mut self,
        name: &str,
        health: Health,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> bool {
        let known = self.tracks.report(name, health, now);
        if known {
            self.apply_tracks(now, out);
        }
        known
    }

    pub(crate) fn set_priority(
        &mut self,
        priority: Priority,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<(), ConfigError> {
        self.tracks.set_base(&self.name, priority)?;
        self.apply_tracks(now, out);
        Ok(())
    }

    pub(crate) fn set_primary(&mut self, leg: usize, primary: IpAddr) -> Result<(), ConfigError> {
        self.legs.get_mut(leg).map_or(Ok(()), |leg| leg.set_primary(primary))
    }

    pub(crate) fn hold_preemption(&mut self, now: Timestamp, until: Timestamp) {
        for leg in &mut self.legs {
            leg.hold_preemption(now, until);
        }
    }

    pub(crate) fn carried_out(&mut self, asked: Timestamp, done: Timestamp) {
        for leg in &mut self.legs {
            leg.carried_out(asked, done);
        }
    }

    pub(crate) fn allow_preemption(&mut self, now: Timestamp) {
        for leg in &mut self.legs {
            leg.allow_preemption(now);
        }
    }

    pub(crate) fn reclaim(&mut self, now: Timestamp) {
        for leg in &mut self.legs {
            leg.reclaim(now);
        }
    }

    pub(crate) fn hand_over(
        &mut self,
        until: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<(), HandOverError> {
        if !self.active {
            let (group, state) = (self.name.clone(), self.state());
            return Err(HandOverError::NotActive { group, state });
        }
        if self.tracks.base().is_owner() {
            return Err(HandOverError::Owner { group: self.name.clone() });
        }
        for leg in &mut self.legs {
            leg.hand_over(until, out);
        }
        Ok(())
    }

    pub(crate) fn cancel_hand_over(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.each(now, out, |leg, out| leg.cancel_hand_over(now, out));
    }

    pub(crate) fn peer_ready(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.each(now, out, |leg, out| leg.peer_ready(now, out));
    }

    pub(crate) fn peer_report(
        &mut self,
        now: Timestamp,
        report: PeerReport,
        out: &mut Vec<Output>,
    ) {
        self.each(now, out, |leg, out| leg.peer_report(now, report, out));
    }

    pub(crate) fn peer_state(&mut self, now: Timestamp, state: State, out: &mut Vec<Output>) {
        self.peer_state = Some(state);
        self.each(now, out, |leg, out| leg.peer_state(now, state, out));
        if let (true, State::Active, Some(leg)) = (self.active, state, self.legs.first_mut()) {
            leg.peer_is_active(now, out);
        }
    }

    /// Hands the priority and the faults to all legs.
    fn apply_tracks(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let (priority, faulty) = (self.tracks.effective(), self.tracks.faulty());
        self.each(now, out, |leg, out| {
            if faulty {
                leg.fail(now, out);
            }
            leg.set_priority(now, priority, out);
            if !faulty {
                leg.recover(now, out);
            }
        });
    }

    fn each(
        &mut self,
        now: Timestamp,
        out: &mut Vec<Output>,
        mut verb: impl FnMut(&mut Router, &mut Vec<Output>),
    ) {
        let first = out.len();
        self.catch_up(now, out);
        for leg in &mut self.legs {
            verb(leg, out);
        }
        self.settle(now, first, out);
    }

    /// Before each verb: if any leg has been stalled for too long, none is active any more.
    fn catch_up(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        for leg in &mut self.legs {
            leg.step_down_if_stalled(now, out);
        }
        self.give_up_together(now, out);
    }

    /// If one leg isn't active any more, the others give up.
    ///
    /// Of two nodes of the same priority, one may have the higher address on one link and the
    /// other on the other. If both are active, after a split, each gives up because of one leg,
    /// and they would do so again after the same time, for ever. So the node that lost the leading
    /// leg waits one interval longer.
    fn give_up_together(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if !self.active || self.legs.iter().all(|leg| leg.state() == State::Active) {
            return;
        }
        self.active = false;
        let leading = self.legs.get(self.leading);
        let lost = leading.filter(|leg| matches!(leg.why(), Why::HigherAddress { .. }));
        if let Some(leg) = lost.filter(|_| self.legs.len() > 1) {
            let interval = leg.config().interval;
            let down = active_down_interval(leg.priority(), interval);
            self.in_doubt_until = now.after(interval.duration());
            self.not_before = self.in_doubt_until.after(down);
        }
        for leg in &mut self.legs {
            leg.give_up(now, out);
        }
    }

    /// Makes the legs move as one: after each verb, whose outputs begin at `first`.
    fn settle(&mut self, now: Timestamp, first: usize, out: &mut Vec<Output>) {
        self.give_up_together(now, out);
        let ready = self.legs.iter().all(|leg| leg.ready().is_some());
        if !self.active && ready && self.not_before <= now {
            self.active = true;
            for leg in &mut self.legs {
                if let Some(why) = leg.ready() {
                    leg.activate(now, why, out);
                }
            }
        }
        if let Some(outputs) = out.get_mut(first..) {
            outputs.sort_by_key(|output| output.action.rank());
        }
    }
}

/// The place of the leg that settles a draw: one that both nodes find alike, whatever the order in
/// their configurations. Interfaces and own addresses differ; these don't.
fn leading_leg(legs: &[Router]) -> usize {
    let same_everywhere = |(_, leg): &(usize, &Router)| -> (Family, Vrid, Option<IpAddr>) {
        let config = leg.config();
        let lowest = config.addresses.as_slice().iter().min().copied();
        (config.family(), config.vrid, lowest)
    };
    legs.iter().enumerate().min_by_key(same_everywhere).map_or(0, |(place, _)| place)
}
