//! Both families together, and the rules that came or went lately.
//!
//! A generation takes updates in place until it is full; then the writer builds the next.

use super::batch::{Block, Scratch};
use super::both::{Both, Rules};
use super::choose::Choice;
use super::family::{Family, Pair, Probe, Seeds};
use super::index::{Index, View};
use super::plan::Plan;
use super::publish::{Clock, Flux};
use super::record::Entry;
use super::rule::{Hit, Networks, Rule};
use super::simd::Vectors;
use super::zones::{Numbers, Zones};
use crate::prefix::{Prefix, Word};

/// Rules that can have come or gone lately.
const FLUX: usize = 4096;

/// All rules, as readers see them.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) clock: Clock,
    pub(super) flux: Box<[Flux]>,
    pub(super) zones: Zones,
    pub(super) v4: Index<u32>,
    pub(super) v6: Index<u128>,
}

/// A rule's parts, one for each family that it is for.
pub(super) struct Parts {
    pub(super) v4: Option<Entry<u32>>,
    pub(super) v6: Option<Entry<u128>>,
}

/// What a generation is built from; the place of an entry is the number of its record.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) v4: Vec<Entry<u32>>,
    pub(super) v6: Vec<Entry<u128>>,
    pub(super) numbers: Numbers,
}

impl Source {
    pub(super) fn new() -> Self {
        Self { v4: Vec::new(), v6: Vec::new(), numbers: Numbers::new() }
    }
}

impl Generation {
    /// The rules as they are at an update, with room for some more.
    pub(super) fn build(
        source: &Source,
        version: u64,
        seeds: [u64; 4],
        spare: usize,
        choice: Choice,
    ) -> Self {
        let seeds = Seeds(seeds);
        Self {
            clock: Clock::at(version),
            flux: (0..FLUX).map(|_| Flux::new()).collect(),
            zones: Zones::new(&source.numbers),
            v4: build(&source.v4, &source.numbers, seeds, spare, choice),
            v6: build(&source.v6, &source.numbers, seeds, spare, choice),
        }
    }

    /// The rules as they are at an update.
    #[inline(always)]
    pub(super) fn at(&self, version: u64) -> Both<Seen<'_, u32>, Seen<'_, u128>> {
        let view = View { version, flux: &self.flux, zones: &self.zones };
        Both { v4: Seen { index: &self.v4, view }, v6: Seen { index: &self.v6, view } }
    }

    pub(super) fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory() + self.zones.memory() + size_of_val(&*self.flux)
    }
}

/// The rules of one family as they are at an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a, A: Family> {
    index: &'a Index<A>,
    view: View<'a>,
}

impl<A: Family> Rules<A> for Seen<'_, A> {
    type Scratch = Scratch;

    #[inline(always)]
    fn find<V: Vectors>(
        self,
        probe: &Probe<A>,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Option<Hit> {
        self.index.hit(self.index.find(probe, &self.view, vectors, verify))
    }

    #[inline(always)]
    fn find_all<V: Vectors>(
        self,
        block: &Block<A>,
        hits: &mut [Option<Hit>],
        scratch: &mut Scratch,
        vectors: V,
        verify: impl Fn(usize, u64) -> bool,
    ) {
        self.index.find_all(block, &self.view, scratch, vectors, verify);
        block.answer(scratch.best.iter().map(|best| self.index.hit(*best)), hits);
    }
}

/// The index of one family.
fn build<A: Family>(
    entries: &[Entry<A>],
    numbers: &Numbers,
    seeds: Seeds,
    spare: usize,
    choice: Choice,
) -> Index<A> {
    // A family without rules is left without memory, until it gets its first.
    let spare = if entries.is_empty() && spare < 4096 { 0 } else { spare };
    let room = entries.len() + entries.len() / 16 + spare;
    // Each time a pile is made anew it takes memory that is free with the generation only.
    let mut piled = room * 4 + 16_384;
    let plan = Plan::new(entries, seeds, choice);
    loop {
        let index = Index::new(plan.clone(), room, piled);
        if index.fill(entries, numbers) {
            index.cast_shadows(entries);
            return index;
        }
        piled *= 4;
    }
}

impl Parts {
    /// The number of the rule's zones.
    pub(super) fn zones(&self) -> Option<u32> {
        let v4 = self.v4.as_ref().map(|entry| entry.zones);
        v4.or_else(|| self.v6.as_ref().map(|entry| entry.zones))
    }

    pub(super) fn set_zones(&mut self, zones: u32) {
        if let Some(entry) = &mut self.v4 {
            entry.zones = zones;
        }
        if let Some(entry) = &mut self.v6 {
            entry.zones = zones;
        }
    }

    /// A rule's parts; `zones` is the number of its zones.
    pub(super) fn of(rule: &Rule, zones: u32, coarse: bool) -> Self {
        let (any4, any6) = (Prefix::ANY, Prefix::ANY);
        let (v4, v6) = match rule.networks {
            Networks::Any => (Some((any4, any4)), Some((any6, any6))),
            Networks::V4 { src, dst } => (Some((src, dst)), None),
            Networks::V6 { src, dst } => (None, Some((src, dst))),
        };
        Self {
            v4: v4.map(|(src, dst)| entry(rule, src, dst, zones, coarse)),
            v6: v6.map(|(src, dst)| entry(rule, src, dst, zones, coarse)),
        }
    }
}

fn entry<A: Word>(
    rule: &Rule,
    src: Prefix<A>,
    dst: Prefix<A>,
    zones: u32,
    coarse: bool,
) -> Entry<A> {
    // Bits beyond the length, if there are any, mean nothing.
    let (src, dst) = (src.shortened(A::BITS), dst.shortened(A::BITS));
    Entry {
        order: rule.order,
        src_len: src.len,
        dst_len: dst.len,
        addresses: Pair { src: src.bits, dst: dst.bits }.and(Pair::mask(src.len, dst.len)),
        protocol: rule.protocol,
        src_port: rule.src_port,
        dst_port: rule.dst_port,
        zones,
        coarse,
        value: rule.value,
    }
}
