//! Expressions that end a rule with more than a verdict: refusing, translating, asking a program.

use super::expr::{Expr, Reg, Value, numbers};
use nftnl::nftnl_sys as sys;

/// Answers with a TCP reset. For TCP packets only.
#[must_use]
pub fn reject_with_reset() -> Expr {
    reject(libc::NFT_REJECT_TCP_RST as u32, 0)
}

/// Answers with ICMP or ICMPv6 port unreachable.
#[must_use]
pub fn reject_with_unreachable() -> Expr {
    reject(libc::NFT_REJECT_ICMPX_UNREACH as u32, libc::NFT_REJECT_ICMPX_PORT_UNREACH as u8)
}

/// Source NAT to the address of the egress interface.
#[must_use]
pub fn masquerade() -> Expr {
    Expr { name: c"masq", attributes: Vec::new() }
}

/// Source or destination NAT to the address in a register, and for destination NAT to the port
/// (big-endian, 2 bytes) in another.
#[must_use]
pub fn nat(kind: Nat, family: u32, address: Reg, port: Option<Reg>) -> Expr {
    let kind = match kind {
        Nat::Source => libc::NFT_NAT_SNAT,
        Nat::Destination => libc::NFT_NAT_DNAT,
    };
    let mut expr = numbers(
        c"nat",
        [
            (sys::NFTNL_EXPR_NAT_TYPE, kind as u32),
            (sys::NFTNL_EXPR_NAT_FAMILY, family),
            (sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, address.raw()),
        ],
    );
    if let Some(port) = port {
        expr.push(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, Value::Number(port.raw()));
    }
    expr
}

/// Which address [`nat`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// What becomes of a packet when no program listens to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// It goes on at the next base chain.
    GoesOn,
    /// It is dropped.
    IsDropped,
}

/// nft's own expression for NFQUEUE.
#[must_use]
pub fn queue_native(first: u16, total: u16, unheard: Unheard) -> Expr {
    let flags = match unheard {
        Unheard::GoesOn => libc::NFT_QUEUE_FLAG_BYPASS as u16,
        Unheard::IsDropped => 0,
    };
    let words = [
        (sys::NFTNL_EXPR_QUEUE_NUM, first),
        (sys::NFTNL_EXPR_QUEUE_TOTAL, total),
        (sys::NFTNL_EXPR_QUEUE_FLAGS, flags),
    ];
    let attributes = words.map(|(kind, value)| (kind, Value::Data(value.to_ne_bytes().to_vec())));
    Expr { name: c"queue", attributes: attributes.into() }
}

/// The same through the xtables target NFQUEUE, revision 3 (`struct xt_NFQ_info_v3` of
/// `linux/netfilter/xt_NFQUEUE.h`), for kernels without nft's expression.
#[must_use]
pub fn queue_compat(first: u16, total: u16, unheard: Unheard) -> Expr {
    const REVISION: u32 = 3;
    const BYPASS: u16 = 1;
    let flags = match unheard {
        Unheard::GoesOn => BYPASS,
        Unheard::IsDropped => 0,
    };
    let mut info = Vec::with_capacity(8);
    for word in [first, total, flags, 0] {
        info.extend_from_slice(&word.to_ne_bytes());
    }
    let mut expr = numbers(c"target", [(sys::NFTNL_EXPR_TG_REV, REVISION)]);
    expr.push(sys::NFTNL_EXPR_TG_NAME, Value::Text(c"NFQUEUE".to_owned()));
    expr.push(sys::NFTNL_EXPR_TG_INFO, Value::Given(info));
    expr
}

fn reject(kind: u32, code: u8) -> Expr {
    let mut expr = numbers(c"reject", [(sys::NFTNL_EXPR_REJECT_TYPE, kind)]);
    expr.push(sys::NFTNL_EXPR_REJECT_CODE, Value::Byte(code));
    expr
}
