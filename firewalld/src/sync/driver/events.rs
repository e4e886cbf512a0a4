//! What VRRP and the log are told of what happens to the peer.

use super::super::kernel::Job;
use super::{Driver, Timestamp};
use std::sync::atomic::Ordering;
use twinwall_ctsync::model::Role;
use twinwall_ctsync::replica::{Event, ResyncReason};
use twinwall_vrrp::action::State;
use twinwall_vrrp::router::PeerReport;

impl Driver {
    pub(super) fn tell(&mut self, event: Event, now: Timestamp) {
        self.look_for_both_active(&event);
        self.silence.hear(event, now, self.settings.peer.ip());
        let vrrp = self.surroundings.vrrp.clone();
        match event {
            Event::PeerAlive => vrrp.peer(PeerReport::Alive),
            // Busy with its own start, or just relieved, this node may hear nothing for some
            // milliseconds, and an advert is soon late: the missing adverts alone decide whether the
            // peer is dead.
            Event::PeerSilent if self.lacks_sessions() => {}
            Event::PeerSilent => vrrp.peer(PeerReport::Silent),
            Event::PeerGone => vrrp.peer(PeerReport::Gone),
            Event::PeerStarted => self.hold(now),
            Event::PeerRole { group, role } => {
                let state = match role {
                    Role::Active => State::Active,
                    Role::Backup => State::Backup,
                    Role::Unknown => State::Initialize,
                };
                vrrp.peer_state(group, state);
            }
            Event::HaveEverything => {
                self.complete = true;
                self.allow_when_settled(now);
            }
            Event::PeerReady { id } => vrrp.peer_ready(id),
            _ => {}
        }
        match event {
            Event::PeerGone
            | Event::PeerStarted
            | Event::ResyncBegan { .. }
            | Event::ResyncEnded { .. }
            | Event::HaveEverything
            | Event::HomesClaimed
            | Event::KeysAgree => tracing::info!("sync: {event}"),
            Event::PeerAlive
            | Event::PeerSilent
            | Event::PeerRole { .. }
            // For a moment at each takeover; VRRP tells when it lasts.
            | Event::BothActive { .. }
            | Event::PeerReady { .. } => tracing::debug!("sync: {event}"),
            _ => tracing::warn!("sync: {event}"),
        }
    }

    /// What the peer forwards while this node is active too, this node's kernel doesn't see. At a
    /// takeover both are for a moment; that is in the flag's first seconds anyway.
    fn look_for_both_active(&mut self, event: &Event) {
        let both = match event {
            Event::PeerRole { role, .. } => *role == Role::Active,
            Event::ResyncBegan { reason } => *reason == ResyncReason::Split,
            _ => false,
        };
        if both && !self.hands.standby.load(Ordering::Acquire) {
            (self.forgotten, self.believe_at) = (None, None);
            self.ask_first(Job::Loosen(self.policy(), self.sessions()));
        }
    }

    /// This node may take over once it has the sessions of the peer, and its policy if that is
    /// newer and can be loaded; and once its kernel has forgotten where sessions were when it
    /// forwarded them last.
    pub(super) fn allow_when_settled(&mut self, now: Timestamp) {
        if self.complete && self.has_forgotten() && self.node.is_policy_settled(now) {
            (self.complete, self.held_until) = (false, None);
            self.surroundings.vrrp.allow();
        }
    }

    /// Whether sessions of the peer are still to come.
    fn lacks_sessions(&self) -> bool {
        self.held_until.is_some() && !self.complete
    }

    /// Sessions of the peer are still to come: it isn't relieved before they are here.
    pub(super) fn hold(&mut self, now: Timestamp) {
        self.complete = false;
        self.held_until = Some(now.after(self.settings.preempt_wait));
        self.surroundings.vrrp.hold(self.settings.preempt_wait);
    }
}
