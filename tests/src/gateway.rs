//! A gateway of a testbed: its daemon and the daemon's command line.
//!
//! The daemon belongs to the testbed, not to the process that started it: any process that opens
//! the testbed can stop, kill or restart it. Its files are in the node's folder: `twinwalld.yaml`
//! where it has one, `control.sock`, `daemon.log`, `daemon.pid` and the daemon's own `state`.

use crate::error::{Attempt, Error};
use crate::host::{self, ProcessId};
use crate::node::{self, Node};
use crate::process::Output;
use crate::state::Record;
use crate::topology::Role;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{fs, thread};
use twinwall_control::client::{self, ask};
use twinwall_control::{Request, report};

/// How long the daemon may take to answer after its start, and to end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How many lines of the log an error message shows.
const SHOWN: usize = 20;

/// One gateway. It is a [`Node`] too.
#[derive(Clone, Debug)]
pub struct Gateway {
    node: Node,
}

impl Deref for Gateway {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Gateway {
    /// `name` is `gw-a`, or `a` for short.
    pub(crate) fn new(record: &Arc<Record>, name: &str) -> Result<Self, Error> {
        let long = if name.len() == 1 { format!("gw-{name}") } else { name.to_owned() };
        let node = Node::new(record, &long)?;
        if node.spec().role == Role::Gateway {
            Ok(Self { node })
        } else {
            let known: Vec<_> = record.topology().gateways().map(|spec| spec.name).collect();
            Err(Error::NoNode { node: format!("{long} (a gateway)"), known: known.join(", ") })
        }
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(self.record(), self.name())
    }

    /// Where the daemon's output goes.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder().join("daemon.log")
    }

    /// Where the daemon's configuration is, if it has one.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder().join("twinwalld.yaml")
    }

    /// Writes the daemon's configuration, which its next start reads.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn configure(&self, text: &str) -> Result<(), Error> {
        let path = self.config_path();
        fs::write(&path, text).attempt(|| format!("write {}", path.display()))
    }

    /// Where the daemon keeps its state.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// What the daemon has printed since the testbed is up.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Starts the daemon with the testbed's policy and waits until it answers.
    ///
    /// # Errors
    /// When it runs already, isn't built, ends, or doesn't answer within [`PATIENCE`].
    pub fn start(&self) -> Result<(), Error> {
        self.launch()?;
        self.wait_ready(PATIENCE)
    }

    /// Starts the daemon with the testbed's policy and returns at once.
    ///
    /// # Errors
    /// When it runs already or isn't built.
    pub fn launch(&self) -> Result<(), Error> {
        if self.is_running() {
            return Err(self.wrong("it is running already".to_owned()));
        }
        let record = self.record();
        let program = host::binary(&record.binaries, "twinwalld")?;
        let [folder, state] = [self.folder(), self.state_path()];
        fs::create_dir_all(&state).attempt(|| format!("create {}", state.display()))?;
        let mut command =
            node::background(record, self.name(), &self.log_path(), program.as_os_str())?
                .arg("--policy")
                .arg(&record.policy)
                .arg("--state-dir")
                .arg(&state)
                .arg("--socket")
                .arg(self.socket());
        let config = self.config_path();
        if config.exists() {
            command = command.arg("--config").arg(config);
        }
        let printed = command.run()?;
        let pid = printed.trim().parse().ok();
        let id = pid.and_then(ProcessId::of);
        let id = id.ok_or_else(|| self.wrong(format!("it ended at once{}", self.last_words())))?;
        let path = folder.join("daemon.pid");
        fs::write(&path, id.to_text()).attempt(|| format!("write {}", path.display()))
    }

    /// Waits until the daemon answers.
    ///
    /// # Errors
    /// When it ends, or doesn't answer in time.
    pub fn wait_ready(&self, within: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        loop {
            let running = self.is_running();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.ask_within::<report::Status>(Request::Status, left).is_ok() {
                return Ok(());
            }
            if !running {
                return Err(self.wrong(format!("it ended{}", self.last_words())));
            }
            if left.is_zero() {
                let what = format!("the first answer of twinwalld on {}", self.name());
                return Err(Error::TimedOut { what, within, detail: self.last_words() });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the daemon in good order (SIGTERM).
    ///
    /// # Errors
    /// When it isn't running, or doesn't end within [`PATIENCE`].
    pub fn stop(&self) -> Result<(), Error> {
        self.end(Signal::TERM)
    }

    /// Kills the daemon (SIGKILL).
    ///
    /// # Errors
    /// When it isn't running.
    pub fn kill9(&self) -> Result<(), Error> {
        self.end(Signal::KILL)
    }

    /// Stops the daemon in good order and starts it again.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::start`].
    pub fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        self.start()
    }

    /// Makes the daemon read its policy files again (SIGHUP). Returns before it has.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn reload(&self) -> Result<(), Error> {
        self.signal(Signal::HUP)
    }

    /// Sends the daemon a signal.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let id = self.running().ok_or_else(|| self.wrong("it is not running".to_owned()))?;
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw);
        pid.ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| kill_process(pid, signal))
            .attempt(|| format!("send a signal to twinwalld on {}", self.name()))
    }

    /// Whether the daemon is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running().is_some()
    }

    /// The daemon's process id, as seen from outside the testbed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running().map(|id| id.pid)
    }

    /// Asks the daemon.
    ///
    /// # Errors
    /// When it doesn't answer, or refuses.
    pub fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Error> {
        ask(&self.socket(), request).map_err(|source| self.refused(source))
    }

    /// The daemon's status.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub fn status(&self) -> Result<report::Status, Error> {
        self.ask(&Request::Status)
    }

    /// Runs `twinwall` here, as an operator would, to its end.
    ///
    /// # Errors
    /// When it isn't built, can't be started, or runs into the time limit.
    pub fn twinwall(&self, arguments: &[&str]) -> Result<Output, Error> {
        let program = host::binary(&self.record().binaries, "twinwall")?;
        self.command(program)?.args(arguments).output()
    }

    fn ask_within<T>(&self, request: Request, within: Duration) -> Result<T, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        let socket = self.socket();
        // The client waits for minutes; the thread ends when it gives up.
        thread::spawn(move || sender.send(ask(&socket, &request)));
        match receiver.recv_timeout(within) {
            Ok(answer) => answer.map_err(|source| self.refused(source)),
            Err(_) => Err(Error::TimedOut {
                what: format!("an answer of twinwalld on {}", self.name()),
                within,
                detail: String::new(),
            }),
        }
    }

    fn running(&self) -> Option<ProcessId> {
        let text = fs::read_to_string(self.folder().join("daemon.pid")).ok()?;
        ProcessId::parse(&text).filter(|id| id.is_alive())
    }

    fn end(&self, signal: Signal) -> Result<(), Error> {
        self.signal(signal)?;
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() {
            if Instant::now() > deadline {
                let what = format!("the end of twinwalld on {}", self.name());
                return Err(Error::TimedOut { what, within: PATIENCE, detail: self.last_words() });
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn wrong(&self, what: String) -> Error {
        Error::Daemon { node: self.name().to_owned(), what }
    }

    fn refused(&self, source: client::Error) -> Error {
        Error::Control { node: self.name().to_owned(), source }
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
        if last.is_empty() {
            "; its log is empty".to_owned()
        } else {
            format!("; the end of its log:\n{}", last.join("\n"))
        }
    }
}

/// Where the daemon of a gateway listens.
pub(crate) fn socket(record: &Record, node: &str) -> PathBuf {
    record.folder.join(node).join("control.sock")
}
