//! Mappings with a fixed set of keys.

use super::scalar::shorten;
use crate::diag::{Fault, Faults, codes, suggest};
use crate::source::Span;
use crate::yaml::Node;

/// The keys that a kind of mapping can have.
#[derive(Debug)]
pub struct Keys<const N: usize> {
    /// What has these keys, with its article: `a rule`.
    pub of: &'static str,
    /// The keys.
    pub known: [&'static str; N],
    /// Keys that are not built yet: the message says so.
    pub later: &'static [&'static str],
}

/// A mapping, its values in the order of its [`Keys`].
#[derive(Debug)]
pub struct Record<'t, const N: usize> {
    /// The first character, to point at for what is missing.
    pub start: Span,
    /// Key and value of each key that is there.
    pub values: [Option<(&'t Node<'t>, &'t Node<'t>)>; N],
    /// Keys that an unknown key was perhaps meant to be: they are not reported as missing too.
    meant: [bool; N],
    keys: &'t Keys<N>,
}

impl<'t, const N: usize> Record<'t, N> {
    /// Reads a mapping; `None` when the node is something else.
    #[must_use]
    pub fn read(node: &'t Node<'t>, keys: &'t Keys<N>, faults: &mut Faults) -> Option<Self> {
        let Some(entries) = node.map() else {
            let expected = format!("{} has to be a mapping", keys.of);
            faults.push(wrong_kind(node, &expected));
            return None;
        };
        let mut values = [None; N];
        let mut meant = [false; N];
        for (key, value) in entries {
            let text = key.text().unwrap_or("");
            match keys.known.iter().position(|known| *known == text) {
                Some(index) => {
                    let Some(slot) = values.get_mut(index) else { continue };
                    match slot {
                        None => *slot = Some((key, value)),
                        Some((first, _)) => faults.push(duplicate(text, key.span, first)),
                    }
                }
                None => {
                    let near = suggest::nearest(text, keys.known);
                    faults.push(unknown(keys, text, key.span, near));
                    for (known, meant) in keys.known.iter().zip(&mut meant) {
                        *meant |= near == Some(known);
                    }
                }
            }
        }
        let start = Span::new(node.span.start, node.span.start.saturating_add(1));
        Some(Self { start, values, meant, keys })
    }

    /// Reports each of these keys that is not there.
    pub fn require(&self, needed: &[&str], faults: &mut Faults) {
        let state = self.keys.known.iter().zip(&self.values).zip(&self.meant);
        for ((key, value), meant) in state {
            if needed.contains(key) && value.is_none() && !meant {
                faults.push(missing(self.keys.of, key, self.start));
            }
        }
    }
}

fn duplicate(key: &str, span: Span, first: &Node<'_>) -> Fault {
    Fault::error(codes::DUPLICATE_KEY, format!("key `{key}` is given twice"))
        .at(span, "again here")
        .at(first.span, "first here")
}

fn unknown<const N: usize>(keys: &Keys<N>, key: &str, span: Span, near: Option<&str>) -> Fault {
    let (of, shown) = (keys.of, shorten(key));
    if keys.later.contains(&key) {
        let fault = Fault::error(codes::NOT_SUPPORTED, format!("`{key}` is not supported yet"));
        return fault.at(span, format!("a key of {of} that this version can't carry out"));
    }
    let fault = Fault::error(codes::UNKNOWN_KEY, format!("unknown key `{shown}`"));
    let fault = fault.at(span, format!("not a key of {of}"));
    match near {
        Some(near) => fault.did_you_mean(near, None),
        None => fault.help(format!("the keys of {of}: {}", keys.known.join(", "))),
    }
}

/// The fault of a value that is of another kind than expected.
#[must_use]
pub fn wrong_kind(node: &Node<'_>, expected: &str) -> Fault {
    // A collection may be long and go over many lines: its first character is enough.
    let span = match node.text() {
        Some(_) => node.span,
        None => Span::new(node.span.start, node.span.start.saturating_add(1)),
    };
    let fault = Fault::error(codes::WRONG_KIND, expected);
    fault.at(span, format!("here is {}", node.kind()))
}

/// The fault of a key that is not there.
#[must_use]
pub fn missing(of: &str, key: &str, start: Span) -> Fault {
    Fault::error(codes::MISSING_KEY, format!("`{key}` is missing")).at(start, format!("in {of}"))
}
