//! The tuple-hash engine.
//!
//! ```text
//! rule ──► entries ──► groups by shape ──► hash table of each group ──► candidate rules
//!          bits and      which bits          masked bits                 in the order of decision
//!          their mask    are compared
//! ```
//!
//! A rule is broken into a few entries ([`entries`]): fields as bits, and a mask that says which
//! bits are fixed. All entries of a group are looked up under the group's mask, so one hash lookup
//! asks all of them. An entry may be kept in a group with a smaller mask than its own, so that
//! groups stay few, and may stand for more than its rule, so that entries stay few: each candidate
//! is compared with the rule itself before it counts.
//!
//! A lookup goes through the groups by their best rule and ends when none of the rest can hold a
//! better one than the one found.
//!
//! Bounds: [`entries::LIMIT`] entries a rule and family, [`group::GROUP_LIMIT`] groups a family.
//! Memory is linear in the number of rules.

mod entries;
mod group;

use super::Classifier;
use crate::flow::Flow;
use crate::matching::Match;
use crate::ruleset::{RuleIndex, RuleSet};
use crate::zone::ZoneSet;
use entries::Bits;
use group::{Builder, Groups};
use std::net::IpAddr;

/// Rules in hash tables, grouped by the bits that they compare.
#[derive(Clone, Debug)]
pub struct TupleHash {
    v4: Groups<u32>,
    v6: Groups<u128>,
    rules: Box<[Match]>,
}

impl TupleHash {
    /// An engine for these rules. The seeds keep the places of flows in the hash tables from being
    /// guessed; any values serve where nobody attacks.
    #[must_use]
    pub fn new(rules: &RuleSet, seeds: [u64; 4]) -> Self {
        let zones = ZoneSet::first(rules.zones.len());
        let mut v4 = Builder::new(seeds);
        let mut v6 = Builder::new(seeds);
        for (index, rule) in (0u32..).zip(&rules.rules) {
            let matches = &rule.matches;
            entries::of(matches, matches.src.v4(), matches.dst.v4(), zones, |entry| {
                v4.insert(entry, index);
            });
            entries::of(matches, matches.src.v6(), matches.dst.v6(), zones, |entry| {
                v6.insert(entry, index);
            });
        }
        Self {
            v4: v4.finish(),
            v6: v6.finish(),
            rules: rules.rules.iter().map(|rule| rule.matches.clone()).collect(),
        }
    }

    /// Hash tables that a lookup of an IPv4 and of an IPv6 flow may have to ask.
    #[must_use]
    pub fn groups(&self) -> (usize, usize) {
        (self.v4.len(), self.v6.len())
    }

    fn matches(&self, rule: u32, flow: &Flow) -> bool {
        usize::try_from(rule)
            .ok()
            .and_then(|rule| self.rules.get(rule))
            .is_some_and(|rule| rule.contains(flow))
    }
}

impl Classifier for TupleHash {
    fn classify(&self, flow: &Flow) -> Option<RuleIndex> {
        let rest = entries::pack(flow);
        let found = match (flow.tuple.src, flow.tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let bits = Bits { src: src.to_bits(), dst: dst.to_bits(), rest };
                self.v4.find(bits, |rule| self.matches(rule, flow))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let bits = Bits { src: src.to_bits(), dst: dst.to_bits(), rest };
                self.v6.find(bits, |rule| self.matches(rule, flow))
            }
            // No packet has one address of each family; the answer is still the oracle's.
            _ => {
                let found = self.rules.iter().position(|rule| rule.contains(flow));
                found.and_then(|rule| u32::try_from(rule).ok())
            }
        };
        found.map(RuleIndex)
    }
}
