//! Numbers, sizes and times as people read them.

use humantime::{format_rfc3339_seconds, parse_rfc3339};
use std::time::{Duration, SystemTime};

/// A count with its noun: `1 rule`, `1,200 rules`. The plural takes an `s`.
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// A number with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes to three digits, in powers of 1,000 as networks count: `842 B`, `12.3 kB`, `1.20 GB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1e3;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"");
    // What would be rounded to 1000 belongs to the next unit.
    while value >= 999.5
        && let Some(next) = units.next()
    {
        value /= 1e3;
        unit = next;
    }
    let digits = match value {
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A duration in its two largest units: `12s`, `3m 4s`, `2h 0m`, `17d 3h`.
pub(super) fn span(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = duration.as_secs();
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m {}s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{}h {}m", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{}d {}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// How long ago a time of a report was: `12s ago`. A time that can't be read is shown as it is.
pub(super) fn ago(time: &str, now: SystemTime) -> String {
    match parse_rfc3339(time) {
        // A clock that was set back since is no reason for a negative age.
        Ok(at) => format!("{} ago", span(now.duration_since(at).unwrap_or_default())),
        Err(_) => printable(time),
    }
}

/// How long ago, and when: `3m 4s ago (2026-01-31T12:00:00Z)`.
pub(super) fn ago_and_when(time: &str, now: SystemTime) -> String {
    match parse_rfc3339(time) {
        Ok(at) => format!("{} ({})", ago(time, now), format_rfc3339_seconds(at)),
        Err(_) => printable(time),
    }
}

/// A text without anything that could move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{FFFD}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(counted(1, "rule"), "1 rule");
        assert_eq!(counted(1200, "rule"), "1,200 rules");
    }

    #[test]
    fn sizes_have_three_digits_and_never_a_thousand() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9994, "9.99 kB"),
            (9995, "10.0 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_204_000_000, "1.20 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3599, "59m 59s"),
            (3600, "1h 0m"),
            (86_399, "23h 59m"),
            (86_400, "1d 0h"),
            (432_000, "5d 0h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn ages_count_from_the_given_now() {
        let now = parse_rfc3339("2026-01-31T12:00:00Z").unwrap();
        assert_eq!(ago("2026-01-31T11:59:48.123Z", now), "11s ago");
        assert_eq!(ago("2026-01-31T12:00:01Z", now), "0s ago");
        assert_eq!(ago("yester\u{7}day", now), "yester\u{FFFD}day");
        assert_eq!(
            ago_and_when("2026-01-30T10:30:00.250Z", now),
            "1d 1h ago (2026-01-30T10:30:00Z)"
        );
    }
}
