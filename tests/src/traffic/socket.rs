//! Sockets with what the standard library doesn't offer: a source for a connection, large buffers,
//! and the kernel's own count of what didn't fit into one.

use crate::error::{Attempt, Error};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// What a receiver asks for: 0.3 s at 50,000 short datagrams a second. Without the privilege the
/// kernel gives less; the reception's `overrun` says whether that was too little.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Raises the number of files that this process may have open to what it may raise it to.
pub fn allow_many() {
    let limit = getrlimit(Resource::Nofile);
    // With the old limit it may still work; if not, opening a socket says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// A UDP socket at this address, not blocking, with a large receive buffer.
///
/// # Errors
/// When the address can't be bound.
pub fn udp(address: SocketAddr) -> Result<UdpSocket, Error> {
    let socket = UdpSocket::bind(address).attempt(|| format!("listen on UDP {address}"))?;
    socket.set_nonblocking(true).attempt(|| format!("set up UDP {address}"))?;
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)
            .attempt(|| format!("set the receive buffer of UDP {address}"))?;
    }
    Ok(socket)
}

/// Waits until the send buffer has room, for so long at most: it fills up while the machine forwards
/// more slowly than this sends.
pub fn wait_for_room(socket: &UdpSocket, within: Duration) {
    let mut room = [PollFd::new(socket, PollFlags::OUT)];
    // Whoever sends next notices what is wrong.
    let _ = poll(&mut room, Some(&timespec(within)));
}

/// Datagrams that found this socket's receive buffer full.
#[must_use]
pub fn overrun(socket: &UdpSocket) -> u64 {
    let Ok(inode) = fstat(socket).map(|stat| stat.st_ino.to_string()) else {
        return 0;
    };
    // Columns: ... inode (10th), ref, pointer, drops (13th).
    let drops = |line: &str| {
        let mut fields = line.split_whitespace().skip(9);
        (fields.next()? == inode).then(|| fields.nth(2)?.parse().ok()).flatten()
    };
    ["/proc/net/udp", "/proc/net/udp6"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|table| table.lines().find_map(drops))
        .unwrap_or(0)
}

/// Connects from a chosen source.
///
/// # Errors
/// As `connect(2)`; `TimedOut` after the time.
pub fn tcp(from: Option<SocketAddr>, to: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if let Some(from) = from {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &from)?;
    }
    match connect(&socket, &to) {
        Err(Errno::INPROGRESS) => {
            let mut wait = [PollFd::new(&socket, PollFlags::OUT)];
            let ready = poll(&mut wait, Some(&timespec(within)))?;
            if ready == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sockopt::socket_error(&socket)??;
        }
        other => other?,
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A duration as the kernel wants it.
#[must_use]
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// A short, stable name for what a socket reports.
#[must_use]
pub fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::HostUnreachable => "host-unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network-unreachable".to_owned(),
        io::ErrorKind::PermissionDenied => "denied".to_owned(),
        _ => error.to_string(),
    }
}
