//! The words of a line, one after the other.
//!
//! Goes in: a line. Comes out: words, numbers and ranges, or the reason why there are none.

use twinwall_policy::matching::PortRange;

/// The part of a line that has not been read yet.
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: line.trim() }
    }

    /// The next word, or `None` at the end of the line.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let (word, rest) = match self.rest.split_once(char::is_whitespace) {
            Some((word, rest)) => (word, rest.trim_start()),
            None => (self.rest, ""),
        };
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// The next word, which has to be there.
    pub(super) fn word(&mut self, what: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("the line ends before the {what}"))
    }

    /// The next word as a decimal number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        decimal(self.word(what)?, what)
    }

    /// A range of ports, `low : high`, with or without spaces.
    pub(super) fn ports(&mut self, what: &str) -> Result<PortRange, String> {
        let low: u16 = self.port(what)?;
        let Some(rest) = self.rest.strip_prefix(':') else {
            return Err(format!("expected `:` between the {what}s, found `{}`", first(self.rest)));
        };
        self.rest = rest.trim_start();
        let high = self.port(what)?;
        PortRange::new(low, high).ok_or_else(|| format!("{what} {low} is above {high}"))
    }

    fn port(&mut self, what: &str) -> Result<u16, String> {
        let end = self.rest.find(|c: char| c == ':' || c.is_whitespace());
        let (port, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if port.is_empty() {
            return Err(format!("expected a {what}, found `{}`", first(self.rest)));
        }
        self.rest = rest.trim_start();
        decimal(port, what)
    }
}

/// A decimal number; signs are refused, as the files have none.
pub(super) fn decimal<T: std::str::FromStr>(word: &str, what: &str) -> Result<T, String> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| word.parse().ok()).flatten();
    number.ok_or_else(|| format!("`{}` is not a {what}", shown(word)))
}

/// A hexadecimal number with `0x` before it.
pub(super) fn hexadecimal(word: &str, what: &str) -> Result<u64, String> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| format!("`{}` is not a {what} in hexadecimal", shown(word)))
}

/// A word as messages show it: the start of it when it is long, nothing that moves a terminal.
pub(super) fn shown(word: &str) -> String {
    const LONGEST: usize = 60;
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut shown: String = word.chars().take(LONGEST).map(visible).collect();
    if word.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

fn first(rest: &str) -> String {
    shown(rest.split_whitespace().next().unwrap_or("the end of the line"))
}
