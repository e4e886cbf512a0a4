//! A rule that stays as it is, in as much memory as a lookup gets at once: 64 bytes for IPv4.

use super::super::family::{Family, Probe};
use super::super::index::{Best, NOTHING};
use super::super::packed::{Compared, Packed};
use super::super::plan::Side;
use super::super::record::{ALL_ZONES, Entry};
use super::super::rule::Hit;
use super::super::simd;
use super::super::zones::Zones;
use super::hint::{Hints, NONE, View};
#[cfg(target_arch = "x86_64")]
use std::mem::offset_of;

/// Rules beside the best one of their key whose hints are in its seat; where there are more, they
/// are in a [`Heap`](super::heap::Heap).
pub(in super::super) const OTHERS: usize = 7;

/// In [`Seat::others`]: in a heap.
const HEAPED: u32 = u32::MAX;
/// In [`Seat::zones`]: hits have to be verified.
const COARSE: u32 = 1 << 31;

/// One rule.
#[derive(Clone, Debug)]
#[repr(C)]
pub(in super::super) struct Seat<A: Family> {
    line: A::Line,
    packed: Packed<A>,
    /// Classes that can hold a rule that decides before this one.
    pub(in super::super) shadow: u64,
    /// What a hit carries.
    pub(in super::super) value: u64,
    /// Of each of the others with its key a hint, see [`super::hint`].
    hints: [u8; OTHERS],
    view: View,
    /// The others' first number, or their heap's.
    first: u32,
    /// How many others there are, or [`HEAPED`].
    others: u32,
    /// A number of [`Zones`], and [`COARSE`].
    zones: u32,
    /// The number that the rule had in its index.
    pub(in super::super) rule: u32,
}

const _: () = assert!(size_of::<Seat<u32>>() == 64);

/// Where a seat has, in bytes from its beginning, what lookups of IPv4 compare: addresses, ports,
/// head and shadow, 64 bits each.
#[cfg(target_arch = "x86_64")]
pub(in super::super) const COMPARED: [usize; 4] = [
    offset_of!(Seat<u32>, packed) + offset_of!(Packed<u32>, addresses),
    offset_of!(Seat<u32>, packed) + offset_of!(Packed<u32>, ports),
    offset_of!(Seat<u32>, packed) + offset_of!(Packed<u32>, head),
    offset_of!(Seat<u32>, shadow),
];
/// Where it has how many others there are, 32 bits.
#[cfg(target_arch = "x86_64")]
pub(in super::super) const COUNT: usize = offset_of!(Seat<u32>, others);

/// The other rules with a key.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Others {
    /// The number of the first: they follow one another, in the order of decision.
    pub(in super::super) first: u32,
    /// How many there are.
    pub(in super::super) count: u32,
    /// The hint of each, and what those of addresses are made of.
    pub(in super::super) hints: [u8; OTHERS],
    pub(in super::super) view: View,
}

impl<A: Family> Seat<A> {
    /// Where nobody sits.
    pub(in super::super) const VACANT: Self = Self {
        line: A::LINE,
        packed: Packed::NOTHING,
        shadow: u64::MAX,
        value: 0,
        hints: [0; OTHERS],
        view: View::new(Side::Src, 1),
        first: 0,
        others: 0,
        zones: 0,
        rule: 0,
    };

    pub(in super::super) fn new(entry: &Entry<A>, class: u8, shadow: u64, rule: u32) -> Self {
        let Entry { zones, coarse, value, .. } = *entry;
        let mut packed = Packed::new(entry, class);
        packed.head = packed.head.with_odd(zones != ALL_ZONES || coarse);
        let zones = zones | if coarse { COARSE } else { 0 };
        Self { packed, shadow, value, zones, rule, ..Self::VACANT }
    }

    /// Notes which others have its key.
    pub(in super::super) const fn link(&mut self, others: Others) {
        (self.first, self.others) = (others.first, others.count);
        (self.hints, self.view) = (others.hints, others.view);
    }

    /// Notes that the others with its key are in a heap, as it is, too.
    pub(in super::super) const fn link_heap(&mut self, heap: u32) {
        (self.first, self.others) = (heap, HEAPED);
    }

    /// Whether there are others with its key.
    #[inline(always)]
    pub(in super::super) const fn has_others(&self) -> bool {
        self.others != 0
    }

    /// The others with its key, if they are in no heap.
    #[inline(always)]
    pub(in super::super) const fn others(&self) -> Others {
        let Self { first, others, hints, view, .. } = *self;
        Others { first, count: if others == HEAPED { 0 } else { others }, hints, view }
    }

    /// The heap of those with its key, if there is one.
    #[inline(always)]
    pub(in super::super) fn heap(&self) -> Option<u32> {
        (self.others == HEAPED).then_some(self.first)
    }

    /// Compares addresses, ports and protocol.
    #[inline(always)]
    pub(in super::super) fn compare(&self, probe: &Probe<A>) -> Compared {
        self.packed.compare(probe)
    }

    /// Whether an odd rule that matches a header otherwise decides it, by its zones.
    #[inline]
    pub(in super::super) fn allows(
        &self,
        probe: &Probe<A>,
        zones: &Zones,
        verify: &impl Fn(u64) -> bool,
    ) -> bool {
        let own = self.zones & !COARSE;
        (own == ALL_ZONES || zones.hold(own, probe.from(), probe.to()))
            && (self.zones & COARSE == 0 || verify(self.value))
    }

    /// What a hit on one of these says.
    #[inline(always)]
    pub(in super::super) fn hit(seats: &[Self], best: Best) -> Option<Hit> {
        let order = (best >> 32) as u32;
        let value = seats.get(best as u32 as usize).map(|seat| seat.value);
        value.filter(|_| best != NOTHING).map(|value| Hit { order, value })
    }

    /// The rule, if somebody sits here.
    pub(in super::super) fn entry(&self) -> Option<Entry<A>> {
        let coarse = self.zones & COARSE != 0;
        let entry = || self.packed.entry(self.zones & !COARSE, coarse, self.value);
        self.is_taken().then(entry)
    }

    pub(in super::super) const fn is_taken(&self) -> bool {
        self.packed.is_rule()
    }
}

impl Others {
    /// The hints, and something in the eighth byte.
    #[inline(always)]
    pub(in super::super) const fn word(&self) -> u64 {
        let [a, b, c, d, e, f, g] = self.hints;
        u64::from_le_bytes([a, b, c, d, e, f, g, self.view.byte()])
    }

    /// Which of them a header with these hints can match, as bits.
    #[inline(always)]
    pub(in super::super) fn allowed(&self, header: Hints) -> u32 {
        let hints = [self.word(), 0];
        let [a, b, c, d] = header.map(|own| simd::equal_bytes(hints, own));
        (a | b | c | d | simd::equal_bytes(hints, NONE)) & !(u32::MAX << (self.count & 7))
    }
}
