//! Starts and ends the holder: the process whose namespaces are the testbed.
//!
//! The holder is process 1 of a PID namespace, so the kernel kills everything in the testbed when
//! it ends, and its mount and network namespaces go with it. It ends when its standard input does
//! before [`Holder::keep`] was called; so a testbed doesn't survive the process that was building
//! or using it, however that one ends. Not here: what the holder does inside (`init`).

use crate::error::{Attempt, Error};
use crate::host;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What the holder reads when it is to live on alone.
pub(crate) const KEEP: &str = "keep\n";

/// How long the holder may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A holder that ends with this value, unless it is kept.
#[derive(Debug)]
pub(crate) struct Holder {
    /// `unshare`, the holder's parent.
    unshare: Child,
    lifeline: Option<ChildStdin>,
    /// The holder's process id, as seen from outside.
    pub(crate) pid: u32,
}

impl Holder {
    /// Starts the holder of the testbed in `folder`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this user may not have the namespaces.
    pub(crate) fn start(
        testbed: &Path,
        folder: &Path,
        user_namespace: bool,
    ) -> Result<Self, Error> {
        let log = folder.join("holder.log");
        let errors = File::create(&log).attempt(|| format!("create {}", log.display()))?;
        // A session of its own keeps Ctrl-C at a terminal away from it.
        let mut command = Command::new("setsid");
        command.arg("unshare").args(user_namespace.then_some("--map-root-user"));
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--"]);
        command.arg(testbed).arg("hold").arg(folder);
        command.env("PATH", host::search_path(None)).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut unshare = command.spawn().attempt(|| "start `unshare`".to_owned())?;
        let lifeline = unshare.stdin.take();
        let ready = first_line(&mut unshare);
        let pid =
            ready.as_deref().and_then(|line| line.strip_prefix("ready ")?.trim().parse().ok());
        let mut holder = Self { unshare, lifeline, pid: pid.unwrap_or(0) };
        if pid.is_some() {
            return Ok(holder);
        }
        holder.end();
        Err(Error::Unavailable(fs::read_to_string(&log).unwrap_or_default().trim().to_owned()))
    }

    /// Lets the holder live on without this process.
    ///
    /// # Errors
    /// When it has ended already.
    pub(crate) fn keep(mut self) -> Result<(), Error> {
        let told = self.lifeline.as_mut().map_or(Ok(()), |pipe| pipe.write_all(KEEP.as_bytes()));
        told.attempt(|| "tell the holder to live on".to_owned())?;
        // `Drop` would wait for its end.
        std::mem::forget(self);
        Ok(())
    }

    fn end(&mut self) {
        drop(self.lifeline.take());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.unshare.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Takes the holder with it (--kill-child).
                let _ = self.unshare.kill();
                let _ = self.unshare.wait();
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the holder says first, or `None` if it ends or hangs.
fn first_line(unshare: &mut Child) -> Option<String> {
    let stdout = unshare.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    // The thread ends with the line or with the holder.
    thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok() {
            let _ = sender.send(line);
        }
    });
    receiver.recv_timeout(PATIENCE).ok()
}
