//! YAML text as a tree of nodes, each with its place in the text.
//!
//! Goes in: a text and where it lies among the sources. Comes out: the root [`Node`], or the first
//! fault. Duplicate keys are kept: whoever decodes the tree reports them with both places. The
//! subset is what configuration needs: one document; no anchors, aliases, tags, directives or block
//! scalars; keys are scalars. Everything is bounded by [`Limits`], whatever the text. Not here: what the values
//! mean.

mod build;
mod input;
mod lines;
mod node;
mod split;
#[cfg(test)]
mod tests;

pub use node::{Node, Value};

use crate::diag::{Fault, codes};
use crate::source::Span;

/// Bytes of a list from which on it is worth a way of its own.
const LEAST: usize = 64 << 10;

/// Bounds for one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the text.
    pub bytes: usize,
    /// Scalars, lists and mappings.
    pub nodes: usize,
    /// Lists and mappings inside each other.
    pub depth: usize,
    /// Bytes of a scalar.
    pub scalar: usize,
    /// Bytes of a collection in brackets or braces; a little more may pass.
    pub flow: usize,
}

impl Limits {
    /// Room for about 400,000 rules in one file, with at most 256 MB for the tree.
    pub const POLICY: Self =
        Self { bytes: 64 << 20, nodes: 8_000_000, depth: 32, scalar: 4096, flow: 1 << 20 };
}

/// Parses a text whose first byte has the position `base`, on up to `threads` threads.
///
/// The tree doesn't depend on the number of threads. An empty text gives an empty scalar.
///
/// # Errors
///
/// The first thing that isn't YAML, isn't of the subset, or is beyond a limit.
pub fn parse<'a>(
    text: &'a str,
    base: u32,
    limits: &Limits,
    threads: usize,
) -> Result<Node<'a>, Fault> {
    check_text(text, base, limits)?;
    if let Some(root) = split::parse(text, base, limits, threads, LEAST) {
        return Ok(root);
    }
    build::parse(text, base, limits)
}

/// Refuses what the scanner would take for the end of the text or would have to hold in memory.
fn check_text(text: &str, base: u32, limits: &Limits) -> Result<(), Fault> {
    if text.len() > limits.bytes {
        let message = format!("the file has {} bytes; the limit is {}", text.len(), limits.bytes);
        return Err(Fault::error(codes::TOO_LARGE, message).at(Span::new(base, base), ""));
    }
    let forbidden = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r') || byte == 127;
    if has_byte(text, forbidden)
        && let Some(at) = text.bytes().position(forbidden)
    {
        let byte = text.as_bytes().get(at).copied().unwrap_or(0);
        let start = base.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        let message = format!("control character U+{byte:04X} in the text");
        let fault = Fault::error(codes::CONTROL_CHARACTER, message);
        return Err(fault.at(Span::new(start, start.saturating_add(1)), "remove it"));
    }
    Ok(())
}

/// Whether a text has a byte of some kind. Without a way out of the inner loop the compiler can
/// look at many bytes at once.
fn has_byte(text: &str, kind: impl Fn(u8) -> bool) -> bool {
    let any = |chunk: &[u8]| chunk.iter().fold(false, |found, byte| found | kind(*byte));
    text.as_bytes().chunks(4096).any(any)
}
