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
        simd::work(Consistently { look: One { generation, header }, pin: &self.pin })
    }

    /// Looks up as many headers as the shorter of the slices has room for.
    pub fn lookup_batch(&mut self, headers: &[Header], hits: &mut [Option<Hit>]) {
        Scratch::lend(|scratch| {
            for (headers, hits) in headers.chunks(WIDTH).zip(hits.chunks_mut(WIDTH)) {
                let look = Many { generation: self.current.load(), headers, hits, scratch };
                simd::work(Consistently { look, pin: &self.pin });
            }
        });
    }
}

/// Something that is looked up at one update.
trait Look {
    type Found;

    fn generation(&self) -> &Generation;
    /// Looks it up. Has to be inlined.
    fn look<V: Vectors>(&mut self, version: u64, vectors: V) -> Self::Found;
}

/// One lookup.
struct One<'a> {
    generation: &'a Generation,
    header: &'a Header,
}

impl Look for One<'_> {
    type Found = Option<Hit>;

    fn generation(&self) -> &Generation {
        self.generation
    }

    #[inline(always)]
    fn look<V: Vectors>(&mut self, version: u64, vectors: V) -> Option<Hit> {
        self.generation.at(version).lookup(self.header, vectors, |_| true)
    }
}

/// A block of lookups.
struct Many<'a> {
    generation: &'a Generation,
    headers: &'a [Header],
    hits: &'a mut [Option<Hit>],
    scratch: &'a mut Scratch,
}

impl Look for Many<'_> {
    type Found = ();

    fn generation(&self) -> &Generation {
        self.generation
    }

    #[inline(always)]
    fn look<V: Vectors>(&mut self, version: u64, vectors: V) {
        let Self { generation, headers, hits, scratch } = self;
        generation.at(version).lookup_batch(headers, &[], hits, scratch, vectors, |_, _| true);
    }
}

/// Looks up at one update; again, held, if the writer overtook the first try.
struct Consistently<'a, L> {
    look: L,
    pin: &'a Pin,
}

impl<L: Look> Work for Consistently<'_, L> {
    type Output = L::Found;

    #[inline(always)]
    fn run<V: Vectors>(mut self, vectors: V) -> L::Found {
        let version = self.look.generation().clock.begin();
        let found = self.look.look(version, vectors);
        if self.look.generation().clock.held(version) {
            return found;
        }
        vectors.apart(Held(self))
    }
}

/// The second try, at an update that the writer doesn't overtake.
struct Held<'a, L>(Consistently<'a, L>);

impl<L: Look> Work for Held<'_, L> {
    type Output = L::Found;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> L::Found {
        let Self(Consistently { mut look, pin }) = self;
        let version = pin.begin(&look.generation().clock);
        let found = look.look(version, vectors);
        pin.end();
        found
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self::new(&self.shared, &self.pins)
    }
}
