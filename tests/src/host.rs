//! What the testbed finds on the machine: programs, this workspace's binaries, other processes.

use crate::error::{Attempt, Error};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Names another folder for the binaries than that of the running program.
pub const BINARIES_VARIABLE: &str = "TWINWALL_BIN_DIR";

/// Programs that a testbed is built with, and the Debian packages that hold them.
const TOOLS: &[(&str, &str)] = &[
    ("bridge", "iproute2"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("setsid", "util-linux"),
    ("unshare", "util-linux"),
];

/// Where administration programs are; an ordinary user's PATH often lacks them.
const ADMINISTRATION: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Fails with [`Error::Unavailable`] when a program is missing that every testbed needs.
pub(crate) fn require_tools() -> Result<(), Error> {
    TOOLS.iter().try_for_each(|(tool, package)| require(tool, package))
}

/// Fails with [`Error::Unavailable`] when a program is missing.
///
/// # Errors
/// That one, with the Debian package that has it.
pub fn require(tool: &str, package: &str) -> Result<(), Error> {
    if env::split_paths(&search_path(None)).any(|folder| folder.join(tool).is_file()) {
        return Ok(());
    }
    Err(Error::Unavailable(format!("`{tool}` is missing (Debian package {package})")))
}

/// PATH for everything that runs in a testbed: first the workspace's binaries, last the folders of
/// administration programs.
pub(crate) fn search_path(binaries: Option<&Path>) -> OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = binaries
        .map(Path::to_owned)
        .into_iter()
        .chain(env::split_paths(&inherited))
        .chain(ADMINISTRATION.iter().map(PathBuf::from));
    // Joining fails only on a folder with a colon in its name, which PATH can't express.
    env::join_paths(folders).unwrap_or(inherited)
}

/// The folder of `testbed`, `traffic`, `twinwalld` and `twinwall`.
///
/// It is the folder of the running program; for a test, which Cargo puts into `deps`, the one
/// above.
///
/// # Errors
/// When the running program can't be found.
pub fn binaries() -> Result<PathBuf, Error> {
    if let Some(folder) = env::var_os(BINARIES_VARIABLE) {
        return Ok(folder.into());
    }
    let program = env::current_exe().attempt(|| "find the running program".to_owned())?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    Ok(above.unwrap_or(folder).to_owned())
}

/// The path of one of this workspace's binaries.
///
/// # Errors
/// [`Error::NotBuilt`] when it is not there.
pub fn binary(folder: &Path, program: &str) -> Result<PathBuf, Error> {
    let path = folder.join(program);
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::NotBuilt { program: program.to_owned(), folder: folder.display().to_string() })
    }
}

/// A process, told apart from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    started: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command may hold spaces and brackets, so fields are counted from its end.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        let ended = matches!(state, "Z" | "X") && !has_threads(pid);
        (!ended).then_some(Self { pid, started })
    }

    /// Whether it is still running.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// As [`Self::parse`] reads it.
    pub(crate) fn to_text(self) -> String {
        format!("{} {}\n", self.pid, self.started)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }
}

/// Whether more than the first thread of a process is left. Until the last one has ended, its files
/// are open, even when the first one has.
fn has_threads(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1)
}

/// The first child of a process, if it has any.
pub(crate) fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_known_until_it_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        assert!(id.is_alive());
        assert_eq!(ProcessId::parse(&id.to_text()), Some(id));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!id.is_alive());
    }

    #[test]
    fn another_process_with_the_same_number_is_not_mistaken_for_it() {
        let id = ProcessId::of(std::process::id()).unwrap();
        assert!(!ProcessId { started: id.started + 1, ..id }.is_alive());
    }
}
