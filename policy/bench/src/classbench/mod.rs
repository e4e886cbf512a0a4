//! Files in ClassBench's format: filter sets and traces, plain or compressed by Zstandard.
//!
//! ```text
//! rule   @src/len  dst/len  lo : hi  lo : hi  proto/mask  [flags/mask]  [from:zones]  [to:zones]
//! trace  src dst sport dport proto [flags] [rule]  [from:zone]  [to:zone]
//! ```
//!
//! Fields are separated by white space. The first rule has the highest priority. Beyond what
//! ClassBench writes, addresses may be IPv6 (in text, or in a trace as a number above 2^32), and
//! zones may follow: in a rule as a 64-bit mask in hexadecimal, in a trace as an index. Flags and
//! the rule that a header was drawn from are read and not used. Empty lines and lines that begin
//! with `#` are skipped.
//!
//! Goes in: a path or a text. Comes out: rules and headers, or the file, line and reason.

mod cursor;
mod file;
mod rules;
mod trace;

pub use file::{Error, LIMIT, read};
pub use rules::{parse as parse_rules, write as write_rules};
pub use trace::{parse as parse_trace, write as write_trace};

use crate::generate::Load;
use std::path::Path;

/// The rules and the headers of two files.
///
/// # Errors
///
/// When one of them can't be read, or not be understood; see [`Error`].
pub fn load(rules: &Path, trace: &Path) -> Result<Load, Error> {
    Ok(Load {
        rules: parse_rules(&rules.display().to_string(), &read(rules)?)?,
        headers: parse_trace(&trace.display().to_string(), &read(trace)?)?,
    })
}
