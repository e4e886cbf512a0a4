//! Updates in place: how many a second, how long one takes, and what readers lose by them.
//!
//! ```text
//! every update as fast as it goes         updates a second
//! quiet, paced, quiet, paced, ...         readers' throughput without and with 100,000 updates/s,
//!                                         how long each of these updates takes
//! the rules as they are then              answers compared with the oracle's
//! ```
//!
//! Readers look up in batches all the while, each on a processor of its own as far as there are
//! enough. The updates are drawn beforehand. Goes in: rules, headers, counts. Comes out:
//! [`Updates`].

use super::{median, quantile};
use crate::generate::{Random, near};
use crate::machine;
use crate::model::Rule;
use crate::oracle;
use crate::subjects::{BATCH, Live, NONE, Reader, Update, place};
use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use twinwall_policy::flow::Flow;

/// Updates a second of the paced part.
const PACE: f64 = 100_000.0;
/// How long readers are watched at a time. Changes of the machine's speed that last longer meet
/// the slices with and without updates alike.
const SLICE: Duration = Duration::from_millis(40);
/// Pairs of slices.
const PAIRS: usize = 9;
/// Headers that are compared after the updates; fewer of large sets, so that the oracle takes no
/// more than seconds.
const COMPARED: usize = 20_000;
const ORACLE_STEPS: usize = 5_000_000_000;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Updates {
    /// As fast as one writer can, readers running.
    pub per_s: f64,
    /// Microseconds that 99 of 100 updates stay below, at 100,000 a second.
    pub p99_us: f64,
    /// Part of their throughput that readers lose at 100,000 updates a second.
    /// `None` if the machine was too busy to tell.
    pub reader_loss: Option<f64>,
    /// Updates that the engine did not take; none should be.
    pub refused: usize,
    /// Headers compared after all updates.
    pub compared: usize,
    /// Those for which the answer was not the oracle's.
    pub mismatches: usize,
}

/// What a reader shows of its work, on lines of the cache of its own.
#[derive(Default)]
#[repr(align(128))]
struct Progress {
    lookups: AtomicU64,
    /// The processor time that they took, in nanoseconds.
    time: AtomicU64,
}

/// Batches between two looks at the clock, which takes about as long as ten lookups.
const BATCHES: usize = 16;

/// Measures `count` updates with this many readers.
#[must_use]
pub fn updates(rules: &[Rule], headers: &[Flow], count: usize, readers: usize) -> Updates {
    let paced = (PACE * SLICE.as_secs_f64()) as usize;
    let mut drawn = Drawn::new(rules.len(), count as u64 ^ 0x5eed);
    let fast = drawn.updates(count);
    let slow = drawn.updates(paced * PAIRS);

    let mut live = Live::new(rules, &drawn.first);
    let progress: Vec<Progress> = (0..readers).map(|_| Progress::default()).collect();
    let stop = AtomicBool::new(false);
    let cpus = machine::cpus();
    // The writer has the first processor, readers the others from the last one down.
    let others = cpus.get(1..).filter(|others| !others.is_empty()).unwrap_or(&cpus);
    let places = others.iter().rev().cycle();
    let (per_s, p99_us, reader_loss, refused) = thread::scope(|scope| {
        for (progress, cpu) in progress.iter().zip(places) {
            let (reader, stop) = (live.reader(), &stop);
            scope.spawn(move || {
                let _end = EndOfAll(stop);
                machine::pin(*cpu);
                read(reader, headers, progress, stop);
            });
        }
        let writer = scope.spawn(|| {
            let _end = EndOfAll(&stop);
            machine::pin(cpus.first().copied().unwrap_or(0));
            wait_for_readers(&progress, &stop);
            let start = machine::thread_time();
            let mut refused = 0;
            for update in &fast {
                refused += usize::from(!live.apply(*update));
            }
            let took = machine::thread_time().saturating_sub(start);
            let per_s = fast.len() as f64 / took.as_secs_f64().max(1e-9);
            let (p99_us, loss) = pairs(&mut live, &slow, &progress, &mut refused);
            (per_s, p99_us, loss, refused)
        });
        writer.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    let (compared, mismatches) = compare(&live, rules, &drawn.orders, cpus.len());
    Updates { per_s, p99_us, reader_loss, refused, compared, mismatches }
}

/// A reader's work.
fn read(mut reader: Reader, headers: &[Flow], progress: &Progress, stop: &AtomicBool) {
    let mut answers = [None; BATCH];
    for batches in headers.chunks(BATCH * BATCHES).cycle() {
        if stop.load(Relaxed) {
            return;
        }
        for headers in batches.chunks(BATCH) {
            let answers = answers.get_mut(..headers.len()).unwrap_or_default();
            reader.lookup_batch(headers, answers);
            std::hint::black_box(&answers);
        }
        progress.lookups.fetch_add(batches.len() as u64, Relaxed);
        progress.time.store(machine::thread_time().as_nanos() as u64, Relaxed);
    }
}

fn wait_for_readers(progress: &[Progress], stop: &AtomicBool) {
    let waiting = || progress.iter().any(|progress| progress.lookups.load(Relaxed) == 0);
    while waiting() && !stop.load(Relaxed) {
        thread::yield_now();
    }
}

/// Ends the readers when a thread ends, as it meant to or by a panic.
struct EndOfAll<'a>(&'a AtomicBool);

impl Drop for EndOfAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Slices without and with updates in turn: the time that 99 of 100 updates stay below, in
/// microseconds, and the part of the throughput that readers lose.
fn pairs(
    live: &mut Live,
    updates: &[Update],
    progress: &[Progress],
    refused: &mut usize,
) -> (f64, Option<f64>) {
    let clock = machine::clock_cost().as_nanos() as f64;
    let mut times = Vec::with_capacity(updates.len());
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    quiet.push(slice(progress, || wait_until(Instant::now() + SLICE)));
    for updates in updates.chunks(updates.len().div_ceil(PAIRS).max(1)) {
        busy.push(slice(progress, || {
            let start = Instant::now();
            for (number, update) in (1u32..).zip(updates) {
                wait_until(start + Duration::from_secs_f64(f64::from(number) / PACE));
                let start = Instant::now();
                let taken = live.apply(*update);
                times.push(start.elapsed().as_nanos() as f64 - clock);
                *refused += usize::from(!taken);
            }
        }));
        quiet.push(slice(progress, || wait_until(Instant::now() + SLICE)));
    }
    // Each slice with updates against the mean of the two quiet ones around it.
    let around = quiet.iter().zip(quiet.iter().skip(1)).map(|(a, b)| f64::midpoint(*a, *b));
    let losses = busy.iter().zip(around).map(|(busy, quiet)| 1.0 - busy / quiet);
    // A slice in which a busy machine let no reader run tells nothing.
    let losses: Vec<f64> = losses.filter(|loss| loss.is_finite()).collect();
    let p99_us = quantile(&times, 0.99).unwrap_or(0.0).max(0.0) / 1e3;
    (p99_us, median(&losses))
}

/// Lookups of all readers during `work`, by the nanoseconds of processor time that they took.
fn slice(progress: &[Progress], work: impl FnOnce()) -> f64 {
    let sum = |of: fn(&Progress) -> &AtomicU64| {
        progress.iter().map(|progress| of(progress).load(Relaxed)).sum::<u64>()
    };
    let now = || (sum(|progress| &progress.lookups), sum(|progress| &progress.time));
    let before = now();
    work();
    let after = now();
    (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64
}

/// Keeps the processor busy, so that it is as fast in one slice as in the other.
fn wait_until(due: Instant) {
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

/// How many headers were compared, and how many answers were wrong.
fn compare(live: &Live, rules: &[Rule], orders: &[Option<u32>], threads: usize) -> (usize, usize) {
    let mut places: Vec<usize> = (0..rules.len()).collect();
    places.retain(|place| orders.get(*place).is_some_and(Option::is_some));
    places.sort_unstable_by_key(|place| orders.get(*place));
    let now: Vec<Rule> = places.iter().filter_map(|place| rules.get(*place)).copied().collect();
    let headers = near(rules, COMPARED.min(ORACLE_STEPS / rules.len().max(1)), 99);
    let expected = oracle::answers(&now, &headers, threads);
    let mut answers = vec![None; headers.len()];
    live.reader().lookup_batch(&headers, &mut answers);
    let wrong = answers.into_iter().zip(expected).filter(|(answer, expected)| {
        let expected = places.get(*expected as usize).map_or(NONE, |place| *place as u32);
        place(*answer) != expected
    });
    (headers.len(), wrong.count())
}

/// Updates, and what the rules are like after them.
struct Drawn {
    random: Random,
    /// The orders that the rules begin with.
    first: Vec<u32>,
    /// The order of each rule, or `None` while it is out.
    orders: Vec<Option<u32>>,
    used: HashSet<u32>,
    out: Vec<u32>,
}

impl Drawn {
    fn new(rules: usize, seed: u64) -> Self {
        // Even gaps for rules to move into.
        let gap = u32::MAX / (rules as u32).saturating_add(2);
        let first: Vec<u32> = (1..=rules as u32).map(|place| place * gap).collect();
        Self {
            random: Random::new(seed),
            orders: first.iter().copied().map(Some).collect(),
            used: first.iter().copied().collect(),
            first,
            out: Vec::new(),
        }
    }

    /// So many updates: rules go, come back elsewhere, move. A tenth is out at most.
    fn updates(&mut self, count: usize) -> Vec<Update> {
        (0..count).map(|_| self.update()).collect()
    }

    fn update(&mut self) -> Update {
        // Of a single rule none: `present` has to find one.
        let most = self.orders.len().saturating_sub(1).min(self.orders.len() / 10 + 1);
        match self.random.below(3) {
            0 if self.out.len() < most => self.remove(),
            1 if !self.out.is_empty() => self.insert(),
            _ => self.renumber(),
        }
    }

    fn remove(&mut self) -> Update {
        let place = self.present();
        if let Some(order) = self.orders.get_mut(place as usize).and_then(Option::take) {
            self.used.remove(&order);
        }
        self.out.push(place);
        Update::Remove(place)
    }

    /// A rule that is in: most are.
    fn present(&mut self) -> u32 {
        loop {
            let place = self.random.below(self.orders.len() as u64);
            if self.orders.get(place as usize).is_none_or(Option::is_some) {
                return place as u32;
            }
        }
    }

    fn insert(&mut self) -> Update {
        let chosen = self.random.below(self.out.len() as u64) as usize;
        if self.out.is_empty() {
            return self.renumber();
        }
        let place = self.out.swap_remove(chosen);
        Update::Insert(place, self.order(place))
    }

    fn renumber(&mut self) -> Update {
        let place = self.present();
        if let Some(old) = self.orders.get(place as usize).copied().flatten() {
            self.used.remove(&old);
        }
        Update::Renumber(place, self.order(place))
    }

    /// Gives the rule an order that no other rule has.
    fn order(&mut self, place: u32) -> u32 {
        let mut order = self.random.number() as u32;
        while !self.used.insert(order) {
            order = self.random.number() as u32;
        }
        if let Some(own) = self.orders.get_mut(place as usize) {
            *own = Some(order);
        }
        order
    }
}
