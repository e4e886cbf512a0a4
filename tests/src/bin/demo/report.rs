//! The report: what was checked and measured, as JSON. Field names are stable.

use crate::chapter;
use crate::error::{Error, io};
use crate::pair::timeline::Timeline;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole demo.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether every check of every chapter held and no step failed.
    pub(crate) held: bool,
    /// Whether somebody ended it early.
    pub(crate) interrupted: bool,
    /// Seconds that it took, without building.
    pub(crate) seconds: f64,
    /// Where it ran.
    pub(crate) system: System,
    /// What it showed.
    pub(crate) chapters: Vec<Chapter>,
}

/// Where the demo ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct System {
    /// Version of Twinwall.
    pub(crate) twinwall: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Distribution.
    pub(crate) distribution: String,
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// Whether an ordinary user's privileges were enough.
    pub(crate) user_namespace: bool,
    /// Rules that were added to Twinwall's policies.
    pub(crate) rules_added: u32,
}

/// One chapter.
#[derive(Debug, Serialize)]
pub(crate) struct Chapter {
    /// Stable name.
    pub(crate) name: &'static str,
    /// For readers.
    pub(crate) title: &'static str,
    /// Whether every check held and no step failed.
    pub(crate) held: bool,
    /// Why it ended early.
    pub(crate) error: Option<String>,
    /// What was done, in order.
    pub(crate) steps: Vec<Step>,
    /// What was expected and what was seen.
    pub(crate) checks: Vec<Check>,
    /// What was measured.
    pub(crate) figures: Map<String, Value>,
    /// What happened to the pair; only in its chapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeline: Option<Timeline>,
}

/// One step of a chapter.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// Stable name.
    pub(crate) name: String,
    /// For readers.
    pub(crate) title: String,
    /// When it began, in milliseconds since the demo did.
    pub(crate) at_ms: f64,
}

/// One row of the table at the end.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// What is checked.
    pub(crate) name: String,
    /// What has to be seen.
    pub(crate) expected: String,
    /// What was seen.
    pub(crate) seen: String,
    /// Whether that is as expected.
    pub(crate) held: bool,
}

impl Report {
    /// An empty report.
    pub(crate) const fn new(system: System) -> Self {
        Self { held: false, interrupted: false, seconds: 0.0, system, chapters: Vec::new() }
    }

    /// Draws the conclusion from what the chapters noted.
    pub(crate) fn conclude(&mut self, took: Duration) {
        self.seconds = milliseconds(took) / 1_000.0;
        for chapter in &mut self.chapters {
            // A chapter that checked nothing has shown nothing.
            chapter.held = chapter.error.is_none()
                && !chapter.checks.is_empty()
                && chapter.checks.iter().all(|check| check.held);
        }
        self.held = !self.interrupted
            && !self.chapters.is_empty()
            && self.chapters.iter().all(|chapter| chapter.held);
    }
}

impl Chapter {
    /// A chapter of which nothing is known yet.
    pub(crate) fn new(chapter: &chapter::Chapter) -> Self {
        Self {
            name: chapter.name,
            title: chapter.title,
            held: false,
            error: None,
            steps: Vec::new(),
            checks: Vec::new(),
            figures: Map::new(),
            timeline: None,
        }
    }
}

/// `demo/report.json` beside the folder of this program: `target/demo/report.json` for
/// `target/release/demo`.
pub(crate) fn default_path() -> Result<PathBuf, Error> {
    let program = std::env::current_exe().map_err(io("find the running program"))?;
    let target = program.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    Ok(target.join("demo/report.json"))
}

/// Makes the report's folder and removes an old report.
pub(crate) fn prepare(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let created = folder.map_or(Ok(()), fs::create_dir_all);
    created
        .and_then(|()| fs::write(path, ""))
        .and_then(|()| fs::remove_file(path))
        .map_err(io(format!("write {} (--report names another place)", path.display())))
}

/// Writes the report.
pub(crate) fn write(path: &Path, report: &Report) -> Result<(), Error> {
    let attempt = format!("write {}", path.display());
    let text = serde_json::to_string_pretty(report).map_err(Into::into);
    text.and_then(|text| fs::write(path, text + "\n")).map_err(io(attempt))
}

/// Milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
