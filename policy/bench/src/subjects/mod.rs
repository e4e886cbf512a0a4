//! What is measured: engines that find the first rule that matches a header.
//!
//! Goes in: rules, headers. Comes out: the place of the rule in the list. Not here: clocks.

mod engine;
mod linear;
mod rte_acl;
mod tuple_space;

pub use engine::{Live, Update, engine_rules, place};
pub use linear::Linear;
pub use rte_acl::RteAcl;
pub use tuple_space::TupleSpace;

pub use twinwall_policy::classify::engine::{Engine, Reader};
use twinwall_policy::flow::Flow;

/// The answer for a header that no rule matches.
pub const NONE: u32 = u32::MAX;

/// Headers in a batch: the burst that the peer in C is fastest with.
pub const BATCH: usize = 256;

/// An engine.
pub trait Subject {
    /// What it answers, in its own form: turning it into another would be measured too.
    type Answer: Copy + Default;

    /// The first rule that matches.
    fn lookup(&self, header: &Flow) -> Self::Answer;

    /// The same for many headers; `answers` is as long.
    fn lookup_batch(&self, headers: &[Flow], answers: &mut [Self::Answer]) {
        for (header, answer) in headers.iter().zip(answers) {
            *answer = self.lookup(header);
        }
    }

    /// The place of the rule in the list, or [`NONE`].
    fn place(answer: Self::Answer) -> u32;
}

impl<S: Subject> Subject for &S {
    type Answer = S::Answer;

    fn lookup(&self, header: &Flow) -> S::Answer {
        (**self).lookup(header)
    }

    fn lookup_batch(&self, headers: &[Flow], answers: &mut [S::Answer]) {
        (**self).lookup_batch(headers, answers);
    }

    fn place(answer: S::Answer) -> u32 {
        S::place(answer)
    }
}
