//! One load, from rules and headers to figures.
//!
//! ```text
//! rules, headers ──► oracle ──► the engine's answers compared ──► turns with the peers ──► updates
//! ```
//!
//! Goes in: a load, how much to measure. Comes out: [`Figures`]. Not here: files, tables.

use crate::generate::{Load, near};
use crate::machine;
use crate::measure::{Asked, Pass, Timed, median, p99_ns, take_turns, updates};
use crate::model::Rule;
use crate::oracle;
use crate::peers::{self, Known};
use crate::report::Figures;
use crate::subjects::{BATCH, Engine, Subject, engine_rules};
use std::borrow::Cow;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};
use twinwall_policy::flow::Flow;

/// The most headers of a trace that are asked about.
const MOST_HEADERS: usize = 1_000_000;
/// The fewest headers that are compared, made ones included.
const FEWEST_COMPARED: usize = 100_000;
/// Headers of a long trace that are compared at least.
const FEWEST_OF_TRACE: usize = 80_000;
/// Rules times headers of a trace that are compared, beyond [`FEWEST_OF_TRACE`]: a few seconds of
/// the oracle's.
const ORACLE_STEPS: usize = 20_000_000_000;
/// Headers made from the rules that are compared besides the trace, half of them near misses.
const MADE: usize = 25_000;
/// Builds that are timed, as long as they are quick.
const BUILDS: usize = 5;
/// No further build is timed when those before took this long.
const BUILD_TIME: Duration = Duration::from_secs(2);
/// How much to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Turns of each engine.
    pub rounds: usize,
    /// Updates to time.
    pub updates: usize,
    /// Threads that look up meanwhile.
    pub readers: usize,
    /// A linear scan and a tuple space search too.
    pub peers: bool,
    /// The program of rte_acl.
    pub rte_acl: Option<PathBuf>,
}

/// The figures of a load.
#[must_use]
pub fn measure(load: &Load, settings: &Settings) -> Figures {
    let Load { rules, headers } = load;
    let headers = spread(headers, MOST_HEADERS);
    let cpus = machine::cpus();
    let (engine, build_ms) = build(rules);

    let compared = (ORACLE_STEPS / rules.len().max(1)).max(FEWEST_OF_TRACE);
    let mut compared = spread(&headers, compared).into_owned();
    let of_trace = compared.len();
    let made = MADE.max(FEWEST_COMPARED.saturating_sub(of_trace));
    compared.extend(near(rules, made, 1));
    let expected = oracle::answers(rules, &compared, cpus.len());
    let mut figures = Figures {
        rules: rules.len(),
        lookups: compared.len(),
        mismatches: wrong_answers(&engine, &compared, &expected, cpus.len()),
        build_ms,
        bytes_per_rule: Some(engine.memory() as f64 / rules.len().max(1) as f64),
        ..Figures::default()
    };

    compared.truncate(of_trace);
    let known = Known { rules, headers: &compared, expected: &expected };
    thread::scope(|scope| {
        scope.spawn(|| turns(&engine, &headers, known, settings, &mut figures));
    });
    if settings.updates > 0 {
        let updated = updates(rules, &headers, settings.updates, settings.readers);
        figures.lookups += updated.compared;
        figures.mismatches += updated.mismatches + updated.refused;
        figures.updates_per_s = Some(updated.per_s);
        figures.update_p99_us = Some(updated.p99_us);
        figures.reader_loss = updated.reader_loss;
    }
    figures.rounded()
}

/// So many of the headers, spread over all of them.
fn spread(headers: &[Flow], most: usize) -> Cow<'_, [Flow]> {
    let count = headers.len();
    if count <= most {
        return Cow::Borrowed(headers);
    }
    (0..most).filter_map(|n| headers.get(n * count / most)).copied().collect()
}

/// An engine, and the median of the milliseconds that building it took.
fn build(rules: &[Rule]) -> (Engine, f64) {
    let rules = engine_rules(rules, 0..);
    let timed = || {
        let start = Instant::now();
        let engine = Engine::build(&rules);
        (engine, start.elapsed().as_secs_f64() * 1e3)
    };
    let start = Instant::now();
    let (mut engine, first) = timed();
    let mut times = vec![first];
    while times.len() < BUILDS && start.elapsed() < BUILD_TIME {
        // One at a time in memory.
        drop(engine);
        let (next, took) = timed();
        engine = next;
        times.push(took);
    }
    (engine, median(&times).unwrap_or(first))
}

/// Headers for which the engine, asked alone or in a batch, says something else than expected.
pub fn wrong_answers<S: Subject + Sync>(
    subject: &S,
    headers: &[Flow],
    expected: &[u32],
    threads: usize,
) -> usize {
    let share = headers.len().div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        let parts = headers.chunks(share).zip(expected.chunks(share));
        let workers: Vec<_> = parts
            .map(|(headers, expected)| scope.spawn(|| wrong_in(subject, headers, expected)))
            .collect();
        let wrong = |worker: ScopedJoinHandle<'_, usize>| {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        workers.into_iter().map(wrong).sum()
    })
}

fn wrong_in<S: Subject>(subject: &S, headers: &[Flow], expected: &[u32]) -> usize {
    let mut answers = [S::Answer::default(); BATCH];
    let mut wrong = 0;
    for (headers, expected) in headers.chunks(BATCH).zip(expected.chunks(BATCH)) {
        let answers = answers.get_mut(..headers.len()).unwrap_or_default();
        subject.lookup_batch(headers, answers);
        let all = headers.iter().zip(expected).zip(answers.iter());
        wrong += all
            .filter(|((header, expected), batched)| {
                S::place(**batched) != **expected || S::place(subject.lookup(header)) != **expected
            })
            .count();
    }
    wrong
}

/// Lets the engine and its peers take turns, on the processor that is least busy.
fn turns(
    engine: &Engine,
    headers: &[Flow],
    known: Known<'_>,
    settings: &Settings,
    figures: &mut Figures,
) {
    let cpu = machine::idlest(&machine::cpus());
    machine::pin(cpu);
    let mut peers = peers::all(known, settings, cpu);
    let mut batched = Asked::new(engine, Pass::Batched, headers);
    let mut scalar = Asked::new(engine, Pass::Scalar, headers);
    let mut turns: Vec<&mut dyn Timed> = vec![&mut batched, &mut scalar];
    turns.extend(peers.iter_mut().map(|peer| -> &mut dyn Timed { peer }));
    let mut medians = take_turns(&mut turns, settings.rounds).into_iter();
    figures.batched_ns = medians.next().flatten().unwrap_or_default();
    figures.scalar_ns = medians.next().flatten().unwrap_or_default();
    figures.p99_ns = p99_ns(engine, headers);
    figures.peers = peers.into_iter().map(|peer| peer.figures(medians.next().flatten())).collect();
}
