//! Which rule decides a flow: the first match by `seq`.
//!
//! Two engines stand behind one interface. [`Linear`] is slow and obvious; random tests hold
//! [`TupleHash`] to it. Both keep what they need of the rule set, are never changed after they were
//! built, and can be read by any number of threads. Beneath [`TupleHash`] lies [`engine`], whose
//! rules can also change while others look up. Not here: what a decision means for a session.

pub mod engine;
mod linear;
mod tuple_hash;

pub use linear::Linear;
pub use tuple_hash::TupleHash;

use crate::flow::Flow;
use crate::ruleset::RuleIndex;

/// Finds the deciding rule of a flow.
pub trait Classifier {
    /// The first rule that matches, or `None` when none does. (A compiled policy always has one
    /// that does: its last rule matches everything.)
    fn classify(&self, flow: &Flow) -> Option<RuleIndex>;
}
