//! Parses one long top-level list entry by entry, and in several pieces at once.
//!
//! In a list whose dashes stand `n` columns in, a line of exactly `n` blanks and a dash begins an
//! entry: nothing inside an entry may stand so far left, but for a quoted scalar, and then what
//! comes before ends within quotes and is refused. So a text can be cut there, and each piece is a
//! list of its own. Wherever anything looks odd (tabs, CR, faults, document marks), there is no
//! result, and the text is parsed in one piece.

use super::build::{Part, part};
use super::lines;
use super::node::{Node, Value};
use super::{Limits, has_byte};
use crate::parallel;
use crate::source::Span;

/// Collections inside each other up to the innermost of a list entry that is read from one line.
const LINE_DEPTH: usize = 5;

/// Parses the text if it has a top-level list of `least` bytes or more; the tree is the same as from
/// one piece.
pub(super) fn parse<'a>(
    text: &'a str,
    base: u32,
    limits: &Limits,
    threads: usize,
    least: usize,
) -> Option<Node<'a>> {
    if text.len() < least
        || limits.depth < LINE_DEPTH
        || has_byte(text, |b| b == b'\t' || b == b'\r')
    {
        return None;
    }
    if !text.is_ascii() && text.contains('\u{FEFF}') {
        return None;
    }
    let list = List::find(text, least)?;
    let mut pieces = vec![Piece { from: 0, to: list.start, list: None }];
    pieces.extend(list.cut(text, threads, least));
    pieces.push(Piece { from: list.end, to: text.len(), list: None });
    let parts = parallel::run(pieces, threads, |piece| match piece.list {
        Some(indent) => {
            let mut entries = Entries { indent, text, base, limits, nodes: 0, list: Vec::new() };
            entries.read(piece.from, piece.to)?;
            Some(Parsed::Entries(entries.list, entries.nodes))
        }
        None => piece.parse(text, base, limits, 0).map(Parsed::Part),
    });
    let (mut around, mut entries, mut nodes) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        match part? {
            Parsed::Part(part) => {
                nodes += part.nodes;
                around.push(part);
            }
            Parsed::Entries(list, count) => {
                nodes += count;
                entries.extend(list);
            }
        }
    }
    let (tail, head) = (around.pop()?, around.pop()?);
    if nodes > limits.nodes {
        return None;
    }
    let span = Span::new(entries.first()?.span.start, entries.last()?.span.end);
    let list = Node { span, value: Value::List(entries.into_boxed_slice()) };
    join(text, head, list, tail)
}

/// Puts the list in the place of the empty value that the head ends with, and the tail behind.
fn join<'a>(text: &str, head: Part<'a>, list: Node<'a>, tail: Part<'a>) -> Option<Node<'a>> {
    let starts_line = |at: usize| at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n');
    if head.flow || !starts_line(head.start?) {
        return None;
    }
    let Value::Map(entries) = head.root.value else { return None };
    let mut entries = entries.into_vec();
    if entries.pop()?.value != Value::Plain("") {
        return None;
    }
    entries.push(list);
    if let Some(start) = tail.start {
        let Value::Map(more) = tail.root.value else { return None };
        if tail.flow || start != 0 {
            return None;
        }
        entries.extend(more);
    }
    let span = Span::new(entries.first()?.span.start, entries.last()?.span.end);
    Some(Node { span, value: Value::Map(entries.into_boxed_slice()) })
}

/// A part of the text to parse by itself.
struct Piece {
    from: usize,
    to: usize,
    /// The column of the dashes, for a part of the list.
    list: Option<usize>,
}

/// What came of a piece.
enum Parsed<'a> {
    Part(Part<'a>),
    Entries(Vec<Node<'a>>, usize),
}

impl Piece {
    fn parse<'a>(
        &self,
        text: &'a str,
        base: u32,
        limits: &Limits,
        depth: usize,
    ) -> Option<Part<'a>> {
        let base = base.checked_add(u32::try_from(self.from).ok()?)?;
        part(text.get(self.from..self.to)?, base, limits, depth).ok()
    }
}

/// Reads the entries of a piece of the list.
struct Entries<'a, 'l> {
    indent: usize,
    text: &'a str,
    base: u32,
    limits: &'l Limits,
    nodes: usize,
    list: Vec<Node<'a>>,
}

impl Entries<'_, '_> {
    /// Reads from one entry's line up to another's, line by line where possible; runs of other
    /// lines go through the scanner.
    fn read(&mut self, from: usize, to: usize) -> Option<()> {
        let (mut at, mut run) = (from, from);
        let mut stack = Vec::new();
        while at < to {
            let line = lines::read(self.text, at, self.indent, self.base, self.limits, &mut stack);
            // An entry is one line only if the next line with content begins another.
            let next = line.map(|line| (self.content_after(line.end, to), line));
            match next {
                Some((next, line)) if next >= to || self.is_entry(next) => {
                    self.scan(run, at)?;
                    self.nodes += line.nodes;
                    self.list.push(line.node);
                    (at, run) = (next, next);
                }
                _ => {
                    at = self.line_after(at, to);
                    while at < to && !self.is_entry(at) {
                        at = self.line_after(at, to);
                    }
                }
            }
        }
        self.scan(run, to)
    }

    /// Parses a run of entries with the scanner.
    fn scan(&mut self, from: usize, to: usize) -> Option<()> {
        if from >= to {
            return Some(());
        }
        let piece = Piece { from, to, list: None };
        let part = piece.parse(self.text, self.base, self.limits, 1)?;
        // It has to be a list with its dashes in the same column.
        let Value::List(entries) = part.root.value else { return None };
        if part.flow || part.start != Some(self.indent) {
            return None;
        }
        self.nodes += part.nodes;
        self.list.extend(entries);
        Some(())
    }

    fn is_entry(&self, at: usize) -> bool {
        is_entry(self.text.get(at..).unwrap_or(""), self.indent)
    }

    fn line_after(&self, at: usize, to: usize) -> usize {
        let rest = self.text.as_bytes().get(at..to).unwrap_or_default();
        rest.iter().position(|byte| *byte == b'\n').map_or(to, |newline| at + newline + 1)
    }

    /// The first line from a line on that is neither blank nor a comment.
    fn content_after(&self, mut at: usize, to: usize) -> usize {
        while at < to {
            let rest = self.text.as_bytes().get(at..to).unwrap_or_default();
            match rest.iter().find(|byte| **byte != b' ') {
                None | Some(b'\n' | b'#') => at = self.line_after(at, to),
                Some(_) => break,
            }
        }
        at
    }
}

/// A top-level block list.
struct List {
    /// Byte of the first entry's line.
    start: usize,
    /// Byte of the line after the list, at column 0 and with content; or the text's end.
    end: usize,
    /// Columns before the dashes.
    indent: usize,
}

impl List {
    /// The longest part of the text under one top-level key, if it is a block list.
    fn find(text: &str, least: usize) -> Option<Self> {
        let (mut from, mut key) = (0, "");
        let (mut best, mut best_key) = ((0, 0), "");
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            if matches!(line.as_bytes().first(), Some(byte) if !matches!(byte, b' ' | b'#' | b'\n' | b'-'))
            {
                if offset - from > best.1 - best.0 {
                    (best, best_key) = ((from, offset), key);
                }
                (from, key) = (offset + line.len(), line);
            }
            if line.starts_with("---") || line.starts_with("...") && offset > 0 {
                // A document mark: only before everything else.
                if !text.get(..offset)?.lines().all(|l| l.is_empty() || l.starts_with('#')) {
                    return None;
                }
            }
            offset += line.len();
        }
        if offset - from > best.1 - best.0 {
            (best, best_key) = ((from, offset), key);
        }
        let bare = best_key.split(" #").next()?.trim_end();
        let name = bare.strip_suffix(':')?;
        if best.1 - best.0 < least || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return None;
        }
        let body = text.get(best.0..best.1)?;
        let mut at = best.0;
        for line in body.split_inclusive('\n') {
            let content = line.trim_start_matches(' ');
            if !matches!(content.as_bytes().first(), None | Some(b'\n' | b'#')) {
                let indent = line.len() - content.len();
                return is_entry(line, indent).then_some(Self { start: at, end: best.1, indent });
            }
            at += line.len();
        }
        None
    }

    /// Pieces of about equal length, each beginning with an entry.
    fn cut(&self, text: &str, count: usize, least: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let size = ((self.end - self.start) / count.max(1)).max(least) + 1;
        let mut from = self.start;
        while from < self.end {
            let to = self.entry_after(text, from + size).unwrap_or(self.end);
            pieces.push(Piece { from, to, list: Some(self.indent) });
            from = to;
        }
        pieces
    }

    /// The first line at or after a byte that begins an entry.
    fn entry_after(&self, text: &str, at: usize) -> Option<usize> {
        let rest = text.as_bytes().get(at.checked_sub(1)?..self.end)?;
        let newline = rest.iter().position(|byte| *byte == b'\n')?;
        let mut line = at + newline;
        while line < self.end {
            let rest = text.get(line..self.end)?;
            if is_entry(rest, self.indent) {
                return Some(line);
            }
            line += rest.find('\n')? + 1;
        }
        None
    }
}

/// Whether a line begins with exactly this many blanks and a dash that stands alone.
fn is_entry(line: &str, indent: usize) -> bool {
    let bytes = line.as_bytes();
    bytes.iter().take(indent).all(|byte| *byte == b' ')
        && bytes.get(indent) == Some(&b'-')
        && matches!(bytes.get(indent + 1), None | Some(b' ' | b'\n'))
}
