//! A filter for the datagrams of a sealed channel, so that what can't be the peer's costs no trip
//! to user space.
//!
//! ```text
//!   UDP header │ kind u8 │ sealed:    session u32 │ counter u64 (little-endian) ...
//!              │         │ handshake: format u8 ...
//! ```
//!
//! Goes in: which sessions live, and whether handshakes are heard. Comes out: a program before the
//! socket's queue. Not here: what the datagrams mean.

use crate::sys::attach_filter;
use libc::{BPF_ABS, BPF_ALU, BPF_B, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_LSH, BPF_MISC};
use libc::{BPF_OR, BPF_RET, BPF_TAX, BPF_W, BPF_X, sock_filter};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;

/// Sessions that a program can have.
const MAX_SESSIONS: usize = 8;
/// Where a datagram's content begins: behind the UDP header.
const KIND: u32 = 8;
const FORMAT: u32 = KIND + 1;
const SESSION: u32 = KIND + 1;
const COUNTER: u32 = SESSION + 4;

/// What passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The kind of sealed datagrams.
    pub sealed: u8,
    /// The sessions that sealed datagrams may name, with the lowest counter of each; at most 8,
    /// further ones are left out.
    pub sessions: Vec<(u32, u64)>,
    /// The kinds of handshakes, and the format that they have to be of; `None` to hear none.
    pub handshakes: Option<(RangeInclusive<u8>, u8)>,
}

impl Admitted {
    /// Puts the filter before the queue of a UDP socket, in place of the one before. What waits in
    /// the queue stays there.
    ///
    /// # Errors
    /// What `setsockopt` fails with.
    pub fn attach(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        attach_filter(socket, &self.program())
    }

    fn program(&self) -> Vec<sock_filter> {
        let mut program = vec![load(BPF_B, KIND)];
        let mut sealed = Vec::new();
        for (session, lowest) in self.sessions.iter().take(MAX_SESSIONS) {
            // What is loaded is taken for network byte order.
            let session = u32::from_be_bytes(session.to_le_bytes());
            let checks = counter(*lowest);
            let behind = u8::try_from(checks.len()).unwrap_or(u8::MAX);
            sealed.push(load(BPF_W, SESSION));
            sealed.push(jump(BPF_JEQ, session, 0, behind));
            sealed.extend(checks);
        }
        sealed.push(end(false));
        // There are fewer than 160 instructions.
        let len = u8::try_from(sealed.len()).unwrap_or(u8::MAX);
        program.push(jump(BPF_JEQ, self.sealed.into(), 0, len));
        program.extend(sealed);
        if let Some((kinds, format)) = &self.handshakes {
            let beyond = u32::from(*kinds.end()) + 1;
            program.push(jump(BPF_JGE, (*kinds.start()).into(), 0, 4));
            program.push(jump(BPF_JGE, beyond, 3, 0));
            program.push(load(BPF_B, FORMAT));
            program.push(jump(BPF_JEQ, (*format).into(), 0, 1));
            program.push(end(true));
        }
        program.push(end(false));
        program
    }
}

/// Ends the program: takes the datagram if its counter is not below `lowest`, as far as the lower
/// half of the counter tells.
fn counter(lowest: u64) -> Vec<sock_filter> {
    let mut steps = Vec::new();
    if let Ok(lowest) = u32::try_from(lowest) {
        steps.push(load(BPF_B, COUNTER + 3));
        for byte in [2, 1, 0] {
            steps.push(plain(BPF_ALU | BPF_LSH | BPF_K, 8));
            steps.push(plain(BPF_MISC | BPF_TAX, 0));
            steps.push(load(BPF_B, COUNTER + byte));
            steps.push(plain(BPF_ALU | BPF_OR | BPF_X, 0));
        }
        steps.push(jump(BPF_JGE, lowest, 1, 0));
        steps.push(end(false));
    }
    steps.push(end(true));
    steps
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // Codes are of 16 bits.
    sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}

fn plain(code: u32, k: u32) -> sock_filter {
    instruction(code, 0, 0, k)
}

fn load(size: u32, at: u32) -> sock_filter {
    plain(BPF_LD | size | BPF_ABS, at)
}

fn jump(how: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(BPF_JMP | how | BPF_K, yes, no, value)
}

/// A load beyond the datagram's end refuses it too.
fn end(take: bool) -> sock_filter {
    plain(BPF_RET | BPF_K, if take { u32::MAX } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    fn sealed(kind: u8, session: u32, counter: u64) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&session.to_le_bytes());
        bytes.extend_from_slice(&counter.to_le_bytes());
        bytes.extend_from_slice(&[7; 20]);
        bytes
    }

    /// The datagrams that get through, each followed by one that always does.
    fn through(admitted: &Admitted, datagrams: &[Vec<u8>]) -> Vec<usize> {
        let (sender, socket) = UnixDatagram::pair().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        admitted.attach(socket.as_fd()).unwrap();
        let last = sealed(5, 0x0102_0304, 1 << 20);
        for datagram in datagrams.iter().chain([&last]) {
            // In place of the UDP header.
            sender.send(&[&[0; 8], datagram.as_slice()].concat()).unwrap();
        }
        let mut found = Vec::new();
        let mut buffer = [0; 100];
        loop {
            let len = socket.recv(&mut buffer).unwrap();
            let datagram = &buffer[8..len];
            if datagram == last {
                return found;
            }
            found.push(datagrams.iter().position(|one| one == datagram).unwrap());
        }
    }

    #[test]
    fn only_living_sessions_later_counters_and_handshakes_get_through() {
        let mut admitted = Admitted {
            sealed: 5,
            sessions: vec![(77, 0x1234_5678), (0x0102_0304, 0)],
            handshakes: Some((1..=4, 1)),
        };
        let datagrams = [
            sealed(5, 77, 0x1234_5678),
            sealed(5, 77, 0x1234_5677),
            sealed(5, 78, 0x1234_5678),
            sealed(5, 0x0102_0304, 0),
            sealed(6, 77, 0x1234_5679),
            vec![1, 1, 9, 9],
            vec![4, 1],
            vec![4, 2, 9],
            vec![0, 1, 9],
            vec![5],
            vec![],
            sealed(5, 77, 0x1334_0000),
        ];
        assert_eq!(through(&admitted, &datagrams), [0, 3, 5, 6, 11]);
        admitted.handshakes = None;
        assert_eq!(through(&admitted, &datagrams), [0, 3, 11]);
    }
}
