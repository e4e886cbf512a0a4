//! A node of a testbed: runs commands, knows its addresses.

use crate::error::Error;
use crate::host;
use crate::process::Command;
use crate::state::{BASE_VARIABLE, Record};
use crate::topology::NodeSpec;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One node. Cloning it is cheap; it doesn't keep the testbed up.
#[derive(Clone, Debug)]
pub struct Node {
    record: Arc<Record>,
    spec: NodeSpec,
}

impl Node {
    pub(crate) fn new(record: &Arc<Record>, name: &str) -> Result<Self, Error> {
        let spec = record.topology().node(name)?.clone();
        Ok(Self { record: Arc::clone(record), spec })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Interfaces, addresses and routes.
    #[must_use]
    pub const fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Its main IPv4 address; the unspecified one for the switch, which has none.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.spec.v4().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Its main IPv6 address; the unspecified one for the switch, which has none.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.spec.v6().unwrap_or(Ipv6Addr::UNSPECIFIED)
    }

    /// Both main addresses, for tests that run once with each.
    #[must_use]
    pub fn both(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4()), IpAddr::V6(self.v6())]
    }

    /// A command to be run here. Programs are looked for among the workspace's binaries, then in
    /// PATH.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] without the `testbed` binary.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command, Error> {
        command(&self.record, self.name(), program.as_ref())
    }

    /// A `traffic` command to be run here: `traffic(&["udp-echo", "--listen", ...])`.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] without the `testbed` or `traffic` binary.
    pub fn traffic<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Command, Error> {
        let program = host::binary(&self.record.binaries, "traffic")?;
        Ok(self.command(program)?.args(arguments))
    }

    /// Runs `program` to its end, and returns what it printed.
    ///
    /// # Errors
    /// When it can't be started, fails, or runs into the time limit.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        self.command(program)?.args(arguments).run()
    }

    /// A folder for this node's files, the same inside and outside of the testbed.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.record.folder.join(self.name())
    }

    pub(crate) const fn record(&self) -> &Arc<Record> {
        &self.record
    }
}

/// A command for a node or for [`crate::enter::HOLDER`].
pub(crate) fn command(record: &Record, node: &str, program: &OsStr) -> Result<Command, Error> {
    Ok(Command::new(exec(record, &[], node)?, node, program))
}

/// A command that prints a process id and leaves the process running in the node.
pub(crate) fn background(
    record: &Record,
    node: &str,
    log: &Path,
    program: &OsStr,
) -> Result<Command, Error> {
    let options = [OsStr::new("--background"), log.as_os_str()];
    Ok(Command::new(exec(record, &options, node)?, node, program))
}

fn exec(record: &Record, options: &[&OsStr], node: &str) -> Result<std::process::Command, Error> {
    let mut command = std::process::Command::new(host::binary(&record.binaries, "testbed")?);
    command.args(["exec", "--name", &record.name]).args(options).args([node, "--"]);
    if let Some(base) = record.folder.parent() {
        command.env(BASE_VARIABLE, base);
    }
    Ok(command)
}
