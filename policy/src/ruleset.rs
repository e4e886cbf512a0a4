//! The compiled policy: every name resolved, every rule a set that it matches and what it does.
//!
//! Made by the resolver; read by the classifier, the difference, lints, explain and the
//! daemon. Plain data: it can be built by hand in tests.

use crate::address::AddressSet;
use crate::matching::{Match, Service};
use crate::zone::{ZoneId, ZoneSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The place of a rule in [`RuleSet::rules`]; smaller decides first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub u32);

/// What happens to the packets of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Let it pass.
    Accept,
    /// Discard it in silence.
    Drop,
    /// Discard it and tell the sender: a reset for TCP, port unreachable for the rest.
    Reject,
}

impl Action {
    /// Whether packets pass.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Accept)
    }
}

/// What becomes of a rule's running sessions when a reload takes them away from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnChange {
    /// The new policy decides them.
    Rematch,
    /// They go on as they are until they end.
    Keep,
    /// They are ended.
    Terminate,
}

/// What new sessions get while no daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueFailure {
    /// They are dropped and counted.
    Closed,
    /// They pass and are counted.
    Open,
}

/// A zone and the interfaces that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The name in the policy; `self` for the gateway, `(outside)` for interfaces of no zone.
    pub name: Arc<str>,
    /// Interface names; a trailing `*` stands for any rest. An exact name wins over a pattern, a
    /// longer pattern over a shorter one.
    pub interfaces: Vec<Arc<str>>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Order; unique; the lowest that matches decides.
    pub seq: u32,
    /// Identity; unique. Built-in rules carry parentheses, which policy files can't use.
    pub name: Arc<str>,
    /// What it matches.
    pub matches: Match,
    /// What it does.
    pub action: Action,
    /// Whether the start of each session is logged.
    pub log: bool,
    /// What becomes of its sessions when the policy takes them away.
    pub on_change: OnChange,
}

/// Address families that a NAT rule is limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// How a NAT rule rewrites. At least one address of a family that the rule covers is present.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Translation {
    /// Source becomes the address of the egress interface.
    Masquerade,
    /// Source becomes this address, by family.
    Source {
        /// For IPv4 packets.
        v4: Option<std::net::Ipv4Addr>,
        /// For IPv6 packets.
        v6: Option<std::net::Ipv6Addr>,
    },
    /// Destination becomes this address, by family, and this port if there is one.
    Destination {
        /// For IPv4 packets.
        v4: Option<std::net::Ipv4Addr>,
        /// For IPv6 packets.
        v6: Option<std::net::Ipv6Addr>,
        /// New destination port.
        port: Option<u16>,
    },
}

/// One NAT rule. Source NAT sees the destination after destination NAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatRule {
    /// Order among the NAT rules; unique.
    pub seq: u32,
    /// Identity among the NAT rules; unique.
    pub name: Arc<str>,
    /// Ingress zones. For destination NAT the egress zone is not known yet.
    pub from: ZoneSet,
    /// Egress zones; [`ZoneSet::ALL`] for destination NAT.
    pub to: ZoneSet,
    /// Source addresses.
    pub src: AddressSet,
    /// Destination addresses: for destination NAT those before it (`to_addr`).
    pub dst: AddressSet,
    /// Services before translation, any one of them.
    pub services: Vec<Service>,
    /// Families that it is limited to.
    pub families: Families,
    /// What it does.
    pub translation: Translation,
}

impl NatRule {
    /// Whether the rule applies to packets of the address's family.
    #[must_use]
    pub fn covers_family(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.families.v4,
            IpAddr::V6(_) => self.families.v6,
        }
    }
}

/// A compiled policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// The policy's name.
    pub name: Arc<str>,
    /// Zones by [`crate::zone::ZoneId`]: first `(outside)` and `self`, then the policy's in its order.
    pub zones: Vec<Zone>,
    /// Rules by [`RuleIndex`], in the order of decision. The last two are built in: `(self)`
    /// accepts what the gateway itself begins, `(default)` matches everything.
    pub rules: Vec<Rule>,
    /// NAT rules in the order of `seq`.
    pub nat: Vec<NatRule>,
    /// What new sessions get without a daemon.
    pub queue_failure: QueueFailure,
}

impl RuleSet {
    /// The zone of a name.
    #[must_use]
    pub fn zone(&self, name: &str) -> Option<ZoneId> {
        let place = self.zones.iter().position(|zone| zone.name.as_ref() == name)?;
        ZoneId::new(u8::try_from(place).ok()?)
    }

    /// The name of a zone; that of interfaces outside all zones for one that isn't the policy's.
    #[must_use]
    pub fn zone_name(&self, zone: ZoneId) -> Arc<str> {
        let zones = [usize::from(zone.index()), usize::from(ZoneId::OUTSIDE.index())];
        let named = zones.into_iter().find_map(|index| self.zones.get(index));
        named.map_or_else(|| Arc::from(OUTSIDE_ZONE), |zone| Arc::clone(&zone.name))
    }
}

/// The name of the zone of interfaces that no zone of the policy names.
pub const OUTSIDE_ZONE: &str = "(outside)";
/// The name of the built-in rule for sessions that the gateway itself begins.
pub const SELF_RULE: &str = "(self)";
/// The name of the built-in rule that decides what no other rule does.
pub const DEFAULT_RULE: &str = "(default)";
