//! Figures as JSON and as text.
//!
//! Goes in: what was measured. Comes out: one JSON object, or lines for a person.

use serde::Serialize;
use std::fmt::Write;

/// What was measured of the engine, on one load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Rules of the load.
    pub rules: usize,
    /// Headers whose answers were compared with the oracle's.
    pub lookups: usize,
    /// Headers for which they differed.
    pub mismatches: usize,
    /// Nanoseconds a lookup in batches.
    pub batched_ns: f64,
    /// Nanoseconds a lookup, one at a time.
    pub scalar_ns: f64,
    /// Nanoseconds that 99 of 100 lookups stay below.
    pub p99_ns: f64,
    /// Milliseconds from rules to a usable engine.
    pub build_ms: f64,
    /// Bytes of memory, by the number of rules; `None` where the engine doesn't tell.
    pub bytes_per_rule: Option<f64>,
    /// Updates a second with readers running; `None` when no updates were asked for.
    pub updates_per_s: Option<f64>,
    /// Part of the readers' throughput that 100,000 updates a second take, 0 to 1.
    pub reader_loss: Option<f64>,
    /// Microseconds that 99 of 100 updates stay below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_p99_us: Option<f64>,
    /// Engines that were measured beside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
}

/// What was measured of another engine, in the same rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// What it is.
    pub name: &'static str,
    /// Nanoseconds a lookup; `None` when there is no figure.
    pub ns: Option<f64>,
    /// Milliseconds to build.
    pub build_ms: Option<f64>,
    /// Headers for which its answers were not the oracle's.
    pub mismatches: Option<u64>,
    /// What there is to know besides: why there is no figure, which instructions were used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Figures {
    /// The figures with as many digits as they are good for.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        for value in [&mut self.batched_ns, &mut self.scalar_ns, &mut self.p99_ns] {
            *value = to_digits(*value, 1);
        }
        self.build_ms = to_digits(self.build_ms, 2);
        self.bytes_per_rule = self.bytes_per_rule.map(|value| to_digits(value, 1));
        self.updates_per_s = self.updates_per_s.map(|value| to_digits(value, 0));
        self.reader_loss = self.reader_loss.map(|value| to_digits(value, 4));
        self.update_p99_us = self.update_p99_us.map(|value| to_digits(value, 2));
        for peer in &mut self.peers {
            peer.ns = peer.ns.map(|value| to_digits(value, 1));
            peer.build_ms = peer.build_ms.map(|value| to_digits(value, 1));
        }
        self
    }

    /// Lines for a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name:<28}{value:>14}");
        };
        line("rules", self.rules.to_string());
        line("headers compared", self.lookups.to_string());
        line("mismatches", self.mismatches.to_string());
        line("batched, ns a lookup", format!("{:.1}", self.batched_ns));
        line("one at a time, ns", format!("{:.1}", self.scalar_ns));
        line("p99, ns", format!("{:.1}", self.p99_ns));
        line("build, ms", format!("{:.2}", self.build_ms));
        line("bytes a rule", optional(self.bytes_per_rule, 1));
        line("updates/s, readers running", optional(self.updates_per_s, 0));
        line("p99 of updates, us", optional(self.update_p99_us, 2));
        let loss = self.reader_loss.map(|loss| loss * 100.0);
        line("loss of readers, %", optional(loss, 2));
        for peer in &self.peers {
            let mut value = optional(peer.ns, 1);
            if !peer.note.is_empty() {
                let _ = write!(value, "  ({})", peer.note);
            }
            line(&format!("{}, ns", peer.name), value);
        }
        text
    }
}

/// A value with this many digits after the point, or a dash.
#[must_use]
pub fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn to_digits(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
