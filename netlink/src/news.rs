//! Hearing of changes that the kernel tells over a route socket.
//!
//! Goes in: multicast groups, and how to read a message. Comes out: what has changed, in order. Not
//! here: what is there ([`crate::link::list`], [`crate::address::list`]).

use crate::socket::{Error, Socket};
use crate::sys;
use crate::wire::Message;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Room for the news of some thousand objects that change at once.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Hears of changes from the moment on in which it is opened. Open it first and list what is there
/// then, so that nothing is missed in between.
#[derive(Debug)]
pub struct News<E> {
    socket: Socket,
    read: fn(&Message<'_>) -> Option<E>,
}

impl<E> News<E> {
    /// Begins to listen to groups, `RTNLGRP_` numbers. Messages that `read` makes nothing of are
    /// left out.
    ///
    /// # Errors
    /// What `socket`, `bind` and `setsockopt` fail with.
    pub(crate) fn listen(groups: &[u32], read: fn(&Message<'_>) -> Option<E>) -> io::Result<Self> {
        let socket = Socket::open_route()?;
        sys::set_receive_buffer(sys::borrow(&socket), RECEIVE_BUFFER)?;
        for group in groups {
            socket.join(*group)?;
        }
        Ok(Self { socket, read })
    }

    /// Waits for something to happen; false when the time is over first.
    ///
    /// # Errors
    /// What `poll` fails with.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        sys::poll_readable(sys::borrow(&self.socket), timeout)
    }

    /// What has happened since the last call, in order, without waiting. The file descriptor can
    /// be read when there is something; call this until it returns nothing.
    ///
    /// # Errors
    /// [`Error::Overrun`] when the kernel had more to say than there was room for: list what is
    /// there again.
    pub fn read_events(&mut self) -> Result<Vec<E>, Error> {
        match self.socket.receive(Duration::ZERO)? {
            Some(messages) => Ok(messages.filter_map(|message| (self.read)(&message)).collect()),
            None => Ok(Vec::new()),
        }
    }
}

impl<E> AsRawFd for News<E> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
