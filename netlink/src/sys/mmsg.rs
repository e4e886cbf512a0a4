//! `recvmmsg`: many datagrams with one system call, into memory that is used again.
//!
//! Goes in: a socket. Comes out: the datagrams that have arrived. Not here: what they mean.

use super::{as_bytes_mut, check};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most datagrams that one call takes.
pub const BATCH: usize = 32;

/// Room for [`BATCH`] datagrams, aligned as netlink headers are.
#[derive(Debug)]
pub struct Datagrams {
    words: Vec<u32>,
    /// Words that one datagram may take.
    slot: usize,
    lengths: [usize; BATCH],
    count: usize,
    truncated: usize,
}

impl Datagrams {
    /// Room for datagrams of up to `bytes` bytes each, at most 1 MiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let slot = bytes.min(1 << 20).div_ceil(size_of::<u32>()).max(1);
        Self { words: vec![0; slot * BATCH], slot, lengths: [0; BATCH], count: 0, truncated: 0 }
    }

    /// Takes what has arrived, in place of what was here before; returns how many datagrams there
    /// are, 0 when none has arrived. With `wait` it waits for the first one, for as long as the
    /// socket's [receive timeout](super::set_receive_timeout) says.
    ///
    /// # Errors
    /// What `recvmmsg` fails with; `ENOBUFS` on a netlink socket means that messages were lost.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, wait: bool) -> io::Result<usize> {
        self.clear();
        let mut slots = self.words.chunks_exact_mut(self.slot);
        // The pointers are made anew for each call, 2.5 KiB of stores: kept from call to call they
        // would tie this struct to a place in memory and to a thread.
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|_| {
            let bytes = slots.next().map(as_bytes_mut).unwrap_or_default();
            libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
        });
        let mut vector = vectors.iter_mut();
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|_| {
            // SAFETY: the struct is integers and pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            if let Some(vector) = vector.next() {
                header.msg_hdr.msg_iov = &raw mut *vector;
                header.msg_hdr.msg_iovlen = 1;
            }
            header
        });
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: each header names one vector, each vector a slot of its own of `words`; all
        // outlive the call, which writes only into them. No timeout is given.
        let received = check(unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        });
        let count = match received {
            Ok(count) => usize::try_from(count).unwrap_or_default().min(BATCH),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let room = self.slot * size_of::<u32>();
        for (header, length) in headers.iter().take(count).zip(&mut self.lengths) {
            *length = (header.msg_len as usize).min(room);
            self.truncated += usize::from(header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0);
        }
        self.count = count;
        Ok(count)
    }

    /// The datagram at `index`, in the order of arrival; `None` behind the last.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let length = *self.lengths.get(..self.count)?.get(index)?;
        super::as_bytes(self.words.get(index * self.slot..(index + 1) * self.slot)?).get(..length)
    }

    /// How many datagrams of the last call were longer than their room.
    #[must_use]
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// Forgets the datagrams.
    pub fn clear(&mut self) {
        self.count = 0;
        self.truncated = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;
    use std::time::{Duration, Instant};

    #[test]
    fn takes_what_is_there_in_order_and_does_not_wait() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let mut datagrams = Datagrams::new(64);
        assert_eq!(datagrams.receive(b.as_fd(), false).unwrap(), 0);
        for i in 0..5u8 {
            a.send(&[i; 10]).unwrap();
        }
        assert_eq!(datagrams.receive(b.as_fd(), false).unwrap(), 5);
        for i in 0..5u8 {
            assert_eq!(datagrams.get(usize::from(i)), Some(&[i; 10][..]));
        }
        assert_eq!(datagrams.get(5), None);
        assert_eq!(datagrams.truncated(), 0);
        assert_eq!(datagrams.receive(b.as_fd(), false).unwrap(), 0);
        assert_eq!(datagrams.get(0), None);
    }

    #[test]
    fn waits_for_the_first_datagram_and_for_no_second() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let mut datagrams = Datagrams::new(64);
        super::super::set_receive_timeout(b.as_fd(), Duration::from_millis(20)).unwrap();
        assert_eq!(datagrams.receive(b.as_fd(), true).unwrap(), 0);
        super::super::set_receive_timeout(b.as_fd(), Duration::from_secs(60)).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| datagrams.receive(b.as_fd(), true).unwrap());
            a.send(b"first").unwrap();
            assert_eq!(waiting.join().unwrap(), 1);
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn counts_a_datagram_that_does_not_fit_and_keeps_its_beginning() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let mut datagrams = Datagrams::new(8);
        a.send(&[7; 20]).unwrap();
        a.send(&[9; 8]).unwrap();
        assert_eq!(datagrams.receive(b.as_fd(), false).unwrap(), 2);
        assert_eq!(datagrams.truncated(), 1);
        assert_eq!(datagrams.get(0), Some(&[7; 8][..]));
        assert_eq!(datagrams.get(1), Some(&[9; 8][..]));
    }

    #[test]
    fn leaves_what_is_beyond_a_batch_for_the_next_call() {
        let (a, b) = UnixDatagram::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        let mut datagrams = Datagrams::new(4);
        let sent = (0..BATCH as u32 + 8).take_while(|i| a.send(&i.to_ne_bytes()).is_ok()).count();
        let mut seen = Vec::new();
        loop {
            let count = datagrams.receive(b.as_fd(), false).unwrap();
            if count == 0 {
                break;
            }
            assert!(count <= BATCH);
            let batch = (0..count).map(|i| datagrams.get(i).unwrap().to_vec());
            seen.extend(batch.map(|d| u32::from_ne_bytes(d.try_into().unwrap())));
        }
        assert_eq!(seen, (0..sent as u32).collect::<Vec<_>>());
    }
}
