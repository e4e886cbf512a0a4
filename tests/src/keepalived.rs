//! keepalived on a gateway of a testbed, as a peer of `twinwalld` or in its place.
//!
//! It belongs to the testbed, not to the process that started it. Its files are in the node's
//! folder: `keepalived.conf`, `keepalived.log` and its process ids; so two of one testbed don't
//! meet. Not here: what its configuration says ([`crate::vrrp`]).

use crate::error::{Attempt, Error};
use crate::gateway::{Gateway, PATIENCE};
use crate::host::{self, ProcessId};
use crate::node;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// One keepalived. It is two processes: one that watches and one that speaks VRRP.
#[derive(Clone, Debug)]
pub struct Keepalived {
    gateway: Gateway,
    parent: ProcessId,
}

impl Keepalived {
    /// Starts it on a gateway with this configuration.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it isn't installed; others when it ends at once.
    pub fn start(gateway: &Gateway, configuration: &str) -> Result<Self, Error> {
        host::require("keepalived", "keepalived")?;
        let folder = gateway.folder();
        let path = |name: &str| folder.join(name);
        let written = path("keepalived.conf");
        fs::write(&written, configuration).attempt(|| format!("write {}", written.display()))?;
        for name in ["keepalived.pid", "keepalived-vrrp.pid"] {
            // Left by one that was killed, or not there.
            let _ = fs::remove_file(path(name));
        }
        let log = path("keepalived.log");
        let name = OsStr::new("keepalived");
        let printed = node::background(gateway.record(), gateway.name(), &log, name)?
            .args(["--dont-fork", "--vrrp", "--log-console", "--log-detail", "--no-syslog"])
            .arg("--use-file")
            .arg(&written)
            .arg("--pid")
            .arg(path("keepalived.pid"))
            .arg("--vrrp_pid")
            .arg(path("keepalived-vrrp.pid"))
            .run()?;
        let parent = printed.trim().parse().ok().and_then(ProcessId::of);
        let ended = || Error::Ended { what: "keepalived".to_owned(), log: self::log(gateway) };
        let keepalived = Self { gateway: gateway.clone(), parent: parent.ok_or_else(ended)? };
        let deadline = Instant::now() + PATIENCE;
        while keepalived.speaker().is_none() {
            if !keepalived.is_running() || Instant::now() > deadline {
                return Err(ended());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(keepalived)
    }

    /// Whether it is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.parent.is_alive()
    }

    /// What it has printed since the testbed is up.
    #[must_use]
    pub fn log(&self) -> String {
        log(&self.gateway)
    }

    /// Stops it in good order: it sends priority 0 and takes its addresses away.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub fn stop(&self) -> Result<(), Error> {
        self.tell(Signal::TERM, [Some(self.parent.pid), None]);
        self.wait_gone()
    }

    /// Kills both processes.
    ///
    /// # Errors
    /// When one doesn't end in time.
    pub fn kill9(&self) -> Result<(), Error> {
        self.tell(Signal::KILL, [self.speaker(), Some(self.parent.pid)]);
        self.wait_gone()
    }

    /// Sends both processes a signal, first the one that speaks VRRP.
    pub fn signal(&self, signal: Signal) {
        self.tell(signal, [self.speaker(), Some(self.parent.pid)]);
    }

    /// The process that speaks VRRP.
    fn speaker(&self) -> Option<u32> {
        host::child_of(self.parent.pid)
    }

    fn tell(&self, signal: Signal, processes: [Option<u32>; 2]) {
        if !self.is_running() {
            return;
        }
        for process in processes.into_iter().flatten() {
            if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                // One of them may just have ended by itself.
                let _ = kill_process(pid, signal);
            }
        }
    }

    fn wait_gone(&self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() {
            if Instant::now() > deadline {
                return Err(Error::TimedOut {
                    what: format!("the end of keepalived on {}", self.gateway.name()),
                    within: PATIENCE,
                    detail: String::new(),
                });
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// What keepalived has printed on a gateway since the testbed is up.
#[must_use]
pub fn log(gateway: &Gateway) -> String {
    fs::read(gateway.folder().join("keepalived.log"))
        .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
