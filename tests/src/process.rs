//! Commands in nodes: started, watched, ended in time.
//!
//! A [`Process`] is killed when it is dropped, and what it prints is kept up to a bound. Not here:
//! how it gets into its node (`enter`).

use crate::error::{Attempt, Error};
use crate::host;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a command may run unless told otherwise.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How many bytes of a stream are kept; the rest is read and thrown away.
const KEPT: usize = 16 << 20;

/// How long a killed command may take to be gone, and its output to be read to the end.
const GRACE: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(2);

/// A command for a node, to be started.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    text: String,
    input: Vec<u8>,
    limit: Duration,
}

impl Command {
    /// A command that `inner` runs once `program` and arguments have been added to it.
    pub(crate) fn new(mut inner: std::process::Command, node: &str, program: &OsStr) -> Self {
        inner.arg(program);
        let text = format!("{node}: {}", program.display());
        Self { inner, text, input: Vec::new(), limit: TIME_LIMIT }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.text = format!("{} {}", self.text, argument.as_ref().display());
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl Into<OsString>) -> Self {
        self.inner.env(name, value.into());
        self
    }

    /// What it reads from standard input; nothing unless set.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// How long it may run when it is waited for; [`TIME_LIMIT`] unless set.
    #[must_use]
    pub const fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the testbed's own programs can't be started; a command that doesn't exist ends with
    /// code 127.
    pub fn spawn(mut self) -> Result<Process, Error> {
        let stdin = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        self.inner.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inner.spawn().attempt(|| format!("start `{}`", self.text))?;
        let output = child.stdout.take().map(Capture::start);
        let errors = child.stderr.take().map(Capture::start);
        if let Some(mut pipe) = child.stdin.take() {
            // A command that doesn't read must not block us, and one that ends without reading has
            // done nothing wrong. The thread ends with either.
            thread::spawn(move || pipe.write_all(&self.input));
        }
        Ok(Process {
            child,
            text: self.text,
            output: output.unwrap_or_default(),
            errors: errors.unwrap_or_default(),
            limit: self.limit,
        })
    }

    /// Runs it to its end, whatever its exit code.
    ///
    /// # Errors
    /// When it can't be started or runs into its time limit.
    pub fn output(self) -> Result<Output, Error> {
        self.spawn()?.finish()
    }

    /// Runs it to its end and returns what it printed.
    ///
    /// # Errors
    /// As [`Self::output`], and when it fails.
    pub fn run(self) -> Result<String, Error> {
        Ok(self.output()?.success()?.stdout)
    }

    /// Runs it to its end and reads the JSON that it printed.
    ///
    /// # Errors
    /// As [`Self::run`], and when it printed something else.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.output()?.success()?.json()
    }
}

/// A running command. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    text: String,
    output: Arc<Capture>,
    errors: Arc<Capture>,
    limit: Duration,
}

impl Process {
    /// Waits until a whole line of its standard error contains these words, and returns the line.
    ///
    /// # Errors
    /// When it ends before, or the time is over.
    pub fn wait_for(&mut self, words: &str, within: Duration) -> Result<String, Error> {
        let deadline = Instant::now() + within;
        loop {
            // Asked first: what it printed before it ended must not be missed.
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if ended {
                self.errors.wait_for_end(GRACE);
            }
            if let Some(line) = self.errors.line_with(words) {
                return Ok(line);
            }
            if ended || Instant::now() > deadline {
                return Err(self.late(&format!("`{words}`"), within));
            }
            self.errors.wait_for_more(Duration::from_millis(20));
        }
    }

    /// Waits until a `traffic` server is ready.
    ///
    /// # Errors
    /// When it ends before, or isn't ready in 10 s.
    pub fn wait_ready(&mut self) -> Result<(), Error> {
        self.wait_for("ready", Duration::from_secs(10)).map(drop)
    }

    /// What it has said on standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.errors.text()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        pid.filter(|_| !ended)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| kill_process(pid, signal))
            .attempt(|| format!("send a signal to `{}`", self.text))
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it runs into its time limit, counted from now; then it is killed.
    pub fn finish(mut self) -> Result<Output, Error> {
        let deadline = Instant::now() + self.limit;
        let status = loop {
            let ended = self.child.try_wait();
            if let Some(status) = ended.attempt(|| format!("wait for `{}`", self.text))? {
                break status;
            }
            if Instant::now() > deadline {
                return Err(self.late("its end", self.limit));
            }
            thread::sleep(POLL);
        };
        self.output.wait_for_end(GRACE);
        self.errors.wait_for_end(GRACE);
        Ok(Output {
            command: self.text.clone(),
            status,
            stdout: self.output.text(),
            stderr: self.errors.text(),
        })
    }

    /// Asks it to end (SIGTERM), waits for that, and reads the JSON that it printed.
    ///
    /// # Errors
    /// As [`Self::finish`] and [`Output::json`], and when it fails.
    pub fn stop_and_report<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        // It may just have ended by itself; its report says so.
        let _ = self.signal(Signal::TERM);
        self.finish()?.success()?.json()
    }

    /// Waits for its end and reads the JSON that it printed.
    ///
    /// # Errors
    /// As [`Self::finish`] and [`Output::json`], and when it fails.
    pub fn report<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.finish()?.success()?.json()
    }

    fn late(&self, what: &str, within: Duration) -> Error {
        let said = self.errors.text();
        let detail = if said.is_empty() { said } else { format!("; it said: {}", said.trim_end()) };
        Error::TimedOut { what: format!("waiting for {what} of `{}`", self.text), within, detail }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child is `testbed exec`. Killing the command below it, and then waiting, makes sure
        // that the command itself is gone, not only about to be.
        let command = matches!(self.child.try_wait(), Ok(None)).then(|| self.child.id());
        let below = command.and_then(host::child_of).and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = below.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
            let deadline = Instant::now() + GRACE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(POLL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended and what it printed.
#[derive(Clone, Debug)]
pub struct Output {
    command: String,
    status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The exit code; 128 and the signal's number if a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|s| 128 + s)).unwrap_or(-1)
    }

    /// Itself if the command ended with code 0.
    ///
    /// # Errors
    /// When it didn't.
    pub fn success(self) -> Result<Self, Error> {
        if self.status.success() {
            return Ok(self);
        }
        let said = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        Err(Error::Command {
            outcome: format!("code {}", self.code()),
            stderr: said.trim_end().to_owned(),
            command: self.command,
        })
    }

    /// The JSON that it printed.
    ///
    /// # Errors
    /// When it printed something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.stdout).map_err(|source| Error::Report {
            command: self.command.clone(),
            source,
            text: self.stdout.clone(),
        })
    }
}

/// What a stream has carried so far, read by a thread that ends with the stream.
#[derive(Debug, Default)]
struct Capture {
    kept: Mutex<Kept>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    ended: bool,
}

impl Capture {
    fn start(mut stream: impl Read + Send + 'static) -> Arc<Self> {
        let capture = Arc::new(Self::default());
        let writer = Arc::clone(&capture);
        thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let read = stream.read(&mut buffer).unwrap_or(0);
                let mut kept = writer.lock();
                let room = KEPT.saturating_sub(kept.bytes.len());
                kept.bytes.extend(buffer.iter().take(read.min(room)));
                kept.ended = read == 0;
                writer.changed.notify_all();
                if kept.ended {
                    return;
                }
            }
        });
        capture
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    fn line_with(&self, words: &str) -> Option<String> {
        let text = self.text();
        text.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .find(|line| line.contains(words))
            .map(str::to_owned)
    }

    fn wait_for_more(&self, at_most: Duration) {
        drop(self.changed.wait_timeout(self.lock(), at_most));
    }

    fn wait_for_end(&self, at_most: Duration) {
        drop(self.changed.wait_timeout_while(self.lock(), at_most, |kept| !kept.ended));
    }
}
