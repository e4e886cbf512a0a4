//! Single values: names, numbers, words of a fixed set; and lists of them.

use super::record::wrong_kind;
use crate::diag::{Fault, Faults, codes, suggest};
use crate::source::Span;
use crate::yaml::{Node, Value};
use std::ops::RangeInclusive;

/// A scalar and its place.
#[derive(Clone, Copy, Debug)]
pub struct Word<'t> {
    /// Its text, without quotes.
    pub text: &'t str,
    /// Where it stands.
    pub span: Span,
}

impl<'t> Word<'t> {
    /// The scalar of a node.
    #[must_use]
    pub fn of(node: &'t Node<'t>) -> Option<Self> {
        Some(Self { text: node.text()?, span: node.span })
    }

    /// A part of the word by bytes of its text. `node` is where the word comes from.
    #[must_use]
    pub fn part(node: &'t Node<'t>, from: usize, to: usize) -> Option<Self> {
        let text = node.text()?.get(from..to)?;
        let before = match node.value {
            Value::Plain(_) => 0,
            Value::Quoted(_) => 1,
            // With escapes the text says nothing about the place.
            _ => return Some(Self { text, span: node.span }),
        };
        let place = |at: usize| {
            node.span.start.saturating_add(u32::try_from(before + at).unwrap_or(u32::MAX))
        };
        Some(Self { text, span: Span::new(place(from), place(to)) })
    }
}

/// A fixed set of words.
#[derive(Debug)]
pub struct Words<T: 'static> {
    /// What each of them is, with its article.
    pub of: &'static str,
    /// The words and what they stand for.
    pub known: &'static [(&'static str, T)],
    /// Words of other firewalls, and the one that is meant.
    pub others: &'static [(&'static str, &'static str)],
}

/// One of a fixed set of words.
pub fn word<T: Copy>(node: &Node<'_>, words: &Words<T>, faults: &mut Faults) -> Option<T> {
    let known = || words.known.iter().map(|(word, _)| *word);
    let all = || known().collect::<Vec<_>>().join(", ");
    let Some(text) = node.text().filter(|text| !text.is_empty()) else {
        faults.push(wrong_kind(node, &format!("one of these words belongs here: {}", all())));
        return None;
    };
    if let Some((_, value)) = words.known.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let message = format!("`{}` is not {}", shorten(text), words.of);
    let fault = Fault::error(codes::BAD_WORD, message);
    let fault = fault.at(node.span, format!("can be: {}", all()));
    let other = words.others.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
    faults.push(match other.or_else(|| suggest::nearest(text, known())) {
        Some(near) => fault.did_you_mean(near, None),
        None => fault,
    });
    None
}

/// A whole number, written in decimal digits.
pub fn number(node: &Node<'_>, range: RangeInclusive<u32>, faults: &mut Faults) -> Option<u32> {
    if node.text().is_none_or(str::is_empty) {
        faults.push(wrong_kind(node, "a number belongs here"));
        return None;
    }
    let text = node.plain().unwrap_or("");
    let number = decimal(text).and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n));
    if number.is_none() {
        let shown = shorten(node.text().unwrap_or(""));
        let fault = if decimal(text).is_some() {
            let label = format!("can be {} to {}", range.start(), range.end());
            Fault::error(codes::BAD_NUMBER, format!("{text} is out of range")).at(node.span, label)
        } else {
            let fault = Fault::error(codes::BAD_NUMBER, format!("`{shown}` is not a whole number"));
            let quoted = node.plain().is_none() && decimal(&shown).is_some();
            fault.at(node.span, if quoted { "write it without quotes" } else { "" })
        };
        faults.push(fault);
    }
    number
}

/// A number in decimal digits without a sign or leading zeros, up to 18 digits.
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits || text.len() > 1 && text.starts_with('0') {
        return None;
    }
    text.parse().ok()
}

/// The longest name.
pub const NAME_LIMIT: usize = 64;

/// A name that something is defined by. `of` says what, with its article, for messages.
pub fn name<'t>(node: &'t Node<'t>, of: &str, faults: &mut Faults) -> Option<Word<'t>> {
    let Some(word) = Word::of(node).filter(|word| !word.text.is_empty()) else {
        faults.push(wrong_kind(node, &format!("the name of {of} belongs here")));
        return None;
    };
    let label = if word.text.len() > NAME_LIMIT {
        format!("has {} characters; the limit is {NAME_LIMIT}", word.text.chars().count())
    } else if !is_name(word.text) {
        "letters, digits, `_`, `-` and `.`, beginning with a letter or digit".to_owned()
    } else if matches!(word.text, "any" | "self") {
        "has a meaning of its own".to_owned()
    } else {
        return Some(word);
    };
    let shown = shorten(word.text);
    let fault = Fault::error(codes::BAD_NAME, format!("`{shown}` can't be the name of {of}"));
    faults.push(fault.at(word.span, label));
    None
}

/// Whether a text has the form of a name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= NAME_LIMIT
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// A text for a message: the beginning, if it is long.
#[must_use]
pub fn shorten(text: &str) -> String {
    if text.chars().count() <= NAME_LIMIT {
        return text.to_owned();
    }
    text.chars().take(NAME_LIMIT).chain(['…']).collect()
}

/// One scalar, or a list of scalars with at least one entry. `of` says what belongs here, for
/// messages: `a zone or a list of zones`.
pub fn one_or_more<'t>(
    node: &'t Node<'t>,
    of: &str,
    faults: &mut Faults,
) -> Option<&'t [Node<'t>]> {
    let Some(list) = node.list() else {
        if node.text().is_some_and(|text| !text.is_empty()) {
            return Some(std::slice::from_ref(node));
        }
        faults.push(colon_help(node, wrong_kind(node, &format!("{of} belongs here"))));
        return None;
    };
    if list.is_empty() {
        let fault = Fault::error(codes::EMPTY, "this list is empty");
        faults.push(fault.at(node.span, format!("{of} belongs here")));
        return None;
    }
    let mut good = true;
    for entry in list {
        if entry.text().is_none_or(str::is_empty) {
            good = false;
            let fault = wrong_kind(entry, "a single value belongs in this list");
            faults.push(colon_help(entry, fault));
        }
    }
    good.then_some(list)
}

/// `2001:db8::` at the end of a list in brackets reads as a key with a colon behind.
fn colon_help(node: &Node<'_>, fault: Fault) -> Fault {
    let colon = node.map().and_then(|mut entries| entries.next());
    if colon.is_some_and(|(key, _)| key.text().is_some_and(|text| text.contains(':'))) {
        return fault.help("put an IPv6 address that ends in `:` into quotes");
    }
    fault
}
