//! Flows that were denied: how the table knows them again without asking.
//!
//! A denied flow is never confirmed in conntrack, so nothing there remembers it. The rules of a
//! verdict that comes back put it into a map for some seconds, with the key that denied it.

use super::layout::{DENIED4, DENIED6};
use crate::nft::expr::{self, Compare, Expr, Header, Meta, Reg};
use std::ffi::CStr;

/// The first of up to 11 registers in a row for a flow.
pub(super) const FLOW: Reg = Reg(0);
/// For the key that denied it.
pub(super) const FLOW_DATA: Reg = Reg(12);

/// The kinds of flows that are remembered, each with a rule of its own.
#[derive(Clone, Copy)]
pub(super) struct DeniedFlow {
    family: i32,
    /// ICMP flows are told apart by type and code: the next bytes are a checksum.
    icmp: bool,
}

impl DeniedFlow {
    pub(super) const ALL: [Self; 4] = [
        Self { family: libc::NFPROTO_IPV4, icmp: false },
        Self { family: libc::NFPROTO_IPV4, icmp: true },
        Self { family: libc::NFPROTO_IPV6, icmp: false },
        Self { family: libc::NFPROTO_IPV6, icmp: true },
    ];

    fn v4(self) -> bool {
        self.family == libc::NFPROTO_IPV4
    }

    pub(super) fn map(self) -> &'static CStr {
        if self.v4() { DENIED4 } else { DENIED6 }
    }

    pub(super) fn name(self) -> &'static str {
        match (self.v4(), self.icmp) {
            (true, false) => "denied IPv4 flow",
            (true, true) => "denied ICMP flow",
            (false, false) => "denied IPv6 flow",
            (false, true) => "denied ICMPv6 flow",
        }
    }

    /// Checks family and kind and reads interface, addresses, protocol and ports into registers
    /// in a row. IPv4 addresses are at 12 in the header, IPv6 at 8. Each part is read by itself:
    /// nft can't list a key two of whose parts were read at once.
    pub(super) fn key(self) -> Vec<Expr> {
        let (icmp, offset, words) =
            if self.v4() { (libc::IPPROTO_ICMP, 12, 1) } else { (libc::IPPROTO_ICMPV6, 8, 4) };
        let how = if self.icmp { Compare::Equal } else { Compare::NotEqual };
        let (dst, protocol, ports) = (1 + words, 1 + 2 * words, 2 + 2 * words);
        let length = u32::from(words) * 4;
        vec![
            expr::meta(Meta::Family, FLOW),
            expr::compare(FLOW, Compare::Equal, &[self.family as u8]),
            expr::meta(Meta::Protocol, Reg(protocol)),
            expr::compare(Reg(protocol), how, &[icmp as u8]),
            expr::meta(Meta::IngressIndex, FLOW),
            expr::payload(Header::Network, offset, length, Reg(1)),
            expr::payload(Header::Network, offset + length, length, Reg(dst)),
            expr::payload(Header::Transport, 0, if self.icmp { 2 } else { 4 }, Reg(ports)),
        ]
    }
}
