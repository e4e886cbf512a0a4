//! Datagrams with their addresses and ancillary data: `recvmmsg` and `sendmsg`.
//!
//! Goes in and comes out: bytes; a socket address is the bytes of its struct, ancillary data are
//! control messages. Not here: what they mean, but for telling one control message from the next.

use super::{check, mmsg::BATCH};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes for a socket address: `struct sockaddr_in6` has 28.
const NAME: usize = 32;
/// Bytes for ancillary data: `IPV6_PKTINFO` and `IPV6_HOPLIMIT` take 64.
const CONTROL: usize = 128;

/// Control messages are aligned like this, and so is what the kernel writes them into.
const ALIGN: usize = size_of::<usize>();
/// Bytes of `struct cmsghdr`.
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Room for [`BATCH`] datagrams.
#[derive(Debug)]
pub struct Messages {
    bytes: Vec<u8>,
    slot: usize,
    names: [[u8; NAME]; BATCH],
    controls: Box<[[usize; CONTROL / ALIGN]; BATCH]>,
    lengths: [Lengths; BATCH],
    count: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    bytes: usize,
    name: usize,
    control: usize,
    truncated: bool,
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it, as the bytes of a socket address.
    pub name: &'a [u8],
    /// Ancillary data; see [`controls`].
    pub control: &'a [u8],
    /// The datagram, or its beginning.
    pub bytes: &'a [u8],
    /// Whether it was longer than its room.
    pub truncated: bool,
}

impl Messages {
    /// Room for datagrams of up to `bytes` bytes each, at most 64 KiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let slot = bytes.clamp(1, 1 << 16);
        Self {
            bytes: vec![0; slot * BATCH],
            slot,
            names: [[0; NAME]; BATCH],
            controls: Box::new([[0; CONTROL / ALIGN]; BATCH]),
            lengths: [Lengths::default(); BATCH],
            count: 0,
        }
    }

    /// Takes at most `limit` datagrams that have arrived, in place of those from before, without
    /// waiting; returns how many.
    ///
    /// # Errors
    /// What `recvmmsg` fails with.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
        self.count = 0;
        let mut slots = self.bytes.chunks_exact_mut(self.slot);
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|_| {
            let bytes = slots.next().unwrap_or_default();
            libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
        });
        let mut rooms = vectors.iter_mut().zip(&mut self.names).zip(self.controls.iter_mut());
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|_| {
            // SAFETY: the struct is integers and pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            if let Some(((vector, name), control)) = rooms.next() {
                header.msg_hdr.msg_iov = &raw mut *vector;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_name = name.as_mut_ptr().cast();
                header.msg_hdr.msg_namelen = NAME as libc::socklen_t;
                header.msg_hdr.msg_control = control.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL;
            }
            header
        });
        // SAFETY: each header names a vector, a name and a room for ancillary data of its own,
        // with their sizes; all outlive the call, which writes only into them. `limit` is capped
        // by the number of headers. No timeout is given.
        let received = check(unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                limit.min(BATCH) as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        });
        let count = match received {
            Ok(count) => usize::try_from(count).unwrap_or_default().min(BATCH),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        for (header, lengths) in headers.iter().take(count).zip(&mut self.lengths) {
            *lengths = Lengths {
                bytes: (header.msg_len as usize).min(self.slot),
                name: (header.msg_hdr.msg_namelen as usize).min(NAME),
                control: header.msg_hdr.msg_controllen.min(CONTROL),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            };
        }
        self.count = count;
        Ok(count)
    }

    /// The datagrams of the last call, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        let rooms = self.bytes.chunks_exact(self.slot).zip(&self.names).zip(self.controls.iter());
        rooms.zip(&self.lengths).take(self.count).map(|(((bytes, name), control), lengths)| {
            Datagram {
                name: name.get(..lengths.name).unwrap_or_default(),
                control: words_as_bytes(control).get(..lengths.control).unwrap_or_default(),
                bytes: bytes.get(..lengths.bytes).unwrap_or_default(),
                truncated: lengths.truncated,
            }
        })
    }
}

/// Sends a datagram to the socket address in `name`, with the control messages in `control`,
/// without waiting.
///
/// # Errors
/// What `sendmsg` fails with.
pub fn send(fd: BorrowedFd<'_>, name: &[u8], control: &[u8], bytes: &[u8]) -> io::Result<()> {
    let mut vector =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the struct is integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = libc::socklen_t::try_from(name.len()).unwrap_or_default();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if !control.is_empty() {
        header.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_controllen = control.len();
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header describes slices that outlive the call, which only reads them.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, flags) };
    match usize::try_from(sent) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Appends a control message.
pub fn write_control(control: &mut Vec<u8>, level: i32, kind: i32, data: &[u8]) {
    control.extend_from_slice(&(HEADER + data.len()).to_ne_bytes());
    control.extend_from_slice(&level.to_ne_bytes());
    control.extend_from_slice(&kind.to_ne_bytes());
    control.extend_from_slice(data);
    control.resize(control.len().next_multiple_of(ALIGN), 0);
}

/// The control messages in ancillary data: level, type and data. Ends at the first whose length is
/// impossible.
#[must_use]
pub fn controls(control: &[u8]) -> Controls<'_> {
    Controls { rest: control }
}

/// Iterator of [`controls`].
#[derive(Clone, Debug)]
pub struct Controls<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Controls<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from_ne_bytes(*length);
        let data = self.rest.get(HEADER..length)?;
        let next = length.checked_next_multiple_of(ALIGN)?;
        self.rest = self.rest.get(next..).unwrap_or_default();
        Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data))
    }
}

fn words_as_bytes(words: &[usize]) -> &[u8] {
    // SAFETY: any bit pattern is a valid byte; the length in bytes is that of the slice, and the
    // lifetime is the same.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn no_more_than_the_limit_is_taken() {
        let (a, b) = UnixDatagram::pair().unwrap();
        for i in 0..7u8 {
            send(a.as_fd(), &[], &[], &[i; 3]).unwrap();
        }
        let mut messages = Messages::new(2);
        for (limit, wanted) in [(5, &[0u8, 1, 2, 3, 4][..]), (5, &[5, 6]), (5, &[])] {
            assert_eq!(messages.receive(b.as_fd(), limit).unwrap(), wanted.len());
            let seen = messages.iter().map(|d| (d.bytes.to_vec(), d.truncated));
            let wanted = wanted.iter().map(|i| (vec![*i; 2], true));
            assert_eq!(seen.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
        }
    }

    #[test]
    fn control_messages_are_read_as_they_were_written() {
        let mut control = Vec::new();
        write_control(&mut control, 41, 52, &255i32.to_ne_bytes());
        write_control(&mut control, 41, 50, &[7; 20]);
        let read = controls(&control).collect::<Vec<_>>();
        assert_eq!(read, [(41, 52, &255i32.to_ne_bytes()[..]), (41, 50, &[7; 20])]);
    }

    proptest! {
        #[test]
        fn random_ancillary_data_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(controls(&bytes).count() <= bytes.len() / HEADER + 1);
        }

        #[test]
        fn cut_ancillary_data_end(cut in 0usize..100, length in 0usize..60) {
            let mut control = Vec::new();
            write_control(&mut control, 41, 52, &[1; 4]);
            write_control(&mut control, 41, 50, &[7; 20]);
            control[24..32].copy_from_slice(&length.to_ne_bytes());
            control.truncate(cut);
            prop_assert!(controls(&control).count() <= 5);
        }
    }
}
