//! What a chapter is, and what it may use: text, steps, checks, figures, testbeds and waits.
//!
//! A chapter tells its story through a [`Scene`], which prints it and keeps what the report needs.
//! Each chapter builds the testbeds that it needs and doesn't know of the others.

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::page;
use crate::pair::timeline::Timeline;
use crate::report::{self, Check, Report, Step};
use crate::system;
use serde::Serialize;
use std::fmt::Display;
use std::time::{Duration, Instant};
use twinwall_testbed::{Builder, Testbed};

/// A part of the demo.
#[derive(Debug)]
pub(crate) struct Chapter {
    /// Stable name, for the command line and the report.
    pub(crate) name: &'static str,
    /// For readers.
    pub(crate) title: &'static str,
    /// Tells it. An error ends this chapter, not the demo.
    pub(crate) run: fn(&mut Scene<'_>) -> Result<(), Error>,
}

/// What the caller wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Rules that are added to Twinwall's policies.
    pub(crate) rules: u32,
    /// Use a user namespace even as root.
    pub(crate) user_namespace: bool,
}

/// A chapter being told.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// What the caller wants.
    pub(crate) settings: &'a Settings,
    interrupt: &'a Interrupt,
    began: Instant,
    record: report::Chapter,
}

impl<'a> Scene<'a> {
    /// Begins a chapter. `began` is when the demo did.
    pub(crate) fn new(
        chapter: &Chapter,
        settings: &'a Settings,
        interrupt: &'a Interrupt,
        began: Instant,
    ) -> Self {
        Self { settings, interrupt, began, record: report::Chapter::new(chapter) }
    }

    /// Begins a step. `name` is stable and goes into the report.
    pub(crate) fn step(&mut self, name: &str, title: &str) -> Result<(), Error> {
        self.interrupt.check()?;
        let at_ms = report::milliseconds(self.began.elapsed());
        self.record.steps.push(Step { name: name.to_owned(), title: title.to_owned(), at_ms });
        page::step(name, title);
        Ok(())
    }

    /// Notes a check, to be shown in the table at the end.
    pub(crate) fn check(
        &mut self,
        name: impl Into<String>,
        expected: impl Display,
        seen: impl Display,
        held: bool,
    ) {
        let (expected, seen) = (expected.to_string(), seen.to_string());
        self.record.checks.push(Check { name: name.into(), expected, seen, held });
    }

    /// A check that something did not happen.
    pub(crate) fn check_none(&mut self, name: impl Into<String>, seen: u64) {
        self.check(name, 0, page::number(seen), seen == 0);
    }

    /// A check that something happened so many times or more often.
    pub(crate) fn check_many(&mut self, name: impl Into<String>, bound: u64, seen: u64) {
        let expected = format!("{} or more", page::number(bound));
        self.check(name, expected, page::number(seen), seen >= bound);
    }

    /// Puts checks whose names begin with the same words side by side, in this order; what begins
    /// with other words comes last.
    pub(crate) fn group_checks(&mut self, order: &[&str]) {
        let place = |check: &Check| {
            let group = check.name.split(':').next().unwrap_or_default();
            order.iter().position(|name| *name == group).unwrap_or(order.len())
        };
        self.record.checks.sort_by_key(place);
    }

    /// Keeps a figure for the report.
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: impl Serialize) {
        // Figures are plain numbers and structs of them, which always can be expressed.
        let value = serde_json::to_value(value).unwrap_or_default();
        self.record.figures.insert(name.into(), value);
    }

    /// Keeps what happened, for the page.
    pub(crate) fn timeline(&mut self, timeline: Timeline) {
        self.record.timeline = Some(timeline);
    }

    /// Builds a testbed with one gateway and no daemon.
    pub(crate) fn testbed(&self) -> Result<Testbed, Error> {
        self.build(Testbed::builder())
    }

    /// Builds a testbed.
    pub(crate) fn build(&self, builder: Builder) -> Result<Testbed, Error> {
        let builder = builder.user_namespace(self.settings.user_namespace);
        builder.build().map_err(|error| match error {
            twinwall_testbed::Error::Unavailable(what) => {
                Error::Missing(what + &system::why_no_namespaces(self.settings))
            }
            other => other.into(),
        })
    }

    /// Calls `look` until it returns a value; see [`Interrupt::wait`].
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        look: impl FnMut() -> Result<Result<T, String>, Error>,
    ) -> Result<T, Error> {
        self.interrupt.wait(what, within, look)
    }

    /// Ends the chapter with the outcome of its `run`. Returns whether the next one should follow.
    pub(crate) fn close(mut self, result: Result<(), Error>, report: &mut Report) -> bool {
        // A command that was running when Ctrl-C came fails by that too.
        let result = result.and_then(|()| self.interrupt.check());
        report.interrupted = self.interrupt.is_set();
        let mut go_on = !report.interrupted;
        if let Err(error) = result {
            let text =
                if report.interrupted { Error::Interrupted.to_string() } else { error.to_string() };
            page::failure(&text);
            self.record.error = Some(text);
            go_on &= !error.is_missing();
        }
        report.chapters.push(self.record);
        go_on
    }
}
