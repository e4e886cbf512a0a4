//! Plain tuple space search, as Open vSwitch does it: one hash table for each tuple of masks.
//!
//! Rules that fix the same bits share a table, whose key is those bits of a header. Exact ports are
//! part of the key; ranges of ports are compared in the entry, as zones are. Tables are asked in
//! the order of their best rule, until that is worse than the rule found. No tables are merged: so
//! the number of tables grows with the number of shapes, and lookups with it.
//!
//! Goes in: rules. Comes out: the place of the first one that matches.

use super::{NONE, Subject};
use crate::model::{Networks, Rule};
use ahash::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;
use twinwall_policy::flow::Flow;
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::{Prefix, Word};

/// The tables of both families.
#[derive(Clone, Debug)]
pub struct TupleSpace {
    v4: Box<[Table<u32>]>,
    v6: Box<[Table<u128>]>,
}

#[derive(Clone, Debug)]
struct Table<T> {
    /// The best rule in it.
    best: u32,
    mask: Key<T>,
    entries: HashMap<Key<T>, Vec<Entry>, RandomState>,
}

/// Fields of a header, or a mask over them. `rest` is protocol, source and destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key<T> {
    src: T,
    dst: T,
    rest: u64,
}

/// What a hash can't compare; entries of a key stand in the order of decision.
#[derive(Clone, Copy, Debug)]
struct Entry {
    rule: u32,
    src_port: PortRange,
    dst_port: PortRange,
    from: u64,
    to: u64,
}

impl TupleSpace {
    /// An engine for these rules.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        let (mut v4, mut v6) = (Builder::default(), Builder::default());
        for (index, rule) in (0..).zip(rules) {
            match rule.networks {
                Networks::V4 { src, dst } => v4.insert(src, dst, rule, index),
                Networks::V6 { src, dst } => v6.insert(src, dst, rule, index),
            }
        }
        Self { v4: v4.tables.into(), v6: v6.tables.into() }
    }
}

impl Subject for TupleSpace {
    type Answer = u32;

    fn place(answer: u32) -> u32 {
        answer
    }

    fn lookup(&self, header: &Flow) -> u32 {
        match (header.tuple.src, header.tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                find(&self.v4, src.to_bits(), dst.to_bits(), header)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                find(&self.v6, src.to_bits(), dst.to_bits(), header)
            }
            _ => NONE,
        }
    }
}

fn find<T: Word>(tables: &[Table<T>], src: T, dst: T, header: &Flow) -> u32 {
    let tuple = &header.tuple;
    let key = Key { src, dst, rest: pack(tuple.protocol, tuple.src_port, tuple.dst_port) };
    let mut found = NONE;
    for table in tables {
        if table.best >= found {
            break;
        }
        let Some(entries) = table.entries.get(&key.masked(table.mask)) else { continue };
        let first = entries.iter().find(|entry| {
            entry.src_port.contains(tuple.src_port)
                && entry.dst_port.contains(tuple.dst_port)
                && entry.from >> header.from.index() & entry.to >> header.to.index() & 1 == 1
        });
        found = first.map_or(found, |entry| found.min(entry.rule));
    }
    found
}

/// Tables in the order of their best rules, as rules come in their order.
struct Builder<T> {
    tables: Vec<Table<T>>,
    by_mask: HashMap<Key<T>, usize, RandomState>,
}

impl<T> Default for Builder<T> {
    fn default() -> Self {
        Self { tables: Vec::new(), by_mask: HashMap::with_hasher(state()) }
    }
}

impl<T: Word> Builder<T> {
    fn insert(&mut self, src: Prefix<T>, dst: Prefix<T>, rule: &Rule, index: u32) {
        let port = |range: PortRange| match range.low() == range.high() {
            true => (range.low(), u16::MAX),
            false => (0, 0),
        };
        let (src_port, dst_port) = (port(rule.src_port), port(rule.dst_port));
        let protocol = rule.protocol.map_or((0, 0), |protocol| (protocol, u8::MAX));
        let mask = Key {
            src: T::mask(src.len),
            dst: T::mask(dst.len),
            rest: pack(protocol.1, src_port.1, dst_port.1),
        };
        let key =
            Key { src: src.bits, dst: dst.bits, rest: pack(protocol.0, src_port.0, dst_port.0) };
        let place = *self.by_mask.entry(mask).or_insert_with(|| {
            let entries = HashMap::with_hasher(state());
            self.tables.push(Table { best: index, mask, entries });
            self.tables.len() - 1
        });
        if let Some(table) = self.tables.get_mut(place) {
            table.entries.entry(key).or_default().push(Entry {
                rule: index,
                src_port: rule.src_port,
                dst_port: rule.dst_port,
                from: rule.from.bits(),
                to: rule.to.bits(),
            });
        }
    }
}

impl<T: Word> Key<T> {
    fn masked(self, mask: Self) -> Self {
        Self {
            src: self.src.and(mask.src),
            dst: self.dst.and(mask.dst),
            rest: self.rest & mask.rest,
        }
    }
}

fn pack(protocol: u8, src_port: u16, dst_port: u16) -> u64 {
    u64::from(protocol) << 32 | u64::from(src_port) << 16 | u64::from(dst_port)
}

/// The same places in each run, so that runs can be compared.
fn state() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}
