//! Requests of operators to give groups to the peer, until it is known what became of them.

use super::driver::Driver;
use crate::reply::{Reply, respond};
use std::time::Duration;
use twinwall_control::vrrp::{HandOver, HandedOver};
use twinwall_vrrp::action::{self, Event, State};
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::types::{GroupId, RouterId};

/// How long the peer may take to have everything.
const PREPARE: Duration = Duration::from_secs(10);
/// After this a request is answered, whatever has happened. The longest interval of adverts makes
/// the longest handover.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that waits for its groups.
#[derive(Debug)]
pub(super) struct Pending {
    groups: Vec<Wanted>,
    reply: Option<Reply>,
    until: Timestamp,
}

/// A group of a request.
#[derive(Debug)]
struct Wanted {
    id: GroupId,
    name: String,
    outcome: Option<Outcome>,
}

/// What became of a group.
#[derive(Clone, Debug, Default)]
struct Outcome {
    done: bool,
    text: String,
}

impl Driver {
    /// Begins to hand over a group, or all that are active.
    pub(super) fn fail_over(&mut self, only: Option<&str>, reply: Reply, now: Timestamp) {
        let (mut groups, mut refusals) = (Vec::new(), Vec::new());
        let mut known = false;
        for bound in &self.groups {
            let name = &bound.settings.name;
            if only.is_some_and(|only| only != name) {
                continue;
            }
            known = true;
            match &bound.seat {
                Err(missing) => refusals.push(format!("group {name} takes no part: {missing}")),
                Ok(seat) => {
                    match self.node.hand_over(seat.id, now.after(PREPARE), now, &mut self.out) {
                        Ok(()) => {
                            let (id, name) = (seat.id, name.clone());
                            groups.push(Wanted { id, name, outcome: None });
                        }
                        Err(error) => refusals.push(error.to_string()),
                    }
                }
            }
        }
        if groups.is_empty() {
            let text = match only {
                Some(only) if !known => format!("there is no group {only}"),
                _ if refusals.is_empty() => "no virtual router is configured".to_owned(),
                _ => refusals.join("\n"),
            };
            return respond::<HandOver>(reply, Err(text));
        }
        let until = now.after(PATIENCE);
        self.handovers.push(Pending { groups, reply: Some(reply), until });
        self.perform(now, None);
    }

    /// Takes back a group, or all, as far as priorities allow.
    pub(super) fn fail_back(&mut self, only: Option<&str>, reply: Reply, now: Timestamp) {
        let mut groups = Vec::new();
        for bound in &self.groups {
            let group = &bound.settings.name;
            if only.is_some_and(|only| only != group) {
                continue;
            }
            let Ok(seat) = &bound.seat else { continue };
            self.node.reclaim(seat.id, now);
            let state = self.node.group(seat.id).map(twinwall_vrrp::group::Group::state);
            let text = match state {
                Some(State::Active) => "is active on this node already",
                _ => "may be taken back as soon as its priority allows it",
            };
            groups.push(HandedOver { group: group.clone(), done: true, text: text.to_owned() });
        }
        match only {
            Some(only) if groups.is_empty() => {
                respond::<HandOver>(reply, Err(format!("no group {only} takes part on this node")));
            }
            _ => respond(reply, Ok(HandOver { groups })),
        }
    }

    /// Takes in an event that may be about a handover.
    pub(super) fn follow_handover(&mut self, id: RouterId, event: &Event, now: Timestamp) {
        let outcome = match event {
            Event::HandOver(action::HandOver::Asked) => {
                return self.ask_whether_ready(id.group, now);
            }
            Event::HandOver(progress) if progress.is_over() => {
                Outcome { done: false, text: progress.to_string() }
            }
            Event::State { from: State::Active, to: State::Backup, why } => {
                Outcome { done: true, text: format!("now backup here: {why}") }
            }
            _ => return,
        };
        self.no_longer_asked(id.group);
        for pending in &mut self.handovers {
            for group in pending.groups.iter_mut().filter(|group| group.id == id.group) {
                group.outcome.get_or_insert_with(|| outcome.clone());
            }
        }
        self.answer_handovers();
    }

    /// Answers requests that have waited long enough.
    pub(super) fn expire_handovers(&mut self, now: Timestamp) {
        let late = self.handovers.iter_mut().filter(|pending| pending.until <= now);
        for pending in late {
            for group in &mut pending.groups {
                let text = "nothing has come of it yet".to_owned();
                group.outcome.get_or_insert(Outcome { done: false, text });
            }
        }
        self.answer_handovers();
    }

    fn answer_handovers(&mut self) {
        for pending in &mut self.handovers {
            if pending.groups.iter().any(|group| group.outcome.is_none()) {
                continue;
            }
            let groups = pending.groups.iter().map(|group| {
                let Outcome { done, text } = group.outcome.clone().unwrap_or_default();
                HandedOver { group: group.name.clone(), done, text }
            });
            let answer = HandOver { groups: groups.collect() };
            if let Some(reply) = pending.reply.take() {
                respond(reply, Ok(answer));
            }
        }
        self.handovers.retain(|pending| pending.reply.is_some());
    }
}
