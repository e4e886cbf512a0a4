//! Whole Ethernet frames: written into a buffer, and sent.
//!
//! Goes in: addresses and payloads. Comes out: frames on an interface, past netfilter. Not here:
//! ARP and neighbour discovery messages, adverts (crate twinwall-vrrp).

use crate::sys::{self, message};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// `TC_PRIO_CONTROL`: queues with bands send it first.
const PRIORITY: i32 = 7;
/// DSCP CS6, network control, in the place where the IPv4 header has it.
const TRAFFIC_CLASS: u8 = 0xc0;
/// Bytes of an IPv4 header without options.
const IPV4_HEADER: u16 = 20;

/// A packet socket that sends and never receives.
#[derive(Debug)]
pub struct Sender {
    fd: OwnedFd,
}

impl Sender {
    /// Opens the socket.
    ///
    /// # Errors
    /// What `socket` fails with: `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY)?;
        Ok(Self { fd })
    }

    /// Sends a frame on the interface with this index. Doesn't wait.
    ///
    /// # Errors
    /// What `sendto` fails with: `WouldBlock` when the send buffer is full, `ENOBUFS` when the
    /// interface's queue is, `ENETDOWN` when the interface is down, `ENXIO` when it is gone;
    /// `InvalidInput` for a frame without a whole header.
    pub fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        // struct sockaddr_ll: family, EtherType, interface, and what only matters on receipt.
        let mut name = (libc::AF_PACKET as u16).to_ne_bytes().to_vec();
        name.extend_from_slice(frame.get(12..14).ok_or(io::ErrorKind::InvalidInput)?);
        name.extend_from_slice(&interface.to_ne_bytes());
        name.extend_from_slice(&[0; 12]);
        message::send(self.fd.as_fd(), &name, &[], frame)
    }
}

impl AsRawFd for Sender {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Writes an Ethernet frame in place of what `frame` held. An IP packet can be written behind an
/// empty payload with [`ipv4`] or [`ipv6`].
pub fn ethernet(
    frame: &mut Vec<u8>,
    destination: [u8; 6],
    source: [u8; 6],
    ethertype: u16,
    payload: &[u8],
) {
    frame.clear();
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
}

/// Appends an IPv4 packet: header without options, not to be fragmented, DSCP CS6 (network
/// control).
///
/// # Errors
/// `InvalidInput` when the payload is longer than 65,515 bytes; then nothing is appended.
pub fn ipv4(
    frame: &mut Vec<u8>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
    protocol: u8,
    payload: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(payload.len()).ok().and_then(|n| n.checked_add(IPV4_HEADER));
    let [length_high, length_low] = length.ok_or(io::ErrorKind::InvalidInput)?.to_be_bytes();
    let [a, b, c, d] = source.octets();
    let [e, f, g, h] = destination.octets();
    let mut header = [
        // Version 4, five words.
        0x45,
        TRAFFIC_CLASS,
        length_high,
        length_low,
        // No identification, which only fragments need (RFC 6864); don't fragment.
        0,
        0,
        0x40,
        0,
        ttl,
        protocol,
        0,
        0,
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
    ];
    let sum = checksum(&header).to_be_bytes();
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum);
    }
    frame.extend_from_slice(&header);
    frame.extend_from_slice(payload);
    Ok(())
}

/// Appends an IPv6 packet: header without extensions, traffic class CS6 (network control).
///
/// # Errors
/// `InvalidInput` when the payload is longer than 65,535 bytes; then nothing is appended.
pub fn ipv6(
    frame: &mut Vec<u8>,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    next_header: u8,
    payload: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    frame.extend_from_slice(&[0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4, 0, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[next_header, hop_limit]);
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&destination.octets());
    frame.extend_from_slice(payload);
    Ok(())
}

/// The Ethernet address of an IP multicast group (RFC 1112 6.4, RFC 2464 7); `None` for other
/// addresses.
#[must_use]
pub fn multicast_mac(group: IpAddr) -> Option<[u8; 6]> {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            group.is_multicast().then_some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            group.is_multicast().then_some([0x33, 0x33, a, b, c, d])
        }
    }
}

/// The internet checksum of an even number of bytes (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let mut sum = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advert_in_ipv4_has_the_header_that_its_fields_say() {
        let mut frame = vec![1; 99];
        let source = [0, 0, 0x5e, 0, 1, 7];
        let group = Ipv4Addr::new(224, 0, 0, 18);
        ethernet(&mut frame, multicast_mac(group.into()).unwrap(), source, IPV4, &[]);
        ipv4(&mut frame, Ipv4Addr::new(10, 0, 0, 2), group, 255, 112, &[0xab; 12]).unwrap();
        assert_eq!(frame[..14], [1, 0, 0x5e, 0, 0, 18, 0, 0, 0x5e, 0, 1, 7, 8, 0]);
        // The checksum was worked out by hand.
        let header =
            [0x45, 0xc0, 0, 32, 0, 0, 0x40, 0, 255, 112, 0x90, 0x99, 10, 0, 0, 2, 224, 0, 0, 18];
        assert_eq!(frame[14..34], header);
        assert_eq!(frame[34..], [0xab; 12]);
        assert_eq!(checksum(&frame[14..34]), 0);
    }

    #[test]
    fn an_advert_in_ipv6_has_the_header_that_its_fields_say() {
        let (source, group) = ("fe80::1".parse().unwrap(), "ff02::12".parse().unwrap());
        let mut frame = Vec::new();
        ipv6(&mut frame, source, group, 255, 112, &[0xab; 24]).unwrap();
        assert_eq!(frame[..8], [0x6c, 0, 0, 0, 0, 24, 112, 255]);
        assert_eq!(frame[8..24], source.octets());
        assert_eq!(frame[24..40], group.octets());
        assert_eq!(frame[40..], [0xab; 24]);
    }

    #[test]
    fn a_payload_that_no_header_can_say_the_length_of_is_refused() {
        let mut frame = Vec::new();
        let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        assert!(ipv4(&mut frame, v4, v4, 1, 1, &[0; 65_516]).is_err());
        assert!(ipv6(&mut frame, v6, v6, 1, 1, &[0; 65_536]).is_err());
        assert_eq!(frame, []);
        ipv4(&mut frame, v4, v4, 1, 1, &[0; 65_515]).unwrap();
        ipv6(&mut frame, v6, v6, 1, 1, &[0; 65_535]).unwrap();
    }

    #[test]
    fn only_groups_have_a_group_address() {
        let mac = |text: &str| multicast_mac(text.parse().unwrap());
        assert_eq!(mac("239.129.2.3"), Some([1, 0, 0x5e, 1, 2, 3]));
        assert_eq!(mac("ff02::12"), Some([0x33, 0x33, 0, 0, 0, 0x12]));
        assert_eq!((mac("10.0.0.1"), mac("fe80::1")), (None, None));
    }
}
