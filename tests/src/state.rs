//! Where testbeds keep their files, and which of them are up.
//!
//! Each testbed has a folder `BASE/NAME` with `lock`, `record.json`, `holder.log` and a folder for
//! each node. The holder locks `lock` for as long as it lives: that, not the folder, says whether a
//! testbed is up. Folders without a living holder are removed when they are met.

use crate::error::{Attempt, Error};
use crate::topology::{Gateways, Topology};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, thread};

/// Names another folder for all testbeds.
pub const BASE_VARIABLE: &str = "TWINWALL_TESTBED_DIR";

/// How long a holder may take to let go of its lock after it was killed: the kernel ends every
/// process of the testbed first.
const UNLOCK: Duration = Duration::from_secs(20);

/// What other processes have to know about a testbed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Process id of the holder, as seen from outside.
    pub holder: u32,
    /// Whether it has a user namespace of its own.
    pub user_namespace: bool,
    /// How many gateways there are.
    pub gateways: Gateways,
    /// The policy that daemons are started with.
    pub policy: PathBuf,
    /// Where this workspace's binaries are.
    pub binaries: PathBuf,
}

impl Record {
    /// Its nodes.
    #[must_use]
    pub fn topology(&self) -> Topology {
        Topology::new(self.gateways)
    }

    /// Writes `record.json`.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let path = self.folder.join("record.json");
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        text.and_then(|text| fs::write(&path, text)).attempt(|| format!("write {}", path.display()))
    }
}

/// All testbeds of this user.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    base: PathBuf,
    /// Whether the folder is there for testbeds alone, so that it can go with the last one.
    own: bool,
}

impl Registry {
    /// `/run/twinwall-testbed` for root, `/tmp/twinwall-testbed-UID` for others, unless
    /// [`BASE_VARIABLE`] says otherwise.
    pub(crate) fn of_this_user() -> Self {
        let uid = rustix::process::geteuid();
        let default = || {
            if uid.is_root() {
                PathBuf::from("/run/twinwall-testbed")
            } else {
                PathBuf::from(format!("/tmp/twinwall-testbed-{}", uid.as_raw()))
            }
        };
        let named = env::var_os(BASE_VARIABLE).map(PathBuf::from);
        Self { own: named.is_none(), base: named.unwrap_or_else(default) }
    }

    /// The folder of a testbed.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// Makes an empty folder for a new testbed. Until the returned file is dropped no other
    /// process creates or removes one; by then the holder must have its lock.
    pub(crate) fn create(&self, name: &str) -> Result<(PathBuf, File), Error> {
        check_name(name)?;
        let guard = self.guard()?;
        let folder = self.folder(name);
        if folder.exists() {
            if is_up(&folder) {
                return Err(Error::Exists(name.to_owned()));
            }
            remove(&folder)?;
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .and_then(|()| File::create(folder.join("lock")))
            .attempt(|| format!("create {}", folder.display()))?;
        Ok((folder, guard))
    }

    /// The record of a testbed that is up.
    pub(crate) fn record(&self, name: &str) -> Result<Record, Error> {
        check_name(name)?;
        let folder = self.folder(name);
        if !is_up(&folder) {
            return Err(Error::NotFound(name.to_owned()));
        }
        let path = folder.join("record.json");
        fs::read(&path)
            .and_then(|text| serde_json::from_slice(&text).map_err(Into::into))
            .attempt(|| format!("read {}", path.display()))
    }

    /// The testbeds that are up, by name. Removes what dead ones left.
    pub(crate) fn list(&self) -> Result<Vec<Record>, Error> {
        if !self.base.exists() {
            return Ok(Vec::new());
        }
        let guard = self.guard()?;
        let mut records = Vec::new();
        let entries = fs::read_dir(&self.base);
        for entry in entries.attempt(|| format!("list {}", self.base.display()))?.flatten() {
            let folder = entry.path();
            if !folder.is_dir() {
                continue;
            }
            if !is_up(&folder) {
                remove(&folder)?;
            } else if let Ok(record) = self.record(&entry.file_name().to_string_lossy()) {
                records.push(record);
            }
        }
        self.tidy(guard);
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// Waits until the holder is gone, then removes the folder.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let folder = self.folder(name);
        let deadline = Instant::now() + UNLOCK;
        while is_up(&folder) {
            if Instant::now() > deadline {
                return Err(Error::TimedOut {
                    what: format!("the end of the holder of testbed `{name}`"),
                    within: UNLOCK,
                    detail: String::new(),
                });
            }
            thread::sleep(Duration::from_millis(2));
        }
        let guard = self.guard()?;
        remove(&folder)?;
        self.tidy(guard);
        Ok(())
    }

    /// Locks the folder of all testbeds, after making it if it isn't there: with access for nobody
    /// else, and refused if somebody else made it.
    fn guard(&self) -> Result<File, Error> {
        self.try_guard().attempt(|| format!("use {} for testbeds", self.base.display()))
    }

    fn try_guard(&self) -> io::Result<File> {
        loop {
            match DirBuilder::new().mode(0o700).create(&self.base) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let file = match File::open(&self.base) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            file.lock()?;
            let uid = rustix::process::geteuid().as_raw();
            match fs::symlink_metadata(&self.base) {
                Ok(found) if !found.is_dir() || found.uid() != uid => {
                    return Err(io::Error::other("it belongs to somebody else"));
                }
                Ok(found) if found.ino() == file.metadata()?.ino() => return Ok(file),
                // Another process has removed it while this one waited for the lock.
                _ => {}
            }
        }
    }

    /// Removes the folder of all testbeds if that was the last one.
    fn tidy(&self, guard: File) {
        if self.own {
            // Fails as long as there is another one.
            let _ = fs::remove_dir(&self.base);
        }
        drop(guard);
    }
}

/// Takes a testbed's lock for the calling process. `None` when another one has it.
pub(crate) fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a holder has the lock.
pub(crate) fn is_up(folder: &Path) -> bool {
    matches!(lock(folder), Ok(None))
}

/// Removes a folder; that it is gone already is fine, since the holder does so too.
pub(crate) fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
    .attempt(|| format!("remove {}", folder.display()))
}

/// Names become folders and appear on command lines.
fn check_name(name: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&name.len()) && name.chars().all(good) && !name.starts_with('-') {
        Ok(())
    } else {
        Err(Error::BadName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for bad in ["", "..", "a/b", "-x", "A", &"a".repeat(33)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("a-1").is_ok());
    }

    #[test]
    fn only_the_lock_says_that_a_testbed_is_up() {
        let base = tempfile::tempdir().unwrap();
        let registry = Registry { base: base.path().to_owned(), own: false };
        let (folder, guard) = registry.create("one").unwrap();
        let held = lock(&folder).unwrap().unwrap();
        drop(guard);
        assert!(matches!(registry.create("one"), Err(Error::Exists(_))));
        drop(held);
        assert!(matches!(registry.record("one"), Err(Error::NotFound(_))));
        assert!(registry.list().unwrap().is_empty());
        assert!(!folder.exists());
    }
}
