//! Asks the daemon and waits for its answer, up to a deadline.
//!
//! Goes in: the socket's path, a request, how long to wait. Comes out: the report, or why there is
//! none. Not here: what an operator is told about it.

use crate::{Answer, MAX_REQUEST, Request};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer may take: the sweep of some million sessions is the longest.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

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
    /// The request is longer than the daemon takes.
    #[error("the request has {length} bytes, twinwalld takes {MAX_REQUEST} at most")]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// The daemon is there and says nothing. It may still do what was asked.
    #[error("twinwalld did not answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The daemon ended, or gave the connection up.
    #[error("twinwalld closed the connection without an answer")]
    Closed,
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
/// When the daemon can't be reached, doesn't answer within [`PATIENCE`], or refuses.
pub fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, Error> {
    ask_within(socket, request, PATIENCE)
}

/// Like [`ask`], with another patience: for the whole exchange, however the daemon spreads it out.
///
/// # Errors
/// As [`ask`].
pub fn ask_within<T: DeserializeOwned>(
    socket: &Path,
    request: &Request,
    patience: Duration,
) -> Result<T, Error> {
    let mut line = serde_json::to_vec(request)?;
    if line.len() > MAX_REQUEST {
        return Err(Error::TooLong { length: line.len() });
    }
    line.push(b'\n');
    let deadline = Deadline { end: Instant::now() + patience, patience };
    let mut stream = connect(socket, patience).map_err(|source| {
        if timed_out(&source) {
            return Error::Silent(patience);
        }
        Error::Connect { path: socket.to_owned(), source }
    })?;
    // A daemon that refuses early doesn't read to the end: then its answer says more than the
    // broken pipe does.
    let sent = send(&mut stream, &line, &deadline);
    let received = receive(&mut stream, &deadline);
    let answer = match (sent, received) {
        (_, Ok(answer)) => answer,
        (Err(error), Err(_)) | (Ok(()), Err(error)) => return Err(error),
    };
    match serde_json::from_slice(&answer)? {
        Answer::Ok(report) => Ok(report),
        Answer::Error(text) => Err(Error::Refused(text)),
    }
}

/// The end of the caller's patience.
struct Deadline {
    end: Instant,
    patience: Duration,
}

impl Deadline {
    /// What is left of it, more than zero.
    fn left(&self) -> Result<Duration, Error> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::Silent(self.patience)) } else { Ok(left) }
    }

    fn failed(&self, error: io::Error) -> Error {
        if timed_out(&error) { Error::Silent(self.patience) } else { Error::Io(error) }
    }
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Connects; a full backlog, that of a daemon that hangs, ends with the patience.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

fn send(stream: &mut UnixStream, mut line: &[u8], deadline: &Deadline) -> Result<(), Error> {
    while !line.is_empty() {
        stream.set_write_timeout(Some(deadline.left()?))?;
        match stream.write(line) {
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(deadline.failed(error)),
        }
    }
    Ok(())
}

/// Reads one line, without its end.
fn receive(stream: &mut UnixStream, deadline: &Deadline) -> Result<Vec<u8>, Error> {
    let mut answer = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        stream.set_read_timeout(Some(deadline.left()?))?;
        let read = match stream.read(&mut chunk) {
            Ok(0) => return Err(Error::Closed),
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(deadline.failed(error)),
        };
        match read.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                answer.extend_from_slice(read.get(..end).unwrap_or_default());
                return Ok(answer);
            }
            None => answer.extend_from_slice(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(20);

    /// A daemon in a thread that does `serve` with its one connection.
    fn daemon(serve: impl FnOnce(UnixStream) + Send + 'static) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || serve(listener.accept().unwrap().0));
        (directory, path)
    }

    fn read_line(stream: &mut UnixStream) {
        receive(stream, &Deadline { end: Instant::now() + LONG, patience: LONG }).unwrap();
    }

    fn status(path: &Path, patience: Duration) -> Result<u32, Error> {
        ask_within(path, &Request::Status, patience)
    }

    #[test]
    fn answer_in_pieces_is_put_together() {
        let (_directory, path) = daemon(|mut stream| {
            read_line(&mut stream);
            for piece in ["{\"o", "k\":4", "2}", "\nrest"] {
                stream.write_all(piece.as_bytes()).unwrap();
                stream.flush().unwrap();
            }
        });
        assert_eq!(status(&path, LONG).unwrap(), 42);
    }

    #[test]
    fn silent_daemon_ends_the_patience() {
        let (_directory, path) = daemon(|stream| {
            thread::sleep(LONG);
            drop(stream);
        });
        let error = status(&path, SHORT).unwrap_err();
        assert!(matches!(error, Error::Silent(SHORT)), "{error}");
        assert_eq!(error.to_string(), "twinwalld did not answer within 0.1 s");
    }

    #[test]
    fn trickling_daemon_does_not_stretch_the_patience() {
        let (_directory, path) = daemon(|mut stream| {
            while stream.write_all(b" ").is_ok() {
                thread::sleep(SHORT / 10);
            }
        });
        let began = Instant::now();
        let error = status(&path, SHORT).unwrap_err();
        assert!(matches!(error, Error::Silent(SHORT)), "{error}");
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn hung_daemon_with_a_full_backlog_ends_the_patience() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        let error = status(&path, SHORT).unwrap_err();
        assert!(matches!(error, Error::Silent(SHORT)), "{error}");
    }

    #[test]
    fn daemon_that_closes_is_named() {
        let (_directory, path) = daemon(drop);
        let error = status(&path, LONG).unwrap_err();
        // Closing with the request unread resets the connection.
        assert!(matches!(error, Error::Closed | Error::Io(_)), "{error}");
        let (_directory, path) = daemon(|mut stream| {
            read_line(&mut stream);
            stream.write_all(b"{\"ok\":").unwrap();
        });
        let error = status(&path, LONG).unwrap_err();
        assert!(matches!(error, Error::Closed), "{error}");
    }

    #[test]
    fn early_refusal_is_told_and_not_the_broken_pipe() {
        let (_directory, path) = daemon(|mut stream| {
            stream.write_all(b"{\"error\":\"too busy\"}\n").unwrap();
            stream.shutdown(std::net::Shutdown::Read).unwrap();
            thread::sleep(LONG);
        });
        let text = "#".repeat(4 << 20);
        let files = vec![SourceFile { path: "long.yaml".into(), text }];
        let error = ask_within::<u32>(&path, &Request::Apply { files }, LONG).unwrap_err();
        assert_eq!(error.to_string(), "too busy");
    }

    #[test]
    fn request_that_is_too_long_is_not_sent() {
        let text = "#".repeat(MAX_REQUEST);
        let files = vec![SourceFile { path: "long.yaml".into(), text }];
        let nowhere = Path::new("/nonexistent/socket");
        let error = ask_within::<u32>(nowhere, &Request::Apply { files }, LONG).unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error}");
    }

    #[test]
    fn nobody_listening_is_an_error_with_path_and_cause() {
        let error = status(Path::new("/nonexistent/socket"), LONG).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot reach twinwalld at /nonexistent/socket: No such file or directory (os error 2)"
        );
    }
}
