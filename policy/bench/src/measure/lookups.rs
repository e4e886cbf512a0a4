//! Nanoseconds a lookup, in passes over many headers.

use super::median;
use crate::machine::thread_time;
use crate::subjects::{BATCH, Subject};
use std::hint::black_box;
use std::time::{Duration, Instant};
use twinwall_policy::flow::Flow;

/// How long a pass of a slow subject may take: it gets fewer headers, spread over the trace.
const LONGEST_PASS: Duration = Duration::from_millis(60);
/// Headers of the pass before each turn, which brings the subject back into the caches; a
/// quarter of a shorter pass.
const WARM_UP: usize = 25_000;
/// The fewest headers of a pass.
const FEWEST: usize = 64;
/// How long a turn takes at least: the figure of a subject whose passes are short isn't that of a
/// moment in which the machine did something else, too.
const TURN: Duration = Duration::from_millis(30);

/// How headers are given to a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// One at a time.
    Scalar,
    /// [`BATCH`] at a time.
    Batched,
}

/// Something that takes its turn: says how many nanoseconds a lookup took it this time.
pub trait Timed {
    /// One timed turn, or `None` when there is no figure any more.
    fn turn(&mut self) -> Option<f64>;
}

/// The medians of `rounds` rounds, in the order of `subjects`; in each round each has one turn.
pub fn take_turns(subjects: &mut [&mut dyn Timed], rounds: usize) -> Vec<Option<f64>> {
    let mut figures = vec![Vec::with_capacity(rounds); subjects.len()];
    for _ in 0..rounds {
        for (subject, figures) in subjects.iter_mut().zip(&mut figures) {
            figures.extend(subject.turn());
        }
    }
    figures.iter().map(|figures| median(figures)).collect()
}

/// A subject, how it is asked, and about what.
pub struct Asked<S: Subject, H> {
    subject: S,
    pass: Pass,
    headers: H,
    answers: Vec<S::Answer>,
}

impl<S: Subject, H: AsRef<[Flow]>> Asked<S, H> {
    /// A turn is passes over the headers, after a shorter one to warm up; their median counts.
    #[must_use]
    pub fn new(subject: S, pass: Pass, headers: H) -> Self {
        Self { subject, pass, headers, answers: vec![S::Answer::default(); BATCH] }
    }

    fn run(&mut self, count: usize) {
        let headers = self.headers.as_ref();
        let headers = headers.get(..count).unwrap_or(headers);
        match self.pass {
            Pass::Scalar => {
                for header in headers {
                    black_box(self.subject.lookup(header));
                }
            }
            Pass::Batched => {
                // One buffer for all: what is done with answers is done batch by batch.
                for headers in headers.chunks(BATCH) {
                    let answers = self.answers.get_mut(..headers.len()).unwrap_or_default();
                    self.subject.lookup_batch(headers, answers);
                    black_box(answers);
                }
            }
        }
    }
}

impl<S: Subject, H: AsRef<[Flow]>> Timed for Asked<S, H> {
    fn turn(&mut self) -> Option<f64> {
        let count = self.headers.as_ref().len();
        self.run((count / 4).min(WARM_UP));
        let begun = thread_time();
        let (mut passes, mut start) = (Vec::new(), begun);
        while passes.is_empty() || start < begun + TURN {
            self.run(count);
            let end = thread_time();
            passes.push(end.saturating_sub(start).as_nanos() as f64 / count.max(1) as f64);
            start = end;
        }
        median(&passes)
    }
}

/// The places of as many headers, spread over the trace, as the subject can be asked about in a
/// pass.
#[must_use]
pub fn sample(subject: &impl Subject, headers: &[Flow]) -> Vec<usize> {
    let spread = |count: usize| -> Vec<usize> {
        let count = count.clamp(FEWEST.min(headers.len()), headers.len());
        // Not `step_by`: it would leave the end of the trace out.
        (0..count).map(|n| n * headers.len() / count).collect()
    };
    let few = spread(FEWEST);
    let start = Instant::now();
    for header in few.iter().filter_map(|place| headers.get(*place)) {
        black_box(subject.lookup(header));
    }
    let each = start.elapsed().as_nanos() as f64 / few.len().max(1) as f64;
    spread((LONGEST_PASS.as_nanos() as f64 / each.max(1.0)) as usize)
}
