//! The control socket: reads requests, hands them to who can answer, writes the answers.
//!
//! One task listens; each connection is a task of its own, bounded in number, in the length of its
//! request and in time. Both hold nothing but the connection, so they can be cancelled anywhere: a
//! reload that was asked for is finished by the engine whether somebody waits or not.

use crate::desk::Desk;
use crate::reply::refusal;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use twinwall_control::{MAX_REQUEST, Request};

/// Connections at a time; more wait in the socket's backlog.
const CONNECTIONS: usize = 16;
/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket file that goes away with its owner.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket, for its owner and its group, in place of one that was left behind. The lock
    /// of the network namespace makes sure that nobody else is using that.
    ///
    /// # Errors
    /// When the directory can't be made or written.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until it is cancelled.
    pub async fn serve(&self, desk: Desk) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let desk = desk.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, desk).await {
                            tracing::debug!(%error, "control connection");
                        }
                        drop(place);
                    });
                }
                // Out of descriptors or the like: waiting is all that helps.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "cannot remove the control socket");
        }
    }
}

async fn converse(stream: UnixStream, desk: Desk) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST as u64 + 1));
    let read = timeout(PATIENCE, reader.read_until(b'\n', &mut line));
    read.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let answer = if line.len() > MAX_REQUEST {
        refusal(format!("request longer than {MAX_REQUEST} bytes"))
    } else {
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => desk.answer(request).await,
            Err(error) => refusal(format!("cannot read the request: {error}")),
        }
    };
    let sent = timeout(PATIENCE, async {
        writer.write_all(&answer.line).await?;
        writer.write_all(b"\n").await?;
        writer.shutdown().await
    });
    sent.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
