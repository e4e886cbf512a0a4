//! The datagrams between the two nodes.

use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use twinwall_ctsync::channel::{DATA, FORMAT, HANDSHAKES};
use twinwall_netlink::datagram::Admitted;
use twinwall_netlink::sys;

/// Room for what comes while the thread does something else: some 10,000 datagrams.
const BUFFER: usize = 16 << 20;
/// Datagrams of the peer may be so much out of order while somebody else floods the link; those
/// that are more are sent again.
const REORDERED: u64 = 64;
/// The longest datagram: an Ethernet frame with 9,000 bytes.
const LONGEST: usize = 9_000;

/// The socket.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    peer: SocketAddr,
    /// Whether the kernel drops what others send.
    connected: bool,
    buffer: Vec<u8>,
    /// What the kernel lets through.
    admitted: Option<Admitted>,
}

impl Datagrams {
    /// Binds the address, which need not be there yet.
    ///
    /// # Errors
    /// When there is no such socket, or somebody else has it.
    pub(super) fn open(local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        if local.is_ipv4() {
            set_ip_freebind(&socket, true)?;
        } else {
            set_ipv6_freebind(&socket, true)?;
        }
        bind(&socket, &local)?;
        sys::set_receive_buffer(socket.as_fd(), BUFFER)?;
        sys::set_send_buffer(socket.as_fd(), BUFFER)?;
        let socket = UdpSocket::from(socket);
        let mut datagrams =
            Self { socket, peer, connected: false, buffer: vec![0; LONGEST], admitted: None };
        datagrams.connect();
        Ok(datagrams)
    }

    /// Leaves to the kernel to drop what others send, as soon as there is a route to the peer.
    pub(super) fn connect(&mut self) {
        self.connected = self.connected || self.socket.connect(self.peer).is_ok();
    }

    /// Goes on with another peer.
    pub(super) fn redirect(&mut self, peer: SocketAddr) {
        (self.peer, self.connected) = (peer, false);
        self.connect();
    }

    /// Leaves to the kernel to drop what can't be the peer's. When `besieged`, it lets through
    /// nothing but what the living sessions may have next: what is dropped costs little, and
    /// doesn't fill the room of what comes from the peer.
    pub(super) fn admit(&mut self, living: impl Iterator<Item = (u32, u64)>, besieged: bool) {
        let lowest = |next: u64| if besieged { next.saturating_sub(REORDERED) } else { 0 };
        let sessions: Vec<_> = living.map(|(index, next)| (index, lowest(next))).collect();
        let handshakes = !besieged || sessions.is_empty();
        let handshakes = handshakes.then_some((HANDSHAKES, FORMAT));
        let admitted = Admitted { sealed: DATA, sessions, handshakes };
        if self.admitted.as_ref() == Some(&admitted) {
            return;
        }
        if let Err(error) = admitted.attach(self.socket.as_fd()) {
            tracing::error!(%error, "cannot filter what comes over the sync link");
        }
        self.admitted = Some(admitted);
    }

    /// Sends. What can't be sent is lost; the state machine sends again.
    pub(super) fn send(&self, datagram: &[u8]) {
        // A socket that is still connected to a former peer sends to this one all the same.
        let send = || match self.connected {
            true => self.socket.send(datagram),
            false => self.socket.send_to(datagram, self.peer),
        };
        let sent = match send() {
            // The answer to an earlier one, and this one wasn't sent for it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => send(),
            sent => sent,
        };
        if let Err(error) = sent {
            tracing::trace!(%error, "sync datagram not sent");
        }
    }

    /// The next datagram of the peer, if there is one.
    pub(super) fn receive(&mut self) -> Option<&[u8]> {
        loop {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((length, from)) if from == self.peer => return self.buffer.get(..length),
                Ok(_) => {}
                // The answer to a datagram that nobody took: the peer isn't there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
