//! The IPv4 header, which raw sockets deliver with the packet. (Of IPv6 they deliver only what
//! follows; hop limit and addresses come beside it.)

use crate::types::PROTOCOL;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Bytes of a header without options.
const SHORTEST: usize = 20;

/// Why bytes are no IPv4 packet of VRRP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum HeaderError {
    /// The IP version is another one, or the header's length is less than 20 bytes.
    #[error("it doesn't begin with an IPv4 header")]
    NotIpv4,
    /// The packet ends before its header, or before the length that the header says.
    #[error("it ends after {0} bytes, before its IPv4 header says so")]
    Truncated(usize),
    /// A part of a packet. Adverts are short; the kernel puts fragments together before that.
    #[error("it is a fragment")]
    Fragment,
    /// Another protocol than 112.
    #[error("its protocol is {0}, not 112")]
    Protocol(u8),
}

/// An IPv4 packet of VRRP, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Packet<'a> {
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
    /// Its TTL.
    pub ttl: u8,
    /// What follows the header and its options, to the length that the header says.
    pub payload: &'a [u8],
}

impl<'a> Ipv4Packet<'a> {
    /// Takes a packet apart. The header's checksum is the kernel's affair.
    ///
    /// # Errors
    /// When it is no whole IPv4 packet of VRRP.
    pub fn parse(packet: &'a [u8]) -> Result<Self, HeaderError> {
        let Some(header) = packet.first_chunk::<SHORTEST>() else {
            return Err(HeaderError::Truncated(packet.len()));
        };
        let &[first, _, l0, l1, _, _, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            header;
        let header_length = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || header_length < SHORTEST {
            return Err(HeaderError::NotIpv4);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let Some(payload) = packet.get(header_length..length) else {
            return Err(HeaderError::Truncated(packet.len()));
        };
        // More fragments, or an offset.
        if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
            return Err(HeaderError::Fragment);
        }
        if protocol != PROTOCOL {
            return Err(HeaderError::Protocol(protocol));
        }
        Ok(Self {
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
            ttl,
            payload,
        })
    }
}
