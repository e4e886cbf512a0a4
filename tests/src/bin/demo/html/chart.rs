//! Parts of diagrams: an axis of time, curves, shades, texts. All in SVG, in units of the drawing.
//!
//! Colours and typefaces are the style sheet's; a part only names its class. Not here: what is drawn
//! ([`super::figure`]).

use crate::html::element::Element;
use crate::pair::timeline::Direction;
use std::fmt::Write;

/// A stretch of time, laid from left to right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// Milliseconds at the left and right ends.
    pub(crate) from: f64,
    pub(crate) until: f64,
    /// Where these are.
    pub(crate) left: f64,
    pub(crate) right: f64,
}

impl Axis {
    /// Where a time is. Times before and after lie at the ends.
    pub(crate) fn x(&self, ms: f64) -> f64 {
        let part = (ms - self.from) / (self.until - self.from).max(1e-9);
        self.left + part.clamp(0.0, 1.0) * (self.right - self.left)
    }

    /// Whether it shows some of this.
    pub(crate) fn shows(&self, from: f64, until: f64) -> bool {
        until >= self.from && from <= self.until
    }

    /// Round times within it, about so many, counted from `origin`.
    pub(crate) fn ticks(&self, origin: f64, about: f64) -> Vec<f64> {
        let step = round_up((self.until - self.from) / about);
        let mut number = ((self.from - origin) / step).ceil();
        let mut ticks = Vec::new();
        while origin + number * step <= self.until && ticks.len() < 100 {
            // Adding zero makes a negative zero a plain one.
            ticks.push(number * step + 0.0);
            number += 1.0;
        }
        ticks
    }
}

/// A curve's room from top to bottom, and its scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel {
    /// Where it begins.
    pub(crate) top: f64,
    /// Where its zero is.
    pub(crate) bottom: f64,
    /// The value at its top; larger ones are cut off.
    pub(crate) most: f64,
}

impl Panel {
    /// Where a value is.
    pub(crate) fn y(&self, value: f64) -> f64 {
        let part = (value / self.most.max(1e-9)).clamp(0.0, 1.0);
        self.bottom - part * (self.bottom - self.top)
    }

    /// Shades over stretches of time.
    pub(crate) fn shades(&self, axis: &Axis, stretches: &[(f64, f64)]) -> Vec<Element> {
        let shown = stretches.iter().filter(|(from, until)| axis.shows(*from, *until));
        let shade = |(from, until): &(f64, f64)| {
            let left = axis.x(*from);
            // What is too short to be seen is made visible.
            let wide = (axis.x(*until) - left).max(1.5);
            rectangle("gap", left, self.top, wide, self.bottom - self.top)
        };
        shown.map(shade).collect()
    }

    /// Its zero.
    pub(crate) fn floor(&self, axis: &Axis) -> Element {
        line("axis", axis.left, self.bottom, axis.right, self.bottom)
    }

    /// A throughput in kB/s, from bins of so many slots, with the room below it filled.
    pub(crate) fn throughput(
        &self,
        axis: &Axis,
        direction: &Direction,
        slot_ms: u64,
        bin: usize,
        class: &'static str,
    ) -> [Element; 2] {
        let points: Vec<(f64, f64)> = rates(&direction.bytes, slot_ms, bin)
            .filter(|(at, _)| axis.shows(*at, *at))
            .map(|(at, rate)| (axis.x(at), self.y(rate)))
            .collect();
        let curve = path(&points);
        let mut area = curve.clone();
        if let Some(((first, _), (last, _))) = points.first().zip(points.last()) {
            let _ = write!(area, "L{last:.1} {0:.1}L{first:.1} {0:.1}Z", self.bottom);
        }
        [
            Element::new("path").class(format_args!("{class}-area")).with("d", area),
            Element::new("path").class(class).with("d", curve),
        ]
    }
}

/// The middle of each bin in milliseconds, and what came in it in kB/s.
pub(crate) fn rates(bytes: &[u64], slot_ms: u64, bin: usize) -> impl Iterator<Item = (f64, f64)> {
    let width = slot_ms.saturating_mul(bin.try_into().unwrap_or(u64::MAX));
    let width = small(width);
    // A last bin that isn't whole would look like a fall.
    bytes.chunks_exact(bin.max(1)).zip(0_u32..).map(move |(chunk, number)| {
        let came = small(chunk.iter().sum());
        ((f64::from(number) + 0.5) * width, came / width)
    })
}

/// What usually came in kB/s: the median.
pub(crate) fn usual(directions: &[Direction], slot_ms: u64, bin: usize) -> f64 {
    let mut all: Vec<f64> = directions
        .iter()
        .flat_map(|direction| rates(&direction.bytes, slot_ms, bin).map(|(_, rate)| rate))
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}

/// The next of 1, 2, 5, 10, ... in any power of ten.
pub(crate) fn round_up(value: f64) -> f64 {
    if value.is_nan() || value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// A line through points.
pub(crate) fn path(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        // Writing to a String never fails.
        let _ = write!(text, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
    }
    text
}

pub(crate) fn line(class: &'static str, x1: f64, y1: f64, x2: f64, y2: f64) -> Element {
    let element = Element::new("line").class(class);
    [("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)]
        .into_iter()
        .fold(element, |element, (name, value)| element.with(name, format_args!("{value:.1}")))
}

pub(crate) fn rectangle(class: &'static str, x: f64, y: f64, width: f64, height: f64) -> Element {
    let element = Element::new("rect").class(class);
    [("x", x), ("y", y), ("width", width), ("height", height)]
        .into_iter()
        .fold(element, |element, (name, value)| element.with(name, format_args!("{value:.1}")))
}

pub(crate) fn text(class: &'static str, x: f64, y: f64, words: &str) -> Element {
    let element = Element::new("text").with("x", format_args!("{x:.1}"));
    let element = element.with("y", format_args!("{y:.1}"));
    if class.is_empty() { element.text(words) } else { element.class(class).text(words) }
}

#[expect(clippy::cast_precision_loss, reason = "bytes and times of a demo are far below 2^52")]
fn small(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_whole_bins_and_in_their_middle() {
        let found: Vec<_> = rates(&[100, 300, 0, 200, 999], 10, 2).collect();
        assert_eq!(found, [(10.0, 20.0), (30.0, 10.0)]);
    }

    #[test]
    fn ticks_are_round_and_within() {
        let axis = Axis { from: 950.0, until: 2_010.0, left: 0.0, right: 100.0 };
        assert_eq!(axis.ticks(1_000.0, 5.0), [0.0, 500.0, 1_000.0]);
        assert_eq!(round_up(0.03), 0.05);
        assert_eq!(round_up(2_000.0), 2_000.0);
        assert_eq!(round_up(0.0), 1.0);
    }

    #[test]
    fn what_is_beyond_a_scale_lies_at_its_end() {
        let panel = Panel { top: 10.0, bottom: 50.0, most: 100.0 };
        assert_eq!([panel.y(0.0), panel.y(50.0), panel.y(900.0)], [50.0, 30.0, 10.0]);
    }
}
