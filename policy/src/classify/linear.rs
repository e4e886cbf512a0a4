//! The oracle: looks at one rule after the other.
//!
//! Time and memory grow with the number of rules. It is also the better engine for a handful of
//! lookups, because it takes next to nothing to build.

use super::Classifier;
use crate::flow::Flow;
use crate::matching::Match;
use crate::ruleset::{RuleIndex, RuleSet};

/// A plain scan over the rules.
#[derive(Clone, Debug)]
pub struct Linear {
    rules: Box<[Match]>,
}

impl Linear {
    /// An engine for these rules.
    #[must_use]
    pub fn new(rules: &RuleSet) -> Self {
        Self { rules: rules.rules.iter().map(|rule| rule.matches.clone()).collect() }
    }
}

impl Classifier for Linear {
    fn classify(&self, flow: &Flow) -> Option<RuleIndex> {
        let found = self.rules.iter().position(|rule| rule.contains(flow))?;
        u32::try_from(found).ok().map(RuleIndex)
    }
}
