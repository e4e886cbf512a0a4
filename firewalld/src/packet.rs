//! What a queued packet asks: which session it belongs to, in that session's original direction.
//!
//! Goes in: the packet with the flags that the table's chain `ask` put into its mark. Comes out:
//! the flow to classify. Not here: the decision.

use crate::snapshot::Zones;
use twinwall_netlink::dataplane::Marks;
use twinwall_netlink::dataplane::marks::{EXPECTED, RELATED, STALE};
use twinwall_netlink::nfqueue::Packet;
use twinwall_netlink::nfqueue::packet::{Fields, parse};
use twinwall_policy::flow::{Flow, Tuple, protocol};
use twinwall_policy::zone::ZoneId;

/// `NF_INET_LOCAL_IN` of `enum nf_inet_hooks`.
const HOOK_INPUT: u8 = 1;

/// A packet's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which key does this session get?
    Session {
        /// The session.
        flow: Flow,
        /// Whether the packet runs against the session's direction.
        reply: bool,
        /// Whether another session made conntrack expect this one.
        expected: bool,
        /// Whether the session has a key already, which has gone.
        stale: bool,
    },
    /// An ICMP error: which key does the session have that it is about?
    AboutSession(Flow),
}

/// Reads a packet, or `None` when it is too short for its own headers.
#[must_use]
pub fn read(packet: &Packet<'_>, marks: Marks, zones: &Zones) -> Option<Question> {
    let parsed = parse(packet.payload).ok()?;
    let flags = packet.mark & marks.key_mask();
    let reply = packet.mark & marks.reply() != 0;
    let ingress = zones.of(packet.indev);
    let egress = if packet.hook == HOOK_INPUT { ZoneId::SELF } else { zones.of(packet.outdev) };
    let (from, to) = if reply { (egress, ingress) } else { (ingress, egress) };
    let flow = |tuple| Flow { tuple, from, to };
    Some(match parsed.inner {
        // The packet inside went the other way.
        Some(inner) if flags & RELATED != 0 => {
            Question::AboutSession(flow(original(inner, !reply)))
        }
        _ => Question::Session {
            flow: flow(original(parsed.outer, reply)),
            reply,
            expected: flags & EXPECTED != 0,
            stale: flags & STALE != 0,
        },
    })
}

/// The packet's upper-layer protocol, if it can be read.
#[must_use]
pub fn protocol(packet: &Packet<'_>) -> Option<u8> {
    parse(packet.payload).ok().map(|parsed| parsed.outer.protocol)
}

/// The tuple in the session's original direction, of a packet that runs against it or not.
fn original(fields: Fields, reversed: bool) -> Tuple {
    let Fields { src, dst, protocol, a, b } = fields;
    // Conntrack has one DCCP session for each pair of addresses (Linux 6.18), so its ports can't
    // decide: a sweep would not find them.
    let (a, b) = if protocol == protocol::DCCP { (0, 0) } else { (a, b) };
    if !reversed {
        return Tuple { src, dst, protocol, src_port: a, dst_port: b };
    }
    let (src_port, dst_port) = match protocol {
        protocol::ICMP | protocol::ICMPV6 => (request_type(protocol, a), b),
        _ => (b, a),
    };
    Tuple { src: dst, dst: src, protocol, src_port, dst_port }
}

/// The type of the ICMP message that a reply type answers, as conntrack pairs them: echo,
/// timestamp, information and address mask (RFC 792, RFC 950), ICMPv6 echo (RFC 4443) and node
/// information (RFC 4620).
fn request_type(protocol: u8, reply: u16) -> u16 {
    match (protocol, reply) {
        (protocol::ICMP, 0) => 8,
        (protocol::ICMP, 14 | 16 | 18) | (protocol::ICMPV6, 129 | 140) => reply - 1,
        (_, other) => other,
    }
}
