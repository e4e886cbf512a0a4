//! How the demo reads: plain text for 80 columns, whether or not a terminal shows it.
//!
//! In: texts, rows, the report. Out: lines on standard output; that nobody reads them is no error.

use crate::chapter::Settings;
use crate::phases;
use crate::report::{Check, Report};
use std::io::{self, Write};
use std::path::Path;

/// Columns of a line.
const WIDTH: usize = 80;

/// What the demo is about, before the first chapter.
pub(crate) fn introduction(settings: &Settings) {
    line("Twinwall demo");
    line("=============");
    paragraph(
        "A firewall decides a session by its first packets and remembers the decision. When an \
         operator changes the rules, what it remembers has to change too; otherwise running \
         sessions are decided by rules that are no longer there.",
    );
    paragraph(
        "This demo changes rules under running traffic and counts every packet: first on \
         iptables, set up as an old appliance did it, then on Twinwall. In the end a pair of \
         gateways carries 100 sessions through whatever is done to it. All of it runs in network \
         namespaces of its own. Nothing else on this machine is touched.",
    );
    raw("\n  client 10.0.0.5 ------- gw-a, the firewall ------- server 198.51.100.7\n\n");
    raw("  stream   the client sent one UDP datagram to port 9000; since then only\n");
    raw("           the server sends, 500 datagrams a second\n");
    raw("  ping     the client pings the server, 50 to 100 times a second\n");
    paragraph(
        "Two rules, in four policies that are loaded one after the other. The rule with the \
         lowest number that matches decides:",
    );
    raw(&phases::overview());
    paragraph(
        "The packets are counted in the gateway, by an nftables table that decides nothing. A step \
         counts those that come after its policy has been reported as loaded, about a second long.",
    );
    if settings.rules > 0 {
        paragraph(&format!(
            "Twinwall's policies have {} rules more, none of which this traffic matches.",
            number(settings.rules.into())
        ));
    }
}

/// The head of a chapter.
pub(crate) fn heading(number: usize, title: &str) {
    let text = format!("{number}. {title}");
    line("");
    line(&text);
    line(&"-".repeat(text.chars().count()));
}

/// The head of a step.
pub(crate) fn step(name: &str, title: &str) {
    line("");
    wrapped(&format!("[{name}] "), &" ".repeat(name.chars().count() + 3), title);
}

/// A paragraph, with an empty line before it.
pub(crate) fn paragraph(text: &str) {
    line("");
    wrapped("", "", text);
}

/// Text as it is, such as the output of a program.
pub(crate) fn raw(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Why a chapter ended early.
pub(crate) fn failure(text: &str) {
    paragraph(&format!("This chapter ended early: {text}"));
}

/// The table of everything that was checked, and what follows from it.
pub(crate) fn conclusion(report: &Report, path: &Path, page: &Path) {
    line("");
    line("Expected and seen");
    line("-----------------");
    let rows = || report.chapters.iter().flat_map(|chapter| &chapter.checks);
    let widest = |cell: fn(&Check) -> &String, least: usize| {
        rows().map(|row| cell(row).chars().count()).fold(least, usize::max)
    };
    let (expected, seen) = (widest(|row| &row.expected, 8), widest(|row| &row.seen, 4));
    // Two spaces before each column, and "held" as the last.
    let name = WIDTH.saturating_sub(2 + 2 + expected + 2 + seen + 2 + 4).max(20);
    for chapter in &report.chapters {
        line("");
        line(&format!(
            "{:<width$}  {:>expected$}  {:>seen$}  held",
            chapter.title,
            "expected",
            "seen",
            width = name + 2
        ));
        for row in &chapter.checks {
            for (index, part) in fill(&row.name, name).iter().enumerate() {
                let cells = if index == 0 {
                    let held = if row.held { "yes" } else { "NO" };
                    format!("  {:>expected$}  {:>seen$}  {held}", row.expected, row.seen)
                } else {
                    String::new()
                };
                line(format!("  {part:<name$}{cells}").trim_end());
            }
        }
        if let Some(error) = &chapter.error {
            wrapped("  ", "  ", &format!("not done: {error}"));
        }
    }
    let checks = rows().count();
    let held = rows().filter(|row| row.held).count();
    let outcome = if report.interrupted {
        "The demo was interrupted.".to_owned()
    } else if report.held {
        format!("All {checks} checks held, in {:.0} s.", report.seconds)
    } else if held < checks {
        format!("{} of {checks} checks did NOT hold.", checks - held)
    } else {
        "The demo could NOT be done.".to_owned()
    };
    paragraph(&outcome);
    line(&format!("As a page:   {}", page.display()));
    line(&format!("All figures: {}", path.display()));
}

/// A number as people read it: `10,002`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn line(text: &str) {
    raw(&format!("{text}\n"));
}

/// Text in lines of at most 80 columns, the first after `first`, the others after `rest`.
fn wrapped(first: &str, rest: &str, text: &str) {
    for (index, part) in fill(text, WIDTH.saturating_sub(rest.chars().count())).iter().enumerate() {
        line(&format!("{}{part}", if index == 0 { first } else { rest }));
    }
}

/// Breaks text between words. A line break in the text stays; a word that is too long stays whole.
fn fill(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut current = String::new();
        for word in paragraph.split_whitespace() {
            let length = current.chars().count() + 1 + word.chars().count();
            if !current.is_empty() && length > width {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(fill("one two three", 7), ["one two", "three"]);
        assert_eq!(fill("one\ntwo", 80), ["one", "two"]);
        assert_eq!(fill("toolongforit", 4), ["toolongforit"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(10_002), "10,002");
        assert_eq!(number(1_234_567), "1,234,567");
    }
}
