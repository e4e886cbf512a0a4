//! The tree.

use crate::source::Span;

/// A value of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// Where it is. A collection reaches from its first bracket or entry to its last.
    pub span: Span,
    /// What it is.
    pub value: Value<'a>,
}

/// What a node is. Scalars are not interpreted: `80`, `true` and nothing at all are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A scalar without quotes, as it stands in the text. Empty where nothing stands.
    Plain(&'a str),
    /// A quoted scalar that stands for itself.
    Quoted(&'a str),
    /// A scalar with escapes or over several lines.
    Owned(Box<str>),
    /// A list.
    List(Box<[Node<'a>]>),
    /// A mapping: each key, which is a scalar, followed by its value.
    Map(Box<[Node<'a>]>),
}

impl<'a> Node<'a> {
    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) | Value::Quoted(text) => Some(text),
            Value::Owned(text) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The text of a scalar without quotes; only such a one can stand for a number or a truth
    /// value.
    #[must_use]
    pub fn plain(&self) -> Option<&'a str> {
        match self.value {
            Value::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing stands where a value could.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self.value, Value::Plain("" | "~" | "null"))
    }

    /// The entries of a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Node<'a>]> {
        match &self.value {
            Value::List(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entries of a mapping, in the order of the text, with repeated keys.
    #[must_use]
    pub fn map(&self) -> Option<impl ExactSizeIterator<Item = (&Node<'a>, &Node<'a>)>> {
        match &self.value {
            Value::Map(entries) => {
                let (pairs, _) = entries.as_chunks::<2>();
                Some(pairs.iter().map(|[key, value]| (key, value)))
            }
            _ => None,
        }
    }

    /// The kind of value in words, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Plain("") => "nothing",
            Value::Plain(_) | Value::Quoted(_) | Value::Owned(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}
