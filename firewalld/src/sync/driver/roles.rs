//! What follows in the kernel from what this node is for its VRRP groups: which notifications are
//! heard, and which TCP windows have to be forgotten, or not to be believed.
//!
//! Goes in: roles. Comes out: jobs for the listing thread, and a filter. Not here: whose sessions
//! are (crate twinwall-ctsync).

use super::super::kernel::{Hands, Job, Standing};
use super::super::windows::Sessions;
use super::work::ports;
use super::{Driver, SETTLED};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use twinwall_ctsync::model::{GroupTag, Role};
use twinwall_ctsync::time::Timestamp;

/// When windows are forgotten a second time. Until its interfaces are off, a second after it gave up,
/// packets may still come to this node and give sessions windows anew: a switch that hears its
/// interfaces leave their multicast groups sends it IPv6 packets for a moment. And what began just
/// before was perhaps not known yet. Only then windows can be believed after the next takeover.
const AGAIN: Duration = Duration::from_secs(2);

/// Whether the kernel holds no packet against TCP windows.
const LIBERAL: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

impl Driver {
    /// This node has become something else for its groups.
    pub(super) fn take_roles(&mut self, roles: Vec<(GroupTag, Role)>, now: Timestamp) {
        let several = roles.len() > 1;
        if several != std::mem::replace(&mut self.several, several) {
            if let Err(error) = self.hear(&self.hands) {
                tracing::error!(%error, "cannot filter conntrack's notifications");
            }
            if several {
                look_at_windows();
            }
        }
        let active = roles.iter().filter(|(_, role)| *role == Role::Active);
        let active: Vec<GroupTag> = active.map(|(group, _)| *group).collect();
        let standby = !roles.is_empty() && active.is_empty();
        let before = self.hands.standby.swap(standby, Ordering::AcqRel);
        let gives_up = self.active.iter().any(|group| !active.contains(group));
        self.active = active;
        if gives_up {
            self.hold(now);
        }
        self.roles.clone_from(&roles);
        self.node.set_roles(now, roles, &mut self.out);
        if standby && !before {
            self.stood_by += 1;
            self.forget(self.sessions(), false);
            self.forget_later(now);
        } else if several && gives_up {
            // Their windows are old when the sessions of that group come back.
            self.ask(Job::Loosen(self.policy(), self.sessions()));
        }
        // With several groups a session's directions may take different nodes, which then know
        // half of its windows each.
        let twice = Standing { time: self.stood_by, again: true };
        let right = !several && self.forgotten == Some(twice);
        self.believe_at = match (before, standby) {
            (true, false) if right => Some(now.after(SETTLED)),
            (false, false) if !several => self.believe_at,
            _ => None,
        };
    }

    /// Has windows forgotten. A list of all sessions can wait, this can't: until it is done, this
    /// node couldn't go on where it was.
    pub(super) fn forget(&mut self, sessions: Sessions, again: bool) {
        let standing = Standing { time: self.stood_by, again };
        self.ask_first(Job::Forget(self.policy(), sessions, standing));
    }

    /// Has it done a second time after a while.
    pub(super) fn forget_later(&mut self, now: Timestamp) {
        self.forget_again_at = Some(now.after(AGAIN));
    }

    /// Does it a second time when that is due.
    pub(super) fn forget_again(&mut self, now: Timestamp) {
        let due = self.forget_again_at.take_if(|at| *at <= now).is_some();
        if due && self.hands.standby.load(Ordering::Acquire) {
            self.forget(self.sessions(), true);
        }
    }

    /// The sessions that windows concern.
    pub(super) fn sessions(&self) -> Sessions {
        Sessions::of(self.node.replica())
    }

    /// Whether this node forwards, or its kernel knows no old windows.
    pub(super) fn has_forgotten(&self) -> bool {
        !self.hands.standby.load(Ordering::Acquire)
            || self.forgotten.is_some_and(|standing| standing.time == self.stood_by)
    }

    /// Leaves out the notifications of what these threads write. With several groups the answer to a
    /// session's first packet may come through the other node, which has to know of the session
    /// then. Otherwise handshakes are no concern of the peer.
    pub(super) fn hear(&self, hands: &Hands) -> io::Result<()> {
        let ports = ports(hands, &self.pen);
        match self.several {
            true => self.listener.ignore(&ports),
            false => self.listener.ignore_with_handshakes(&ports),
        }
    }
}

fn look_at_windows() {
    let value = std::fs::read_to_string(LIBERAL);
    if value.is_ok_and(|value| value.trim() == "0") {
        tracing::warn!(
            "sync: with several groups nf_conntrack_tcp_be_liberal should be 1: where a reply takes \
             the other node than its request, packets may be dropped as invalid"
        );
    }
}
