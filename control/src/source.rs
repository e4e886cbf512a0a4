//! Reading policy files, for both ends: one file, or a directory whose `*.yaml` files add up in the order of
//! their names. A file `policy.yaml` takes `policy.d/*.yaml` beside it along.

use std::io;
use std::path::{Path, PathBuf};
use crate::SourceFile;

/// The longest policy file in bytes.
const MAX_FILE: u64 = 64 << 20;
/// The most files.
const MAX_FILES: usize = 1_024;

/// Why the files could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// Reads the policy at a path.
///
/// # Errors
/// The first file that can't be read, is too long or not UTF-8.
pub fn read(path: &Path) -> Result<Vec<SourceFile>, Error> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Error { path, source }
    };
    let mut paths = Vec::new();
    if path.is_dir() {
        paths.extend(yaml_files(path).map_err(at(path))?);
    } else {
        paths.push(path.to_owned());
        let more = path.with_extension("d");
        if more.is_dir() {
            paths.extend(yaml_files(&more).map_err(at(&more))?);
        }
    }
    if paths.is_empty() || paths.len() > MAX_FILES {
        let text = if paths.is_empty() { "no *.yaml file in it" } else { "more than 1,024 files" };
        return Err(at(path)(io::Error::new(io::ErrorKind::InvalidInput, text)));
    }
    paths.iter().map(|path| read_one(path).map_err(at(path))).collect()
}

fn yaml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)?.take(MAX_FILES * 4) {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_one(path: &Path) -> io::Result<SourceFile> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 64 MiB"));
    }
    let text = std::fs::read_to_string(path)?;
    Ok(SourceFile { path: path.display().to_string(), text })
}
