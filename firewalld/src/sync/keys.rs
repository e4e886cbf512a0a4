//! The file with the keys that both nodes share.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use twinwall_ctsync::channel::{KeyRing, KeyRingError};

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 10;

/// Why the keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("cannot read the key file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Others than its owner can read it.
    #[error("the key file {path} has mode {mode:03o}; it must be readable by its owner only (600)")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else than keys.
    #[error("the key file {path}: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: KeyRingError,
    },
}

/// Reads the keys.
///
/// # Errors
/// When the file can't be read, or by too many, or isn't one of keys.
pub(super) fn read(path: &Path) -> Result<KeyRing, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Mode { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
    KeyRing::parse(&text).map_err(|source| Error::Content { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sync.key");
        fs::write(&path, format!("{}\n", "0123456789abcdef".repeat(4))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("has mode 640"), "{message}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
    }

    #[test]
    fn a_file_without_a_key_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sync.key");
        fs::write(&path, "# a comment\nhello\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
    }
}
