//! One daemon a network namespace.
//!
//! The lock is an abstract Unix socket: its names belong to the network namespace, as the table
//! and the queues do, and it goes away with the process however that ends.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

const NAME: &[u8] = b"twinwalld";

/// Held for as long as the daemon runs.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its existence")] UnixListener);

/// Why the lock can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody holds it.
    #[error(
        "another twinwalld runs in this network namespace; stop it first (systemctl stop twinwall)"
    )]
    Taken,
    /// The system refuses.
    #[error("cannot take the lock of this network namespace: {0}")]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`Error::Taken`] while another daemon of this network namespace lives.
    pub fn take() -> Result<Self, Error> {
        let name = SocketAddr::from_abstract_name(NAME)?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::Taken),
            Err(error) => Err(error.into()),
        }
    }
}
