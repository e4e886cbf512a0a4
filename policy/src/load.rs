//! Loading a policy: from the text of its files to a rule set that may be put into force.
//!
//! Goes in: the files' texts. Comes out: [`Loaded`], or [`Failure`] with every fault that was
//! found. Not here: reading files, and what the running policy does meanwhile.

use crate::diag::{Diagnostic, Fault, Faults, codes, render};
use crate::ruleset::RuleSet;
use crate::source::{SourceText, Sources};
use crate::syntax::Draft;
use crate::yaml::Limits;
use crate::{lint, resolve, selftest, syntax, yaml};

/// How to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads to use at most, at least 1. The outcome doesn't depend on it.
    pub threads: usize,
    /// Whether to look for rules that can't do what they seem to. Costs about as much as
    /// compiling.
    pub lint: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 4, lint: true }
    }
}

/// A policy that holds together and passes its own tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The compiled policy.
    pub rules: RuleSet,
    /// What should be looked at, in the order of the text; at most [`Faults::LIMIT`].
    pub warnings: Vec<Diagnostic>,
    /// Warnings in all.
    pub warning_count: usize,
    /// How many tests the policy has; all of them passed.
    pub tests: usize,
}

/// Why a policy can't be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Errors in the order of the text, then warnings; of each at most [`Faults::LIMIT`].
    pub diagnostics: Vec<Diagnostic>,
    /// Errors in all, at least one.
    pub error_count: usize,
    /// Warnings in all.
    pub warning_count: usize,
}

/// Loads a policy with [`Options::default`].
///
/// # Errors
///
/// As [`load_with`].
pub fn load(files: &[SourceText]) -> Result<Loaded, Failure> {
    load_with(files, &Options::default())
}

/// Parses the files, checks and compiles what they say, and runs the policy's tests. The files add
/// up; their order matters for messages only.
///
/// # Errors
///
/// Every fault that was found; of each file that isn't YAML the first one.
pub fn load_with(files: &[SourceText], options: &Options) -> Result<Loaded, Failure> {
    let sources = Sources::new(files);
    let mut faults = Faults::new();
    let outcome = compile(&sources, options, &mut faults);
    let failed = faults.has_errors();
    let (diagnostics, error_count, warning_count) = faults.located(&sources);
    match outcome {
        Some((rules, tests)) if !failed => {
            Ok(Loaded { rules, warnings: diagnostics, warning_count, tests })
        }
        _ => Err(Failure { diagnostics, error_count, warning_count }),
    }
}

/// The rule set and the number of tests; `None` or useless when there are errors.
fn compile(
    sources: &Sources<'_>,
    options: &Options,
    faults: &mut Faults,
) -> Option<(RuleSet, usize)> {
    let threads = options.threads.max(1);
    let mut trees = Vec::new();
    let mut room = Limits::POLICY.bytes;
    for (source, base) in sources.iter() {
        // The limits hold for all files together, so that many files are no way around them.
        let limits = Limits { bytes: room, ..Limits::POLICY };
        match yaml::parse(&source.text, base, &limits, threads) {
            Ok(tree) => trees.push(tree),
            Err(fault) => faults.push(fault),
        }
        room = room.saturating_sub(source.text.len());
    }
    if sources.iter().next().is_none() {
        faults.push(Fault::error(codes::MISSING_KEY, "there is no policy file"));
    }
    let broken = faults.has_errors();
    let mut draft = Draft::default();
    for (index, tree) in trees.iter().enumerate() {
        syntax::decode(tree, index == 0 && !broken, threads, &mut draft, faults);
    }
    // What a file that can't be read defines is unknown: then every use of it would be a fault.
    if broken {
        return None;
    }
    let resolved = resolve::resolve(&draft, threads, faults);
    if faults.has_errors() {
        return None;
    }
    selftest::run(&draft, &resolved, faults);
    if options.lint {
        lint::check(&draft, &resolved, threads, faults);
    }
    Some((resolved.rules, draft.tests.len()))
}

impl Loaded {
    /// The warnings as text; empty without any.
    #[must_use]
    pub fn text(&self, style: render::Style<'_>) -> String {
        let mut text = render::text(&self.warnings, style);
        text.push_str(&left_out(
            self.warning_count.saturating_sub(self.warnings.len()),
            "warnings",
        ));
        text
    }
}

impl Failure {
    /// All messages as text. `style.closing` says what became of the running policy.
    #[must_use]
    pub fn text(&self, style: render::Style<'_>) -> String {
        let mut text = render::text(&self.diagnostics, style);
        let total = self.error_count + self.warning_count;
        text.push_str(&left_out(total.saturating_sub(self.diagnostics.len()), "messages"));
        text
    }
}

fn left_out(count: usize, what: &str) -> String {
    if count == 0 { String::new() } else { format!("\n{count} more {what} are not shown\n") }
}
