//! Words, numbers and times as text.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;
use twinwall_vrrp::addresses::VirtualAddresses;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::track::Health;
use twinwall_vrrp::types::Centiseconds;

/// The rest of a line.
pub(super) type Words<'a> = SplitWhitespace<'a>;

/// Without comments and empty lines.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let bare = |line: &'_ str| line.split_once('#').map_or(line.len(), |(line, _)| line.len());
    text.lines().map(move |line| line.get(..bare(line)).unwrap_or(line).trim()).filter(not_empty)
}

fn not_empty(line: &&str) -> bool {
    !line.is_empty()
}

pub(super) fn next<'a>(words: &mut Words<'a>) -> Result<&'a str, String> {
    words.next().ok_or("a word is missing".to_owned())
}

pub(super) fn parse<T: FromStr<Err: Display>>(word: &str) -> Result<T, String> {
    word.parse().map_err(|error| format!("{word}: {error}"))
}

pub(super) fn centiseconds(word: &str) -> Result<Centiseconds, String> {
    Centiseconds::new(parse(word)?).ok_or("an interval is 1 to 4095 centiseconds".to_owned())
}

pub(super) fn virtual_addresses(word: &str) -> Result<VirtualAddresses, String> {
    let addresses = word.split(',').map(parse).collect::<Result<Vec<IpAddr>, _>>()?;
    VirtualAddresses::new(addresses).map_err(|error| error.to_string())
}

pub(super) fn health(word: &str) -> Result<Health, String> {
    match word {
        "good" => Ok(Health::Good),
        "bad" => Ok(Health::Bad),
        "unknown" => Ok(Health::Unknown),
        other => Err(format!("unknown health {other}")),
    }
}

/// Such as `3609.375ms`, `2s`, `100us`.
pub(super) fn duration(word: &str) -> Result<Duration, String> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let unit: u64 = match word.get(digits.len()..).unwrap_or_default() {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        other => return Err(format!("unknown unit {other}")),
    };
    let mut nanoseconds = parse::<u64>(whole)? * unit;
    let mut place = unit;
    for digit in fraction.chars() {
        place /= 10;
        nanoseconds += place * u64::from(digit.to_digit(10).ok_or("not a number")?);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

pub(super) fn show_time(time: Timestamp) -> String {
    let nanoseconds = time.since_origin().as_nanos();
    let (whole, rest) = (nanoseconds / 1_000_000, nanoseconds % 1_000_000);
    let shown = format!("{whole}.{rest:06}");
    format!("{}ms", shown.trim_end_matches('0').trim_end_matches('.'))
}

pub(super) fn show_error(error: impl Display) -> String {
    error.to_string()
}

/// Pairs of hexadecimal digits, four bytes to a word.
pub(super) fn hex(bytes: &[u8]) -> String {
    let words = bytes.chunks(4).map(|word| word.iter().map(|b| format!("{b:02x}")).collect());
    words.collect::<Vec<String>>().join(" ")
}

pub(super) fn from_hex(words: &mut Words<'_>) -> Result<Vec<u8>, String> {
    let digits: String = words.collect();
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).map_err(show_error)?;
        u8::from_str_radix(pair, 16).map_err(show_error)
    });
    pairs.collect()
}
