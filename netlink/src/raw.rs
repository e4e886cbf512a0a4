//! VRRP's receive sockets: raw sockets of one interface and one family, with a filter in the
//! kernel.
//!
//! Goes in: an interface, a family, the VRIDs of its virtual routers. Comes out: packets of
//! protocol 112 as bytes with their addresses and hop limit; unicast packets go out. Not here:
//! what an advertisement says (crate twinwall-vrrp), and multicast adverts, which
//! [`crate::frame`] sends.
//!
//! Every packet of protocol 112 passes the filter of exactly one of two sockets. The *strict* one
//! takes what looks like an advert for one of our virtual routers, the *odd* one the rest: its
//! buffer is small and it is read at a bounded rate, so a flood of rubbish neither pushes adverts
//! out nor costs time.

mod filter;

use crate::sys;
use crate::sys::message::{self, Datagram, Messages};
use crate::sys::mmsg::BATCH;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The IP protocol number of VRRP.
const PROTOCOL: i32 = 112;
/// Hop limit of everything that is sent (RFC 9568 5.1.1.3, 5.1.2.3).
const HOP_LIMIT: i32 = 255;
/// Room for a packet: 255 IPv6 addresses and the longest IPv4 header. What is longer is cut, and
/// then no advert.
const PACKET: usize = 4_352;
/// The groups of RFC 9568 5.1.1.2 and 5.1.2.2.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which packets a socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Version 3, type 1, TTL or hop limit 255, one of these VRIDs, and at least eight bytes long.
    Strict {
        /// The VRIDs of the virtual routers on this interface and of this family.
        vrids: &'a [u8],
    },
    /// Everything that [`Kind::Strict`] with the same VRIDs leaves.
    Odd {
        /// The VRIDs of the virtual routers on this interface and of this family.
        vrids: &'a [u8],
    },
}

/// What a [`Receiver`] is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// Index of the interface.
    pub interface: u32,
    /// Its name.
    pub name: &'a str,
    /// Family of the packets.
    pub family: Family,
    /// Whether to join 224.0.0.18 or ff02::12 on the interface.
    pub multicast: bool,
    /// Which packets to take.
    pub kind: Kind<'a>,
    /// Bytes of the receive buffer; the kernel doubles the number for its own overhead, and has a
    /// least one of about 2 KB.
    pub receive_buffer: usize,
}

/// A packet that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Index of the interface that it came in on.
    pub interface: u32,
    /// Who sent it.
    pub source: IpAddr,
    /// Where it was sent to; `None` when the kernel didn't say.
    pub destination: Option<IpAddr>,
    /// TTL or hop limit; `None` when the kernel didn't say.
    pub hop_limit: Option<u8>,
    /// IPv4: the whole packet with its header. IPv6: what follows the header and its extensions.
    pub bytes: &'a [u8],
}

/// A raw socket that receives packets of protocol 112 on one interface.
#[derive(Debug)]
pub struct Receiver {
    fd: OwnedFd,
    interface: u32,
    family: Family,
    messages: Messages,
}

impl Receiver {
    /// Opens a socket: non-blocking, closed on exec, bound to the interface. No packet that the
    /// filter doesn't take is ever in it.
    ///
    /// # Errors
    /// What the system calls fail with: `EPERM` without `CAP_NET_RAW`, `ENODEV` when the interface
    /// is gone.
    pub fn open(options: &Options<'_>) -> io::Result<Self> {
        let domain = match options.family {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        };
        let socket = sys::socket(domain, libc::SOCK_RAW, PROTOCOL)?;
        let fd = socket.as_fd();
        // The kernel delivers to the socket from the moment it exists, from any interface.
        sys::attach_filter(fd, &filter::nothing())?;
        sys::set_option_bytes(
            fd,
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            options.name.as_bytes(),
        )?;
        sys::set_receive_buffer(fd, options.receive_buffer)?;
        match options.family {
            Family::V4 => set_up_v4(fd, options)?,
            Family::V6 => set_up_v6(fd, options)?,
        }
        let mut receiver = Self {
            fd: socket,
            interface: options.interface,
            family: options.family,
            messages: Messages::new(PACKET),
        };
        while receiver.messages.receive(receiver.fd.as_fd(), BATCH)? > 0 {}
        receiver.set_kind(options.kind)?;
        Ok(receiver)
    }

    /// Replaces the filter. Packets that have already been received stay.
    ///
    /// # Errors
    /// What `setsockopt` fails with.
    pub fn set_kind(&self, kind: Kind<'_>) -> io::Result<()> {
        sys::attach_filter(self.fd.as_fd(), &filter::program(self.family, kind))
    }

    /// Hands up to `limit` packets that have arrived to `each`, without waiting; returns how many
    /// there were.
    ///
    /// # Errors
    /// What `recvmmsg` fails with. Packets that were read before have been handed out. An interface
    /// that goes down or is deleted is no error here: packets cease to come.
    pub fn receive(&mut self, limit: usize, mut each: impl FnMut(Packet<'_>)) -> io::Result<usize> {
        let mut taken = 0;
        while taken < limit {
            let wanted = (limit - taken).min(BATCH);
            let count = self.messages.receive(self.fd.as_fd(), wanted)?;
            for datagram in self.messages.iter() {
                if let Some(packet) = packet(self.family, self.interface, &datagram) {
                    each(packet);
                }
            }
            taken += count;
            if count < wanted {
                break;
            }
        }
        Ok(taken)
    }

    /// How many packets of protocol 112 came to this interface while the receive buffer was full,
    /// since the socket was opened. Later kernels than 6.1 look for room before they ask the
    /// filter, so packets that it wouldn't have taken are among them. Wraps at 2^32.
    ///
    /// # Errors
    /// What `getsockopt` fails with.
    pub fn drops(&self) -> io::Result<u32> {
        sys::socket_drops(self.fd.as_fd())
    }

    /// Sends a payload of protocol 112 with TTL or hop limit 255, from `source` if one is given.
    /// The kernel writes the header.
    ///
    /// # Errors
    /// What `sendmsg` fails with: `WouldBlock` when the send buffer is full, `EINVAL` when the
    /// source is not an address of this node, `ENODEV` or `ENXIO` when the interface is gone.
    /// `InvalidInput` when the addresses are not of the socket's family.
    pub fn send_to(
        &self,
        destination: IpAddr,
        source: Option<IpAddr>,
        payload: &[u8],
    ) -> io::Result<()> {
        let same_family = |address: IpAddr| address.is_ipv4() == (self.family == Family::V4);
        if !same_family(destination) || !source.is_none_or(same_family) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut control = Vec::new();
        match source {
            None => {}
            // struct in_pktinfo: interface (0 is that of the route), source, and nothing.
            Some(IpAddr::V4(source)) => {
                let mut info = [0; 12];
                if let Some(field) = info.get_mut(4..8) {
                    field.copy_from_slice(&source.octets());
                }
                message::write_control(&mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            // struct in6_pktinfo: source, interface.
            Some(IpAddr::V6(source)) => {
                let mut info = source.octets().to_vec();
                info.extend_from_slice(&self.interface.to_ne_bytes());
                message::write_control(&mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
        let name = socket_address(destination, self.interface);
        message::send(self.fd.as_fd(), &name, &control, payload)
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn set_up_v4(fd: BorrowedFd<'_>, options: &Options<'_>) -> io::Result<()> {
    sys::set_option(fd, libc::IPPROTO_IP, libc::IP_TTL, HOP_LIMIT)?;
    sys::set_option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, HOP_LIMIT)?;
    sys::set_option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, 0)?;
    if options.multicast {
        // struct ip_mreqn: group, no address, interface.
        let mut request = GROUP_V4.octets().to_vec();
        request.extend_from_slice(&[0; 4]);
        request.extend_from_slice(&options.interface.to_ne_bytes());
        sys::set_option_bytes(fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request)?;
    }
    Ok(())
}

fn set_up_v6(fd: BorrowedFd<'_>, options: &Options<'_>) -> io::Result<()> {
    sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
    sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, HOP_LIMIT)?;
    sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, HOP_LIMIT)?;
    sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, 0)?;
    if options.multicast {
        // struct ipv6_mreq: group, interface.
        let mut request = GROUP_V6.octets().to_vec();
        request.extend_from_slice(&options.interface.to_ne_bytes());
        sys::set_option_bytes(fd, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &request)?;
    }
    Ok(())
}

/// `None` when the kernel didn't say who sent it.
fn packet<'a>(family: Family, interface: u32, datagram: &Datagram<'a>) -> Option<Packet<'a>> {
    let bytes = datagram.bytes;
    match family {
        Family::V4 => Some(Packet {
            interface,
            source: IpAddr::V4(array::<4>(bytes, 12)?.into()),
            destination: array::<4>(bytes, 16).map(|address| IpAddr::V4(address.into())),
            hop_limit: bytes.get(8).copied(),
            bytes,
        }),
        Family::V6 => {
            // struct sockaddr_in6: family, port, flow, address, scope.
            let source = IpAddr::V6(array::<16>(datagram.name, 8)?.into());
            let mut packet =
                Packet { interface, source, destination: None, hop_limit: None, bytes };
            for (level, kind, data) in message::controls(datagram.control) {
                match (level, kind) {
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        packet.destination = array::<16>(data, 0).map(|a| IpAddr::V6(a.into()));
                        packet.interface = array(data, 16).map_or(interface, u32::from_ne_bytes);
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                        let value = array(data, 0).map(i32::from_ne_bytes);
                        packet.hop_limit = value.and_then(|value| u8::try_from(value).ok());
                    }
                    _ => {}
                }
            }
            Some(packet)
        }
    }
}

/// A socket address without a port, as the kernel has it in memory.
fn socket_address(address: IpAddr, interface: u32) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let mut name = (libc::AF_INET as u16).to_ne_bytes().to_vec();
            name.extend_from_slice(&[0; 2]);
            name.extend_from_slice(&address.octets());
            name.extend_from_slice(&[0; 8]);
            name
        }
        IpAddr::V6(address) => {
            let scope = if address.is_unicast_link_local() { interface } else { 0 };
            let mut name = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
            name.extend_from_slice(&[0; 6]);
            name.extend_from_slice(&address.octets());
            name.extend_from_slice(&scope.to_ne_bytes());
            name
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_bytes_from_the_kernel_are_read_or_left_out(
            v4 in any::<bool>(),
            name in proptest::collection::vec(any::<u8>(), 0..32),
            control in proptest::collection::vec(any::<u8>(), 0..128),
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let family = if v4 { Family::V4 } else { Family::V6 };
            let datagram =
                Datagram { name: &name, control: &control, bytes: &bytes, truncated: false };
            let read = packet(family, 7, &datagram);
            prop_assert_eq!(read.is_some(), if v4 { bytes.len() >= 16 } else { name.len() >= 24 });
        }
    }
}
