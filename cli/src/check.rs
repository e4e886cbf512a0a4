//! `twinwall check`: policy files on their own, without a daemon.

use crate::options;
use crate::output::{Done, Failure, to_line};
use crate::render::counted;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use twinwall_control::{SourceFile, source};
use twinwall_policy::diag::{Diagnostic, render::Style};
use twinwall_policy::ruleset::{Rule, RuleSet};
use twinwall_policy::{Loaded, SourceText};

/// What JSON says of a policy without errors.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// The policy's name.
    policy: &'a str,
    /// The files that were read.
    files: Vec<&'a str>,
    /// Rules without the built-in ones.
    rules: usize,
    /// Zones that the policy names.
    zones: usize,
    /// NAT rules.
    nat_rules: usize,
    /// Tests of the policy; all passed.
    tests: usize,
    /// Warnings, listed or not.
    warnings: usize,
    /// The warnings.
    diagnostics: &'a [Diagnostic],
}

/// Checks the policy of some paths.
pub(crate) fn run(verb: &options::Check, json: bool) -> Result<Done, Failure> {
    let sources = read(&verb.paths)?;
    let style = Style { colour: !json && wants_colour(), closing: None };
    let loaded = match twinwall_policy::load(&sources) {
        Ok(loaded) => loaded,
        Err(failure) => return Err(refused(&failure, &sources, style)),
    };
    let noteworthy = verb.strict && loaded.warning_count > 0;
    if json {
        let text = to_line(&report(&loaded, &sources))?;
        return Ok(Done { text, messages: String::new(), noteworthy });
    }
    Ok(Done { text: summary(&loaded, &verb.paths), messages: loaded.text(style), noteworthy })
}

/// The policy's files; one that several paths name is read once.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<SourceText>, Failure> {
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for path in paths {
        let files = source::read(path).map_err(|error| Failure::new(error.to_string()))?;
        for SourceFile { path, text } in files {
            // What can't be resolved, such as a pipe, is taken as it is named.
            let place = std::fs::canonicalize(&path).unwrap_or_else(|_| PathBuf::from(&path));
            if seen.insert(place) {
                sources.push(SourceText { path, text });
            }
        }
    }
    Ok(sources)
}

/// Whether messages may have colours.
pub(crate) fn wants_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The failure of a policy with errors.
pub(crate) fn refused(
    failure: &twinwall_policy::Failure,
    sources: &[SourceText],
    style: Style<'_>,
) -> Failure {
    let plain = failure.text(Style { colour: false, ..style });
    let mut details = Map::new();
    let files = sources.iter().map(|source| Value::from(source.path.as_str())).collect();
    details.insert("files".into(), files);
    details.insert("errors".into(), failure.error_count.into());
    details.insert("warnings".into(), failure.warning_count.into());
    // Only maps with odd keys can't be written as JSON, and diagnostics have none.
    let diagnostics = serde_json::to_value(&failure.diagnostics).unwrap_or_default();
    details.insert("diagnostics".into(), diagnostics);
    Failure { text: failure.text(style), plain, details }
}

fn report<'a>(loaded: &'a Loaded, sources: &'a [SourceText]) -> Report<'a> {
    Report {
        policy: &loaded.rules.name,
        files: sources.iter().map(|source| source.path.as_str()).collect(),
        rules: own_rules(&loaded.rules),
        zones: own_zones(&loaded.rules),
        nat_rules: loaded.rules.nat.len(),
        tests: loaded.tests,
        warnings: loaded.warning_count,
        diagnostics: &loaded.warnings,
    }
}

/// One line on a policy without errors.
fn summary(loaded: &Loaded, paths: &[PathBuf]) -> String {
    let rules = &loaded.rules;
    let mut parts = vec![
        counted(own_rules(rules) as u64, "rule"),
        counted(own_zones(rules) as u64, "zone"),
        counted(rules.nat.len() as u64, "NAT rule"),
        format!("{} passed", counted(loaded.tests as u64, "test")),
        counted(loaded.warning_count as u64, "warning"),
    ];
    if loaded.tests == 0 {
        parts.retain(|part| !part.ends_with(" passed"));
        parts.push("no tests".into());
    }
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    format!("{}: policy {} is good: {}\n", paths.join(" "), rules.name, parts.join(", "))
}

/// Built-in rules carry parentheses.
fn own_rules(rules: &RuleSet) -> usize {
    let own = |rule: &&Rule| !rule.name.starts_with('(');
    rules.rules.iter().filter(own).count()
}

/// Without the interfaces outside all zones and the gateway itself.
fn own_zones(rules: &RuleSet) -> usize {
    const BUILT_IN: usize = 2;
    rules.zones.len().saturating_sub(BUILT_IN)
}
