//! Makes conntrack entries.
//!
//! Goes in: tuples and a mark. Comes out: entries in the kernel's table, as if their packets had
//! gone through. Not here: looking at them.

use std::net::IpAddr;
use twinwall_netlink::conntrack::{Layer4, Tuple};
use twinwall_netlink::socket::Socket;
use twinwall_netlink::wire::{self, Writer};

const MSG_NEW: u16 = 1 << 8;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const TIMEOUT: u16 = 7;
const MARK: u16 = 8;
const TUPLE_MASTER: u16 = 14;
const ZONE: u16 = 18;

/// Seen reply, assured, confirmed.
const STATUS_BITS: u32 = 0xe;

/// An entry to be made.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) original: Tuple,
    pub(crate) reply: Tuple,
    pub(crate) master: Option<Tuple>,
    pub(crate) mark: u32,
    pub(crate) zone: u16,
}

impl Entry {
    /// An entry whose reply direction is the original one turned round.
    pub(crate) fn new(original: Tuple, mark: u32) -> Self {
        Self { original, reply: turned(original), master: None, mark, zone: 0 }
    }
}

/// A tuple of TCP (6), UDP (17) or the like.
pub(crate) fn ports(
    src: impl Into<IpAddr>,
    dst: impl Into<IpAddr>,
    protocol: u8,
    a: u16,
    b: u16,
) -> Tuple {
    let layer4 = Layer4::Ports { src: a, dst: b };
    Tuple { src: src.into(), dst: dst.into(), protocol, layer4, zone: None }
}

fn turned(tuple: Tuple) -> Tuple {
    let layer4 = match tuple.layer4 {
        Layer4::Ports { src, dst } => Layer4::Ports { src: dst, dst: src },
        Layer4::Icmp { id, kind: 8, code } => Layer4::Icmp { id, kind: 0, code },
        Layer4::Icmp { id, kind: 128, code } => Layer4::Icmp { id, kind: 129, code },
        other => other,
    };
    Tuple { src: tuple.dst, dst: tuple.src, layer4, ..tuple }
}

/// Makes the entries, 64 with each send.
pub(crate) fn insert(entries: impl IntoIterator<Item = Entry>) {
    let mut socket = Socket::open().unwrap();
    let mut entries = entries.into_iter().peekable();
    let mut writer = Writer::default();
    while entries.peek().is_some() {
        for entry in entries.by_ref().take(64) {
            let seq = socket.next_seq();
            write(&mut writer, &entry, seq);
        }
        // The kernel works within the send, so that errors have come when it returns.
        socket.send(writer.finished().unwrap()).unwrap();
        socket.drain(|message| panic!("an entry was refused: errno {}", message.errno())).unwrap();
        writer.clear();
    }
}

fn write(writer: &mut Writer, entry: &Entry, seq: u32) {
    writer.message(MSG_NEW, wire::F_CREATE | wire::F_EXCL, seq, entry.original.family(), 0);
    writer.nest(TUPLE_ORIG, |w| entry.original.write(w));
    writer.nest(TUPLE_REPLY, |w| entry.reply.write(w));
    if let Some(master) = entry.master {
        writer.nest(TUPLE_MASTER, |w| master.write(w));
    }
    writer.be32(STATUS, STATUS_BITS);
    writer.be32(TIMEOUT, 3600);
    writer.be32(MARK, entry.mark);
    if entry.zone != 0 {
        writer.be16(ZONE, entry.zone);
    }
    if entry.original.protocol == 6 {
        // CTA_PROTOINFO_TCP: state established, and for both directions flags with their mask.
        writer.nest(PROTOINFO, |w| {
            w.nest(1, |w| {
                w.byte(1, 3);
                w.bytes(4, &[0, 0]);
                w.bytes(5, &[0, 0]);
            });
        });
    }
}
