//! Changes to addresses and links of several interfaces at once.
//!
//! Goes in: steps. Comes out: the steps that failed, and why. Not here: undoing any.

use super::{ADDRESS, DELETE, FLAGS, LOCAL, NEW};
use crate::link::{self, NEW as NEW_LINK};
use crate::socket::{Error, Socket};
use crate::wire::{self, ERROR, Writer};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// `IFA_F_NODAD`: the address can be used at once.
const NO_DETECTION: u32 = 0x2;
/// `IFA_F_NOPREFIXROUTE`.
const NO_ROUTE: u32 = 0x200;

/// Steps that one `sendto` carries. The answers come within it and have to fit into a receive
/// buffer of the default size together: 212,992 bytes, of which a refusal takes about 1,300.
const AT_ONCE: usize = 128;

/// How long to wait for an answer that should be there already.
const PATIENCE: Duration = Duration::from_secs(1);

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add an address to an interface.
    Add {
        /// Index of the interface.
        interface: u32,
        /// The address.
        address: IpAddr,
        /// Length of its prefix.
        prefix_length: u8,
    },
    /// Remove an address from an interface.
    Remove {
        /// Index of the interface.
        interface: u32,
        /// The address.
        address: IpAddr,
        /// Length of its prefix.
        prefix_length: u8,
    },
    /// Switch the interface with this index on.
    Up(u32),
    /// Switch the interface with this index off.
    Down(u32),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { interface, address, prefix_length } => {
                write!(f, "add address {address}/{prefix_length} to interface {interface}")
            }
            Self::Remove { interface, address, prefix_length } => {
                write!(f, "remove address {address}/{prefix_length} from interface {interface}")
            }
            Self::Up(interface) => write!(f, "switch interface {interface} on"),
            Self::Down(interface) => write!(f, "switch interface {interface} off"),
        }
    }
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub struct BatchError {
    /// What was attempted.
    pub step: Step,
    /// Why it failed.
    pub source: Error,
}

/// Steps that go to the kernel together, in one `sendto` for each 128 of them, and are done in
/// their order. A step that fails doesn't keep the later ones from being done.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    steps: Vec<Step>,
}

impl Batch {
    /// No steps.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address without duplicate address detection. Succeeds when it is already there. An
    /// IPv6 address goes when its interface is switched off, so switch it on first.
    ///
    /// It brings no route to its prefix, but for link-local ones: give those the prefix length 64
    /// on an interface without any other, or nothing can be sent from them.
    pub fn add(&mut self, interface: u32, address: IpAddr, prefix_length: u8) {
        self.steps.push(Step::Add { interface, address, prefix_length });
    }

    /// Removes an address. Succeeds when it, or the interface, is not there.
    pub fn remove(&mut self, interface: u32, address: IpAddr, prefix_length: u8) {
        self.steps.push(Step::Remove { interface, address, prefix_length });
    }

    /// Switches an interface on.
    pub fn link_up(&mut self, interface: u32) {
        self.steps.push(Step::Up(interface));
    }

    /// Switches an interface off. Succeeds when it is not there.
    pub fn link_down(&mut self, interface: u32) {
        self.steps.push(Step::Down(interface));
    }

    /// The steps so far.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Does the steps, over a socket of [`Socket::open_route`].
    ///
    /// # Errors
    /// Every step that failed. When the socket fails it is not known what became of the steps
    /// whose answer is missing: they are all there, with that error.
    pub fn commit(self, socket: &mut Socket) -> Result<(), Vec<BatchError>> {
        let mut failed = Vec::new();
        for steps in self.steps.chunks(AT_ONCE) {
            run(steps, socket, &mut failed);
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }
}

fn run(steps: &[Step], socket: &mut Socket, failed: &mut Vec<BatchError>) {
    let mut writer = Writer::default();
    let mut waiting = BTreeMap::new();
    for step in steps {
        let seq = socket.next_seq();
        write(&mut writer, seq, step);
        waiting.insert(seq, *step);
    }
    let outcome = exchange(&writer, socket, &mut waiting, failed);
    for step in waiting.into_values() {
        failed.push(BatchError { step, source: again(&outcome) });
    }
}

/// The error of an exchange that ended early, for each step that it left without an answer.
fn again(outcome: &Result<(), Error>) -> Error {
    match outcome {
        Err(Error::Io(error)) => match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno).into(),
            None => io::Error::from(error.kind()).into(),
        },
        Err(Error::Overrun) => Error::Overrun,
        Err(Error::TooLong) => Error::TooLong,
        Err(Error::Silent | Error::Refused { .. }) | Ok(()) => Error::Silent,
    }
}

/// Sends and takes the answers, each of which takes its step out of `waiting`.
fn exchange(
    writer: &Writer,
    socket: &mut Socket,
    waiting: &mut BTreeMap<u32, Step>,
    failed: &mut Vec<BatchError>,
) -> Result<(), Error> {
    socket.send(writer.finished().ok_or(Error::TooLong)?)?;
    while !waiting.is_empty() {
        let Some(messages) = socket.receive(PATIENCE)? else {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        };
        for message in messages.filter(|message| message.kind == ERROR) {
            let Some(step) = waiting.remove(&message.seq) else { continue };
            let errno = message.errno();
            if errno != 0 && !is_done_anyway(&step, errno) {
                let source = io::Error::from_raw_os_error(errno);
                let source = Error::Refused { seq: message.seq, source };
                failed.push(BatchError { step, source });
            }
        }
    }
    Ok(())
}

/// Whether the refusal means that what the step is for is so without it.
fn is_done_anyway(step: &Step, errno: i32) -> bool {
    match step {
        Step::Remove { .. } => matches!(errno, libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENXIO),
        Step::Down(_) => errno == libc::ENODEV,
        Step::Add { .. } | Step::Up(_) => false,
    }
}

fn write(writer: &mut Writer, seq: u32, step: &Step) {
    let create = wire::F_ACK | wire::F_CREATE | wire::F_REPLACE;
    match *step {
        Step::Add { interface, address, prefix_length } => {
            write_address(writer, NEW, create, seq, (interface, address, prefix_length));
            let flags = if is_link(address) { NO_DETECTION } else { NO_DETECTION | NO_ROUTE };
            writer.bytes(FLAGS, &flags.to_ne_bytes());
        }
        Step::Remove { interface, address, prefix_length } => {
            write_address(writer, DELETE, wire::F_ACK, seq, (interface, address, prefix_length));
        }
        Step::Up(interface) => write_switch(writer, seq, interface, true),
        Step::Down(interface) => write_switch(writer, seq, interface, false),
    }
}

/// Whether only its own interface leads to the neighbours of an address.
fn is_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn write_address(
    writer: &mut Writer,
    kind: u16,
    flags: u16,
    seq: u32,
    (interface, address, prefix_length): (u32, IpAddr, u8),
) {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // struct ifaddrmsg: family, prefix length, flags, scope (global), interface. For an
    // IPv6 address the kernel finds the scope by itself.
    let mut header = vec![family as u8, prefix_length, 0, 0];
    header.extend_from_slice(&interface.to_ne_bytes());
    writer.message_with(kind, flags, seq, &header);
    for attribute in [LOCAL, ADDRESS] {
        match address {
            IpAddr::V4(address) => writer.bytes(attribute, &address.octets()),
            IpAddr::V6(address) => writer.bytes(attribute, &address.octets()),
        }
    }
}

fn write_switch(writer: &mut Writer, seq: u32, interface: u32, up: bool) {
    let flags = if up { libc::IFF_UP as u32 } else { 0 };
    let header = link::header(interface, flags, libc::IFF_UP as u32);
    writer.message_with(NEW_LINK, wire::F_ACK, seq, &header);
}
