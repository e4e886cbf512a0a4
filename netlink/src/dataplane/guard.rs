//! Notices when somebody deletes the table: `nft flush ruleset` does, and then nothing filters.

use super::Error;
use super::layout::TABLE;
use crate::nft::sets;
use crate::socket::{Error as SocketError, Socket};
use std::io;
use std::time::Duration;

/// `NFNLGRP_NFTABLES`.
pub(super) const NOTIFICATIONS: u32 = 7;
/// Room for the news of a change to some ten thousand elements. Losing news only costs a look.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Listens to what happens to nf_tables in this network namespace.
#[derive(Debug)]
pub struct Guard {
    socket: Socket,
}

impl Guard {
    /// Begins to listen.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Read {
            attempt: "listen to notifications",
            source: source.into(),
        };
        let socket = Socket::open().map_err(failed)?;
        socket.set_buffers(0, RECEIVE_BUFFER).map_err(failed)?;
        socket.join(NOTIFICATIONS).map_err(failed)?;
        Ok(Self { socket })
    }

    /// Waits until the table may have been deleted; false when the time is over first. The caller
    /// has to look: the table is also deleted when it is built anew, and when news were lost
    /// nobody knows.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, Error> {
        match self.socket.receive(timeout) {
            Ok(Some(mut messages)) => {
                Ok(messages.any(|message| sets::is_deleted_table(&message, TABLE)))
            }
            Ok(None) => Ok(false),
            Err(SocketError::Overrun) => Ok(true),
            Err(source) => Err(Error::Read { attempt: "listen to notifications", source }),
        }
    }
}
