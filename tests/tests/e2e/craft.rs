//! Packets that no socket sends, composed by hand and put on the wire by `traffic inject`.

use crate::bed::Bed;
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions,
    Ipv6Header, Ipv6RawExtHeader, PacketBuilder, PacketBuilderStep, TcpHeader, icmpv4, icmpv6,
};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use twinwall_testbed::traffic::packet::Header;
use twinwall_testbed::traffic::report::Inject;

/// Sends packets from a node, in order.
pub(crate) fn inject(bed: &Bed, node: &str, packets: &[Vec<u8>]) {
    let mut lines = String::new();
    for packet in packets {
        packet.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
        lines.push('\n');
    }
    let command = bed.node(node).traffic(["inject"]).unwrap();
    let report: Inject = command.input(lines).json().unwrap();
    assert_eq!(report.sent, packets.len() as u64, "{report:?}");
}

/// A datagram that `udp-recv` counts.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, number: u64) -> Vec<u8> {
    finish_udp(ip(from.ip(), to.ip(), Ipv6Extensions::default()), from, to, number)
}

/// The same behind hop-by-hop and destination options; IPv6 only.
pub(crate) fn udp_behind_options(from: SocketAddr, to: SocketAddr, number: u64) -> Vec<u8> {
    let options = |next| {
        // PadN of six bytes (RFC 8200, section 4.2).
        Some(Ipv6RawExtHeader::new_raw(next, &[1, 4, 0, 0, 0, 0]).unwrap())
    };
    let extensions = Ipv6Extensions {
        hop_by_hop_options: options(IpNumber::IPV6_DESTINATION_OPTIONS),
        destination_options: options(IpNumber::UDP),
        ..Ipv6Extensions::default()
    };
    finish_udp(ip(from.ip(), to.ip(), extensions), from, to, number)
}

fn finish_udp(
    ip: PacketBuilderStep<IpHeaders>,
    from: SocketAddr,
    to: SocketAddr,
    number: u64,
) -> Vec<u8> {
    let payload = Header { flow: 0, number, sent: 0 }.encode();
    let mut bytes = Vec::new();
    ip.udp(from.port(), to.port()).write(&mut bytes, &payload).unwrap();
    bytes
}

/// A TCP segment without data; `change` sets its flags and numbers.
pub(crate) fn tcp(
    from: SocketAddr,
    to: SocketAddr,
    change: impl FnOnce(&mut TcpHeader),
) -> Vec<u8> {
    let mut header = TcpHeader::new(from.port(), to.port(), 1_000, 1_000);
    change(&mut header);
    let mut bytes = Vec::new();
    let ip = ip(from.ip(), to.ip(), Ipv6Extensions::default());
    ip.tcp_header(header).write(&mut bytes, &[]).unwrap();
    bytes
}

/// A packet with its last byte changed, so that its checksum is wrong.
pub(crate) fn damaged(mut packet: Vec<u8>) -> Vec<u8> {
    *packet.last_mut().unwrap() ^= 0xff;
    packet
}

/// An ICMP error that says that a packet's port is closed, to the sender of that packet.
pub(crate) fn port_unreachable(from: IpAddr, about: &[u8]) -> Vec<u8> {
    let port = icmpv4::DestUnreachableHeader::Port;
    icmp_error(
        from,
        about,
        Icmpv4Type::DestinationUnreachable(port),
        Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port),
    )
}

/// An ICMP error that says that a packet is longer than an MTU, to the sender of that packet.
pub(crate) fn too_big(from: IpAddr, mtu: u16, about: &[u8]) -> Vec<u8> {
    let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
    icmp_error(
        from,
        about,
        Icmpv4Type::DestinationUnreachable(needed),
        Icmpv6Type::PacketTooBig { mtu: mtu.into() },
    )
}

fn icmp_error(from: IpAddr, about: &[u8], v4: Icmpv4Type, v6: Icmpv6Type) -> Vec<u8> {
    let (source, _) = IpHeaders::from_slice(about).unwrap();
    let to = match source {
        IpHeaders::Ipv4(header, _) => IpAddr::from(header.source),
        IpHeaders::Ipv6(header, _) => IpAddr::from(header.source),
    };
    let ip = ip(from, to, Ipv6Extensions::default());
    let mut bytes = Vec::new();
    match from {
        IpAddr::V4(_) => ip.icmpv4(v4).write(&mut bytes, about).unwrap(),
        IpAddr::V6(_) => ip.icmpv6(v6).write(&mut bytes, about).unwrap(),
    }
    bytes
}

fn ip(from: IpAddr, to: IpAddr, extensions: Ipv6Extensions) -> PacketBuilderStep<IpHeaders> {
    const HOPS: u8 = 64;
    PacketBuilder::ip(match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header =
                Ipv4Header::new(0, HOPS, IpNumber::UDP, from.octets(), to.octets()).unwrap();
            IpHeaders::Ipv4(header, Ipv4Extensions::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                source: from.octets(),
                destination: to.octets(),
                hop_limit: HOPS,
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, extensions)
        }
        _ => panic!("{from} and {to} are of different families"),
    })
}
