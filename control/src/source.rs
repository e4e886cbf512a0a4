//! Reads policy files, for both ends: one file, or a directory whose `*.yaml` files add up in the
//! order of their names. A file `policy.yaml` takes `policy.d/*.yaml` beside it along.
//!
//! Goes in: a path. Comes out: texts, or the first file that can't be read. Not here: what the
//! texts say.

use crate::SourceFile;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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
    let mut text = String::new();
    // Not by the length in the metadata: a pipe has none, and a file may grow.
    let read = File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 64 MiB"));
    }
    Ok(SourceFile { path: path.display().to_string(), text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, write};

    fn names(files: &[SourceFile]) -> Vec<&str> {
        files.iter().map(|file| file.path.rsplit('/').next().unwrap()).collect()
    }

    #[test]
    fn file_takes_its_directory_along_in_the_order_of_names() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        create_dir(at("policy.d")).unwrap();
        for name in ["policy.yaml", "other.yaml", "policy.d/b.yaml", "policy.d/a.yaml"] {
            write(at(name), name).unwrap();
        }
        write(at("policy.d/notes.txt"), "").unwrap();
        assert_eq!(names(&read(&at("policy.yaml")).unwrap()), ["policy.yaml", "a.yaml", "b.yaml"]);
        assert_eq!(names(&read(&at("other.yaml")).unwrap()), ["other.yaml"]);
        assert_eq!(names(&read(&at("policy.d")).unwrap()), ["a.yaml", "b.yaml"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_cause() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("policy.yaml");
        let error = read(&missing).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /") && error.contains("policy.yaml: No such file"));
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.ends_with("no *.yaml file in it"), "{error}");
        write(&missing, [0xff]).unwrap();
        let error = read(&missing).unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{error}");
    }

    #[test]
    fn endless_file_is_refused() {
        let error = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(error, "cannot read /dev/zero: longer than 64 MiB");
    }
}
