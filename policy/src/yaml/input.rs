//! Feeds the scanner, up to a mark that moves on with the events.
//!
//! The scanner holds the tokens of a collection in brackets until it knows whether the collection
//! is a key. Without a bound a file of brackets would fill the memory, so behind the mark the text
//! just ends.

use saphyr_parser::Input;
use std::cell::Cell;

/// How far the scanner may read, and whether it wanted to read on.
#[derive(Debug)]
pub(super) struct Mark {
    end: Cell<usize>,
    passed: Cell<bool>,
}

impl Mark {
    /// A mark at a byte of the text.
    pub(super) fn new(end: usize) -> Self {
        Self { end: Cell::new(end), passed: Cell::new(false) }
    }

    /// Moves the mark.
    pub(super) fn set(&self, end: usize) {
        self.end.set(end);
    }

    /// Whether the scanner came to the mark.
    pub(super) fn was_passed(&self) -> bool {
        self.passed.get()
    }
}

/// A text as scanner input. `ASCII` says that the text has no other characters.
pub(super) struct Feed<'a, const ASCII: bool> {
    text: &'a str,
    at: usize,
    lookahead: usize,
    mark: &'a Mark,
}

impl<'a, const ASCII: bool> Feed<'a, ASCII> {
    pub(super) fn new(text: &'a str, mark: &'a Mark) -> Self {
        Self { text, at: 0, lookahead: 0, mark }
    }

    /// The byte `n` places on, 0 behind the end: control characters have been refused before.
    #[inline]
    fn byte(&self, n: usize) -> u8 {
        self.text.as_bytes().get(self.at + n).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn three(&self, byte: u8) -> bool {
        (0..3).all(|n| self.byte(n) == byte)
            && matches!(self.byte(3), b' ' | b'\t' | b'\n' | b'\r' | 0)
    }
}

impl<const ASCII: bool> Input for Feed<'_, ASCII> {
    // Called before every step of the scanner, so that no token gets far beyond the mark.
    #[inline]
    fn lookahead(&mut self, count: usize) {
        self.lookahead = self.lookahead.max(count);
        if self.at > self.mark.end.get() {
            self.mark.passed.set(true);
            self.text = "";
        }
    }

    #[inline]
    fn buflen(&self) -> usize {
        self.lookahead
    }

    #[inline]
    fn bufmaxlen(&self) -> usize {
        64
    }

    #[inline]
    fn raw_read_ch(&mut self) -> char {
        let char = self.peek();
        self.skip();
        char
    }

    #[inline]
    fn raw_read_non_breakz_ch(&mut self) -> Option<char> {
        let char = self.peek_opt()?;
        if matches!(char, '\0' | '\n' | '\r' | '\u{FEFF}') {
            return None;
        }
        self.skip();
        Some(char)
    }

    #[inline]
    fn skip(&mut self) {
        if ASCII || self.byte(0) < 0x80 {
            self.at += 1;
        } else {
            self.at += self.rest().chars().next().map_or(1, char::len_utf8);
        }
    }

    #[inline]
    fn skip_n(&mut self, count: usize) {
        for _ in 0..count {
            self.skip();
        }
    }

    #[inline]
    fn peek(&self) -> char {
        let byte = self.byte(0);
        if ASCII || byte < 0x80 {
            char::from(byte)
        } else {
            self.rest().chars().next().unwrap_or('\0')
        }
    }

    #[inline]
    fn peek_nth(&self, n: usize) -> char {
        if ASCII { char::from(self.byte(n)) } else { self.rest().chars().nth(n).unwrap_or('\0') }
    }

    #[inline]
    fn peek_opt(&self) -> Option<char> {
        if self.at < self.text.len() { Some(self.peek()) } else { None }
    }

    // Comments are not held in memory, so they don't count: a commented-out list may be long.
    fn skip_while_non_breakz(&mut self) -> usize {
        let rest = self.rest();
        let length = rest.find(['\n', '\r', '\u{FEFF}']).unwrap_or(rest.len());
        self.at += length;
        // With the line break behind.
        self.mark.end.set(self.mark.end.get().saturating_add(length + 1));
        if ASCII { length } else { rest.get(..length).unwrap_or("").chars().count() }
    }

    #[inline]
    fn next_2_are(&self, first: char, second: char) -> bool {
        self.peek() == first && self.peek_nth(1) == second
    }

    #[inline]
    fn next_3_are(&self, first: char, second: char, third: char) -> bool {
        self.next_2_are(first, second) && self.peek_nth(2) == third
    }

    #[inline]
    fn next_is_document_indicator(&self) -> bool {
        self.three(b'-') || self.three(b'.')
    }

    #[inline]
    fn next_is_document_start(&self) -> bool {
        self.three(b'-')
    }

    #[inline]
    fn next_is_document_end(&self) -> bool {
        self.three(b'.')
    }

    #[inline]
    fn next_is_blank_or_break(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r')
    }

    #[inline]
    fn next_is_blank_or_breakz(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r' | 0)
    }

    #[inline]
    fn next_is_blank(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t')
    }

    #[inline]
    fn next_is_break(&self) -> bool {
        matches!(self.byte(0), b'\n' | b'\r')
    }

    #[inline]
    fn next_is_breakz(&self) -> bool {
        matches!(self.byte(0), b'\n' | b'\r' | 0)
    }

    #[inline]
    fn next_is_z(&self) -> bool {
        self.byte(0) == 0
    }
}
