//! `inject`: sends whole packets that somebody else has composed, so that a gateway can be tried
//! with what no socket would send.
//!
//! In: packets as lines of hexadecimal digits, each from its IP header on. The kernel finds the
//! way by the destination; for IPv4 it also fills in the header's length and checksum. Needs
//! `CAP_NET_RAW`. Not here: what packets look like.

use crate::error::{Attempt, Error};
use crate::traffic::report::Inject;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};
use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Options of `inject`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Send the whole list so many times
    #[arg(long, default_value_t = 1)]
    pub times: u32,
}

/// Sends what standard input says.
///
/// # Errors
/// When a line is not a packet, or raw sockets can't be had; what the kernel says to a packet is
/// counted instead.
pub fn run(options: &Options) -> Result<Inject, Error> {
    let packets: Vec<Packet> = io::stdin()
        .lock()
        .lines()
        .map(|line| line.and_then(|line| Packet::parse(&line)))
        .collect::<io::Result<_>>()
        .attempt(|| "read packets from standard input".to_owned())?;
    let open = |family| {
        let flags = SocketFlags::CLOEXEC;
        // This protocol says that packets bring their IP header along.
        socket_with(family, SocketType::RAW, flags, Some(ipproto::RAW))
            .attempt(|| "open a raw socket".to_owned())
    };
    let (v4, v6) = (open(AddressFamily::INET)?, open(AddressFamily::INET6)?);
    let mut report = Inject::default();
    for _ in 0..options.times {
        for packet in &packets {
            let socket: &OwnedFd = if packet.to.is_ipv4() { &v4 } else { &v6 };
            let to = SocketAddr::new(packet.to, 0);
            match sendto(socket, &packet.bytes, SendFlags::empty(), &to) {
                Ok(_) => report.sent += 1,
                Err(error) => {
                    let reason = io::Error::from(error).to_string();
                    *report.errors.entry(reason).or_default() += 1;
                }
            }
        }
    }
    Ok(report)
}

struct Packet {
    bytes: Vec<u8>,
    to: IpAddr,
}

impl Packet {
    fn parse(line: &str) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let bytes = from_hex(line.trim()).ok_or_else(|| wrong("not hexadecimal digits"))?;
        let to = match bytes.first().map(|first| first >> 4) {
            Some(4) => bytes.get(16..20).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(v4),
            Some(6) => bytes.get(24..40).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(v6),
            _ => None,
        };
        Ok(Self { to: to.ok_or_else(|| wrong("not an IP packet"))?, bytes })
    }
}

fn v4(octets: [u8; 4]) -> IpAddr {
    Ipv4Addr::from(octets).into()
}

fn v6(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).into()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_is_taken_from_the_header() {
        let v4 = format!("45{}0a000005c6336407", "00".repeat(11));
        assert_eq!(Packet::parse(&v4).unwrap().to, "198.51.100.7".parse::<IpAddr>().unwrap());
        let v6 = format!("60{}{}20010db8004000000000000000000007", "00".repeat(7), "11".repeat(16));
        assert_eq!(Packet::parse(&v6).unwrap().to, "2001:db8:40::7".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn what_is_not_a_packet_is_refused() {
        for bad in ["", "4", "4x", "45", "500000000000000000000000000000000000000000", "60ff"] {
            assert!(Packet::parse(bad).is_err(), "{bad}");
        }
    }
}
