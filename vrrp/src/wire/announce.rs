//! What tells the link where an address is now: gratuitous ARP and unsolicited neighbour
//! advertisements.

use super::checksum::{Endpoints, icmpv6};
use crate::types::MacAddress;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where unsolicited neighbour advertisements go: all nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A gratuitous ARP request, to be broadcast in an Ethernet frame from `mac`.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |      hardware: Ethernet 1     |     protocol: IPv4 0x0800     |
/// +---------------+---------------+-------------------------------+
/// | MAC length 6  | IPv4 length 4 |          request 1            |
/// +---------------+---------------+-------------------------------+
/// |                         sender's MAC                          |
/// |                               +-------------------------------+
/// |                               |        virtual address        |
/// +-------------------------------+-------------------------------+
/// |                               |         target's MAC          |
/// +-------------------------------+                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                        virtual address                        |
/// +---------------------------------------------------------------+
/// ```
///
/// RFC 9568 section 6.4.2, errata 7947 and 7949: sender's and target's address are the virtual
/// one, the target's MAC is that of the virtual router too. `mac` is the virtual router's, or the
/// interface's own where virtual MAC addresses are not used.
#[must_use]
pub fn gratuitous_arp(mac: MacAddress, address: Ipv4Addr) -> [u8; 28] {
    let [a, b, c, d, e, f] = mac.0;
    let [w, x, y, z] = address.octets();
    [
        0, 1, 0x08, 0x00, 6, 4, 0, 1, //
        a, b, c, d, e, f, w, x, y, z, //
        a, b, c, d, e, f, w, x, y, z,
    ]
}

/// An unsolicited neighbour advertisement: the ICMPv6 message, its checksum included, to be sent
/// from `address` to ff02::1 with hop limit 255 in an Ethernet frame from `mac`.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// |   type 136    |    code 0     |           checksum            |
/// +-+-+-+---------+---------------+-------------------------------+
/// |R|S|O|                       reserved                          |
/// +-+-+-+---------------------------------------------------------+
/// |              target: the virtual address, 16 bytes            |
/// +---------------+---------------+-------------------------------+
/// |   option 2    |   length 1    |              MAC              |
/// +---------------+---------------+                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
///
/// RFC 9568 section 6.4.2: router flag set, solicited flag clear, override flag set, and the
/// target's link-layer address.
#[must_use]
pub fn neighbour_advertisement(mac: MacAddress, address: Ipv6Addr) -> [u8; 32] {
    const ROUTER_AND_OVERRIDE: u8 = 0b1010_0000;
    let mut message = [0; 32];
    let fields = [136, 0, 0, 0, ROUTER_AND_OVERRIDE, 0, 0, 0]
        .into_iter()
        .chain(address.octets())
        .chain([2, 1])
        .chain(mac.0);
    for (place, byte) in message.iter_mut().zip(fields) {
        *place = byte;
    }
    let endpoints = Endpoints::V6 { source: address, destination: ALL_NODES };
    let [high, low] = icmpv6(&message, &endpoints).to_be_bytes();
    let [_, _, first, second, ..] = &mut message;
    (*first, *second) = (high, low);
    message
}
