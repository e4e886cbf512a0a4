//! Whole entries, as they would come from the peer.
//!
//! Goes in: ports. Comes out: entries that can be written. Not here: writing them.

use super::conntrack::ports;
use std::net::Ipv4Addr;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Outcome, ProtoInfo, Request, Status, TcpEnd, TcpInfo, TupleRef, Writer,
};

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);

/// Seen reply and assured.
pub(crate) const BOTH_WAYS: Status = Status(Status::SEEN_REPLY.0 | Status::ASSURED.0);

/// An established TCP session from this port to 443.
pub(crate) fn tcp(port: u16) -> Entry {
    let end = |scale| TcpEnd { scale, flags: 3 };
    let info = TcpInfo { state: 3, ends: Some([end(7), end(9)]) };
    Entry { proto: Some(ProtoInfo::Tcp(info)), ..entry(6, port, 443) }
}

/// A UDP session from this port to 53.
pub(crate) fn udp(port: u16) -> Entry {
    entry(17, port, 53)
}

fn entry(protocol: u8, port: u16, to: u16) -> Entry {
    let original = ports(CLIENT, SERVER, protocol, port, to);
    Entry {
        reply: Some(original.inverse()),
        status: Some(BOTH_WAYS),
        timeout: Some(600),
        mark: Some(u32::from(port)),
        ..Entry::new(original, 0)
    }
}

/// Writes, and returns what became of each.
pub(crate) fn write(writer: &mut Writer, requests: &[Request<'_>]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    writer.write(requests, &mut outcomes).unwrap();
    assert_eq!(outcomes.len(), requests.len());
    outcomes
}

/// What the kernel has of a session.
pub(crate) fn get(conntrack: &mut Conntrack, entry: &Entry) -> Option<Entry> {
    conntrack.entry(TupleRef::Original(&entry.original), entry.zone).unwrap()
}
