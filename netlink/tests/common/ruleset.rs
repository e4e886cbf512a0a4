//! A rule that queues packets.
//!
//! Goes in: a hook, a queue. Comes out: a table with one chain: packets that carry a mark pass,
//! the others are queued. Not here: the table of the product.

use twinwall_netlink::socket::Socket;
use twinwall_netlink::wire::{self, Writer};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const INET: u8 = 1;

/// `enum nf_inet_hooks`.
pub(crate) const OUTPUT: u32 = 3;

/// Queues at this hook what carries no mark, for IPv4 and IPv6, but for ICMPv6, so that neighbour
/// discovery works. Without an owner of the queue packets pass.
pub(crate) fn queue(hook: u32, number: u16) {
    let native = |w: &mut Writer| {
        w.string(1, "queue");
        w.nest(2, |w| {
            w.be16(1, number);
            w.be16(2, 1);
            w.be16(3, 1);
        });
    };
    // struct xt_NFQ_info_v3: number, total, flags (bypass), padding.
    let mut info = number.to_ne_bytes().to_vec();
    info.extend(1u16.to_ne_bytes());
    info.extend(1u16.to_ne_bytes());
    info.extend([0; 2]);
    let compat = |w: &mut Writer| {
        w.string(1, "target");
        w.nest(2, |w| {
            w.string(1, "NFQUEUE");
            w.be32(2, 3);
            w.bytes(3, &info);
        });
    };
    let outcome = commit(hook, &native).or_else(|_| commit(hook, &compat));
    outcome.unwrap_or_else(|errno| panic!("the rule was refused: errno {errno}"));
}

fn commit(hook: u32, queue: &dyn Fn(&mut Writer)) -> Result<(), i32> {
    let mut socket = Socket::open().unwrap();
    let mut writer = Writer::default();
    writer.message(BATCH_BEGIN, 0, 0, 0, SUBSYSTEM);
    writer.message(NEW_TABLE, wire::F_CREATE, 1, INET, 0);
    writer.string(1, "test");
    writer.message(NEW_CHAIN, wire::F_CREATE, 2, INET, 0);
    writer.string(1, "test");
    writer.string(3, "test");
    writer.nest(4, |w| {
        w.be32(1, hook);
        w.be32(2, 0);
    });
    writer.string(7, "filter");
    rule(&mut writer, 3, &|w| {
        meta(w, 3);
        compare(w, 1, &0u32.to_ne_bytes());
        accept(w);
    });
    rule(&mut writer, 4, &|w| {
        meta(w, 16);
        compare(w, 0, &[58]);
        accept(w);
    });
    rule(&mut writer, 5, &|w| expression(w, queue));
    writer.request_ack();
    writer.message(BATCH_END, 0, 6, 0, SUBSYSTEM);
    socket.send(writer.finished().unwrap()).unwrap();
    let mut outcome = Ok(());
    socket
        .drain(|message| {
            if message.kind == wire::ERROR && message.errno() != 0 {
                outcome = Err(message.errno());
            }
        })
        .unwrap();
    outcome
}

fn rule(writer: &mut Writer, seq: u32, expressions: &dyn Fn(&mut Writer)) {
    const APPEND: u16 = 0x800;
    writer.message(NEW_RULE, wire::F_CREATE | APPEND, seq, INET, 0);
    writer.string(1, "test");
    writer.string(2, "test");
    writer.nest(4, expressions);
}

fn expression(writer: &mut Writer, fill: &dyn Fn(&mut Writer)) {
    writer.nest(1, fill);
}

/// Loads a field of the packet's meta data into register 1: 3 is the mark, 16 the protocol.
fn meta(writer: &mut Writer, key: u32) {
    expression(writer, &|w| {
        w.string(1, "meta");
        w.nest(2, |w| {
            w.be32(1, 1);
            w.be32(2, key);
        });
    });
}

/// Goes on if register 1 is equal (0) or not equal (1) to the value.
fn compare(writer: &mut Writer, operation: u32, value: &[u8]) {
    expression(writer, &|w| {
        w.string(1, "cmp");
        w.nest(2, |w| {
            w.be32(1, 1);
            w.be32(2, operation);
            w.nest(3, |w| w.bytes(1, value));
        });
    });
}

fn accept(writer: &mut Writer) {
    expression(writer, &|w| {
        w.string(1, "immediate");
        w.nest(2, |w| {
            w.be32(1, 0);
            w.nest(2, |w| w.nest(2, |w| w.be32(1, 1)));
        });
    });
}
