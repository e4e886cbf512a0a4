//! Reads the commonest form of a long list by itself: one flow mapping a line.
//!
//! ```yaml
//!   - { seq: 10, name: web, src: [lan-net, 10.0.0.0/8], service: { tcp: [80] } }   # comment
//! ```
//!
//! The scanner needs several microseconds for such a line; most of the time of a reload would go
//! there. What is read here is a small part of YAML in which nothing can mean two things: words of
//! letters, digits and `_ . / : -`, quoted text without escapes, and collections of them in
//! brackets and braces. Every other line is left to the scanner. That both give the same tree is
//! held by tests.

use super::Limits;
use super::node::{Node, Value};
use crate::source::Span;

/// An entry of a list that was read from one line.
pub(super) struct Line<'a> {
    /// The entry.
    pub(super) node: Node<'a>,
    /// Nodes in it.
    pub(super) nodes: usize,
    /// Byte after the line break.
    pub(super) end: usize,
}

/// Reads the line at byte `at`, which begins with `indent` blanks and a dash; `None` when it has
/// another form. `base` is the position of the text's first byte; `stack` is scratch room.
pub(super) fn read<'a>(
    text: &'a str,
    at: usize,
    indent: usize,
    base: u32,
    limits: &Limits,
    stack: &mut Vec<Node<'a>>,
) -> Option<Line<'a>> {
    stack.clear();
    let mut reader = Reader { text, at: at + indent + 1, base, limits, nodes: 0, stack };
    if reader.blanks() == 0 || reader.byte() != Some(b'{') {
        return None;
    }
    let node = reader.collection(2)?;
    let blanks = reader.blanks();
    match reader.byte() {
        None | Some(b'\n') => {}
        Some(b'#') if blanks > 0 => reader.line_end(),
        _ => return None,
    }
    if reader.at - at > limits.flow {
        return None;
    }
    let end = reader.at + usize::from(reader.byte().is_some());
    Some(Line { node, nodes: reader.nodes, end })
}

struct Reader<'a, 'l> {
    /// Finished nodes of the collections that are open.
    stack: &'l mut Vec<Node<'a>>,
    text: &'a str,
    at: usize,
    base: u32,
    limits: &'l Limits,
    nodes: usize,
}

impl<'a> Reader<'a, '_> {
    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips blanks and says how many there were.
    #[inline]
    fn blanks(&mut self) -> usize {
        let from = self.at;
        while self.byte() == Some(b' ') {
            self.at += 1;
        }
        self.at - from
    }

    fn line_end(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }

    /// A mapping or list, standing at its bracket, inside of which up to `depth` more may be.
    fn collection(&mut self, depth: usize) -> Option<Node<'a>> {
        let start = self.at;
        let close = match self.byte()? {
            b'{' => b'}',
            b'[' => b']',
            _ => return None,
        };
        self.at += 1;
        self.nodes += 1;
        let first = self.stack.len();
        self.blanks();
        // An empty collection is rare, and one with a comma at its end is odd: the scanner's.
        loop {
            if close == b'}' {
                let key = self.key()?;
                self.stack.push(key);
            }
            let value = match self.byte()? {
                b'{' | b'[' if depth > 0 => self.collection(depth - 1)?,
                b'"' => self.quoted()?,
                _ => self.word()?,
            };
            self.stack.push(value);
            self.blanks();
            match self.byte()? {
                b',' => self.at += 1,
                byte if byte == close => break,
                _ => return None,
            }
            self.blanks();
        }
        self.at += 1;
        let entries: Box<[_]> = self.stack.drain(first..).collect();
        let value = if close == b'}' { Value::Map(entries) } else { Value::List(entries) };
        Some(Node { span: self.span(start, self.at)?, value })
    }

    /// A key with the colon and the blanks behind it.
    fn key(&mut self) -> Option<Node<'a>> {
        let key = self.word()?;
        if self.byte() != Some(b':') {
            return None;
        }
        self.at += 1;
        (self.blanks() > 0).then_some(key)
    }

    /// A scalar without quotes. A colon belongs to it only inside.
    fn word(&mut self) -> Option<Node<'a>> {
        let start = self.at;
        if !self.byte()?.is_ascii_alphanumeric() {
            return None;
        }
        let bytes = self.text.as_bytes();
        let inside = |byte: Option<&u8>| {
            byte.is_some_and(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-')
            })
        };
        loop {
            let next = bytes.get(self.at);
            let colon = next == Some(&b':')
                && (inside(bytes.get(self.at + 1)) || bytes.get(self.at + 1) == Some(&b':'));
            if !inside(next) && !colon {
                break;
            }
            self.at += 1;
        }
        let text = self.text.get(start..self.at)?;
        self.scalar(start, Value::Plain(text), text.len())
    }

    /// A scalar in double quotes that has no escapes and ends on the line.
    fn quoted(&mut self) -> Option<Node<'a>> {
        let start = self.at;
        let rest = self.text.as_bytes().get(start + 1..)?;
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n'))?;
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        self.at = start + length + 2;
        let text = self.text.get(start + 1..start + 1 + length)?;
        self.scalar(start, Value::Quoted(text), length)
    }

    fn scalar(&mut self, start: usize, value: Value<'a>, length: usize) -> Option<Node<'a>> {
        self.nodes += 1;
        let span = self.span(start, self.at)?;
        (length <= self.limits.scalar).then_some(Node { span, value })
    }

    fn span(&self, start: usize, end: usize) -> Option<Span> {
        let place = |at: usize| self.base.checked_add(u32::try_from(at).ok()?);
        Some(Span::new(place(start)?, place(end)?))
    }
}
