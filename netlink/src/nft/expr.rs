//! Expressions, as data: the steps of a rule.
//!
//! Registers are the 32-bit ones, numbered from 0 here; values in them are in host byte order
//! unless they come from a packet. The crate nftnl has only the four 128-bit registers and lacks
//! shifts, lookups with a result, `ct` direction, dynamic sets and counters by name, so all
//! expressions are built here and turned into libnftnl's objects by the module `ffi`.
//! Names and numbers: `linux/netfilter/nf_tables.h`.

use super::uapi;
use nftnl::nftnl_sys as sys;
use std::ffi::{CStr, CString};

/// A 32-bit register, 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(pub u8);

impl Reg {
    /// `NFT_REG32_00` and what follows it.
    pub(super) fn raw(self) -> u32 {
        8 + u32::from(self.0)
    }
}

/// The value of one attribute of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number.
    Number(u32),
    /// Bytes, copied.
    Data(Vec<u8>),
    /// A name.
    Text(CString),
    /// Bytes that libnftnl takes over and frees.
    Given(Vec<u8>),
    /// A byte.
    Byte(u8),
}

/// One step of a rule: an expression's name and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    pub(super) name: &'static CStr,
    pub(super) attributes: Vec<(u32, Value)>,
}

/// How a comparison decides whether the rule goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `NFT_CMP_EQ`.
    Equal,
    /// `NFT_CMP_NEQ`.
    NotEqual,
}

/// What ends a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// `NF_ACCEPT`: on to the next base chain.
    Accept,
    /// `NF_DROP`.
    Drop,
    /// `NFT_GOTO`.
    Goto(&'a CStr),
}

impl Verdict<'_> {
    /// The code, as `NFTA_VERDICT_CODE` carries it.
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Accept => libc::NF_ACCEPT as u32,
            Self::Drop => libc::NF_DROP as u32,
            Self::Goto(_) => libc::NFT_GOTO as u32,
        }
    }
}

/// What `meta` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// The packet mark.
    Mark,
    /// Index of the ingress interface.
    IngressIndex,
    /// Name of the ingress interface, 16 bytes.
    IngressName,
    /// Name of the egress interface, 16 bytes.
    EgressName,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`, a byte.
    Family,
    /// Upper-layer protocol, a byte; for IPv6 the one after the extension headers.
    Protocol,
}

/// What `ct` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ct {
    /// State bits, see the `CT_STATE_` constants.
    State,
    /// 0 for the original direction, 1 for replies, a byte.
    Direction,
    /// `IPS_` bits.
    Status,
    /// The connmark. Packets without a conntrack entry leave the rule here.
    Mark,
}

/// `ct state invalid`: the packet has no conntrack entry, and should.
pub const CT_STATE_INVALID: u32 = 1;
/// `ct state related`.
pub const CT_STATE_RELATED: u32 = 4;
/// `IPS_EXPECTED` of `ct status`.
pub const CT_STATUS_EXPECTED: u32 = 1;
/// `IPS_HELPER` of `ct status`: a rule, or who made the session, has given it a helper. (`ct helper`
/// reads the helper of the session that expected this one.)
pub const CT_STATUS_HELPER: u32 = 1 << 13;

/// Which header `payload` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// IPv4 or IPv6.
    Network,
    /// The upper-layer header; the rule ends for packets without one.
    Transport,
}

impl Header {
    fn base(self) -> u32 {
        match self {
            Self::Network => libc::NFT_PAYLOAD_NETWORK_HEADER as u32,
            Self::Transport => libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32,
        }
    }
}

/// Reads packet metadata into a register.
#[must_use]
pub fn meta(what: Meta, to: Reg) -> Expr {
    let key = match what {
        Meta::Mark => libc::NFT_META_MARK,
        Meta::IngressIndex => libc::NFT_META_IIF,
        Meta::IngressName => libc::NFT_META_IIFNAME,
        Meta::EgressName => libc::NFT_META_OIFNAME,
        Meta::Family => libc::NFT_META_NFPROTO,
        Meta::Protocol => libc::NFT_META_L4PROTO,
    };
    numbers(
        c"meta",
        [(sys::NFTNL_EXPR_META_KEY, key as u32), (sys::NFTNL_EXPR_META_DREG, to.raw())],
    )
}

/// Writes a register into the packet mark.
#[must_use]
pub fn set_packet_mark(from: Reg) -> Expr {
    numbers(
        c"meta",
        [
            (sys::NFTNL_EXPR_META_KEY, libc::NFT_META_MARK as u32),
            (sys::NFTNL_EXPR_META_SREG, from.raw()),
        ],
    )
}

/// Reads from the packet's conntrack entry.
#[must_use]
pub fn ct(what: Ct, to: Reg) -> Expr {
    let key = match what {
        Ct::State => libc::NFT_CT_STATE,
        Ct::Direction => libc::NFT_CT_DIRECTION,
        Ct::Status => libc::NFT_CT_STATUS,
        Ct::Mark => libc::NFT_CT_MARK,
    };
    numbers(c"ct", [(sys::NFTNL_EXPR_CT_KEY, key as u32), (sys::NFTNL_EXPR_CT_DREG, to.raw())])
}

/// Writes a register into the connmark.
#[must_use]
pub fn set_connmark(from: Reg) -> Expr {
    numbers(
        c"ct",
        [(sys::NFTNL_EXPR_CT_KEY, libc::NFT_CT_MARK as u32), (sys::NFTNL_EXPR_CT_SREG, from.raw())],
    )
}

/// `to = (from & mask) ^ xor`.
#[must_use]
pub fn bits(from: Reg, to: Reg, mask: u32, xor: u32) -> Expr {
    let mut expr = numbers(
        c"bitwise",
        [
            (sys::NFTNL_EXPR_BITWISE_SREG, from.raw()),
            (sys::NFTNL_EXPR_BITWISE_DREG, to.raw()),
            (sys::NFTNL_EXPR_BITWISE_LEN, 4),
        ],
    );
    expr.push(sys::NFTNL_EXPR_BITWISE_MASK, Value::Data(mask.to_ne_bytes().to_vec()));
    expr.push(sys::NFTNL_EXPR_BITWISE_XOR, Value::Data(xor.to_ne_bytes().to_vec()));
    expr
}

/// A shift over `length` bytes of registers: bits that leave one enter its neighbour on the left.
#[must_use]
pub fn shift(direction: Shift, from: Reg, to: Reg, length: u32, by: u32) -> Expr {
    let operation = match direction {
        Shift::Left => uapi::NFT_BITWISE_LSHIFT,
        Shift::Right => uapi::NFT_BITWISE_RSHIFT,
    };
    let mut expr = numbers(
        c"bitwise",
        [
            (sys::NFTNL_EXPR_BITWISE_SREG, from.raw()),
            (sys::NFTNL_EXPR_BITWISE_DREG, to.raw()),
            (sys::NFTNL_EXPR_BITWISE_LEN, length),
            (sys::NFTNL_EXPR_BITWISE_OP, operation),
        ],
    );
    expr.push(sys::NFTNL_EXPR_BITWISE_DATA, Value::Data(by.to_ne_bytes().to_vec()));
    expr
}

/// Direction of a [`shift`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Towards the highest bit.
    Left,
    /// Towards the lowest bit.
    Right,
}

/// Goes on only if the register compares so with `data`.
#[must_use]
pub fn compare(reg: Reg, how: Compare, data: &[u8]) -> Expr {
    let operation = match how {
        Compare::Equal => libc::NFT_CMP_EQ,
        Compare::NotEqual => libc::NFT_CMP_NEQ,
    };
    let mut expr = numbers(
        c"cmp",
        [(sys::NFTNL_EXPR_CMP_SREG, reg.raw()), (sys::NFTNL_EXPR_CMP_OP, operation as u32)],
    );
    expr.push(sys::NFTNL_EXPR_CMP_DATA, Value::Data(data.to_vec()));
    expr
}

/// Goes on only if the register is within the range; bytes as they are in a packet.
#[must_use]
pub fn range(reg: Reg, low: &[u8], high: &[u8]) -> Expr {
    let mut expr = numbers(
        c"range",
        [
            (sys::NFTNL_EXPR_RANGE_SREG, reg.raw()),
            (sys::NFTNL_EXPR_RANGE_OP, libc::NFT_RANGE_EQ as u32),
        ],
    );
    expr.push(sys::NFTNL_EXPR_RANGE_FROM_DATA, Value::Data(low.to_vec()));
    expr.push(sys::NFTNL_EXPR_RANGE_TO_DATA, Value::Data(high.to_vec()));
    expr
}

/// Reads bytes of a header into registers. The rule ends when the packet is too short.
#[must_use]
pub fn payload(header: Header, offset: u32, length: u32, to: Reg) -> Expr {
    numbers(
        c"payload",
        [
            (sys::NFTNL_EXPR_PAYLOAD_DREG, to.raw()),
            (sys::NFTNL_EXPR_PAYLOAD_BASE, header.base()),
            (sys::NFTNL_EXPR_PAYLOAD_OFFSET, offset),
            (sys::NFTNL_EXPR_PAYLOAD_LEN, length),
        ],
    )
}

/// Writes registers into bytes of a header that no checksum covers.
#[must_use]
pub fn set_payload(header: Header, offset: u32, length: u32, from: Reg) -> Expr {
    numbers(
        c"payload",
        [
            (sys::NFTNL_EXPR_PAYLOAD_SREG, from.raw()),
            (sys::NFTNL_EXPR_PAYLOAD_BASE, header.base()),
            (sys::NFTNL_EXPR_PAYLOAD_OFFSET, offset),
            (sys::NFTNL_EXPR_PAYLOAD_LEN, length),
        ],
    )
}

/// Looks the key up in a verdict map and obeys it; goes on with the next rule on a miss.
#[must_use]
pub fn decide(map: &CStr, key: Reg) -> Expr {
    lookup(map, key, libc::NFT_REG_VERDICT as u32)
}

/// Looks the key up in a map of values; the rule ends on a miss.
#[must_use]
pub fn value_of(map: &CStr, key: Reg, to: Reg) -> Expr {
    lookup(map, key, to.raw())
}

/// Goes on only if the key is in a set, or with `false` only if it is not.
#[must_use]
pub fn member(set: &CStr, key: Reg, is: bool) -> Expr {
    let flags = if is { 0 } else { libc::NFT_LOOKUP_F_INV as u32 };
    let mut expr = numbers(
        c"lookup",
        [(sys::NFTNL_EXPR_LOOKUP_SREG, key.raw()), (sys::NFTNL_EXPR_LOOKUP_FLAGS, flags)],
    );
    expr.push(sys::NFTNL_EXPR_LOOKUP_SET, Value::Text(set.to_owned()));
    expr
}

/// Adds (or with `false` deletes) an element of a dynamic map.
#[must_use]
pub fn dynamic(map: &CStr, add: bool, key: Reg, data: Reg) -> Expr {
    let operation = if add { libc::NFT_DYNSET_OP_ADD as u32 } else { uapi::NFT_DYNSET_OP_DELETE };
    let mut expr = numbers(
        c"dynset",
        [
            (sys::NFTNL_EXPR_DYNSET_SREG_KEY, key.raw()),
            (sys::NFTNL_EXPR_DYNSET_SREG_DATA, data.raw()),
            (sys::NFTNL_EXPR_DYNSET_OP, operation),
        ],
    );
    expr.push(sys::NFTNL_EXPR_DYNSET_SET_NAME, Value::Text(map.to_owned()));
    expr
}

/// Loads bytes into registers.
#[must_use]
pub fn immediate(to: Reg, data: &[u8]) -> Expr {
    let mut expr = numbers(c"immediate", [(sys::NFTNL_EXPR_IMM_DREG, to.raw())]);
    expr.push(sys::NFTNL_EXPR_IMM_DATA, Value::Data(data.to_vec()));
    expr
}

/// Ends the chain.
#[must_use]
pub fn verdict(verdict: Verdict<'_>) -> Expr {
    let mut expr = numbers(
        c"immediate",
        [
            (sys::NFTNL_EXPR_IMM_DREG, libc::NFT_REG_VERDICT as u32),
            (sys::NFTNL_EXPR_IMM_VERDICT, verdict.code()),
        ],
    );
    if let Verdict::Goto(chain) = verdict {
        expr.push(sys::NFTNL_EXPR_IMM_CHAIN, Value::Text(chain.to_owned()));
    }
    expr
}

/// Counts into a counter object of the table.
#[must_use]
pub fn count(counter: &CStr) -> Expr {
    let mut expr =
        numbers(c"objref", [(sys::NFTNL_EXPR_OBJREF_IMM_TYPE, uapi::NFT_OBJECT_COUNTER)]);
    expr.push(sys::NFTNL_EXPR_OBJREF_IMM_NAME, Value::Text(counter.to_owned()));
    expr
}

/// Counts into a counter of the rule's own.
#[must_use]
pub fn count_here() -> Expr {
    Expr { name: c"counter", attributes: Vec::new() }
}

impl Expr {
    pub(super) fn push(&mut self, kind: u32, value: Value) {
        self.attributes.push((kind, value));
    }
}

fn lookup(map: &CStr, key: Reg, to: u32) -> Expr {
    let mut expr = numbers(
        c"lookup",
        [(sys::NFTNL_EXPR_LOOKUP_SREG, key.raw()), (sys::NFTNL_EXPR_LOOKUP_DREG, to)],
    );
    expr.push(sys::NFTNL_EXPR_LOOKUP_SET, Value::Text(map.to_owned()));
    expr
}

pub(super) fn numbers<const N: usize>(name: &'static CStr, attributes: [(u32, u32); N]) -> Expr {
    let attributes = attributes.map(|(kind, value)| (kind, Value::Number(value)));
    Expr { name, attributes: attributes.into() }
}
