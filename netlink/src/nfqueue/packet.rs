//! The addresses and ports of an IP packet, as the forward and the input hook see it.
//!
//! Goes in: the beginning of a packet, from its IP header on. Comes out: the fields that tell one
//! flow from another, and for an ICMP error those of the packet that it is about. Every length is
//! checked against the bytes that are there. Not here: checksums, options, the direction of a
//! session.
//!
//! Where a packet could be read in two ways this reads it as the kernel's connection tracking
//! does, so that a flow has the same fields here and in a [session](crate::conntrack::Session).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The fields of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parsed {
    /// The packet's own fields.
    pub outer: Fields,
    /// Whether this is a later fragment of a packet, which has no ports: `a` and `b` are 0.
    /// Connection tracking joins fragments before the hooks, so this is not expected there.
    pub later_fragment: bool,
    /// For an ICMP error the fields of the packet that it is about. That one went the other way.
    pub inner: Option<Fields>,
}

/// What tells one flow from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fields {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Upper-layer protocol, an IANA number; for IPv6 the one behind the extension headers.
    pub protocol: u8,
    /// Source port; the type for ICMP and ICMPv6; 0 for protocols without ports.
    pub a: u16,
    /// Destination port; the code for ICMP and ICMPv6; 0 for protocols without ports.
    pub b: u16,
}

/// Why a packet can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end before the fields do.
    #[error("the packet ends before its ports")]
    Truncated,
    /// Neither IPv4 nor IPv6.
    #[error("IP version {0}")]
    Version(u8),
    /// An IPv4 header that says it is shorter than 20 bytes, or longer than its packet.
    #[error("impossible length of the IPv4 header")]
    HeaderLength,
    /// More than [`MAX_EXTENSION_HEADERS`].
    #[error("more than {MAX_EXTENSION_HEADERS} IPv6 extension headers")]
    ExtensionHeaders,
    /// An ICMP error about a packet that can't be read.
    #[error("an ICMP error about an unreadable packet")]
    Inner,
}

/// The most IPv6 extension headers that are skipped: 32 of the shortest fill 256 bytes.
pub const MAX_EXTENSION_HEADERS: usize = 32;

/// Protocol numbers (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

/// IPv6 extension headers. Mobility, HIP and Shim6 (135, 139, 140) are none to the kernel, which
/// tracks them as protocols, so they are none here; nor is ESP, behind which nothing is readable.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const ICMP_HEADER: usize = 8;

/// Reads a packet.
///
/// # Errors
/// See [`Error`]. A packet that is cut off behind its ports is whole enough.
pub fn parse(packet: &[u8]) -> Result<Parsed, Error> {
    let network = network(packet)?;
    let outer = fields(&network)?;
    let inner = match quoted(&network, outer) {
        None => None,
        Some(quoted) => Some(inner(quoted).ok_or(Error::Inner)?),
    };
    Ok(Parsed { outer, later_fragment: network.later_fragment, inner })
}

/// A packet behind its IP header.
struct Network<'a> {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    later_fragment: bool,
    rest: &'a [u8],
}

fn network(packet: &[u8]) -> Result<Network<'_>, Error> {
    match packet.first().ok_or(Error::Truncated)? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        version => Err(Error::Version(version)),
    }
}

/// RFC 791, section 3.1.
fn ipv4(packet: &[u8]) -> Result<Network<'_>, Error> {
    let header = packet.first_chunk::<20>().ok_or(Error::Truncated)?;
    let [version, _, l1, l0, _, _, f1, f0, _, protocol, _, _, s3, s2, s1, s0, d3, d2, d1, d0] =
        *header;
    let length = usize::from(version & 0x0f) * 4;
    // The kernel leaves the total length at 0 in segments that it joined beyond 64 KiB.
    let total = match usize::from(u16::from_be_bytes([l1, l0])) {
        0 => usize::MAX,
        total => total,
    };
    if length < header.len() || total < length {
        return Err(Error::HeaderLength);
    }
    let rest = packet.get(length..total.min(packet.len())).ok_or(Error::Truncated)?;
    Ok(Network {
        src: Ipv4Addr::new(s3, s2, s1, s0).into(),
        dst: Ipv4Addr::new(d3, d2, d1, d0).into(),
        protocol,
        later_fragment: u16::from_be_bytes([f1, f0]) & 0x1fff != 0,
        rest,
    })
}

/// RFC 8200, section 3.
fn ipv6(packet: &[u8]) -> Result<Network<'_>, Error> {
    let (header, rest) = packet.split_first_chunk::<40>().ok_or(Error::Truncated)?;
    let [_, _, _, _, l1, l0, next, _, addresses @ ..] = header;
    let (src, dst) = addresses.split_first_chunk::<16>().ok_or(Error::Truncated)?;
    let dst: &[u8; 16] = dst.try_into().map_err(|_| Error::Truncated)?;
    // The length is 0 in jumbograms, RFC 2675, and in segments joined beyond 64 KiB.
    let rest = match usize::from(u16::from_be_bytes([*l1, *l0])) {
        0 => rest,
        length => rest.get(..length).unwrap_or(rest),
    };
    let (protocol, later_fragment, rest) = skip_extension_headers(*next, rest)?;
    Ok(Network {
        src: Ipv6Addr::from(*src).into(),
        dst: Ipv6Addr::from(*dst).into(),
        protocol,
        later_fragment,
        rest,
    })
}

/// RFC 8200, section 4. Each header is at least 8 bytes long, so this ends.
fn skip_extension_headers(mut next: u8, mut rest: &[u8]) -> Result<(u8, bool, &[u8]), Error> {
    for _ in 0..=MAX_EXTENSION_HEADERS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION) {
            return Ok((next, false, rest));
        }
        let [following, size, offset1, offset0] =
            *rest.first_chunk::<4>().ok_or(Error::Truncated)?;
        let length = match next {
            FRAGMENT => 8,
            // RFC 4302, section 2.2: in words of 4 bytes, less 2.
            AUTHENTICATION => (usize::from(size) + 2) * 4,
            _ => (usize::from(size) + 1) * 8,
        };
        let later = next == FRAGMENT && u16::from_be_bytes([offset1, offset0]) & 0xfff8 != 0;
        rest = rest.get(length..).ok_or(Error::Truncated)?;
        if later {
            return Ok((following, true, rest));
        }
        next = following;
    }
    Err(Error::ExtensionHeaders)
}

fn fields(network: &Network<'_>) -> Result<Fields, Error> {
    let (a, b) = if network.later_fragment {
        (0, 0)
    } else {
        match network.protocol {
            TCP | UDP | UDPLITE | SCTP | DCCP => {
                let [a1, a0, b1, b0] = *network.rest.first_chunk().ok_or(Error::Truncated)?;
                (u16::from_be_bytes([a1, a0]), u16::from_be_bytes([b1, b0]))
            }
            ICMP | ICMPV6 => {
                let [kind, code] = *network.rest.first_chunk().ok_or(Error::Truncated)?;
                (kind.into(), code.into())
            }
            _ => (0, 0),
        }
    };
    Ok(Fields { src: network.src, dst: network.dst, protocol: network.protocol, a, b })
}

/// What an ICMP error quotes; `None` when the packet isn't one.
fn quoted<'a>(network: &Network<'a>, fields: Fields) -> Option<&'a [u8]> {
    let error = match (network.protocol, network.src) {
        // RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem.
        (ICMP, IpAddr::V4(_)) => matches!(fields.a, 3 | 4 | 5 | 11 | 12),
        // RFC 4443: unreachable, too big, time exceeded, parameter problem.
        (ICMPV6, IpAddr::V6(_)) => matches!(fields.a, 1..=4),
        _ => false,
    };
    let behind = network.rest.get(ICMP_HEADER..).unwrap_or_default();
    (error && !network.later_fragment).then_some(behind)
}

/// A quoted packet has ports only if it is not a later fragment; errors are not sent about those
/// (RFC 1122, section 3.2.2), so one that is can't be matched to a flow. Nor are they sent about
/// errors, so what a quoted error quotes is not looked at.
fn inner(packet: &[u8]) -> Option<Fields> {
    let network = network(packet).ok().filter(|network| !network.later_fragment)?;
    fields(&network).ok()
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
