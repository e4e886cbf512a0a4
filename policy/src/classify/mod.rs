//! Which rule decides a flow: the first match by `seq`.
//!
//! Two engines stand behind one interface. [`Linear`] is slow and obvious; random tests hold the
//! tuple-hash engine to it.

use crate::flow::Flow;
use crate::ruleset::RuleIndex;

/// Finds the deciding rule of a flow.
pub trait Classifier {
    /// The first rule that matches, or `None` when none does. (A compiled policy always has one
    /// that does: its last rule matches everything.)
    fn classify(&self, flow: &Flow) -> Option<RuleIndex>;
}
