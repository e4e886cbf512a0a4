//! Digests by which rules and whole policies are recognised, across processes and versions.
//!
//! A digest is the first 16 bytes of SHA-256, read as a big-endian number, over a canonical
//! encoding: every number big-endian, every list preceded by its length as 32 bits, every text as
//! a list of its bytes in UTF-8. The encodings begin with a line of their own, so that they can't
//! be mistaken for each other and can be changed.
//!
//! ```text
//! meaning   "twinwall meaning 1\n"  action u8  source set  destination set  list of services
//! set       list of IPv4 ranges (2 x u32)  list of IPv6 ranges (2 x u128)
//! service   protocol u16 (256 for any)  source ports 2 x u16  destination ports 2 x u16
//! policy    "twinwall policy 1\n"  list of zones  list of rules  list of NAT rules
//! zone      name  list of interfaces
//! rule      name  meaning u128  from u64  to u64
//! NAT rule  from u64  to u64  source set  destination set  list of services
//!           families u8 (1 IPv4, 2 IPv6)  kind u8  IPv4 address u8 + u32  IPv6 address u8 + u128
//!           port u8 + u16
//! ```

use crate::address::AddressSet;
use crate::matching::Service;
use crate::ruleset::{Action, NatRule, Rule, RuleSet, Translation};
use crate::zone::ZoneSet;
use sha2::{Digest, Sha256};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The digest of what a rule does with which packets: addresses, services and action. Neither
/// name, place and zones, nor what is logged and `on_change`.
#[must_use]
pub fn meaning(rule: &Rule) -> u128 {
    let mut bytes = Bytes(b"twinwall meaning 1\n".to_vec());
    bytes.0.push(match rule.action {
        Action::Accept => 0,
        Action::Drop => 1,
        Action::Reject => 2,
    });
    bytes.set(&rule.matches.src);
    bytes.set(&rule.matches.dst);
    bytes.services(&rule.matches.services);
    bytes.digest()
}

/// The digest of everything by which a policy decides: zones, rules in their order, NAT.
/// `meanings` are those of its rules.
#[must_use]
pub fn policy_digest(rules: &RuleSet, meanings: impl IntoIterator<Item = u128>) -> u128 {
    let mut bytes = Bytes(b"twinwall policy 1\n".to_vec());
    let existing = ZoneSet::first(rules.zones.len());
    bytes.len(rules.zones.len());
    for zone in &rules.zones {
        bytes.text(&zone.name);
        bytes.len(zone.interfaces.len());
        for interface in &zone.interfaces {
            bytes.text(interface);
        }
    }
    bytes.len(rules.rules.len());
    for (rule, meaning) in rules.rules.iter().zip(meanings) {
        bytes.text(&rule.name);
        bytes.0.extend(meaning.to_be_bytes());
        bytes.zones(rule.matches.from.and(existing));
        bytes.zones(rule.matches.to.and(existing));
    }
    bytes.len(rules.nat.len());
    for rule in &rules.nat {
        bytes.nat(rule, existing);
    }
    bytes.digest()
}

/// An encoding in the making.
struct Bytes(Vec<u8>);

impl Bytes {
    fn digest(self) -> u128 {
        let digest = Sha256::digest(&self.0);
        digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
    }

    fn len(&mut self, len: usize) {
        // Lists of 2^32 don't fit into memory; a saturated length would still be a valid encoding.
        self.0.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.len(text.len());
        self.0.extend(text.as_bytes());
    }

    fn zones(&mut self, zones: ZoneSet) {
        self.0.extend(zones.bits().to_be_bytes());
    }

    fn set(&mut self, set: &AddressSet) {
        self.len(set.v4().len());
        for (low, high) in set.v4() {
            self.0.extend(low.to_be_bytes());
            self.0.extend(high.to_be_bytes());
        }
        self.len(set.v6().len());
        for (low, high) in set.v6() {
            self.0.extend(low.to_be_bytes());
            self.0.extend(high.to_be_bytes());
        }
    }

    fn services(&mut self, services: &[Service]) {
        self.len(services.len());
        for service in services {
            self.0.extend(service.protocol.map_or(256, u16::from).to_be_bytes());
            for range in [service.src_port, service.dst_port] {
                self.0.extend(range.low().to_be_bytes());
                self.0.extend(range.high().to_be_bytes());
            }
        }
    }

    fn nat(&mut self, rule: &NatRule, existing: ZoneSet) {
        self.zones(rule.from.and(existing));
        self.zones(rule.to.and(existing));
        self.set(&rule.src);
        self.set(&rule.dst);
        self.services(&rule.services);
        self.0.push(u8::from(rule.families.v4) | u8::from(rule.families.v6) << 1);
        let (kind, v4, v6, port) = match rule.translation {
            Translation::Masquerade => (0, None, None, None),
            Translation::Source { v4, v6 } => (1, v4, v6, None),
            Translation::Destination { v4, v6, port } => (2, v4, v6, port),
        };
        self.0.push(kind);
        self.optional(v4.map(Ipv4Addr::to_bits).map(u32::to_be_bytes));
        self.optional(v6.map(Ipv6Addr::to_bits).map(u128::to_be_bytes));
        self.optional(port.map(u16::to_be_bytes));
    }

    /// 1 and the value, or 0 and as many zeros.
    fn optional<const N: usize>(&mut self, value: Option<[u8; N]>) {
        self.0.push(u8::from(value.is_some()));
        self.0.extend(value.unwrap_or([0; N]));
    }
}
