//! Tuples and zones, and a reply tuple as its difference from the original one.

use super::bytes::{Malformed, Reader, Writer};
use crate::model::{Direction, Layer4, Tuple, Zone};
use std::net::IpAddr;

/// Protocol and form of the tuple: `v6 | layer 4 << 1 | expectation << 3`, and the protocol.
pub(super) fn kind(tuple: &Tuple, expected: bool) -> [u8; 2] {
    let layer4 = match tuple.layer4 {
        Layer4::None => 0,
        Layer4::Ports { .. } => 1,
        Layer4::Icmp { .. } => 2,
    };
    [u8::from(tuple.is_ipv6()) | layer4 << 1 | u8::from(expected) << 3, tuple.protocol]
}

/// Source port, or ICMP identifier; destination port, or ICMP type and code.
pub(super) fn ports(tuple: &Tuple) -> (u16, u16) {
    match tuple.layer4 {
        Layer4::None => (0, 0),
        Layer4::Ports { src, dst } => (src, dst),
        Layer4::Icmp { id, kind, code } => (id, u16::from_be_bytes([kind, code])),
    }
}

pub(super) fn layer4(kind: u8, (a, b): (u16, u16)) -> Result<Layer4, Malformed> {
    let [high, low] = b.to_be_bytes();
    match kind >> 1 & 3 {
        0 => Ok(Layer4::None),
        1 => Ok(Layer4::Ports { src: a, dst: b }),
        2 => Ok(Layer4::Icmp { id: a, kind: high, code: low }),
        _ => Err(Malformed::Range("the kind of a tuple")),
    }
}

/// An address in 16 bytes, those of IPv4 in the first four.
pub(super) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

pub(super) fn address(octets: [u8; 16], ipv6: bool) -> IpAddr {
    let [a, b, c, d, ..] = octets;
    if ipv6 { IpAddr::from(octets) } else { IpAddr::from([a, b, c, d]) }
}

/// How long an address is.
pub(super) fn address_len(ipv6: bool) -> usize {
    if ipv6 { 16 } else { 4 }
}

/// A whole tuple, of no more than 38 bytes.
pub(super) fn put_tuple(writer: &mut Writer, tuple: &Tuple) {
    writer.put(&kind(tuple, false));
    let len = address_len(tuple.is_ipv6());
    for address in [tuple.src, tuple.dst] {
        writer.put(octets(address).get(..len).unwrap_or_default());
    }
    if tuple.layer4 != Layer4::None {
        let (a, b) = ports(tuple);
        writer.put(&a.to_be_bytes());
        writer.put(&b.to_be_bytes());
    }
}

pub(super) fn get_tuple(reader: &mut Reader<'_>) -> Result<Tuple, Malformed> {
    let [kind, protocol] = reader.array("a tuple")?;
    if kind & !7 != 0 {
        return Err(Malformed::Range("the kind of a tuple"));
    }
    let ipv6 = kind & 1 != 0;
    let mut next = || {
        let mut octets = [0; 16];
        let taken = reader.take(address_len(ipv6), "an address")?;
        octets.iter_mut().zip(taken).for_each(|(octet, byte)| *octet = *byte);
        Ok(address(octets, ipv6))
    };
    let (src, dst) = (next()?, next()?);
    let mut layer4_of = (0, 0);
    if kind >> 1 & 3 != 0 {
        layer4_of = (
            u16::from_be_bytes(reader.array("a port")?),
            u16::from_be_bytes(reader.array("a port")?),
        );
    }
    Ok(Tuple { src, dst, protocol, layer4: layer4(kind, layer4_of)? })
}

/// In what a reply tuple differs from the inverse of the original: 1 source, 2 destination,
/// 4 and 8 the ports; in no more than 37 bytes.
pub(super) fn put_reply(writer: &mut Writer, original: &Tuple, reply: &Tuple) {
    let plain = original.inverse();
    let ((a, b), (plain_a, plain_b)) = (ports(reply), ports(&plain));
    let differs = u8::from(reply.src != plain.src)
        | u8::from(reply.dst != plain.dst) << 1
        | u8::from(a != plain_a) << 2
        | u8::from(b != plain_b) << 3;
    writer.u8(differs);
    let len = address_len(original.is_ipv6());
    for (bit, address) in [(1, reply.src), (2, reply.dst)] {
        if differs & bit != 0 {
            writer.put(octets(address).get(..len).unwrap_or_default());
        }
    }
    for (bit, port) in [(4, a), (8, b)] {
        if differs & bit != 0 {
            writer.put(&port.to_be_bytes());
        }
    }
}

/// What [`put_reply`] wrote, to be applied to any original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReplyDiff {
    src: Option<[u8; 16]>,
    dst: Option<[u8; 16]>,
    a: Option<u16>,
    b: Option<u16>,
}

impl ReplyDiff {
    pub(super) fn of(original: &Tuple, reply: &Tuple) -> Self {
        let plain = original.inverse();
        let ((a, b), (plain_a, plain_b)) = (ports(reply), ports(&plain));
        Self {
            src: (reply.src != plain.src).then(|| octets(reply.src)),
            dst: (reply.dst != plain.dst).then(|| octets(reply.dst)),
            a: (a != plain_a).then_some(a),
            b: (b != plain_b).then_some(b),
        }
    }

    pub(super) fn get(reader: &mut Reader<'_>, ipv6: bool) -> Result<Self, Malformed> {
        let differs = reader.u8("a reply tuple")?;
        if differs & !15 != 0 {
            return Err(Malformed::Range("a reply tuple"));
        }
        let mut address = |bit| {
            if differs & bit == 0 {
                return Ok(None);
            }
            let mut octets = [0; 16];
            let taken = reader.take(address_len(ipv6), "an address")?;
            octets.iter_mut().zip(taken).for_each(|(octet, byte)| *octet = *byte);
            Ok(Some(octets))
        };
        let (src, dst) = (address(1)?, address(2)?);
        let mut port = |bit| {
            let there = differs & bit != 0;
            there.then(|| reader.array("a port").map(u16::from_be_bytes)).transpose()
        };
        Ok(Self { src, dst, a: port(4)?, b: port(8)? })
    }

    pub(super) fn apply(&self, original: &Tuple) -> Result<Tuple, Malformed> {
        let plain = original.inverse();
        let ipv6 = original.is_ipv6();
        let (a, b) = ports(&plain);
        let [kind, _] = kind(&plain, false);
        Ok(Tuple {
            src: self.src.map_or(plain.src, |octets| address(octets, ipv6)),
            dst: self.dst.map_or(plain.dst, |octets| address(octets, ipv6)),
            protocol: plain.protocol,
            layer4: layer4(kind, (self.a.unwrap_or(a), self.b.unwrap_or(b)))?,
        })
    }
}

pub(super) fn put_zone(writer: &mut Writer, zone: Zone) {
    writer.number(u64::from(zone.id) << 2 | zone.direction as u64);
}

pub(super) fn get_zone(reader: &mut Reader<'_>) -> Result<Zone, Malformed> {
    let both = reader.number32("a zone")?;
    let id = u16::try_from(both >> 2).map_err(|_| Malformed::Range("a zone"))?;
    let direction = match both & 3 {
        0 => Direction::Both,
        1 => Direction::Original,
        2 => Direction::Reply,
        _ => return Err(Malformed::Range("a zone")),
    };
    Ok(Zone { id, direction })
}
