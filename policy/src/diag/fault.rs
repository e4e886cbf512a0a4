//! Faults as they are found: a code, a message and spans.

use super::{Code, Diagnostic, Severity};
use crate::source::{Sources, Span};

/// One thing that is wrong. Small, so that it can be the error of functions that seldom fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(super) parts: Box<Parts>,
}

/// What a fault consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) severity: Severity,
    pub(super) code: Code,
    pub(super) message: String,
    /// The fault itself first, then the other places that have to do with it.
    pub(super) places: Vec<(Span, String)>,
    pub(super) help: Vec<Remark>,
    pub(super) notes: Vec<Remark>,
    /// A kind of definition and the name under which none was found.
    unknown: Option<(&'static str, String)>,
}

/// A remark; the place, if there is one, is shown as `(path:line)` between the two texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) text: String,
    pub(super) place: Option<Span>,
    pub(super) rest: &'static str,
}

impl Fault {
    /// An error. `message` begins in lower case and has no full stop.
    #[must_use]
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    fn new(severity: Severity, code: Code, message: String) -> Self {
        let (places, help, notes) = (Vec::new(), Vec::new(), Vec::new());
        let parts = Parts { severity, code, message, places, help, notes, unknown: None };
        Self { parts: Box::new(parts) }
    }

    /// Adds a place, with a few words for beside the caret. The first one added is the fault's own.
    #[must_use]
    pub fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.parts.places.push((span, label.into()));
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.parts.help.push(Remark { text: text.into(), place: None, rest: "" });
        self
    }

    /// Adds what was perhaps meant, and where that stands.
    #[must_use]
    pub fn did_you_mean(mut self, name: &str, place: Option<Span>) -> Self {
        self.parts.help.push(Remark { text: format!("did you mean `{name}`"), place, rest: "?" });
        self
    }

    /// Says that there is no definition of this kind and name. What was perhaps meant is added by
    /// [`Faults::suggest`], when all faults are known.
    #[must_use]
    pub fn unknown(mut self, kind: &'static str, name: &str) -> Self {
        self.parts.unknown = Some((kind, name.to_owned()));
        self
    }

    /// Adds a remark.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.parts.notes.push(Remark { text: text.into(), place: None, rest: "" });
        self
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.parts.severity
    }

    /// The kind of fault.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.parts.code
    }

    /// Where the fault is, if it is somewhere.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.parts.places.first().map(|(span, _)| *span)
    }
}

/// The faults of a load, bounded: a file with a million faults gets a message that can be read.
#[derive(Debug, Default)]
pub struct Faults {
    kept: Vec<Fault>,
    errors: usize,
    warnings: usize,
}

impl Faults {
    /// How many faults of each severity are kept; the rest is counted.
    pub const LIMIT: usize = 1000;

    /// No fault yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault.
    pub fn push(&mut self, fault: Fault) {
        let count = match fault.parts.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= Self::LIMIT {
            self.kept.push(fault);
        }
    }

    /// Adds all faults of another collection.
    pub fn append(&mut self, other: Self) {
        let (mut errors, mut warnings) = (other.errors, other.warnings);
        for fault in other.kept {
            match fault.parts.severity {
                Severity::Error => errors -= 1,
                Severity::Warning => warnings -= 1,
            }
            self.push(fault);
        }
        self.errors += errors;
        self.warnings += warnings;
    }

    /// Whether there is an error.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether one more error would only be counted; then it need not be described.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.errors >= Self::LIMIT
    }

    /// Adds what was perhaps meant to each fault of an unknown name of this kind. `find` gives the
    /// nearest name and its place.
    pub fn suggest<'a>(
        &mut self,
        kind: &str,
        mut find: impl FnMut(&str) -> Option<(&'a str, Option<Span>)>,
    ) {
        for fault in &mut self.kept {
            let Some((_, name)) = fault.parts.unknown.take_if(|(of, _)| *of == kind) else {
                continue;
            };
            if let Some((near, place)) = find(&name) {
                let (text, rest) = (format!("did you mean `{near}`"), "?");
                fault.parts.help.push(Remark { text, place, rest });
            }
        }
    }

    /// The faults with their places looked up, errors first, in the order of the text; and how
    /// many errors and warnings there were in all.
    #[must_use]
    pub fn located(mut self, sources: &Sources<'_>) -> (Vec<Diagnostic>, usize, usize) {
        self.kept.sort_by_key(|fault| (fault.severity(), fault.span(), fault.code()));
        let diagnostics = self.kept.into_iter().map(|f| Diagnostic::new(f, sources)).collect();
        (diagnostics, self.errors, self.warnings)
    }
}
