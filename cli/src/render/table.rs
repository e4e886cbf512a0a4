//! Aligned columns: words to the left, numbers to the right.

use super::words::printable;
use std::fmt::Write;

/// Words beyond this many columns stick out instead of pushing every other row to the right.
const WIDEST: usize = 28;
/// Blanks between columns.
const GAP: &str = "  ";

/// Which side a column's cells stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of `N` cells under a heading.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [(&'static str, Side); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(super) fn new(columns: [(&'static str, Side); N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// The heading and the rows; nothing without rows.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if self.rows.is_empty() {
            return text;
        }
        let width = |column: usize| {
            let (heading, side) = self.columns.get(column).copied().unwrap_or(("", Side::Left));
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widths = cells.map(|cell| columns(cell));
            let widths = widths.map(|width| match side {
                Side::Left if width > WIDEST => 0,
                _ => width,
            });
            widths.max().unwrap_or(0).max(heading.len())
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let headings = self.columns.map(|(heading, _)| heading.to_owned());
        for row in std::iter::once(&headings).chain(&self.rows) {
            self.line(&mut text, row, &widths);
        }
        text
    }

    fn line(&self, text: &mut String, row: &[String; N], widths: &[usize; N]) {
        let start = text.len();
        for ((cell, (_, side)), width) in row.iter().zip(&self.columns).zip(widths) {
            if text.len() > start {
                text.push_str(GAP);
            }
            // Writing to a string can't fail.
            let _ = match side {
                Side::Left => write!(text, "{cell:<width$}"),
                Side::Right => write!(text, "{cell:>width$}"),
            };
        }
        text.truncate(text.trim_end().len().max(start));
        text.push('\n');
    }
}

/// How many columns a text takes. Names are ASCII; what isn't may be a column off.
fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_word_sticks_out_alone() {
        let long = "x".repeat(WIDEST + 1);
        let mut table =
            Table::new([("NAME", Side::Left), ("COUNT", Side::Right), ("", Side::Left)]);
        for name in ["a", &long, "\u{1b}b"] {
            table.row([name.to_owned(), "12".into(), String::new()]);
        }
        assert_eq!(
            table.text(),
            format!("NAME  COUNT\na        12\n{long}     12\n\u{FFFD}b       12\n")
        );
    }

    #[test]
    fn table_without_rows_has_no_heading() {
        assert_eq!(Table::new([("NAME", Side::Left)]).text(), "");
    }
}
