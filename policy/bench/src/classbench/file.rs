//! The text of a file, unpacked where need be, and what can be wrong with it.
//!
//! Goes in: a path. Comes out: text of at most [`LIMIT`] bytes. Not here: what the text says.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// The longest text that is read, in bytes, after unpacking: some 20,000,000 rules.
pub const LIMIT: u64 = 1 << 30;

/// The first bytes of a Zstandard frame, RFC 8878 section 3.1.1.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or unpacked.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is longer than [`LIMIT`].
    #[error("reading {}: longer than {LIMIT} bytes after unpacking", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A line can't be understood.
    #[error("{name}, line {line}: {reason}")]
    Line {
        /// The file, or what else the text came from.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing in it.
    #[error("{name}: no {what} in it")]
    Empty {
        /// The file, or what else the text came from.
        name: String,
        /// What was looked for.
        what: &'static str,
    },
}

/// The text of a file. Zstandard is known by its first bytes, whatever the file is called. Bytes
/// that aren't UTF-8 become U+FFFD, so that the parser can name the line.
///
/// # Errors
///
/// When the file can't be read or unpacked, or is longer than [`LIMIT`].
pub fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut start = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
    let packed = start == MAGIC;
    let whole = start.as_slice().chain(file);
    let mut bytes = Vec::new();
    if packed {
        unpack(whole, &mut bytes).map_err(failed)?;
    } else {
        whole.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > LIMIT {
        return Err(Error::TooLong { path: path.to_owned() });
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Appends what all frames of `packed` hold, until there is more than [`LIMIT`] of it.
fn unpack(packed: impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut packed = BufReader::new(packed);
    loop {
        let left = (LIMIT + 1).saturating_sub(bytes.len() as u64);
        if left == 0 || io::BufRead::fill_buf(&mut packed)?.is_empty() {
            return Ok(());
        }
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut packed)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        frame.take(left).read_to_end(bytes)?;
    }
}
