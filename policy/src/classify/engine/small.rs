//! Few rules: for each field the rules that its value allows, as bits.
//!
//! ```text
//! source, destination ─► which of the ranges that rules part them into ─► row of bits ─┐
//! ports               ─► the same ──────────────────────────────────────► row of bits ─┼─► AND
//! protocol, zones     ──────────────────────────────────────────────────► row of bits ─┘    │
//!                                                                 hit ◄─ rule ◄─ first bit ◄─┘
//! ```
//!
//! Bits are in the order of decision, so the first that all rows have is the answer, exactly, and
//! no step depends on what another found. Memory grows with the square of the number of rules: up
//! to [`RULES`] this is the fastest way, beyond it the tables are.
//!
//! Goes in: the rules of one family. Comes out: for a header the hit. Not here: changes, which need
//! the tables.

use super::batch::{Block, WIDTH};
use super::both::Rules;
use super::family::{Family, Pair, Probe};
use super::record::Entry;
use super::rule::Hit;
use super::simd::Vectors;
use super::spans::Spans;
use super::tree::Tree;
use crate::matching::PortRange;
use crate::zone::ZoneSet;

/// The most rules.
pub(super) const RULES: usize = WORDS * 64;
/// Words of a row.
pub(super) const WORDS: usize = 16;

/// A bit for each rule.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Row(pub(super) [u64; WORDS]);

/// The rules of one family.
#[derive(Debug)]
pub(super) struct Small<A: Family> {
    src: Field<Tree<A::Node>>,
    dst: Field<Tree<A::Node>>,
    src_port: Field<Spans>,
    dst_port: Field<Spans>,
    protocols: Box<[Row]>,
    /// Rows of ingress and of egress zones; none when no rule asks for zones.
    zones: Option<[Box<[Row]>; 2]>,
    /// Each rule's hit, in the order of decision.
    hits: Box<[Option<Hit>]>,
    /// Rules whose hits have to be verified, if there are any.
    coarse: Option<Box<Row>>,
}

/// The ranges of one field, which follow one another, and a row for each.
#[derive(Debug)]
struct Field<E> {
    ends: E,
    rows: Box<[Row]>,
}

impl<A: Family> Small<A> {
    /// Of these rules and their zones; `None` when there are too many.
    pub(super) fn new(
        entries: &[Entry<A>],
        zones: impl Fn(u32) -> (ZoneSet, ZoneSet),
    ) -> Option<Self> {
        if entries.len() > RULES {
            return None;
        }
        let mut rules: Vec<&Entry<A>> = entries.iter().collect();
        rules.sort_by_key(|entry| entry.order);
        let network = |address: A, len: u8| (address.wide(), address.filled(len).wide());
        let ports = |ports: PortRange| (ports.low().into(), ports.high().into());
        let address_field = |range: &dyn Fn(&Entry<A>) -> (u128, u128)| {
            let (ends, rows) = sweep(rules.iter().map(|entry| range(entry)), A::BITS);
            Field { ends: Tree::new(ends.iter().map(|end| A::narrowed(*end))), rows }
        };
        let port_field = |range: &dyn Fn(&Entry<A>) -> (u128, u128)| {
            let (ends, rows) = sweep(rules.iter().map(|entry| range(entry)), 16);
            let ends: Vec<u16> = ends.iter().map(|end| *end as u16).collect();
            Field { ends: Spans::new(&ends), rows }
        };
        let mut coarse = Row::NONE;
        for (rule, _) in rules.iter().enumerate().filter(|(_, entry)| entry.coarse) {
            coarse.set(rule);
        }
        let zoned = rules.iter().any(|entry| zones(entry.zones) != (ZoneSet::ALL, ZoneSet::ALL));
        let zone_rows = |of: &dyn Fn(&Entry<A>) -> ZoneSet| {
            let allowed = |entry: &Entry<A>| of(entry).iter().map(|zone| zone.index());
            rows_of(64, rules.iter().map(|entry| allowed(entry).map(usize::from).collect()))
        };
        let protocol = |entry: &&Entry<A>| match entry.protocol {
            Some(number) => vec![usize::from(number)],
            None => (0..256).collect(),
        };
        Some(Self {
            src: address_field(&|entry| network(entry.addresses.src, entry.src_len)),
            dst: address_field(&|entry| network(entry.addresses.dst, entry.dst_len)),
            src_port: port_field(&|entry| ports(entry.src_port)),
            dst_port: port_field(&|entry| ports(entry.dst_port)),
            protocols: rows_of(256, rules.iter().map(protocol)),
            zones: zoned.then(|| {
                [zone_rows(&|entry| zones(entry.zones).0), zone_rows(&|entry| zones(entry.zones).1)]
            }),
            hits: rules
                .iter()
                .map(|entry| Some(Hit { order: entry.order, value: entry.value }))
                .chain([None])
                .collect(),
            coarse: rules.iter().any(|entry| entry.coarse).then(|| Box::new(coarse)),
        })
    }

    /// The place of the first rule that matches in the order of decision, or more than there are.
    #[inline(always)]
    pub(super) fn place<V: Vectors>(
        &self,
        probe: &Probe<A>,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> usize {
        let Pair { src, dst } = probe.addresses;
        let places = [self.src.ends.place(src, vectors), self.dst.ends.place(dst, vectors)];
        self.rows(places, probe.rest).map_or(RULES, |rows| self.first(&rows, vectors, verify))
    }

    /// The rows of a header, by its places among the ranges of source and destination, and by the
    /// rest, as in [`Probe::rest`].
    #[inline(always)]
    fn rows(&self, [src, dst]: [usize; 2], rest: u64) -> Option<Rows<'_>> {
        let (src_port, dst_port) = (rest as u16, (rest >> 16) as u16);
        let [_, _, _, _, protocol, from, to, _] = rest.to_le_bytes().map(usize::from);
        let zones = match &self.zones {
            Some([of_from, of_to]) => Some([of_from.get(from)?, of_to.get(to)?]),
            None => None,
        };
        let flow = [
            self.src.rows.get(src)?,
            self.dst.rows.get(dst)?,
            self.src_port.rows.get(self.src_port.ends.place(src_port))?,
            self.dst_port.rows.get(self.dst_port.ends.place(dst_port))?,
            self.protocols.get(protocol)?,
        ];
        Some(Rows { flow, zones })
    }

    /// The first rule that all rows have, or more than there are.
    #[inline(always)]
    fn first<V: Vectors>(
        &self,
        rows: &Rows<'_>,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> usize {
        let [a, b, c, d, e] = rows.flow;
        match (&self.coarse, rows.zones) {
            (None, None) => vectors.first(rows.flow),
            (None, Some([from, to])) => vectors.first([a, b, c, d, e, from, to]),
            (Some(coarse), _) => self.first_verified(rows, coarse, verify),
        }
    }

    /// Like [`Self::first`], where hits may have to be verified.
    #[inline(never)]
    fn first_verified(&self, rows: &Rows<'_>, coarse: &Row, verify: impl Fn(u64) -> bool) -> usize {
        for (word, coarse) in coarse.0.iter().enumerate() {
            let all = rows.flow.iter().chain(rows.zones.iter().flatten());
            let words = all.filter_map(|row| row.0.get(word));
            let mut bits = words.fold(u64::MAX, |bits, word| bits & word);
            while bits != 0 {
                let bit = bits.trailing_zeros();
                let rule = word * 64 + bit as usize;
                if coarse >> bit & 1 == 0 || self.hit(rule).is_some_and(|hit| verify(hit.value)) {
                    return rule;
                }
                bits &= bits - 1;
            }
        }
        RULES
    }

    #[inline(always)]
    fn hit(&self, rule: usize) -> Option<Hit> {
        // The last is none.
        let last = self.hits.len().saturating_sub(1);
        self.hits.get(rule.min(last)).copied().flatten()
    }

    pub(super) fn memory(&self) -> usize {
        let zones = self.zones.iter().flatten().map(|rows| size_of_val(&**rows));
        let rows = [
            &self.src.rows,
            &self.dst.rows,
            &self.src_port.rows,
            &self.dst_port.rows,
            &self.protocols,
        ];
        rows.map(|rows| size_of_val(&**rows)).iter().sum::<usize>()
            + zones.sum::<usize>()
            + size_of_val(&*self.hits)
            + self.src_port.ends.memory()
            + self.dst_port.ends.memory()
            + self.src.ends.memory()
            + self.dst.ends.memory()
    }
}

impl<A: Family> Rules<A> for &Small<A> {
    type Scratch = ();

    #[inline(always)]
    fn find<V: Vectors>(
        self,
        probe: &Probe<A>,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Option<Hit> {
        self.hit(self.place(probe, vectors, verify))
    }

    /// Step by step for all headers: the steps of one lookup wait for each other.
    #[inline(always)]
    fn find_all<V: Vectors>(
        self,
        block: &Block<A>,
        hits: &mut [Option<Hit>],
        (): &mut (),
        vectors: V,
        verify: impl Fn(usize, u64) -> bool,
    ) {
        let count = block.count;
        let src = self.src.ends.places(count, |header| block.addresses(header).src, vectors);
        let dst = self.dst.ends.places(count, |header| block.addresses(header).dst, vectors);
        let mut rules = [u16::MAX; WIDTH];
        let cells = rules.iter_mut().zip(src.iter().zip(&dst)).enumerate().take(count);
        for (header, (rule, (src, dst))) in cells {
            if let Some(rows) = self.rows([*src, *dst].map(usize::from), block.rest(header)) {
                *rule = self.first(&rows, vectors, |value| verify(header, value)) as u16;
            }
        }
        block.answer(rules.iter().map(|rule| self.hit(usize::from(*rule))), hits);
    }
}

/// The rows of one header.
struct Rows<'a> {
    /// Of both addresses, both ports and the protocol.
    flow: [&'a Row; 5],
    /// Of the zones, if they count.
    zones: Option<[&'a Row; 2]>,
}

impl Row {
    const NONE: Self = Self([0; WORDS]);

    fn word(&mut self, rule: usize) -> Option<(&mut u64, u64)> {
        Some((self.0.get_mut(rule / 64)?, 1 << (rule % 64)))
    }

    fn set(&mut self, rule: usize) {
        if let Some((word, bit)) = self.word(rule) {
            *word |= bit;
        }
    }

    fn clear(&mut self, rule: usize) {
        if let Some((word, bit)) = self.word(rule) {
            *word &= !bit;
        }
    }
}

/// The ends of the ranges into which the rules' ranges of a field of some bits part it, without the
/// last, and the rows of all.
fn sweep(ranges: impl Iterator<Item = (u128, u128)>, bits: u8) -> (Vec<u128>, Box<[Row]>) {
    let last = u128::MAX >> (128 - u32::from(bits).clamp(1, 128));
    // By the value before which it happens: rules that begin, then rules that are over.
    let mut turns: Vec<(u128, bool, usize)> = Vec::new();
    for (rule, (low, high)) in ranges.enumerate() {
        turns.push((low, true, rule));
        if high < last {
            turns.push((high + 1, false, rule));
        }
    }
    turns.sort_unstable();
    let (mut row, mut ends, mut rows) = (Row::NONE, Vec::new(), Vec::new());
    let mut from = 0;
    for (value, begins, rule) in turns {
        if value != from {
            ends.push(value - 1);
            rows.push(row);
            from = value;
        }
        if begins {
            row.set(rule);
        } else {
            row.clear(rule);
        }
    }
    rows.push(row);
    (ends, rows.into())
}

/// A row for each value of a field, from the values that each rule allows.
fn rows_of(values: usize, rules: impl Iterator<Item = Vec<usize>>) -> Box<[Row]> {
    let mut rows = vec![Row::NONE; values];
    for (rule, allowed) in rules.enumerate() {
        for value in allowed {
            if let Some(row) = rows.get_mut(value) {
                row.set(rule);
            }
        }
    }
    rows.into()
}
