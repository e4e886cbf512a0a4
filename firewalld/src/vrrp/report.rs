//! The answer to `twinwall vrrp status`.

use super::bound::Bound;
use super::receivers::Receivers;
use super::settings;
use super::surroundings::Surroundings;
use std::time::Duration;
use twinwall_control::vrrp::{
    Address, Adverts, Blame, Counted, Discarded, Group, Peer, Router, Status,
};
use twinwall_vrrp::group;
use twinwall_vrrp::node::Node;
use twinwall_vrrp::router::Preemption;
use twinwall_vrrp::status::{GroupStatus, RouterStatus};
use twinwall_vrrp::tally::Tallied;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::track::{Effect, Health};

/// Everything at a glance.
pub(super) fn status(
    node: &Node,
    groups: &[Bound],
    surroundings: &Surroundings,
    receivers: &Receivers,
    now: Timestamp,
) -> Status {
    let view = View { surroundings, now };
    let discarded = node.status(now).discarded.into_iter().map(|row| Discarded {
        interface: row.interface.and_then(|id| Some(surroundings.link(id.0)?.name.clone())),
        reasons: row.discarded.iter().map(|tallied| view.counted(tallied)).collect(),
    });
    Status {
        groups: groups.iter().map(|bound| view.group(node, bound)).collect(),
        discarded: discarded.collect(),
        not_looked_at: receivers.left_out(),
    }
}

struct View<'a> {
    surroundings: &'a Surroundings,
    now: Timestamp,
}

impl View<'_> {
    fn group(&self, node: &Node, bound: &Bound) -> Group {
        let settings = &bound.settings;
        let name = settings.name.clone();
        let seat = match &bound.seat {
            Ok(seat) => seat,
            Err(missing) => return unbound(settings, name, missing),
        };
        let Some(group) = node.group(seat.id) else {
            return unbound(settings, name, "not in the state machine");
        };
        let group: &group::Group = group;
        let status = GroupStatus::of(group, self.now);
        let blame = status.blame.iter().map(|blame| Blame {
            name: blame.name.clone(),
            lowers: match blame.effect {
                Effect::Lower(by) => Some(by.get()),
                Effect::Fault => None,
            },
            unknown: blame.health == Health::Unknown,
            since_ms: milliseconds(self.now.since(blame.since)),
        });
        let routers = status.legs.into_iter().zip(bound.legs()).map(|(leg, (router, seat))| {
            let present = |address| self.surroundings.has(seat.device, address);
            self.router(leg, router, present)
        });
        Group {
            name,
            state: status.state.to_string(),
            missing: None,
            priority: status.priority.get(),
            base_priority: status.base_priority.get(),
            blame: blame.collect(),
            routers: routers.collect(),
        }
    }

    fn router(
        &self,
        status: RouterStatus,
        settings: &settings::Router,
        present: impl Fn(std::net::IpAddr) -> bool,
    ) -> Router {
        let mac = match settings.mac {
            settings::Mac::Virtual => status.mac.to_string(),
            settings::Mac::Interface => "the interface's own".to_owned(),
        };
        let addresses = status.addresses.iter();
        let peer = status.heard.map(|heard| Peer {
            address: heard.from,
            priority: heard.priority.get(),
            heard_ms: status.heard_ago.map_or(0, milliseconds),
        });
        let adverts = status.adverts;
        Router {
            name: status.name,
            interface: settings.interface.clone(),
            vrid: status.vrid.get(),
            family: status.family.to_string(),
            state: status.state.to_string(),
            since_ms: milliseconds(self.now.since(status.since)),
            why: status.why.to_string(),
            mac,
            primary: status.primary,
            interval_ms: milliseconds(status.interval.duration()),
            active_interval_ms: status
                .active_interval
                .map(|interval| milliseconds(interval.duration())),
            accepts: status.accepts,
            preempts: status.preemption == Preemption::Allowed,
            addresses: addresses
                .map(|address| Address { address: *address, present: present(*address) })
                .collect(),
            peer,
            adverts: Adverts {
                sent: adverts.sent,
                sent_resign: adverts.sent_resign,
                late: adverts.late,
                received: adverts.received,
                received_resign: adverts.received_resign,
                missed: adverts.missed,
            },
            takeovers: status.takeovers,
            warnings: status.warnings.iter().map(|tallied| self.counted(tallied)).collect(),
        }
    }

    fn counted(&self, tallied: &Tallied) -> Counted {
        Counted {
            kind: tallied.name.to_owned(),
            count: tallied.count,
            last_ms: milliseconds(self.now.since(tallied.last_at)),
            last_from: tallied.last_from,
        }
    }
}

/// A group that can't take part.
fn unbound(settings: &settings::Group, name: String, missing: &str) -> Group {
    let priority = settings.priority.get();
    Group {
        name,
        state: "initialize".to_owned(),
        missing: Some(missing.to_owned()),
        priority,
        base_priority: priority,
        blame: Vec::new(),
        routers: Vec::new(),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
