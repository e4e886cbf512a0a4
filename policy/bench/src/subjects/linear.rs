//! A plain linear scan, the yardstick of every comparison: one rule after the other, field by
//! field, until one matches.
//!
//! Goes in: rules. Not here: the oracle, which gives the same answers with less work
//! ([`crate::oracle`]).

use super::{NONE, Subject};
use crate::model::{Networks, Rule};
use std::net::IpAddr;
use twinwall_policy::flow::Flow;
use twinwall_policy::prefix::{Prefix, Word};

/// The rules of each family in a row.
#[derive(Clone, Debug)]
pub struct Linear {
    v4: Box<[Row<u32>]>,
    v6: Box<[Row<u128>]>,
    /// Ingress and egress zones by rule.
    zones: Box<[(u64, u64)]>,
}

#[derive(Clone, Copy, Debug)]
struct Row<T> {
    src: T,
    src_mask: T,
    dst: T,
    dst_mask: T,
    src_port: (u16, u16),
    dst_port: (u16, u16),
    protocol: u8,
    protocol_mask: u8,
    rule: u32,
}

impl Linear {
    /// An engine for these rules.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (index, rule) in (0..).zip(rules) {
            match rule.networks {
                Networks::V4 { src, dst } => v4.push(Row::new(src, dst, rule, index)),
                Networks::V6 { src, dst } => v6.push(Row::new(src, dst, rule, index)),
            }
        }
        let zones = rules.iter().map(|rule| (rule.from.bits(), rule.to.bits())).collect();
        Self { v4: v4.into(), v6: v6.into(), zones }
    }

    fn scan<T: Word>(&self, rows: &[Row<T>], src: T, dst: T, header: &Flow) -> u32 {
        let found = rows.iter().find(|row| {
            src.and(row.src_mask) == row.src
                && dst.and(row.dst_mask) == row.dst
                && row.rest_matches(header)
                && self.zones.get(row.rule as usize).is_some_and(|(from, to)| {
                    from >> header.from.index() & to >> header.to.index() & 1 == 1
                })
        });
        found.map_or(NONE, |row| row.rule)
    }
}

impl Subject for Linear {
    type Answer = u32;

    fn place(answer: u32) -> u32 {
        answer
    }

    fn lookup(&self, header: &Flow) -> u32 {
        match (header.tuple.src, header.tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.scan(&self.v4, src.to_bits(), dst.to_bits(), header)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                self.scan(&self.v6, src.to_bits(), dst.to_bits(), header)
            }
            _ => NONE,
        }
    }
}

impl<T: Word> Row<T> {
    fn new(src: Prefix<T>, dst: Prefix<T>, rule: &Rule, index: u32) -> Self {
        Self {
            src: src.bits,
            src_mask: T::mask(src.len),
            dst: dst.bits,
            dst_mask: T::mask(dst.len),
            src_port: (rule.src_port.low(), rule.src_port.high()),
            dst_port: (rule.dst_port.low(), rule.dst_port.high()),
            protocol: rule.protocol.unwrap_or(0),
            protocol_mask: if rule.protocol.is_some() { u8::MAX } else { 0 },
            rule: index,
        }
    }

    fn rest_matches(&self, header: &Flow) -> bool {
        let tuple = &header.tuple;
        self.dst_port.0 <= tuple.dst_port
            && tuple.dst_port <= self.dst_port.1
            && self.src_port.0 <= tuple.src_port
            && tuple.src_port <= self.src_port.1
            && tuple.protocol & self.protocol_mask == self.protocol
    }
}
