//! Flows: what a classifier is asked about.

use crate::zone::ZoneId;
use std::net::IpAddr;

/// IP protocol numbers (IANA) that the policy treats by name.
pub mod protocol {
    /// ICMP for IPv4, RFC 792.
    pub const ICMP: u8 = 1;
    /// TCP, RFC 9293.
    pub const TCP: u8 = 6;
    /// UDP, RFC 768.
    pub const UDP: u8 = 17;
    /// DCCP, RFC 4340.
    pub const DCCP: u8 = 33;
    /// ICMP for IPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
    /// SCTP, RFC 9260.
    pub const SCTP: u8 = 132;
    /// UDP-Lite, RFC 3828.
    pub const UDPLITE: u8 = 136;
}

/// The addresses and the upper-layer fields of a packet, in the direction of the session's first
/// packet and with the inside addresses, as they are after destination NAT and before source NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address. Both addresses are of one family.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Upper-layer protocol, an IANA number; for IPv6 the one after the extension headers.
    pub protocol: u8,
    /// Source port; the type for ICMP and ICMPv6; 0 for protocols without ports.
    pub src_port: u16,
    /// Destination port; the code for ICMP and ICMPv6; 0 for protocols without ports.
    pub dst_port: u16,
}

/// A tuple with the zones that it goes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Addresses and ports.
    pub tuple: Tuple,
    /// The zone of the interface that the session's first packet came in by.
    pub from: ZoneId,
    /// The zone of the interface that it goes out by, or [`ZoneId::SELF`].
    pub to: ZoneId,
}
