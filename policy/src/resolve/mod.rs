//! From what the files declare to the rule set: every name looked up, every rule compiled.
//!
//! Goes in: the [`Draft`] of all files. Comes out: the [`RuleSet`], and every fault of names:
//! unknown, used twice, containing themselves. Not here: whether the rules make sense
//! ([`crate::lint`]) and do what the policy's tests expect ([`crate::selftest`]).

mod nat;
mod rules;
mod symbols;
mod table;
mod zones;

pub(crate) use rules::unique_names;
pub(crate) use symbols::Symbols;
pub(crate) use table::Table;
pub(crate) use zones::Zones;

use crate::diag::Faults;
use crate::ruleset::RuleSet;
use crate::syntax::Draft;

/// A compiled policy and where it came from.
pub(crate) struct Resolved<'t> {
    /// The rule set; only to be used when there were no errors.
    pub(crate) rules: RuleSet,
    /// For each rule of the set but the built-in ones its index in the draft.
    pub(crate) origins: Vec<usize>,
    /// What was defined.
    pub(crate) symbols: Symbols<'t>,
    /// The zones.
    pub(crate) zones: Zones<'t>,
}

/// Compiles a draft on up to `threads` threads.
pub(crate) fn resolve<'t>(draft: &Draft<'t>, threads: usize, faults: &mut Faults) -> Resolved<'t> {
    let zones = Zones::new(draft, faults);
    let symbols = Symbols::new(draft, faults);
    let (rules, origins) = rules::resolve(draft, &zones, &symbols, threads, faults);
    let nat = nat::resolve(draft, &zones, &symbols, faults);
    symbols.suggest(faults);
    let rules = RuleSet {
        name: draft.name.map_or("policy", |name| name.text).into(),
        zones: zones.compiled(draft),
        rules,
        nat,
        queue_failure: draft.defaults.queue_failure.unwrap_or(crate::ruleset::QueueFailure::Closed),
    };
    Resolved { rules, origins, symbols, zones }
}
