//! What leaves the program: text or JSON on stdout, messages on stderr, the exit code.
//!
//! With `--json` there is exactly one object on stdout, also for an error, and nothing on stderr. A
//! reader that goes away early (`| head`) is no error.

use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::process::ExitCode;

/// The exit code for warnings and changes, where they were asked for.
const NOTEWORTHY: u8 = 2;
/// The exit code for errors.
const FAILED: u8 = 1;

/// A verb that did what it should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// For stdout, with the last line's end.
    pub text: String,
    /// For stderr, with the last line's end; may be empty.
    pub messages: String,
    /// Whether there is something that the caller asked to be told by the exit code.
    pub noteworthy: bool,
}

impl Done {
    /// A report as JSON, or as the text that `render` makes of it.
    ///
    /// # Errors
    /// When the report can't be written as JSON.
    pub fn report<T: Serialize>(
        report: &T,
        json: bool,
        render: impl FnOnce(&T) -> String,
    ) -> Result<Self, Failure> {
        let text = if json { to_line(report)? } else { render(report) };
        Ok(Self { text, ..Self::default() })
    }
}

/// A verb that didn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For stderr, the whole message.
    pub text: String,
    /// The message for JSON, without what is only for terminals.
    pub plain: String,
    /// What JSON has besides `error`.
    pub details: Map<String, Value>,
}

impl Failure {
    /// A message that begins with its kind already, or gets `error: ` in front.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let plain = text.into();
        let begins = |kind| {
            let rest: Option<&str> = plain.strip_prefix(kind);
            rest.is_some_and(|rest| rest.starts_with([':', '[']))
        };
        let has_kind = begins("error") || begins("warning");
        let text = if has_kind { plain.clone() } else { format!("error: {plain}") };
        Self { text, plain, details: Map::new() }
    }
}

/// Writes the outcome and returns the exit code.
#[must_use]
pub fn exit(outcome: Result<Done, Failure>, json: bool) -> ExitCode {
    match outcome {
        Ok(done) => {
            complain(&done.messages);
            let code = if done.noteworthy { ExitCode::from(NOTEWORTHY) } else { ExitCode::SUCCESS };
            say(&done.text, code)
        }
        Err(mut failure) => {
            if !json {
                complain(&failure.text);
                return ExitCode::from(FAILED);
            }
            failure.details.insert("error".into(), failure.plain.into());
            let text = format!("{}\n", Value::Object(failure.details));
            say(&text, ExitCode::from(FAILED))
        }
    }
}

/// Says what is wrong with the arguments.
#[must_use]
pub fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if json {
        let text = error.to_string();
        let text = text.trim_end().trim_start_matches("error: ");
        return exit(Err(Failure::new(text)), json);
    }
    // Nobody is left to tell that stderr is gone.
    drop(error.print());
    ExitCode::from(FAILED)
}

/// Prints the help that was asked for.
#[must_use]
pub fn help(error: &clap::Error) -> ExitCode {
    written(error.print(), ExitCode::SUCCESS)
}

/// A value as one line of JSON.
///
/// # Errors
/// When it can't be written as JSON: it holds a map with keys that are no strings.
pub fn to_line<T: Serialize>(value: &T) -> Result<String, Failure> {
    match serde_json::to_string(value) {
        Ok(line) => Ok(line + "\n"),
        Err(error) => Err(Failure::new(format!("cannot write the report as JSON: {error}"))),
    }
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()), code)
}

fn complain(text: &str) {
    if text.is_empty() {
        return;
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    // Nobody is left to tell that stderr is gone.
    drop(write!(io::stderr().lock(), "{text}{end}"));
}

fn written(result: io::Result<()>, code: ExitCode) -> ExitCode {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("error: cannot write to stdout: {error}"));
            ExitCode::from(FAILED)
        }
        _ => code,
    }
}
