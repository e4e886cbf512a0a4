//! Wakes a thread that waits for packets.
//!
//! Goes in: a call from any thread. Comes out: [`super::Received::Woken`] in the thread that owns
//! the queue. Not here: why it is woken.
//!
//! The thread waits in `recvmmsg`, which is one system call where waiting for two descriptors and
//! then reading would be three; with few packets in a batch that is what a packet costs most. So
//! the wake-up has to come as a message on the queue's own socket: the answer to a request that
//! changes nothing.

use super::message::{CFG_CMD, CMD_PF_BIND, MSG_CONFIG, WAKE_SEQ};
use crate::wire::{self, Writer};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Wakes the owner of one queue; does nothing once the queue is gone. Clones wake the same one.
#[derive(Clone, Debug)]
pub struct Waker(Weak<Bell>);

/// The queue's end.
#[derive(Debug)]
pub(super) struct Bell {
    raised: AtomicBool,
    /// The queue's socket, once more. Only here, so that it ends with the queue.
    socket: File,
    request: Vec<u8>,
}

impl Waker {
    /// Makes the next or the current [`super::Queue::receive`] return at once. Several calls
    /// before it does may count as one.
    pub fn wake(&self) {
        if let Some(bell) = self.0.upgrade() {
            bell.ring();
        }
    }
}

impl Bell {
    pub(super) fn new(socket: BorrowedFd<'_>) -> io::Result<Arc<Self>> {
        let mut writer = Writer::default();
        writer.message(MSG_CONFIG, wire::F_ACK, WAKE_SEQ, 0, 0);
        writer.bytes(CFG_CMD, &[CMD_PF_BIND, 0, 0, 0]);
        let request = writer.finished().unwrap_or_default().to_vec();
        let socket = File::from(socket.try_clone_to_owned()?);
        Ok(Arc::new(Self { raised: AtomicBool::new(false), socket, request }))
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker(Arc::downgrade(self))
    }

    /// Whether it was rung since the last call.
    pub(super) fn take(&self) -> bool {
        // The swap reads the store of whoever rang last, so what that thread did before is
        // visible to the woken one.
        self.raised.load(Ordering::Relaxed) && self.raised.swap(false, Ordering::AcqRel)
    }

    fn ring(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            // The answer is lost only if the receive buffer is full, and the request can't be made
            // only if memory is short; then the thread sees the flag with the next packet, or
            // when its time is over.
            let _ = (&self.socket).write(&self.request);
        }
    }
}
