//! The engine: rules as boxes, in hash tables or, if they are few, in rows of bits; lookups one at a
//! time and in batches; updates in place while others read.
//!
//! ```text
//! rules ─► plan ─► words     for each field: classes of rules that can match
//!           few    buckets   fingerprints under the hash of a table's key
//!         tables   records   one rule each, compared field by field
//!                  shadows   where a better rule than a found one can be
//!                  rounds    the same for many headers together, step by step
//!                  publish   which rules count for a reader, and when memory is used again
//!
//! rules that stay as they are ─► still   the best of several plans; each key leads to its best rule
//!               and are few   ─► small   for each field rows of the rules that it allows
//! ```
//!
//! Goes in: rules with an order and a value. Comes out: for a header the value of the first rule
//! that matches. Not here: what the value means, and lists of addresses or services, see
//! [`crate::classify::TupleHash`].

mod batch;
mod both;
mod boxes;
mod buckets;
mod choose;
mod family;
mod few;
mod generation;
mod ids;
mod index;
mod ledger;
mod overlaps;
mod packed;
mod pile;
mod piles;
mod place;
mod plan;
mod publish;
mod ranges;
mod reader;
mod record;
mod remains;
mod rounds;
mod rule;
mod shadow;
mod simd;
mod small;
mod spans;
mod spot;
mod still;
mod tree;
mod weigh;
mod words;
mod writer;
mod zones;

pub use overlaps::Overlaps;
pub use reader::Reader;
pub use rule::{Header, Hit, Networks, Rule, RuleId};
pub use writer::Writer;

use batch::{Scratch, WIDTH};
use choose::Choice;
use few::Few;
use generation::{Generation, Parts, Source};
use record::{EMPTY, Entry};
use simd::{Vectors, Work};
use still::Still;
use zones::Numbers;

/// Secrets of the hash functions where nobody attacks; any numbers would do.
const SEEDS: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

/// Rules that are not changed any more.
#[derive(Debug)]
pub struct Engine {
    form: Form,
    numbers: Numbers,
    places: Places,
    rules: usize,
    seeds: [u64; 4],
}

/// How the rules are kept.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lookups in few rules are a step shorter so")]
enum Form {
    /// Few rules: rows of bits. The tables wait for changes.
    Few(Few, Box<Generation>),
    /// Each key has a seat.
    Still(Box<Still>),
    /// As while they change: seats for all keys weren't found.
    Tables(Box<Generation>),
}

/// The records of the rules in both families, by the rules' places.
#[derive(Debug)]
enum Places {
    /// Record n of one family for rule n.
    V4,
    /// The same for IPv6.
    V6,
    /// One of each family, or [`EMPTY`].
    Both(Vec<[u32; 2]>),
}

impl Engine {
    /// An engine for these rules; of more than 2^31 the rest is left out.
    #[must_use]
    pub fn build(rules: &[Rule]) -> Self {
        Self::with_seeds(rules, SEEDS)
    }

    /// Like [`Self::build`]. The seeds keep the places of headers in the hash tables from being
    /// guessed.
    #[must_use]
    pub fn with_seeds(rules: &[Rule], seeds: [u64; 4]) -> Self {
        Self::of_coarse(rules.iter().map(|rule| (rule, false)), seeds)
    }

    /// Like [`Self::with_seeds`]; rules with `true` match more headers than they should, see
    /// [`Self::lookup_with`].
    pub(super) fn of_coarse<'a>(
        rules: impl Iterator<Item = (&'a Rule, bool)>,
        seeds: [u64; 4],
    ) -> Self {
        let mut source = Source::new();
        let mut places = Vec::new();
        for (rule, coarse) in rules.take(ids::LIMIT) {
            // More pairs of zones than numbers: the rule can't be told apart, so it is left out.
            let Some(zones) = source.numbers.get(rule.from, rule.to) else { continue };
            let Parts { v4, v6 } = Parts::of(rule, zones, coarse);
            places.push([put(&mut source.v4, v4), put(&mut source.v6, v6)]);
        }
        let rules = places.len();
        let places = match (source.v4.len(), source.v6.len()) {
            (count, 0) if count == rules => Places::V4,
            (0, count) if count == rules => Places::V6,
            _ => Places::Both(places),
        };
        let tables = |choice| Generation::build(&source, 0, seeds, SPARE, choice);
        let form = match Few::new(&source.v4, &source.v6, &source.numbers) {
            Some(few) => Form::Few(few, Box::new(tables(Choice::Quick))),
            None => match Still::of(tables(Choice::Best), &source.numbers) {
                Some(still) => Form::Still(Box::new(still)),
                None => Form::Tables(Box::new(tables(Choice::Quick))),
            },
        };
        Self { form, numbers: source.numbers, places, rules, seeds }
    }

    /// The first rule that matches.
    #[must_use]
    pub fn lookup(&self, header: &Header) -> Option<Hit> {
        self.lookup_with(header, |_| true)
    }

    /// Looks up as many headers as the shorter of the slices has room for.
    pub fn lookup_batch(&self, headers: &[Header], hits: &mut [Option<Hit>]) {
        self.lookup_batch_with(headers, hits, |_, _| true);
    }

    /// Makes the rules changeable: one writer, and as many readers as clones of the one returned.
    #[must_use]
    pub fn share(self) -> (Writer, Reader) {
        let one = |number: usize| u32::try_from(number).unwrap_or(EMPTY);
        let (v4, v6) = self.source();
        let Self { form, numbers, places, rules, seeds } = self;
        let places = match places {
            Places::V4 => (0..rules).map(|n| [one(n), EMPTY]).collect(),
            Places::V6 => (0..rules).map(|n| [EMPTY, one(n)]).collect(),
            Places::Both(places) => places,
        };
        let (generation, numbers) = match form {
            Form::Few(_, generation) | Form::Tables(generation) => (*generation, numbers),
            Form::Still(_) => {
                let source = Source { v4, v6, numbers };
                (Generation::build(&source, 0, seeds, SPARE, Choice::Quick), source.numbers)
            }
        };
        let writer = Writer::new(generation, places, numbers, seeds);
        let reader = writer.reader();
        (writer, reader)
    }

    /// How many rules there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rules
    }

    /// Whether there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of the rules and tables, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let places = match &self.places {
            Places::Both(places) => size_of_val(places.as_slice()),
            Places::V4 | Places::V6 => 0,
        };
        places
            + match &self.form {
                Form::Few(few, generation) => few.memory() + generation.memory(),
                Form::Still(still) => still.memory(),
                Form::Tables(generation) => generation.memory(),
            }
    }

    /// Hash tables that a lookup of an IPv4 and of an IPv6 header may have to ask.
    #[must_use]
    pub fn tables(&self) -> (usize, usize) {
        let (v4, v6) = match &self.form {
            Form::Few(_, generation) | Form::Tables(generation) => {
                (&generation.v4.plan, &generation.v6.plan)
            }
            Form::Still(still) => (&still.v4.plan, &still.v6.plan),
        };
        (v4.tables.len(), v6.tables.len())
    }

    /// The rules as they were built.
    fn source(&self) -> (Vec<Entry<u32>>, Vec<Entry<u128>>) {
        match &self.form {
            Form::Few(_, generation) | Form::Tables(generation) => {
                (generation.v4.records.entries(), generation.v6.records.entries())
            }
            Form::Still(still) => (still.v4.entries(), still.v6.entries()),
        }
    }

    /// Like [`Self::lookup`]; `verify` says for a coarse rule's value whether the header matches.
    #[inline]
    pub(super) fn lookup_with(&self, header: &Header, verify: impl Fn(u64) -> bool) -> Option<Hit> {
        simd::work(One { engine: self, header, verify })
    }

    /// Like [`Self::lookup_batch`]; `verify` says for a coarse rule's value whether a header
    /// matches.
    #[inline]
    pub(super) fn lookup_batch_with(
        &self,
        headers: &[Header],
        hits: &mut [Option<Hit>],
        verify: impl Fn(&Header, u64) -> bool,
    ) {
        simd::work(Many { engine: self, headers, hits, verify });
    }
}

/// One lookup.
struct One<'a, F> {
    engine: &'a Engine,
    header: &'a Header,
    verify: F,
}

impl<F: Fn(u64) -> bool> Work for One<'_, F> {
    type Output = Option<Hit>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Option<Hit> {
        let Self { engine, header, verify } = self;
        match &engine.form {
            Form::Few(few, _) => few.both().lookup(header, vectors, verify),
            Form::Still(still) => still.both().lookup(header, vectors, verify),
            Form::Tables(tables) => vectors.apart(InTables { tables, header, verify }),
        }
    }
}

/// One lookup in tables. Few engines have them; apart, it leaves the others all registers.
struct InTables<'a, F> {
    tables: &'a Generation,
    header: &'a Header,
    verify: F,
}

impl<F: Fn(u64) -> bool> Work for InTables<'_, F> {
    type Output = Option<Hit>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Option<Hit> {
        let Self { tables, header, verify } = self;
        tables.at(STEADY).lookup(header, vectors, verify)
    }
}

/// A batch of lookups.
struct Many<'a, F> {
    engine: &'a Engine,
    headers: &'a [Header],
    hits: &'a mut [Option<Hit>],
    verify: F,
}

impl<F: Fn(&Header, u64) -> bool> Work for Many<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { engine, headers, hits, verify } = self;
        match &engine.form {
            Form::Few(few, _) => blocks(headers, hits, |headers, next, hits| {
                few.both().lookup_batch(headers, next, hits, &mut (), vectors, &verify);
            }),
            Form::Still(still) => Scratch::lend(|scratch| {
                blocks(headers, hits, |headers, next, hits| {
                    still.both().lookup_batch(headers, next, hits, scratch, vectors, &verify);
                });
            }),
            Form::Tables(tables) => Scratch::lend(|scratch| {
                blocks(headers, hits, |headers, next, hits| {
                    tables.at(STEADY).lookup_batch(headers, next, hits, scratch, vectors, &verify);
                });
            }),
        }
    }
}

/// Goes through headers and their hits block by block, each with the headers of the next, whose
/// memory it is to ask for.
#[inline(always)]
fn blocks(
    headers: &[Header],
    hits: &mut [Option<Hit>],
    mut each: impl FnMut(&[Header], &[Header], &mut [Option<Hit>]),
) {
    simd::prefetch_all(headers.get(..WIDTH).unwrap_or(headers));
    let blocks = headers.chunks(WIDTH).zip(hits.chunks_mut(WIDTH));
    let next = headers.chunks(WIDTH).skip(1).chain([&[] as &[_]]);
    for ((headers, hits), next) in blocks.zip(next) {
        each(headers, next, hits);
    }
}

/// Rules that tables have room for beside those that they were built with.
const SPARE: usize = 128;
/// The update at which all rules count that didn't go.
const STEADY: u64 = u64::MAX - 1;

/// Adds a part to a family; returns its number.
fn put<T>(entries: &mut Vec<T>, part: Option<T>) -> u32 {
    let Some(part) = part else { return EMPTY };
    let number = u32::try_from(entries.len()).unwrap_or(EMPTY);
    entries.push(part);
    number
}

#[cfg(test)]
mod tests;
