//! How an index is laid out anew once its rules don't change any more.
//!
//! Goes in: an [`Index`] as it was filled, with its shadows. Comes out: a [`Settled`].

use super::super::family::Family;
use super::super::index::Index;
use super::super::pile::Pile;
use super::super::record::{EMPTY, Entry, Record};
use super::super::zones::Numbers;
use super::heap::Heap;
use super::hint::NONE;
use super::hinting::Hinting;
use super::list::List;
use super::seat::{OTHERS, Others, Seat};
use super::seats::Seats;
use super::settled::Settled;

/// Rules of a key from which on they aren't looked at one after the other.
const MANY: usize = 100;

/// A rule that is found under a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    hash: u64,
    order: u32,
    number: u32,
    pile: Option<u32>,
}

/// The seats as they are taken.
struct Layout<A: Family> {
    rules: Vec<Seat<A>>,
    /// The seats of rules by their numbers in the index.
    numbers: Vec<u32>,
    /// Seats before this one are taken.
    full: usize,
}

impl<A: Family> Index<A> {
    /// Lays out the rules. `None` if their keys can't have seats.
    pub(super) fn settle(self, zones: &Numbers) -> Option<Settled<A>> {
        let rules = self.records.used();
        let members = if self.plan.chain == 0 { Vec::new() } else { self.members(rules) };
        let keys = || members.chunk_by(|a, b| a.hash == b.hash);
        let hashes: Vec<u64> = keys().filter_map(|key| Some(key.first()?.hash)).collect();
        let seats = Seats::new(&hashes)?;
        let mut layout = Layout::new(seats.len(), rules);
        let (mut heaped, mut lists) = (Vec::new(), Vec::new());
        for key in keys() {
            let [head, others @ ..] = key else { continue };
            let seat = seats.of(head.hash);
            layout.put(seat, self.seat(head.number)?);
            let Some(table) = self.table_of(head.number).map(|(_, table)| table) else { continue };
            if others.is_empty() {
                continue;
            }
            let rules = others.iter().filter_map(|other| self.entry(other.number));
            let rules: Vec<Entry<A>> = rules.collect();
            let first = layout.rules.len() as u32;
            if others.len() <= OTHERS {
                let Hinting { view, hints, .. } = Hinting::new(&rules, table.shape());
                let mut own = [NONE; OTHERS];
                own.iter_mut().zip(&hints).for_each(|(cell, hint)| *cell = *hint);
                let others = Others { first, count: others.len() as u32, hints: own, view };
                layout.link(seat, |rule| rule.link(others));
            } else if let Some(list) = List::new(first, &rules).filter(|_| others.len() < MANY) {
                lists.push((seat, list));
            } else {
                // A pile has all rules of its key.
                let pile = head.pile.filter(|_| others.iter().all(|other| other.pile == head.pile));
                heaped.push((seat, pile?));
                continue;
            }
            for other in others {
                layout.push(self.seat(other.number)?);
            }
        }
        for number in 0..rules {
            if layout.number(number) == EMPTY {
                layout.put_anywhere(self.seat(number)?);
            }
        }
        let Self { plan, words, piles, only, .. } = self;
        let mut piles: Vec<Option<Pile>> = piles.into_piles().map(Some).collect();
        let mut heaps = Vec::new();
        for (seat, list) in lists {
            layout.link(seat, |rule| rule.link_heap(heaps.len() as u32));
            heaps.push(Heap::List(list));
        }
        let mut heap = |pile: u32, layout: &Layout<A>| {
            let mut pile = piles.get_mut(pile as usize)?.take()?;
            pile.renumber(|number| layout.number(number));
            let rules = pile.numbers().filter_map(|number| layout.entry(number)).collect();
            heaps.push(Heap::new(pile, rules, |number| zones.pair(number)));
            Some(heaps.len() as u32 - 1)
        };
        for (seat, pile) in heaped {
            let heap = heap(pile, &layout)?;
            layout.link(seat, |rule| rule.link_heap(heap));
        }
        let only = if plan.chain == 0 { heap(only.into_inner(), &layout) } else { None };
        let rules = layout.rules.into();
        Some(Settled { plan, words, seats, rules, heaps: heaps.into(), only })
    }

    /// A rule for a seat.
    fn seat(&self, number: u32) -> Option<Seat<A>> {
        let record = self.records.get(number)?;
        Some(Seat::new(&record.entry(), record.head().class(), record.shadow(), number))
    }

    /// All rules by hash and order.
    fn members(&self, rules: u32) -> Vec<Member> {
        let order = |number: u32| Some(self.records.get(number)?.head().order());
        let alone = (0..rules).filter_map(|number| {
            let record = self.records.get(number).filter(|record| !record.state().piled)?;
            let (hash, order) = (self.hash_of(record)?, record.head().order());
            Some(Member { hash, order, number, pile: None })
        });
        let mut members: Vec<Member> = alone.collect();
        for pile in 0..self.piles.len() as u32 {
            let Some(own) = self.piles.get(pile) else { continue };
            members.extend(own.numbers().filter_map(|number| {
                let order = order(number)?;
                Some(Member { hash: own.hash, order, number, pile: Some(pile) })
            }));
        }
        members.sort_unstable();
        members
    }

    fn entry(&self, number: u32) -> Option<Entry<A>> {
        self.records.get(number).map(Record::entry)
    }
}

impl<A: Family> Layout<A> {
    fn new(seats: u32, rules: u32) -> Self {
        let numbers = vec![EMPTY; rules as usize];
        Self { rules: vec![Seat::VACANT; seats as usize], numbers, full: 0 }
    }

    fn put(&mut self, number: u32, rule: Seat<A>) {
        if let Some(cell) = self.numbers.get_mut(rule.rule as usize) {
            *cell = number;
        }
        if let Some(cell) = self.rules.get_mut(number as usize) {
            *cell = rule;
        }
    }

    /// Puts a rule behind all others.
    fn push(&mut self, rule: Seat<A>) {
        self.rules.push(Seat::VACANT);
        self.put(self.rules.len() as u32 - 1, rule);
    }

    /// Puts a rule where nobody sits, or behind all others.
    fn put_anywhere(&mut self, rule: Seat<A>) {
        let mut left = self.rules.iter().skip(self.full);
        match left.position(|seat| !seat.is_taken()) {
            Some(distance) => {
                self.full += distance + 1;
                self.put(self.full as u32 - 1, rule);
            }
            None => {
                self.full = self.rules.len();
                self.push(rule);
            }
        }
    }

    fn link(&mut self, number: u32, link: impl FnOnce(&mut Seat<A>)) {
        self.rules.get_mut(number as usize).map(link);
    }

    /// The number of the seat that a rule got.
    fn number(&self, rule: u32) -> u32 {
        self.numbers.get(rule as usize).copied().unwrap_or(EMPTY)
    }

    fn entry(&self, number: u32) -> Option<(u32, Entry<A>)> {
        Some((number, self.rules.get(number as usize)?.entry()?))
    }
}
