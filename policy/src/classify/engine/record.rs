//! The rules of one family in memory, each in one record that readers and the writer share.
//!
//! ```text
//! addresses, ports, head   see [`Packed`]
//! state                    zones | coarse << 24 | on a pile << 25 | flux << 32
//! shadow                   classes that can hold a rule that decides before this one
//! value                    what a hit carries
//! ```
//!
//! A record is odd if its state says anything but that it is on a pile: a match is no hit then unless
//! the state allows it. A record is written while no reader can see its rule, apart from the order,
//! `odd`, `state` and `shadow`. Flux says whether the rule came, moved or is to go lately, see
//! [`super::publish`]; 0 stands for none of it.

use super::family::{Family, Pair};
use super::packed::{Head, Packed};
use crate::matching::PortRange;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// The flux of a record that holds no rule.
pub(super) const EMPTY: u32 = u32::MAX;
/// Every zone, in [`Entry::zones`].
pub(super) const ALL_ZONES: u32 = 0;

const COARSE: u64 = 1 << 24;
const PILED: u64 = 1 << 25;

/// One rule; see the module's text.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Record<C> {
    addresses: C,
    ports: AtomicU64,
    head: AtomicU64,
    state: AtomicU64,
    shadow: AtomicU64,
    value: AtomicU64,
}

/// One rule in one family, zones as a number of [`super::zones::Zones`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<A> {
    pub(super) order: u32,
    pub(super) src_len: u8,
    pub(super) dst_len: u8,
    pub(super) addresses: Pair<A>,
    pub(super) protocol: Option<u8>,
    pub(super) src_port: PortRange,
    pub(super) dst_port: PortRange,
    pub(super) zones: u32,
    /// Stands for more headers than its rule: hits have to be verified.
    pub(super) coarse: bool,
    pub(super) value: u64,
}

/// What of a record changes or has to be looked at more closely.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) zones: u32,
    pub(super) coarse: bool,
    /// Whether it is found by way of a pile. Nothing that a lookup has to know.
    pub(super) piled: bool,
    pub(super) flux: u32,
}

impl<C> Record<C> {
    /// Writes a rule; readers that come upon the record go by `flux`.
    pub(super) fn write<A: Family<Cell = C>>(&self, entry: &Entry<A>, class: u8, flux: u32) {
        let Packed { addresses, ports, head } = Packed::new(entry, class);
        A::store(&self.addresses, addresses);
        self.ports.store(ports, Relaxed);
        // Odd until the state is known: readers that come upon the record look at that.
        self.head.store(head.with_odd(true).0, Relaxed);
        self.shadow.store(u64::MAX, Relaxed);
        self.value.store(entry.value, Relaxed);
        self.set_state(State { zones: entry.zones, coarse: entry.coarse, piled: false, flux });
    }

    pub(super) fn set_state(&self, state: State) {
        self.set(Head(self.head.load(Relaxed)), state);
    }

    /// Notes that the rule is found by way of a pile.
    pub(super) fn set_piled(&self) {
        let state = self.state();
        if !state.piled {
            self.set_state(State { piled: true, ..state });
        }
    }

    /// Gives the rule another order; which of the two counts for a reader goes by the flux.
    pub(super) fn reorder(&self, order: u32, state: State) {
        self.set(Head(self.head.load(Relaxed)).with_order(order), state);
    }

    fn set(&self, head: Head, state: State) {
        let bit = |bit: u64, set: bool| if set { bit } else { 0 };
        let word = u64::from(state.zones)
            | bit(COARSE, state.coarse)
            | bit(PILED, state.piled)
            | u64::from(state.flux) << 32;
        // Whoever sees the new flux sees what was written before; whoever sees the new order sees
        // the flux.
        self.state.store(word, Release);
        self.head.store(head.with_odd(word & !PILED != 0).0, Release);
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        let word = self.state.load(Acquire);
        State {
            zones: word as u32 & 0xff_ffff,
            coarse: word & COARSE != 0,
            piled: word & PILED != 0,
            flux: (word >> 32) as u32,
        }
    }

    /// Whether the record holds a rule, be it one that goes.
    pub(super) fn in_use(&self) -> bool {
        self.state().flux != EMPTY
    }

    #[inline]
    pub(super) fn head(&self) -> Head {
        Head(self.head.load(Acquire))
    }

    #[inline]
    pub(super) fn value(&self) -> u64 {
        self.value.load(Relaxed)
    }

    #[inline]
    pub(super) fn shadow(&self) -> u64 {
        self.shadow.load(Relaxed)
    }

    pub(super) fn set_shadow(&self, classes: u64) {
        self.shadow.store(classes, Relaxed);
    }

    pub(super) fn add_shadow(&self, classes: u64) {
        let old = self.shadow.load(Relaxed);
        if old | classes != old {
            // Only the one writer comes here.
            self.shadow.store(old | classes, Relaxed);
        }
    }

    /// What the rule asks of a header.
    #[inline(always)]
    pub(super) fn packed<A: Family<Cell = C>>(&self) -> Packed<A> {
        let head = self.head();
        Packed { addresses: A::load(&self.addresses), ports: self.ports.load(Relaxed), head }
    }

    /// The rule of the record.
    pub(super) fn entry<A: Family<Cell = C>>(&self) -> Entry<A> {
        let State { zones, coarse, .. } = self.state();
        self.packed().entry(zones, coarse, self.value())
    }
}

impl<A: Family> Entry<A> {
    /// Whether a header matches, zones aside; ports and protocol as in
    /// [`rest`](super::family::rest).
    pub(super) fn matches(&self, addresses: Pair<A>, rest: u64) -> bool {
        A::same(self.addresses.src, addresses.src, self.src_len)
            && A::same(self.addresses.dst, addresses.dst, self.dst_len)
            && self.protocol.is_none_or(|own| own == (rest >> 32) as u8)
            && self.src_port.contains(rest as u16)
            && self.dst_port.contains((rest >> 16) as u16)
    }

    /// Whether a header can match both, zones aside.
    pub(super) fn intersects(&self, other: &Self) -> bool {
        let src_len = self.src_len.min(other.src_len);
        let dst_len = self.dst_len.min(other.dst_len);
        let protocols = match (self.protocol, other.protocol) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        A::same(self.addresses.src, other.addresses.src, src_len)
            && A::same(self.addresses.dst, other.addresses.dst, dst_len)
            && protocols
            && self.src_port.intersects(other.src_port)
            && self.dst_port.intersects(other.dst_port)
    }
}

/// Memory of the records of a family, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Records<A: Family>(Box<[Record<A::Cell>]>);

impl<A: Family> Records<A> {
    pub(super) fn new(count: usize) -> Self {
        let empty = |_| {
            let record = Record::default();
            record.set_state(State { zones: 0, coarse: false, piled: false, flux: EMPTY });
            record
        };
        Self((0..count).map(empty).collect())
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Record<A::Cell>> {
        self.0.get(number as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of the first hold rules.
    pub(super) fn used(&self) -> u32 {
        self.0.iter().take_while(|record| record.in_use()).count() as u32
    }

    /// The rules of an index as it was filled, by number.
    pub(super) fn entries(&self) -> Vec<Entry<A>> {
        self.0.iter().take(self.used() as usize).map(Record::entry).collect()
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }
}
