//! Rules that change while others read them.
//!
//! One writer inserts, removes and renumbers; each update is seen whole or not at all, by every
//! lookup. Any number of readers look up at the same time, and none of them ever waits: see
//! [`super::publish`] for how.

use super::choose::Choice;
use super::family::Family;
use super::generation::{Generation, Parts, Source};
use super::ids::{Ids, Place};
use super::index::Index;
use super::ledger::{Later, Ledger, What};
use super::publish::{NO_ORDER, Pin};
use super::reader::{Current, Reader};
use super::record::{EMPTY, Entry, State};
use super::rule::{Rule, RuleId};
use super::simd::prefetch;
use super::zones::Numbers;
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The pins of all readers.
pub(super) type Pins = Arc<Mutex<Vec<Weak<Pin>>>>;

/// Updates after which what they left behind is taken apart: as many may happen during one lookup
/// without its reader having to ask again.
const LAG: u64 = 256;
/// The same where rules are few.
const LEAST_LAG: u64 = 32;
/// Leftovers that one update takes apart, at most; it leaves no more than four.
const SLICE: usize = 6;

/// Changes rules that readers look at.
#[derive(Debug)]
pub struct Writer {
    current: Current,
    generation: Arc<Generation>,
    pins: Pins,
    ids: Ids,
    numbers: Numbers,
    ledger: Ledger,
    version: u64,
    horizon: u64,
    seeds: [u64; 4],
}

impl Writer {
    pub(super) fn new(
        generation: Generation,
        places: Vec<Place>,
        numbers: Numbers,
        seeds: [u64; 4],
    ) -> Self {
        let generation = Arc::new(generation);
        Self {
            current: Arc::new(ArcSwap::new(Arc::clone(&generation))),
            ledger: Ledger::of(&generation, &places),
            generation,
            pins: Pins::default(),
            ids: Ids::new(places),
            numbers,
            version: 0,
            horizon: 0,
            seeds,
        }
    }

    /// A reader of these rules.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(&self.current, &self.pins)
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.used()
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of the rules and tables, in bytes. After the rules outgrew their tables there is a
    /// second set of them until each reader has looked up something.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.generation.memory() + self.ids.memory()
    }

    /// Adds a rule; `None` when there are 2^31 already, or 2^24 different pairs of zone sets.
    pub fn insert(&mut self, rule: Rule) -> Option<RuleId> {
        if self.ids.is_full() {
            return None;
        }
        let place = self
            .add(None, |numbers| Some(Parts::of(&rule, numbers.get(rule.from, rule.to)?, false)))?;
        let id = self.ids.add(place)?;
        self.publish();
        Some(RuleId(id))
    }

    /// Takes a rule away; says no when there is none of this id.
    pub fn remove(&mut self, id: RuleId) -> bool {
        self.expect(id);
        // Free before the records are ended: if that takes a new generation, it has no such rule.
        let Some(place) = self.ids.remove(id.0) else { return false };
        self.end(place);
        self.publish();
        true
    }

    /// Gives a rule another place in the order of decision; says no when there is none of this id.
    pub fn renumber(&mut self, id: RuleId, order: u32) -> bool {
        self.expect(id);
        let Some(place) = self.ids.get(id.0) else { return false };
        if self.reorder(place, order) {
            self.publish();
            return true;
        }
        let Some(parts) = self.parts(id) else { return false };
        let moved = |parts: &Parts| Parts {
            v4: parts.v4.map(|entry| Entry { order, ..entry }),
            v6: parts.v6.map(|entry| Entry { order, ..entry }),
        };
        let zones = parts.zones().map(|number| self.numbers.pair(number));
        let added = self.add(Some(id), |numbers| {
            let mut parts = moved(&parts);
            // The numbers of zones may be others by now.
            if let Some((from, to)) = zones {
                parts.set_zones(numbers.get(from, to)?);
            }
            Some(parts)
        });
        let Some(added) = added else { return false };
        // Looked up again: adding may have taken a new generation.
        let Some(old) = self.ids.replace(id.0, added) else { return false };
        self.end(old);
        self.publish();
        true
    }

    /// Does some of the work that can wait, a few microseconds' worth: worth calling when there is
    /// nothing else to do.
    pub fn maintain(&mut self) {
        self.clean(SLICE * 8);
    }

    /// Asks for the memory of the record that a rule most likely has, see [`Ids`].
    fn expect(&self, RuleId(id): RuleId) {
        if let Some(record) = self.generation.v4.records.get(id) {
            prefetch(record);
        } else if let Some(record) = self.generation.v6.records.get(id) {
            prefetch(record);
        }
    }

    fn parts(&self, id: RuleId) -> Option<Parts> {
        let [v4, v6] = self.ids.get(id.0)?;
        Some(Parts {
            v4: self.generation.v4.records.get(v4).map(|record| record.entry()),
            v6: self.generation.v6.records.get(v6).map(|record| record.entry()),
        })
    }

    /// Writes a rule's records, for the next update to publish. If there is no room, builds the
    /// next generation first. `like` is a rule that differs in nothing but its order.
    fn add(
        &mut self,
        like: Option<RuleId>,
        parts: impl Fn(&mut Numbers) -> Option<Parts>,
    ) -> Option<[u32; 2]> {
        for _ in 0..4 {
            let parts = parts(&mut self.numbers)?;
            let like = like.and_then(|id| self.ids.get(id.0)).unwrap_or([EMPTY; 2]);
            if let Some(place) = self.try_add(&parts, like) {
                return Some(place);
            }
            self.rebuild();
        }
        None
    }

    fn try_add(&mut self, parts: &Parts, like: [u32; 2]) -> Option<[u32; 2]> {
        let zones = parts.zones()?;
        let pair = self.numbers.pair(zones);
        let Self { generation, ledger, version, .. } = self;
        if !generation.zones.add(zones, pair) {
            return None;
        }
        let born = *version + 1;
        let [like4, like6] = like.map(|number| (number != EMPTY).then_some(number));
        let mut place = [EMPTY; 2];
        let [v4, v6] = &mut place;
        if let Some(entry) = &parts.v4 {
            let flux = ledger.flux(generation, born, NO_ORDER, u64::MAX)?;
            *v4 = ledger.v4.take()?;
            let inserted = generation.v4.insert(*v4, entry, pair, flux, like4, &generation.flux);
            inserted.then(|| ledger.later(Later { version: born, what: What::Settle4(*v4) }))?;
        }
        if let Some(entry) = &parts.v6 {
            let flux = ledger.flux(generation, born, NO_ORDER, u64::MAX)?;
            *v6 = ledger.v6.take()?;
            let inserted = generation.v6.insert(*v6, entry, pair, flux, like6, &generation.flux);
            inserted.then(|| ledger.later(Later { version: born, what: What::Settle6(*v6) }))?;
        }
        Some(place)
    }

    /// Gives a rule's records another order with the next update; says no if they have to be
    /// replaced by new ones.
    fn reorder(&mut self, [v4, v6]: [u32; 2], order: u32) -> bool {
        let since = self.version + 1;
        let Self { generation, ledger, .. } = self;
        if !generation.v4.movable(v4, order) || !generation.v6.movable(v6, order) {
            return false;
        }
        let mut flux = |before: Option<u32>| match before {
            Some(before) => ledger.flux(generation, since, before.into(), u64::MAX).map(Some),
            None => Some(None),
        };
        let flux4 = flux(generation.v4.records.get(v4).map(|record| record.head().order()));
        let flux6 = flux(generation.v6.records.get(v6).map(|record| record.head().order()));
        let (Some(flux4), Some(flux6)) = (flux4, flux6) else { return false };
        if let Some(flux) = flux4 {
            generation.v4.reorder(v4, order, flux);
            ledger.later(Later { version: since, what: What::Settle4(v4) });
        }
        if let Some(flux) = flux6 {
            generation.v6.reorder(v6, order, flux);
            ledger.later(Later { version: since, what: What::Settle6(v6) });
        }
        true
    }

    /// Ends a rule's records with the next update. If there is no room for that to be noted, builds
    /// the next generation, which is without them.
    fn end(&mut self, [v4, v6]: [u32; 2]) {
        let dies = self.version + 1;
        let Self { generation, ledger, .. } = self;
        let mut end = |state: Option<State>| -> Option<Option<State>> {
            let Some(state) = state else { return Some(None) };
            if state.flux == 0 {
                let flux = ledger.flux(generation, 0, NO_ORDER, dies)?;
                return Some(Some(State { flux, ..state }));
            }
            generation.flux.get(state.flux as usize)?.end(dies);
            Some(None)
        };
        let (old4, old6) = (generation.v4.records.get(v4), generation.v6.records.get(v6));
        let new4 = end(old4.map(|record| record.state()));
        let new6 = end(old6.map(|record| record.state()));
        let (Some(new4), Some(new6)) = (new4, new6) else { return self.rebuild() };
        if let (Some(record), Some(state)) = (old4, new4) {
            record.set_state(state);
        }
        if let (Some(record), Some(state)) = (old6, new6) {
            record.set_state(state);
        }
        if let Some(hash) = generation.v4.expect_removal(v4) {
            ledger.later(Later { version: dies, what: What::Clear4(v4, hash) });
        }
        if let Some(hash) = generation.v6.expect_removal(v6) {
            ledger.later(Later { version: dies, what: What::Clear6(v6, hash) });
        }
    }

    /// Makes the update count.
    fn publish(&mut self) {
        self.version += 1;
        self.generation.clock.publish(self.version);
        self.clean(SLICE);
    }

    /// Takes apart some of what no reader can see any more.
    fn clean(&mut self, most: usize) {
        // Among few rules many that went would be in the way.
        let lag = (self.len() as u64 / 8).clamp(LEAST_LAG, LAG);
        if self.version >= self.horizon + 2 * lag {
            let target = self.version - lag;
            let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
            pins.retain(|pin| pin.strong_count() > 0);
            let pins: Vec<Arc<Pin>> = pins.iter().filter_map(Weak::upgrade).collect();
            if self.generation.clock.pass(target, pins.iter().map(|pin| &**pin)) {
                self.horizon = target;
            }
        }
        self.ledger.clean(&self.generation, self.horizon, self.version, most);
    }

    /// Builds the next generation, with room for half as many rules again.
    fn rebuild(&mut self) {
        let mut source = Source::new();
        let Self { generation, numbers, ids, .. } = self;
        for place in ids.used_places() {
            let [v4, v6] = place;
            *v4 = carry(&generation.v4, *v4, &mut source.v4, numbers, &mut source.numbers);
            *v6 = carry(&generation.v6, *v6, &mut source.v6, numbers, &mut source.numbers);
        }
        let rules = source.v4.len().max(source.v6.len());
        let spare = rules / 2 + 4096;
        let next = Generation::build(&source, self.version, self.seeds, spare, Choice::Quick);
        self.generation = Arc::new(next);
        self.ledger = Ledger::of(&self.generation, self.ids.places());
        self.numbers = source.numbers;
        self.horizon = self.version;
        self.current.store(Arc::clone(&self.generation));
    }
}

/// Copies a record to the source of the next generation.
fn carry<A: Family>(
    index: &Index<A>,
    number: u32,
    entries: &mut Vec<Entry<A>>,
    numbers: &Numbers,
    next: &mut Numbers,
) -> u32 {
    let Some(record) = index.records.get(number) else { return EMPTY };
    let mut entry = record.entry::<A>();
    let (from, to) = numbers.pair(entry.zones);
    let Some(zones) = next.get(from, to) else { return EMPTY };
    entry.zones = zones;
    super::put(entries, Some(entry))
}
