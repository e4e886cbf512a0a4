//! Conntrack tuples: one direction of a session.
//!
//! Goes in: the content of a `CTA_TUPLE_*` attribute. Comes out: addresses and ports, and back
//! again. Layouts are those of `linux/netfilter/nfnetlink_conntrack.h`. Not here: which direction
//! it is.

use crate::wire::{Writer, attributes, be16};
use std::net::IpAddr;

/// `enum ctattr_tuple`, `ctattr_ip` and `ctattr_l4proto`.
const TUPLE_IP: u16 = 1;
pub(super) const TUPLE_PROTO: u16 = 2;
const TUPLE_ZONE: u16 = 3;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;
pub(super) const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;
const PROTO_ICMP_ID: u16 = 4;
const PROTO_ICMP_TYPE: u16 = 5;
const PROTO_ICMP_CODE: u16 = 6;
const PROTO_ICMPV6_ID: u16 = 7;
const PROTO_ICMPV6_TYPE: u16 = 8;
const PROTO_ICMPV6_CODE: u16 = 9;

const ICMP: u8 = 1;
const GRE: u8 = 47;
const ICMPV6: u8 = 58;

/// One direction of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Upper-layer protocol, an IANA number.
    pub protocol: u8,
    /// What the protocol adds.
    pub layer4: Layer4,
    /// The conntrack zone, if this direction has one of its own.
    pub zone: Option<u16>,
}

/// What tells sessions of one protocol between two addresses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer4 {
    /// TCP, UDP, UDP-Lite, SCTP; for GRE the keys of PPTP's two directions.
    Ports {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP and ICMPv6.
    Icmp {
        /// The echo identifier.
        id: u16,
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// All other protocols. So too those whose tracking the kernel was built without: in 6.18
    /// that is always DCCP.
    None,
}

impl Tuple {
    /// `AF_INET` or `AF_INET6`, as netlink messages about this tuple name it.
    #[must_use]
    pub fn family(&self) -> u8 {
        match self.src {
            IpAddr::V4(_) => libc::AF_INET as u8,
            IpAddr::V6(_) => libc::AF_INET6 as u8,
        }
    }

    /// Ports, or ICMP type and code, or zeros, as [`crate::nfqueue::packet::Fields`] has them of
    /// a packet of this direction.
    #[must_use]
    pub fn fields(&self) -> (u16, u16) {
        match self.layer4 {
            // The keys of PPTP are in no place where a packet has ports.
            Layer4::Ports { .. } if self.protocol == GRE => (0, 0),
            Layer4::Ports { src, dst } => (src, dst),
            Layer4::Icmp { kind, code, .. } => (kind.into(), code.into()),
            Layer4::None => (0, 0),
        }
    }

    /// The other direction, if nothing is translated. It has no zone of its own.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let layer4 = match self.layer4 {
            Layer4::Ports { src, dst } => Layer4::Ports { src: dst, dst: src },
            Layer4::Icmp { id, kind, code } => {
                Layer4::Icmp { id, kind: answering(self.protocol, kind), code }
            }
            Layer4::None => Layer4::None,
        };
        Self { src: self.dst, dst: self.src, protocol: self.protocol, layer4, zone: None }
    }

    /// Reads the content of a `CTA_TUPLE_*` attribute; `None` when something is missing or has an
    /// impossible length.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut addresses, mut proto, mut zone) = (None, None, None);
        for (kind, payload) in attributes(bytes) {
            match kind {
                TUPLE_IP => addresses = Some(parse_addresses(payload)?),
                TUPLE_PROTO => proto = Some(parse_proto(payload)?),
                TUPLE_ZONE => zone = Some(be16(payload)?),
                _ => {}
            }
        }
        let ((src, dst), (protocol, layer4)) = (addresses?, proto?);
        Some(Self { src, dst, protocol, layer4, zone })
    }

    /// Writes the content of a `CTA_TUPLE_*` attribute. It is at most 92 bytes long.
    pub fn write(&self, writer: &mut Writer) {
        writer.nest(TUPLE_IP, |w| match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                w.bytes(IP_V4_SRC, &src.octets());
                w.bytes(IP_V4_DST, &dst.octets());
            }
            (src, dst) => {
                w.bytes(IP_V6_SRC, &octets(src));
                w.bytes(IP_V6_DST, &octets(dst));
            }
        });
        writer.nest(TUPLE_PROTO, |w| {
            w.byte(PROTO_NUM, self.protocol);
            match self.layer4 {
                Layer4::Ports { src, dst } => {
                    w.be16(PROTO_SRC_PORT, src);
                    w.be16(PROTO_DST_PORT, dst);
                }
                Layer4::Icmp { id, kind, code } if self.protocol == ICMPV6 => {
                    w.be16(PROTO_ICMPV6_ID, id);
                    w.byte(PROTO_ICMPV6_TYPE, kind);
                    w.byte(PROTO_ICMPV6_CODE, code);
                }
                Layer4::Icmp { id, kind, code } => {
                    w.be16(PROTO_ICMP_ID, id);
                    w.byte(PROTO_ICMP_TYPE, kind);
                    w.byte(PROTO_ICMP_CODE, code);
                }
                Layer4::None => {}
            }
        });
        if let Some(zone) = self.zone {
            writer.be16(TUPLE_ZONE, zone);
        }
    }
}

/// The ICMP type that answers this one; itself for those that nothing answers. Only echo,
/// timestamp, information and address mask requests, and in ICMPv6 echo and node information
/// queries, begin a session.
fn answering(protocol: u8, kind: u8) -> u8 {
    match (protocol, kind) {
        (ICMP, 8) => 0,
        (ICMP, 0) => 8,
        (ICMP, 13 | 15 | 17) | (ICMPV6, 128 | 139) => kind + 1,
        (ICMP, 14 | 16 | 18) | (ICMPV6, 129 | 140) => kind - 1,
        _ => kind,
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn parse_addresses(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (mut src, mut dst) = (None, None);
    for (kind, payload) in attributes(bytes) {
        let v4 = |payload: &[u8]| payload.try_into().ok().map(|octets: [u8; 4]| octets.into());
        let v6 = |payload: &[u8]| payload.try_into().ok().map(|octets: [u8; 16]| octets.into());
        match kind {
            IP_V4_SRC => src = v4(payload),
            IP_V4_DST => dst = v4(payload),
            IP_V6_SRC => src = v6(payload),
            IP_V6_DST => dst = v6(payload),
            _ => {}
        }
    }
    let (src, dst): (IpAddr, IpAddr) = (src?, dst?);
    (src.is_ipv4() == dst.is_ipv4()).then_some((src, dst))
}

fn parse_proto(bytes: &[u8]) -> Option<(u8, Layer4)> {
    let byte = |payload: &[u8]| match payload {
        [byte] => Some(*byte),
        _ => None,
    };
    let (mut protocol, mut ports, mut icmp) = (None, (None, None), (None, None, None));
    for (kind, payload) in attributes(bytes) {
        match kind {
            PROTO_NUM => protocol = byte(payload),
            PROTO_SRC_PORT => ports.0 = be16(payload),
            PROTO_DST_PORT => ports.1 = be16(payload),
            PROTO_ICMP_ID | PROTO_ICMPV6_ID => icmp.0 = be16(payload),
            PROTO_ICMP_TYPE | PROTO_ICMPV6_TYPE => icmp.1 = byte(payload),
            PROTO_ICMP_CODE | PROTO_ICMPV6_CODE => icmp.2 = byte(payload),
            _ => {}
        }
    }
    let layer4 = match (ports, icmp) {
        ((Some(src), Some(dst)), _) => Layer4::Ports { src, dst },
        (_, (Some(id), Some(kind), Some(code))) => Layer4::Icmp { id, kind, code },
        _ => Layer4::None,
    };
    Some((protocol?, layer4))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn bytes(tuple: &Tuple) -> Vec<u8> {
        let mut writer = Writer::default();
        // The writer writes whole messages; the attribute begins behind header and nfgenmsg.
        writer.message(0, 0, 0, 0, 0);
        tuple.write(&mut writer);
        writer.finished().unwrap()[20..].to_vec()
    }

    pub(in super::super) fn any_tuple() -> impl Strategy<Value = Tuple> {
        let addresses = prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        ];
        let layer4 = prop_oneof![
            any::<(u16, u16)>().prop_map(|(src, dst)| Layer4::Ports { src, dst }),
            any::<(u16, u8, u8)>().prop_map(|(id, kind, code)| Layer4::Icmp { id, kind, code }),
            Just(Layer4::None),
        ];
        (addresses, any::<u8>(), layer4, any::<Option<u16>>()).prop_map(
            |((src, dst), protocol, layer4, zone)| Tuple { src, dst, protocol, layer4, zone },
        )
    }

    #[test]
    fn the_inverse_of_the_inverse_is_the_tuple() {
        for protocol in [1, 6, 58] {
            for kind in 0..=255 {
                let address = |last: u8| IpAddr::from([192, 0, 2, last]);
                let icmp = Layer4::Icmp { id: 7, kind, code: 3 };
                for layer4 in [icmp, Layer4::Ports { src: 1000, dst: kind.into() }, Layer4::None] {
                    let (src, dst) = (address(1), address(2));
                    let tuple = Tuple { src, dst, protocol, layer4, zone: None };
                    assert_eq!(tuple.inverse().inverse(), tuple);
                    assert_eq!((tuple.inverse().src, tuple.inverse().dst), (dst, src));
                }
            }
        }
    }

    #[test]
    fn gre_keys_are_no_ports() {
        let layer4 = Layer4::Ports { src: 17, dst: 18 };
        let address = IpAddr::from([10, 0, 0, 1]);
        let tuple = Tuple { src: address, dst: address, protocol: GRE, layer4, zone: None };
        assert_eq!(tuple.fields(), (0, 0));
        assert_eq!(Tuple { protocol: 6, ..tuple }.fields(), (17, 18));
    }

    #[test]
    fn addresses_of_two_families_are_refused() {
        let mut writer = Writer::default();
        writer.message(0, 0, 0, 0, 0);
        writer.nest(TUPLE_IP, |w| {
            w.bytes(IP_V4_SRC, &[10, 0, 0, 1]);
            w.bytes(IP_V6_DST, &[0; 16]);
        });
        writer.nest(TUPLE_PROTO, |w| w.byte(PROTO_NUM, 6));
        assert_eq!(Tuple::parse(&writer.finished().unwrap()[20..]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(tuple in any_tuple()) {
            let bytes = bytes(&tuple);
            prop_assert!(bytes.len() <= 92);
            prop_assert_eq!(Tuple::parse(&bytes), Some(tuple));
        }

        #[test]
        fn random_and_cut_bytes_are_read_or_refused(
            tuple in any_tuple(),
            at in any::<proptest::sample::Index>(),
            value in any::<u8>(),
            cut in 0usize..100,
        ) {
            let mut bytes = bytes(&tuple);
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(cut);
            let _ = Tuple::parse(&bytes);
        }
    }
}
