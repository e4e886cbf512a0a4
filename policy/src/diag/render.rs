//! Diagnostics as text.

use super::excerpt::printable;
use super::{Diagnostic, Place, Severity};
use std::fmt::Write;

/// How to show diagnostics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style<'a> {
    /// Whether to use colours (ANSI escape sequences).
    pub colour: bool,
    /// What happened to the running policy; shown as a note of the last error, or of the last
    /// warning where there is no error.
    pub closing: Option<&'a str>,
}

const ERROR: &str = "\x1b[1;31m";
const WARNING: &str = "\x1b[1;33m";
const ACCENT: &str = "\x1b[1;34m";
const RESET: &str = "\x1b[0m";

/// The messages one after the other, with an empty line between them.
#[must_use]
pub fn text(diagnostics: &[Diagnostic], style: Style<'_>) -> String {
    let mut page = Page { out: String::new(), colour: style.colour };
    let last_error = diagnostics.iter().rposition(|d| d.severity == Severity::Error);
    let last = last_error.or(diagnostics.len().checked_sub(1));
    for (i, diagnostic) in diagnostics.iter().enumerate() {
        if i > 0 {
            page.put("\n");
        }
        page.diagnostic(diagnostic);
        if last == Some(i)
            && let Some(closing) = style.closing
        {
            page.remark(gutter(diagnostic), "note", &printable(closing));
        }
    }
    page.out
}

/// Columns of the line numbers.
fn gutter(diagnostic: &Diagnostic) -> usize {
    let highest = diagnostic.places.iter().map(|place| place.line).max().unwrap_or(0);
    highest.max(1).ilog10() as usize + 1
}

struct Page {
    out: String,
    colour: bool,
}

impl Page {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn painted(&mut self, paint: &str, text: &str) {
        if self.colour {
            self.put(paint);
            self.put(text);
            self.put(RESET);
        } else {
            self.put(text);
        }
    }

    fn diagnostic(&mut self, diagnostic: &Diagnostic) {
        let paint = match diagnostic.severity {
            Severity::Error => ERROR,
            Severity::Warning => WARNING,
        };
        self.painted(paint, &format!("{}[{}]", diagnostic.severity, diagnostic.code));
        self.put(": ");
        self.put(&diagnostic.message);
        self.put("\n");
        let gutter = gutter(diagnostic);
        for (i, place) in diagnostic.places.iter().enumerate() {
            if i == 0 {
                self.place(place, gutter, "-->", '^', paint);
            } else {
                self.place(place, gutter, ":::", '-', ACCENT);
            }
        }
        for text in &diagnostic.help {
            self.remark(gutter, "help", text);
        }
        for text in &diagnostic.notes {
            self.remark(gutter, "note", text);
        }
    }

    fn place(&mut self, place: &Place, gutter: usize, arrow: &str, caret: char, paint: &str) {
        let margin = " ".repeat(gutter);
        self.put(&margin);
        self.painted(ACCENT, arrow);
        // Writing to a string can't fail.
        let _ = writeln!(self.out, " {}:{}:{}", place.path, place.line, place.column);
        self.painted(ACCENT, &format!("{margin} |"));
        self.put("\n");
        self.painted(ACCENT, &format!("{:>gutter$} |", place.line));
        let excerpt = &place.excerpt;
        let text = excerpt.text.trim_end();
        if !text.is_empty() {
            self.put(" ");
            self.put(text);
        }
        self.put("\n");
        self.painted(ACCENT, &format!("{margin} |"));
        self.put(&" ".repeat(excerpt.indent + 1));
        let carets: String = std::iter::repeat_n(caret, excerpt.width).collect();
        self.painted(paint, &carets);
        if !place.label.is_empty() {
            self.put(" ");
            self.painted(paint, &place.label);
        }
        self.put("\n");
    }

    fn remark(&mut self, gutter: usize, kind: &str, text: &str) {
        self.put(&" ".repeat(gutter + 1));
        self.painted(ACCENT, "=");
        let _ = writeln!(self.out, " {kind}: {text}");
    }
}
