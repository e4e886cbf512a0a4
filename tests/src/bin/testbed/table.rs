//! A table in a file, between two lines that stay.

use std::path::Path;
use std::{fs, io};
use twinwall_testbed::Error;

/// The two lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// With its end of line.
    pub(crate) begin: &'static str,
    /// The other one.
    pub(crate) end: &'static str,
}

impl Lines {
    /// What stands before and after the table in a file.
    pub(crate) fn around(self, path: &Path) -> Result<(String, String), Error> {
        let failed = |what: &str, source| Error::Io {
            attempt: format!("{what} {}", path.display()),
            source,
        };
        let text = fs::read_to_string(path).map_err(|source| failed("read", source))?;
        let parts = text.split_once(self.begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(self.end)?;
            Some((before.to_owned(), after.to_owned()))
        });
        parts.ok_or_else(|| {
            failed("find the lines for the table in", io::ErrorKind::NotFound.into())
        })
    }

    /// Puts another table there.
    pub(crate) fn replace(self, path: &Path, table: &str) -> Result<(), Error> {
        let (before, after) = self.around(path)?;
        let failed = |source| Error::Io { attempt: format!("write {}", path.display()), source };
        let Self { begin, end } = self;
        fs::write(path, format!("{before}{begin}{table}{end}{after}")).map_err(failed)
    }
}
