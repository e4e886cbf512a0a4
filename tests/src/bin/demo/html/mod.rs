//! The report as a page: one file without scripts that needs nothing else, for a browser or a
//! printer.
//!
//! In: the report. Out: HTML. Every number in it is the report's. Not here: the report as JSON
//! (`report`) and what is printed (`page`).

mod chart;
mod element;
mod figure;
mod labels;

use crate::error::{Error, io};
use crate::page::number;
use crate::pair::timeline::{STALL_MS, Timeline};
use crate::report::{Chapter, Check, Report};
use element::Element;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const STYLE: &str = include_str!("style.css");

/// No script runs and nothing is fetched, whatever a text in the page may say.
const RULES: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Where the page goes: beside the report, under its name.
pub(crate) fn path(report: &Path) -> PathBuf {
    if report.extension().is_some_and(|extension| extension == "json") {
        return report.with_extension("html");
    }
    let mut name = report.as_os_str().to_owned();
    name.push(".html");
    name.into()
}

/// Writes the page.
pub(crate) fn write(path: &Path, report: &Report, figures: &Path) -> Result<(), Error> {
    let text = format!("<!DOCTYPE html>\n{}", document(report, figures, SystemTime::now()));
    fs::write(path, text).map_err(io(format!("write {}", path.display())))
}

fn document(report: &Report, figures: &Path, now: SystemTime) -> Element {
    let title = "Twinwall demo: expected and seen";
    let viewport = "width=device-width, initial-scale=1";
    let head = Element::new("head")
        .child(Element::new("meta").with("charset", "utf-8"))
        .child(Element::new("meta").with("name", "viewport").with("content", viewport))
        .child(
            Element::new("meta")
                .with("http-equiv", "Content-Security-Policy")
                .with("content", RULES),
        )
        .child(Element::new("title").text(title))
        .child(Element::new("style").verbatim(STYLE));
    // What is drawn comes first.
    let (drawn, told): (Vec<_>, Vec<_>) =
        report.chapters.iter().partition(|chapter| chapter.timeline.is_some());
    let chapters: Vec<&Chapter> = drawn.into_iter().chain(told).collect();
    let main = Element::new("main").children(chapters.iter().map(|chapter| section(chapter)));
    let body = Element::new("body")
        .child(introduction(report, title, now))
        .child(contents(&chapters))
        .child(main)
        .child(ending(figures));
    Element::new("html").with("lang", "en").child(head).child(body)
}

fn introduction(report: &Report, title: &str, now: SystemTime) -> Element {
    let checks = || report.chapters.iter().flat_map(|chapter| &chapter.checks);
    let (all, held) = (checks().count(), checks().filter(|check| check.held).count());
    let outcome = if report.held {
        Element::new("p")
            .class("outcome held")
            .text(format_args!("All {all} checks held, in {:.0} s.", report.seconds))
    } else {
        let why = if report.interrupted { "It was interrupted." } else { "It failed." };
        Element::new("p")
            .class("outcome failed")
            .text(format_args!("{held} of {all} checks held. {why}"))
    };
    let system = &report.system;
    let rights = if system.user_namespace { "an ordinary user's" } else { "root's" };
    let rules = if system.rules_added > 0 {
        format!(" {} rules were added to each policy.", number(system.rules_added.into()))
    } else {
        String::new()
    };
    let machine = format!(
        "Twinwall {}, {}, kernel {}, {} processors, {rights} privileges, {}.{rules}",
        system.twinwall,
        system.distribution,
        system.kernel,
        system.processors,
        humantime::format_rfc3339_seconds(now),
    );
    Element::new("header")
        .child(Element::new("h1").text(title))
        .child(outcome)
        .child(Element::new("p").class("soft").text(machine))
}

fn contents(chapters: &[&Chapter]) -> Element {
    let entries = chapters.iter().map(|chapter| {
        let link = Element::new("a").with("href", format_args!("#{}", chapter.name));
        Element::new("li").child(link.text(chapter.title))
    });
    let list = Element::new("ul").children(entries);
    Element::new("nav").with("aria-label", "Chapters").child(list)
}

fn section(chapter: &Chapter) -> Element {
    let mut section = Element::new("section")
        .with("id", chapter.name)
        .child(Element::new("h2").text(chapter.title));
    if let Some(error) = &chapter.error {
        let words = format!("This chapter ended early: {error}");
        section.add(Element::new("p").class("failed").text(words));
    }
    if let Some(timeline) = &chapter.timeline {
        section = section.children(drawn(timeline));
    }
    if !chapter.checks.is_empty() {
        section.add(Element::new("h3").text("Expected and seen"));
        section.add(checks(chapter));
    }
    section
}

/// The figures of a timeline, and the same in a table.
fn drawn(timeline: &Timeline) -> Vec<Element> {
    let key = [
        ("out", "to the outside"),
        ("in", "from the outside"),
        ("gap", "sessions stalled"),
        ("active", "active: forwards"),
        ("backup", "backup: stands by"),
        ("silent", "its daemon does not answer"),
    ]
    .map(|(class, words)| Element::new("li").child(figure::sample(class)).text(words));
    let caption = format!(
        "{} TCP sessions through two gateways, half of them opened from each side; in each, both \
         ends send a little all the time. Shaded: some session stalled, which means that something \
         was under way for more than {STALL_MS:.0} ms. What waited comes at once afterwards; such \
         peaks are cut off at the top.",
        timeline.sessions
    );
    let whole = wide("The whole time", figure::whole(timeline));
    let figure = Element::new("figure")
        .child(Element::new("ul").class("key").children(key))
        .child(Element::new("div").class("timeline").child(whole))
        .child(Element::new("figcaption").text(caption));
    let zooms = timeline.marks.iter().zip(1..).map(|(mark, number)| {
        Element::new("div")
            .child(Element::new("h4").text(format_args!("{number}. {}", mark.label)))
            .child(Element::new("p").text(figure::stall_in_words(mark)))
            .child(figure::moments(timeline, mark, number))
    });
    vec![
        figure,
        Element::new("h3").text("The moments of each event"),
        Element::new("p").class("soft").text(
            "kB/s in steps of 20 ms, the interval at which each end sends; milliseconds since the \
             event was begun.",
        ),
        Element::new("div").class("zooms").children(zooms),
        Element::new("h3").text("What each event did to the sessions"),
        events(timeline),
    ]
}

fn events(timeline: &Timeline) -> Element {
    let [out, back] = timeline.directions.each_ref().map(|direction| direction.name);
    let heads = [
        "#".to_owned(),
        "event".to_owned(),
        "at, s".to_owned(),
        "alive".to_owned(),
        "stalled".to_owned(),
        format!("longest stall {out}, ms"),
        format!("{back}, ms"),
    ];
    let rows = timeline.marks.iter().zip(1_usize..).map(|(mark, place)| {
        let stall = |ms: f64| if ms > 0.0 { format!("{ms:.0}") } else { "under 10".to_owned() };
        let [out, back] = mark.longest_ms.map(stall);
        let cells = [
            format!("{:.1}", mark.at_ms / 1_000.0),
            mark.alive.to_string(),
            mark.stalled.to_string(),
            out,
            back,
        ];
        Element::new("tr")
            .child(cell("td", true, &place.to_string()))
            .child(cell("th", false, mark.label).with("scope", "row"))
            .children(cells.iter().map(|words| cell("td", true, words)))
    });
    let caption = format!("Of {} sessions; both ends are asked.", timeline.sessions);
    let numbers = |index: usize| index != 1;
    wide("What each event did", table(&caption, &heads, numbers, rows))
}

fn checks(chapter: &Chapter) -> Element {
    let heads = ["checked", "expected", "seen", "held"].map(str::to_owned);
    let row = |check: &Check| {
        let (class, held) = if check.held { ("held", "yes") } else { ("failed", "NO") };
        Element::new("tr")
            .child(cell("th", false, &check.name).with("scope", "row"))
            .child(cell("td", true, &check.expected))
            .child(cell("td", true, &check.seen))
            .child(cell("td", false, held).class(class))
    };
    let held = chapter.checks.iter().filter(|check| check.held).count();
    let caption = format!("{held} of {} held.", chapter.checks.len());
    let numbers = |index: usize| index == 1 || index == 2;
    let label = format!("Checks of: {}", chapter.title);
    wide(&label, table(&caption, &heads, numbers, chapter.checks.iter().map(row)))
}

fn table(
    caption: &str,
    heads: &[String],
    is_number: impl Fn(usize) -> bool,
    rows: impl Iterator<Item = Element>,
) -> Element {
    let heads = heads.iter().enumerate();
    let heads =
        heads.map(|(index, words)| cell("th", is_number(index), words).with("scope", "col"));
    Element::new("table")
        .child(Element::new("caption").text(caption))
        .child(Element::new("thead").child(Element::new("tr").children(heads)))
        .child(Element::new("tbody").children(rows))
}

fn cell(name: &'static str, is_number: bool, words: &str) -> Element {
    let cell = Element::new(name).text(words);
    if is_number { cell.class("number") } else { cell }
}

/// What may be wider than a narrow screen: it can be moved there, with the keyboard too.
fn wide(label: &str, content: Element) -> Element {
    Element::new("div")
        .with("role", "region")
        .with("tabindex", 0)
        .with("aria-label", label)
        .child(content)
        .class("wide")
}

fn ending(figures: &Path) -> Element {
    let name = figures.file_name().unwrap_or(figures.as_os_str()).display();
    let text = Element::new("p").class("soft").text("All figures are in ");
    let text = text.child(Element::new("code").text(name)).text(" beside this page.");
    Element::new("footer").child(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::System;
    use serde_json::Map;

    fn report(error: Option<&str>) -> Report {
        let system = System {
            twinwall: "0.1.0".to_owned(),
            kernel: "6.1".to_owned(),
            distribution: "<b>Debian</b>".to_owned(),
            processors: 4,
            user_namespace: false,
            rules_added: 0,
        };
        let check = Check {
            name: "a & b".to_owned(),
            expected: "<0>".to_owned(),
            seen: "1".to_owned(),
            held: false,
        };
        let chapter = Chapter {
            name: "pair",
            title: "A pair",
            held: false,
            error: error.map(str::to_owned),
            steps: Vec::new(),
            checks: vec![check],
            figures: Map::new(),
            timeline: None,
        };
        Report { chapters: vec![chapter], ..Report::new(system) }
    }

    #[test]
    fn texts_of_the_run_are_escaped_wherever_they_stand() {
        let page =
            document(&report(Some("</main><script>")), Path::new("r.json"), SystemTime::UNIX_EPOCH);
        let page = page.to_string();
        for text in ["&lt;b&gt;Debian", "a &amp; b", "&lt;0&gt;", "&lt;/main&gt;&lt;script&gt;"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("0 of 1 checks held. It failed."), "{page}");
    }

    #[test]
    fn the_page_lies_beside_the_report_and_never_in_its_place() {
        assert_eq!(path(Path::new("a/report.json")), Path::new("a/report.html"));
        assert_eq!(path(Path::new("a/report")), Path::new("a/report.html"));
        assert_eq!(path(Path::new("report.html")), Path::new("report.html.html"));
    }
}
