//! Asks the daemon and waits for its answer.

use crate::{Answer, Request};
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take: the sweep of some million sessions is the longest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there.
    #[error("cannot reach twinwalld at {path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The connection broke.
    #[error("lost the connection to twinwalld: {0}")]
    Io(#[from] io::Error),
    /// The answer is not of this protocol.
    #[error("cannot read the answer of twinwalld: {0}")]
    Decode(#[from] serde_json::Error),
    /// The daemon says no.
    #[error("{0}")]
    Refused(String),
}

/// Sends one request to the daemon behind `socket` and returns its report.
///
/// # Errors
/// When the daemon can't be reached, doesn't answer within two minutes, or refuses.
pub fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, Error> {
    let mut stream = UnixStream::connect(socket)
        .map_err(|source| Error::Connect { path: socket.to_owned(), source })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match serde_json::from_str(&answer)? {
        Answer::Ok(report) => Ok(report),
        Answer::Error(text) => Err(Error::Refused(text)),
    }
}
