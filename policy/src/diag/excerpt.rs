//! Faults with their places looked up, so that they can be shown without the sources.

use super::fault::Remark;
use super::{Code, Fault, Severity};
use crate::source::{Location, Sources};
use serde::Serialize;
use unicode_width::UnicodeWidthChar;

/// One message, complete in itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The kind of fault.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where: the fault itself first, then other places that have to do with it. Empty for a fault
    /// of the whole.
    pub places: Vec<Place>,
    /// What to do about it.
    pub help: Vec<String>,
    /// What else is to know.
    pub notes: Vec<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Path of the file.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// A few words on what is there; may be empty.
    pub label: String,
    /// The line, cut around the place.
    #[serde(skip)]
    pub excerpt: Excerpt,
}

/// A part of a line, ready for a terminal: no control characters, tabs as blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The text; `…` stands where it was cut.
    pub text: String,
    /// Terminal columns before the caret.
    pub indent: usize,
    /// Terminal columns of the caret, at least 1.
    pub width: usize,
}

impl Diagnostic {
    /// Looks up the places of a fault.
    #[must_use]
    pub fn new(fault: Fault, sources: &Sources<'_>) -> Self {
        let fault = *fault.parts;
        let places = fault
            .places
            .into_iter()
            .filter_map(|(span, label)| {
                let location = sources.locate(span)?;
                Some(Place {
                    path: printable(location.path),
                    line: location.line,
                    column: location.column,
                    label: printable(&label),
                    excerpt: Excerpt::new(&location),
                })
            })
            .collect();
        let remarks = |list: Vec<Remark>| list.into_iter().map(|r| remark(&r, sources)).collect();
        Self {
            severity: fault.severity,
            code: fault.code,
            message: printable(&fault.message),
            places,
            help: remarks(fault.help),
            notes: remarks(fault.notes),
        }
    }
}

fn remark(remark: &Remark, sources: &Sources<'_>) -> String {
    let place = remark.place.and_then(|span| sources.locate(span));
    let place = place.map(|at| format!(" ({}:{})", at.path, at.line)).unwrap_or_default();
    printable(&format!("{}{place}{}", remark.text, remark.rest))
}

impl Excerpt {
    /// Terminal columns that a line may take before it is cut.
    pub const LIMIT: usize = 72;
    /// Terminal columns that are kept before a fault far to the right.
    const CONTEXT: usize = 24;

    fn new(location: &Location<'_>) -> Self {
        let cells = Cells::new(location);
        let total = cells.column(cells.list.len());
        let (first, last) = (cells.column(cells.start), cells.column(cells.end));
        if total <= Self::LIMIT {
            let text = cells.list.iter().map(Cell::text).collect();
            return Self { text, indent: first, width: (last - first).max(1) };
        }
        let from = if last < Self::LIMIT { 0 } else { cells.word_before(Self::CONTEXT) };
        let lead = usize::from(from > 0);
        let to = cells.word_after(from, Self::LIMIT - 1 - lead);
        let mut text = String::new();
        if from > 0 {
            text.push('…');
        }
        text.extend(cells.list.get(from..to).unwrap_or_default().iter().map(Cell::text));
        if to < cells.list.len() {
            text.push('…');
        }
        let indent = first - cells.column(from) + lead;
        let width = cells.column(cells.end.min(to)).saturating_sub(first).max(1);
        Self { text, indent, width }
    }
}

/// A line as terminal cells.
struct Cells {
    list: Vec<Cell>,
    /// Index of the first cell of the place.
    start: usize,
    /// Index after its last one.
    end: usize,
}

struct Cell {
    char: char,
    /// Terminal column that it starts at.
    column: usize,
    width: usize,
}

impl Cell {
    /// A tab becomes a fixed number of blanks: then the caret's line needs no tabs.
    fn text(&self) -> String {
        if self.char == '\t' { " ".repeat(self.width) } else { self.char.to_string() }
    }
}

impl Cells {
    /// More of a line is never looked at: enough for any fault's surroundings.
    const REACH: usize = 4096;

    fn new(location: &Location<'_>) -> Self {
        let mut cells = Self { list: Vec::new(), start: 0, end: 0 };
        let text = location.text;
        // Of an endless line only the surroundings count; the cut shows as `…`.
        let skip = text.floor_char_boundary(location.start.saturating_sub(Self::REACH));
        let stop = text.floor_char_boundary(location.end.min(location.start + Self::REACH));
        let stop = text.floor_char_boundary((stop + Self::REACH).min(text.len()));
        let mut column = 0;
        for (at, char) in text.get(skip..stop).unwrap_or("").char_indices() {
            let at = at + skip;
            if at < location.start {
                cells.start += 1;
            }
            if at < location.end {
                cells.end += 1;
            }
            let char = if char == '\t' { char } else { printable_char(char) };
            let width = if char == '\t' { 4 } else { char.width().unwrap_or(0) };
            cells.list.push(Cell { char, column, width });
            column += width;
        }
        cells
    }

    /// The terminal column of a cell, or of the line's end.
    fn column(&self, index: usize) -> usize {
        match (self.list.get(index), self.list.last()) {
            (Some(cell), _) => cell.column,
            (None, Some(last)) => last.column + last.width,
            (None, None) => 0,
        }
    }

    /// A cell at most `context` columns before the place, at the start of a word if there is one.
    fn word_before(&self, context: usize) -> usize {
        let least = self.column(self.start).saturating_sub(context);
        let far = self.list.partition_point(|cell| cell.column < least);
        let word = (far..self.start)
            .find(|i| i.checked_sub(1).is_some_and(|i| self.is_blank(i)) && !self.is_blank(*i));
        word.unwrap_or(far)
    }

    /// The cell to cut before, so that at most `width` columns are shown from `from` on: at the
    /// end of a word if one ends after the place.
    fn word_after(&self, from: usize, width: usize) -> usize {
        let limit = self.column(from) + width;
        let far = self.list.partition_point(|cell| cell.column + cell.width <= limit);
        if far == self.list.len() {
            return far;
        }
        let word = (self.end + 1..=far).rev().find(|i| self.is_blank(i - 1));
        word.unwrap_or(far)
    }

    fn is_blank(&self, index: usize) -> bool {
        self.list.get(index).is_some_and(|cell| cell.char == ' ' || cell.char == '\t')
    }
}

/// The text with everything replaced that could move a terminal's cursor or reorder what it shows.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(printable_char).collect()
}

fn printable_char(char: char) -> char {
    let hidden = matches!(char,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E0FFF}');
    if char.is_control() || hidden { '\u{FFFD}' } else { char }
}
