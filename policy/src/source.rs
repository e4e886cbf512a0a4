//! Source texts, and places in them.
//!
//! Goes in: the files as the caller read them. Comes out: a [`Span`] a place, and from a span the
//! path, line and column that an operator reads. Not here: reading files; what messages look like
//! ([`crate::diag`]).

use std::cell::{Cell, OnceCell};

/// One file: the path as messages are to show it, and its whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The path, shown as it is.
    pub path: String,
    /// The text.
    pub text: String,
}

/// A run of bytes in one of the files that are loaded together.
///
/// Positions count on through all files, so a span needs no file of its own. A span never reaches
/// from one file into the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte; equal to `start` for a place without width.
    pub end: u32,
}

impl Span {
    /// The span from `start` up to `end`; empty at `start` when `end` lies before it.
    #[must_use]
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end: if end < start { start } else { end } }
    }

    /// The empty span before this one's first byte.
    #[must_use]
    pub const fn before(self) -> Self {
        Self { start: self.start, end: self.start }
    }
}

/// Where a span is, as an operator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// Path of the file.
    pub path: &'a str,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The line's text without its line break.
    pub text: &'a str,
    /// First byte of the span within `text`.
    pub start: usize,
    /// One past the last byte of the span within `text`; where the span goes on in the next line,
    /// the end of this one.
    pub end: usize,
}

/// The files that are loaded together.
#[derive(Debug)]
pub struct Sources<'a> {
    files: Vec<File<'a>>,
}

#[derive(Debug)]
struct File<'a> {
    source: &'a SourceText,
    base: u32,
    /// First byte of each line; made when the first place of the file is looked up.
    lines: OnceCell<Vec<u32>>,
    /// The place that was looked up last: byte and column, from 0. Places are mostly looked up in
    /// order, and a line can be as long as the file.
    last: Cell<(usize, usize)>,
}

impl<'a> Sources<'a> {
    /// Lays the files out one after the other.
    #[must_use]
    pub fn new(files: &'a [SourceText]) -> Self {
        let mut next = 0_u32;
        let files = files
            .iter()
            .map(|source| {
                let base = next;
                let length = u32::try_from(source.text.len()).unwrap_or(u32::MAX);
                // One apart, so that the end of a file is not the start of the next.
                next = base.saturating_add(length).saturating_add(1);
                File { source, base, lines: OnceCell::new(), last: Cell::new((0, 0)) }
            })
            .collect();
        Self { files }
    }

    /// The files with the position of their first byte.
    pub fn iter(&self) -> impl Iterator<Item = (&'a SourceText, u32)> {
        self.files.iter().map(|file| (file.source, file.base))
    }

    /// Where a span is; `None` only without any file.
    #[must_use]
    pub fn locate(&self, span: Span) -> Option<Location<'_>> {
        let after = self.files.partition_point(|file| file.base <= span.start);
        let file = self.files.get(after.checked_sub(1)?)?;
        let text = file.source.text.as_str();
        let lines = file.lines.get_or_init(|| line_starts(text));
        let offset = span.start.saturating_sub(file.base);
        let index = lines.partition_point(|start| *start <= offset).saturating_sub(1);
        let begin = lines.get(index).map_or(0, |start| *start as usize);
        let next = lines.get(index + 1).map_or(text.len(), |start| *start as usize);
        let line = text.get(begin..next).unwrap_or("").trim_end_matches(['\n', '\r']);
        let start = floor_boundary(line, (offset as usize).saturating_sub(begin));
        let end = span.end.saturating_sub(file.base) as usize;
        let end = floor_boundary(line, end.saturating_sub(begin)).max(start);
        let column = file.column(begin, begin + start);
        Some(Location {
            path: &file.source.path,
            line: u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1),
            column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1),
            text: line,
            start,
            end,
        })
    }
}

impl File<'_> {
    /// The column, from 0, of a byte in the line that begins at `begin`.
    fn column(&self, begin: usize, at: usize) -> usize {
        let (last, column) = self.last.get();
        let (from, before) = if begin <= last && last <= at { (last, column) } else { (begin, 0) };
        let between = self.source.text.get(from..at).unwrap_or("");
        // Editors don't show a byte order mark.
        let column = before + between.chars().filter(|c| *c != '\u{FEFF}').count();
        self.last.set((at, column));
        column
    }
}

/// The first byte of each line. Lines end as in YAML: LF, CR LF or CR.
fn line_starts(text: &str) -> Vec<u32> {
    let mut starts = vec![0];
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let ends = byte == b'\n' || byte == b'\r' && bytes.peek().is_none_or(|(_, b)| *b != b'\n');
        if ends {
            starts.push(u32::try_from(at + 1).unwrap_or(u32::MAX));
        }
    }
    starts
}

/// The nearest character boundary at or before `at`, and within the text.
fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceText {
        SourceText { path: path.into(), text: text.into() }
    }

    #[test]
    fn columns_count_characters_and_lines_end_as_in_yaml() {
        let files = [file("a", "ä: b\r\nc\rdé\n"), file("b", "x")];
        let sources = Sources::new(&files);
        let at = |start: u32, end: u32| {
            let l = sources.locate(Span::new(start, end)).unwrap();
            (l.path, l.line, l.column, l.text, l.start, l.end)
        };
        assert_eq!(at(4, 5), ("a", 1, 4, "ä: b", 4, 5));
        assert_eq!(at(7, 8), ("a", 2, 1, "c", 0, 1));
        assert_eq!(at(9, 12), ("a", 3, 1, "dé", 0, 3));
        assert_eq!(at(13, 13), ("a", 4, 1, "", 0, 0));
        assert_eq!(at(14, 15), ("b", 1, 1, "x", 0, 1));
    }

    #[test]
    fn places_outside_the_text_are_clamped() {
        let files = [file("a", "é")];
        let sources = Sources::new(&files);
        let l = sources.locate(Span::new(1, 900)).unwrap();
        assert_eq!((l.column, l.start, l.end), (1, 0, 2));
        assert!(Sources::new(&[]).locate(Span::new(0, 1)).is_none());
    }
}
