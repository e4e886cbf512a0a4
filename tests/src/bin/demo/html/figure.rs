//! Draws what happened to the pair: the whole time in one figure, and the moments of each event.
//!
//! In: a [`Timeline`]. Out: SVG. What a figure shows is in the tables of the page too.

use crate::html::chart::{Axis, Panel, line, path, rectangle, round_up, text, usual};
use crate::html::element::Element;
use crate::html::labels;
use crate::pair::timeline::{Mark, NodeLine, Timeline};

/// Size of the large figure; the page scales it.
const WIDTH: f64 = 980.0;
const LEFT: f64 = 160.0;
const RIGHT: f64 = 965.0;

/// Size of labels, and the height of a lane of them.
const LABEL: f64 = 12.0;
const LANE: f64 = 18.0;

/// Slots of a bin: the whole time is told by 100 ms, the moments of an event by 20 ms,
/// the interval of the traffic.
const COARSE: usize = 10;
const FINE: usize = 2;

/// Milliseconds that are shown before and after an event; more if a stall goes on for longer.
const BEFORE: f64 = 150.0;
const AFTER: f64 = 850.0;

/// The classes of both directions.
const CLASSES: [&str; 2] = ["out", "in"];

/// The whole time.
pub(crate) fn whole(timeline: &Timeline) -> Element {
    let axis = Axis { from: 0.0, until: timeline.length_ms, left: LEFT, right: RIGHT };
    let labels = Labels::of(timeline, &axis);
    let mut y = labels.bottom;
    let mut parts = Vec::new();
    let most = round_up(1.3 * usual(&timeline.directions, timeline.slot_ms, COARSE));
    for (direction, class) in timeline.directions.iter().zip(CLASSES) {
        let panel = Panel { top: y + 8.0, bottom: y + 78.0, most };
        y = panel.bottom + 10.0;
        parts.push(text("", 0.0, panel.top + 18.0, direction.name));
        parts.push(text("small", 0.0, panel.top + 34.0, "kB/s"));
        for value in [0.0, most / 2.0, most] {
            let label = format!("{value:.0}");
            parts.push(text("small end", LEFT - 6.0, panel.y(value) + 4.0, &label));
        }
        parts.extend(panel.shades(&axis, &direction.stalls));
        parts.push(panel.floor(&axis));
        parts.extend(panel.throughput(&axis, direction, timeline.slot_ms, COARSE, class));
    }
    y += 6.0;
    for node in &timeline.nodes {
        parts.push(text("", 0.0, y + 15.0, &format!("{} is", node.name)));
        parts.extend(strip(node, &axis, y, 20.0));
        y += 25.0;
    }
    y += 8.0;
    for node in &timeline.nodes {
        let most = count(timeline.sessions).max(1.0);
        let panel = Panel { top: y, bottom: y + 32.0, most: most * 1.05 };
        parts.push(text("", 0.0, y + 14.0, "sessions"));
        parts.push(text("", 0.0, y + 29.0, &format!("on {}", node.name)));
        for value in [0.0, most] {
            let label = format!("{value:.0}");
            parts.push(text("small end", LEFT - 6.0, panel.y(value) + 4.0, &label));
        }
        parts.push(panel.floor(&axis));
        parts.push(Element::new("path").class("count").with("d", counts(node, &axis, &panel)));
        y = panel.bottom + 12.0;
    }
    for tick in axis.ticks(0.0, 12.0) {
        parts.push(line("axis", axis.x(tick), y - 4.0, axis.x(tick), y));
        let label = format!("{:.0} s", tick / 1_000.0);
        parts.push(text("small middle", axis.x(tick), y + 13.0, &label));
    }
    let lines = labels.lines(timeline, &axis, y - 4.0);
    let height = y + 20.0;
    drawing(WIDTH, height, "timeline", "The pair and its sessions over the whole time")
        .child(described("timeline", &in_words(timeline)))
        .child(hatch())
        .children(lines)
        .children(parts)
        .children(labels.texts(timeline))
}

/// The moments around an event.
pub(crate) fn moments(timeline: &Timeline, mark: &Mark, number: usize) -> Element {
    let begun = |(from, _): &(f64, f64)| *from < mark.at_ms + AFTER;
    let worst = mark.worst.filter(begun).map_or(0.0, |(_, until)| until + 150.0);
    let axis = Axis {
        from: (mark.at_ms - BEFORE).max(0.0),
        until: worst.max(mark.at_ms + AFTER).min(timeline.length_ms),
        left: 34.0,
        right: 292.0,
    };
    let most = round_up(2.2 * usual(&timeline.directions, timeline.slot_ms, COARSE));
    let id = format!("moments-{number}");
    let title = format!("Throughput around: {}", mark.label);
    let mut y = 4.0;
    let mut parts = Vec::new();
    for (direction, class) in timeline.directions.iter().zip(CLASSES) {
        let panel = Panel { top: y + 14.0, bottom: y + 58.0, most };
        y = panel.bottom + 6.0;
        parts.push(text("small end", axis.right, panel.top - 4.0, direction.name));
        for value in [0.0, most] {
            let label = format!("{value:.0}");
            parts.push(text("small end", axis.left - 4.0, panel.y(value) + 4.0, &label));
        }
        parts.extend(panel.shades(&axis, &direction.stalls));
        parts.push(panel.floor(&axis));
        parts.extend(panel.throughput(&axis, direction, timeline.slot_ms, FINE, class));
    }
    parts.push(line("mark", axis.x(mark.at_ms), 4.0, axis.x(mark.at_ms), y));
    for tick in axis.ticks(mark.at_ms, 4.0) {
        let x = axis.x(mark.at_ms + tick);
        parts.push(line("axis", x, y - 6.0, x, y - 2.0));
        let label = format!("{tick:.0}");
        parts.push(text("small middle", x.clamp(12.0, 286.0), y + 10.0, &label));
    }
    drawing(300.0, y + 16.0, &id, &title)
        .child(described(&id, &stall_in_words(mark)))
        .children(parts)
}

/// What the moments of an event show, in words.
pub(crate) fn stall_in_words(mark: &Mark) -> String {
    let Mark { stalled, .. } = mark;
    if *stalled == 0 {
        return "no session stalled".to_owned();
    }
    format!("{stalled} sessions stalled, for {:.0} ms at most", mark.longest())
}

/// A sample of a class for the key.
pub(crate) fn sample(class: &'static str) -> Element {
    let shape = match class {
        "out" | "in" => Element::new("path").class(class).with("d", "M0 8L32 8"),
        _ => rectangle(class, 1.0, 1.0, 30.0, 14.0),
    };
    Element::new("svg").with("viewBox", "0 0 32 16").with("aria-hidden", "true").child(shape)
}

/// Labels of the events above the figure, and the lines down from them.
struct Labels {
    places: Vec<labels::Place>,
    /// Where the figure below them begins.
    bottom: f64,
}

impl Labels {
    fn of(timeline: &Timeline, axis: &Axis) -> Self {
        let wide = |mark: &Mark| labels::width(mark.label, LABEL) + BADGE;
        let marks: Vec<_> =
            timeline.marks.iter().map(|mark| (axis.x(mark.at_ms), wide(mark))).collect();
        let places = labels::place(&marks, WIDTH);
        let lanes = places.iter().map(|place| place.lane + 1).max().unwrap_or(0);
        Self { places, bottom: count(lanes) * LANE + 4.0 }
    }

    /// The middle of a lane.
    fn y(&self, place: &labels::Place) -> f64 {
        self.bottom - 4.0 - (count(place.lane) + 0.5) * LANE
    }

    fn lines(&self, timeline: &Timeline, axis: &Axis, down_to: f64) -> Vec<Element> {
        let marks = timeline.marks.iter().zip(&self.places);
        let line = |(mark, place): (&Mark, &labels::Place)| {
            let x = axis.x(mark.at_ms);
            line("mark", x, self.y(place) + 7.0, x, down_to)
        };
        marks.map(line).collect()
    }

    fn texts(&self, timeline: &Timeline) -> Vec<Element> {
        let marks = timeline.marks.iter().zip(&self.places).zip(1..);
        let label = |((mark, place), number): ((&Mark, &labels::Place), usize)| {
            let y = self.y(place);
            let badge = Element::new("circle").class("badge").with("r", 7.5);
            let badge = badge.with("cx", format_args!("{:.1}", place.x + 8.0));
            let badge = badge.with("cy", format_args!("{y:.1}"));
            [
                badge,
                text("number", place.x + 8.0, y + 4.0, &number.to_string()),
                text("", place.x + BADGE, y + 4.0, mark.label),
            ]
        };
        marks.flat_map(label).collect()
    }
}

/// Room for the number before a label.
const BADGE: f64 = 20.0;

/// What a gateway was, from left to right.
fn strip(node: &NodeLine, axis: &Axis, y: f64, height: f64) -> Vec<Element> {
    let mut parts = Vec::new();
    for span in &node.spans {
        let (left, right) = (axis.x(span.from_ms), axis.x(span.until_ms));
        let (class, on, words) = match span.state.as_deref() {
            Some("active") => ("active", "middle on-active", "active"),
            Some("backup") => ("backup", "middle", "backup"),
            Some(_) => ("silent", "middle", "starts"),
            None => ("silent", "middle", "no answer"),
        };
        parts.push(rectangle(class, left, y, right - left, height));
        if right - left > labels::width(words, LABEL) + 6.0 {
            parts.push(text(on, f64::midpoint(left, right), y + height / 2.0 + 4.0, words));
        }
    }
    parts
}

/// How many sessions a gateway had, in steps; nothing where it did not answer.
fn counts(node: &NodeLine, axis: &Axis, panel: &Panel) -> String {
    let mut text = String::new();
    let mut run: Vec<(f64, f64)> = Vec::new();
    for (at, sessions) in &node.sessions {
        match sessions {
            Some(sessions) => {
                let (x, y) = (axis.x(*at), panel.y(count(*sessions)));
                let before = run.last().map(|(_, y)| *y);
                run.extend(before.map(|before| (x, before)));
                run.push((x, y));
            }
            None => {
                let last = run.last().map(|(_, y)| (axis.x(*at), *y));
                run.extend(last);
                text.push_str(&path(&std::mem::take(&mut run)));
            }
        }
    }
    // The last answer holds to the end.
    let last = run.last().map(|(_, y)| (axis.right, *y));
    run.extend(last);
    text + &path(&run)
}

fn drawing(width: f64, height: f64, id: &str, title: &str) -> Element {
    Element::new("svg")
        .with("viewBox", format_args!("0 0 {width:.0} {height:.0}"))
        .with("role", "img")
        .with("aria-labelledby", format_args!("{id}-title {id}-words"))
        .child(Element::new("title").with("id", format_args!("{id}-title")).text(title))
}

fn described(id: &str, words: &str) -> Element {
    Element::new("desc").with("id", format_args!("{id}-words")).text(words)
}

/// For what did not answer: told apart without colour.
fn hatch() -> Element {
    let pattern = Element::new("pattern").with("id", "hatch").with("width", 6).with("height", 6);
    let pattern = pattern.with("patternUnits", "userSpaceOnUse");
    let pattern = pattern.with("patternTransform", "rotate(45)");
    Element::new("defs").child(pattern.child(line("hatch", 0.0, 0.0, 0.0, 6.0)))
}

/// The figure in words, for those who don't see it.
fn in_words(timeline: &Timeline) -> String {
    let marks = timeline.marks.iter().map(|mark| {
        let seconds = mark.at_ms / 1_000.0;
        format!("{} at {seconds:.1} s: {}", mark.label, stall_in_words(mark))
    });
    marks.collect::<Vec<_>>().join("; ")
}

#[expect(clippy::cast_precision_loss, reason = "sessions and lanes are few")]
fn count(items: usize) -> f64 {
    items as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::timeline::{Direction, Span};

    pub(super) fn timeline() -> Timeline {
        let direction =
            |name| Direction { name, bytes: vec![5_000; 200], stalls: vec![(905.0, 951.0)] };
        let span = |from_ms, until_ms, state: Option<&str>| Span {
            from_ms,
            until_ms,
            state: state.map(str::to_owned),
        };
        let mark = Mark {
            name: "death",
            label: "gw-a <dies>",
            at_ms: 900.0,
            alive: 100,
            stalled: 60,
            longest_ms: [46.0, 38.0],
            worst: Some((905.0, 951.0)),
        };
        Timeline {
            length_ms: 2_000.0,
            sessions: 100,
            slot_ms: 10,
            directions: [direction("there"), direction("back")],
            nodes: vec![NodeLine {
                name: "gw-a".to_owned(),
                spans: vec![span(0.0, 900.0, Some("active")), span(900.0, 2_000.0, None)],
                sessions: vec![(0.0, Some(0)), (500.0, Some(100)), (910.0, None)],
            }],
            marks: vec![mark],
        }
    }

    #[test]
    fn the_figure_has_every_part() {
        let text = whole(&timeline()).to_string();
        for part in [
            "class=\"out\"",
            "class=\"in\"",
            "class=\"gap\"",
            "class=\"active\"",
            "class=\"silent\"",
            "class=\"count\"",
            "no answer",
            "gw-a &lt;dies&gt;",
            "60 sessions stalled, for 46 ms at most",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn sessions_end_where_a_gateway_no_longer_answers() {
        let timeline = timeline();
        let axis = Axis { from: 0.0, until: 2_000.0, left: 0.0, right: 200.0 };
        let panel = Panel { top: 0.0, bottom: 10.0, most: 100.0 };
        let drawn = counts(&timeline.nodes[0], &axis, &panel);
        assert_eq!(drawn, "M0.0 10.0L50.0 10.0L50.0 0.0L91.0 0.0");
    }

    #[test]
    fn an_empty_time_draws_without_a_fault() {
        let empty = Timeline { length_ms: 0.0, marks: Vec::new(), nodes: Vec::new(), ..timeline() };
        assert!(!whole(&empty).to_string().contains("NaN"));
    }
}
