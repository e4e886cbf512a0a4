//! Lookups in rules that a writer changes.

use super::batch::{Scratch, WIDTH};
use super::generation::Generation;
use super::publish::Pin;
use super::rule::{Header, Hit};
use super::simd::{self, Vectors, Work};
use super::writer::Pins;
use arc_swap::{ArcSwap, Cache};
use std::sync::{Arc, PoisonError};

/// The generation that counts.
pub(super) type Current = Arc<ArcSwap<Generation>>;

/// Looks up headers while a writer may change the rules. Cheap to clone: one for each thread.
///
/// Each lookup, and each run of 64 headers of a batch, sees the rules as they were at one moment
/// since it began. A reader keeps the memory of the rules that it last looked at.
#[derive(Debug)]
pub struct Reader {
    shared: Current,
    current: Cache<Current, Arc<Generation>>,
    pins: Pins,
    pin: Arc<Pin>,
}

impl Reader {
    /// Waits for other readers that are made at the same time; nothing else here waits.
    pub(super) fn new(current: &Current, pins: &Pins) -> Self {
        let pin = Arc::new(Pin::new());
        pins.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&pin));
        let shared = Arc::clone(current);
        Self { current: Cache::new(Arc::clone(current)), shared, pins: Arc::clone(pins), pin }
    }

    /// The first rule that matches.
    #[must_use]
    pub fn lookup(&mut self, header: &Header) -> Option<Hit> {
        let generation = self.current.load();
        simd::work(One { generation, pin: &self.pin, header })
    }

    /// Looks up as many headers as the shorter of the slices has room for.
    pub fn lookup_batch(&mut self, headers: &[Header], hits: &mut [Option<Hit>]) {
        let mut scratch = Scratch::new();
        for (headers, hits) in headers.chunks(WIDTH).zip(hits.chunks_mut(WIDTH)) {
            let generation = self.current.load();
            simd::work(Many { generation, pin: &self.pin, headers, hits, scratch: &mut scratch });
        }
    }
}

/// One lookup.
struct One<'a> {
    generation: &'a Generation,
    pin: &'a Pin,
    header: &'a Header,
}

impl Work for One<'_> {
    type Output = Option<Hit>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Option<Hit> {
        let Self { generation, pin, header } = self;
        consistently(generation, pin, |version| {
            generation.lookup(header, version, vectors, |_| true)
        })
    }
}

/// A block of lookups.
struct Many<'a> {
    generation: &'a Generation,
    pin: &'a Pin,
    headers: &'a [Header],
    hits: &'a mut [Option<Hit>],
    scratch: &'a mut Scratch,
}

impl Work for Many<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { generation, pin, headers, hits, scratch } = self;
        consistently(generation, pin, |version| {
            generation.lookup_batch(headers, hits, version, scratch, vectors, |_, _| true);
        });
    }
}

/// Looks up at one update; again, held, if the writer overtook the first try.
#[inline(always)]
fn consistently<T>(generation: &Generation, pin: &Pin, mut look: impl FnMut(u64) -> T) -> T {
    let clock = &generation.clock;
    let version = clock.begin();
    let found = look(version);
    if clock.held(version) {
        return found;
    }
    let version = pin.begin(clock);
    let found = look(version);
    pin.end();
    found
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self::new(&self.shared, &self.pins)
    }
}
