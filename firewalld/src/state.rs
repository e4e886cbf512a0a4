//! The state directory: what a daemon that starts has to know of the one before.
//!
//! ```text
//! running.json   the running policy's text, its generation, its key table, folded counters; while
//!                it isn't confirmed, the text of the policy before too
//! next.json      where new keys come from; written before any of them is used
//! ```
//!
//! Both are replaced by renaming, so a reader finds an old or a new one, never half of one. They
//! are not flushed to the disk: what they describe, sessions in the kernel, doesn't outlive a
//! power failure either. A file that can't be read counts as absent, with a warning.

use crate::confirmed::Stamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use twinwall_control::SourceFile;
use twinwall_netlink::dataplane::Counter;
use twinwall_policy::keys::{KeyAllocator, State as Keys};

/// The largest state file that is read, in bytes: a policy of 200,000 rules with its keys.
const MAX_FILE: u64 = 256 << 20;

/// What is known of the running policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Its generation.
    pub generation: u64,
    /// When it was loaded.
    pub loaded: SystemTime,
    /// Its text.
    pub files: Arc<[SourceFile]>,
    /// What the daemon's own policy files said at that time, if that was something else.
    pub own_files: Option<Arc<[SourceFile]>>,
    /// Its keys.
    pub keys: Keys,
    /// When counting began.
    pub since: SystemTime,
    /// By rule, packets and bytes that keys which are gone had counted.
    pub folded: HashMap<String, (u64, u64)>,
    /// When the policy was confirmed, or while it isn't, the one before.
    #[serde(default)]
    pub confirmed: Option<Stamp>,
    /// The policy before, while this one isn't confirmed.
    #[serde(default)]
    pub before: Option<Before>,
}

/// The policy that comes back unless the running one is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Its name.
    pub name: Arc<str>,
    /// Its text.
    pub files: Arc<[SourceFile]>,
}

impl Running {
    /// The folded counters, rule by rule.
    pub fn folded(&self) -> impl Iterator<Item = (&str, Counter)> {
        self.folded.iter().map(|(rule, (packets, bytes))| {
            (rule.as_str(), Counter { packets: *packets, bytes: *bytes })
        })
    }
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// Why the state can't be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {path}: {source}")]
pub struct Error {
    attempt: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Directory {
    /// Opens the directory and makes it if it isn't there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| Error { attempt: "make", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned() })
    }

    /// The running policy of the daemon before.
    #[must_use]
    pub fn running(&self) -> Option<Running> {
        self.read("running.json")
    }

    /// Where the daemon before took its next key from.
    #[must_use]
    pub fn allocator(&self) -> Option<KeyAllocator> {
        self.read("next.json")
    }

    /// Keeps the running policy.
    ///
    /// # Errors
    /// When the file can't be written; the old one is still there then.
    pub fn keep_running(&self, running: &Running) -> Result<(), Error> {
        self.write("running.json", running)
    }

    /// Keeps where the next key comes from.
    ///
    /// # Errors
    /// When the file can't be written; the old one is still there then.
    pub fn keep_allocator(&self, allocator: &KeyAllocator) -> Result<(), Error> {
        self.write("next.json", allocator)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.path.join(name);
        let read = || -> io::Result<T> {
            let file = fs::File::open(&path)?;
            if file.metadata()?.len() > MAX_FILE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too long"));
            }
            let text = io::read_to_string(file)?;
            serde_json::from_str(&text).map_err(io::Error::from)
        };
        match read() {
            Ok(value) => Some(value),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot use the stored state");
                None
            }
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        let path = self.path.join(name);
        let new = self.path.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            let mut writer = BufWriter::with_capacity(1 << 20, file);
            serde_json::to_writer(&mut writer, value)?;
            writer.flush()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| Error { attempt: "write", path: path.clone(), source })
    }
}
