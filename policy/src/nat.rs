//! Which NAT rules apply to a session, and what they make of it.
//!
//! The kernel translates; this says what it does with the same rules. Destination NAT takes the
//! first of its rules that matches the packet as it arrives; source NAT the first that matches it
//! after that. A rule without an address of the packet's family doesn't apply to it. Destination
//! NAT doesn't see what the gateway itself sends, source NAT not what is for the gateway.
//!
//! Goes in: a rule set and a flow. Comes out: rules, the tuple that filter rules see, and an
//! [`Effect`] by which two policies' answers are compared. Not here: the address of masquerading,
//! which depends on the interface.

use crate::flow::{Flow, Tuple, protocol};
use crate::ruleset::{NatRule, RuleSet, Translation};
use crate::zone::ZoneId;
use std::net::IpAddr;

/// What NAT does with a session.
#[derive(Clone, Copy, Debug)]
pub struct Translations<'a> {
    /// The rule that rewrites the destination.
    pub destination: Option<&'a NatRule>,
    /// The rule that rewrites the source.
    pub source: Option<&'a NatRule>,
    /// The tuple between the two: what filter rules see.
    pub inside: Tuple,
    effect: Effect,
}

impl Translations<'_> {
    /// What is rewritten to what.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }
}

/// What NAT rewrites to what, whichever rules say so. Equal effects translate a session alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effect {
    /// New destination.
    pub destination: Option<NewDestination>,
    /// New source.
    pub source: Option<NewSource>,
}

/// Where destination NAT sends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NewDestination {
    /// Address.
    pub address: IpAddr,
    /// Port, unless it stays.
    pub port: Option<u16>,
}

/// What source NAT makes the sender look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NewSource {
    /// The address of the egress interface.
    Masquerade,
    /// This address.
    Address(IpAddr),
}

/// The NAT of a session whose first packet is `arriving`: with the destination that it had before
/// any translation.
#[must_use]
pub fn translate<'a>(rules: &'a RuleSet, arriving: &Flow) -> Translations<'a> {
    let (destination, target) = first(rules, |rule| new_destination(rule, arriving)).unzip();
    let inside = target.map_or(arriving.tuple, |target| redirect(arriving.tuple, target));
    let leaving = Flow { tuple: inside, ..*arriving };
    let (source, look) = first(rules, |rule| new_source(rule, &leaving)).unzip();
    let effect = Effect { destination: target, source: look };
    Translations { destination, source, inside, effect }
}

/// The tuple with a new destination, as the packet has it behind destination NAT.
#[must_use]
pub fn redirect(tuple: Tuple, target: NewDestination) -> Tuple {
    let has_ports = matches!(
        tuple.protocol,
        protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDPLITE
    );
    let dst_port = target.port.filter(|_| has_ports).unwrap_or(tuple.dst_port);
    Tuple { dst: target.address, dst_port, ..tuple }
}

/// The first rule for which `apply` gives a result, and that.
fn first<T>(rules: &RuleSet, apply: impl Fn(&NatRule) -> Option<T>) -> Option<(&NatRule, T)> {
    rules.nat.iter().find_map(|rule| Some((rule, apply(rule)?)))
}

fn new_destination(rule: &NatRule, arriving: &Flow) -> Option<NewDestination> {
    let Translation::Destination { v4, v6, port } = rule.translation else { return None };
    let address = match arriving.tuple.dst {
        IpAddr::V4(_) => IpAddr::V4(v4?),
        IpAddr::V6(_) => IpAddr::V6(v6?),
    };
    let applies = arriving.from != ZoneId::SELF && matches(rule, arriving);
    applies.then_some(NewDestination { address, port })
}

fn new_source(rule: &NatRule, leaving: &Flow) -> Option<NewSource> {
    let source = match rule.translation {
        Translation::Masquerade => NewSource::Masquerade,
        Translation::Source { v4, v6 } => NewSource::Address(match leaving.tuple.src {
            IpAddr::V4(_) => IpAddr::V4(v4?),
            IpAddr::V6(_) => IpAddr::V6(v6?),
        }),
        Translation::Destination { .. } => return None,
    };
    let applies =
        leaving.to != ZoneId::SELF && rule.to.contains(leaving.to) && matches(rule, leaving);
    applies.then_some(source)
}

/// Whether a rule of either kind matches, the egress zone aside.
fn matches(rule: &NatRule, flow: &Flow) -> bool {
    let Tuple { src, dst, protocol, src_port, dst_port } = flow.tuple;
    rule.covers_family(dst)
        && rule.from.contains(flow.from)
        && rule.services.iter().any(|service| service.contains(protocol, src_port, dst_port))
        && rule.src.contains(src)
        && rule.dst.contains(dst)
}
