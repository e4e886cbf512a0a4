//! Messages for operators: found as faults in a text, shown with the line and a caret.
//!
//! Goes in: a [`Fault`] with spans, collected in [`Faults`]. Comes out: a [`Diagnostic`] that
//! stands for itself (path, line, column, the line's text), and its text ([`render`]). Used by the
//! policy files and open to other files in YAML. Not here: what can be wrong ([`codes`] lists it).

pub mod codes;
mod excerpt;
mod fault;
pub mod render;
pub mod suggest;

pub use excerpt::{Diagnostic, Excerpt, Place};
pub use fault::{Fault, Faults};

use serde::Serialize;
use std::fmt;

/// The stable name of a kind of message: `E` and four digits for errors, `W` for warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Code(&'static str);

impl Code {
    /// A code of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is not loaded.
    Error,
    /// The file is loaded, but does something that can't be meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}
