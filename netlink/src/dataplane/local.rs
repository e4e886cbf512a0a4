//! What passes to the gateway itself whatever the policy says.

use super::chains::{A, Rules};
use super::layout::counter;
use crate::nft::expr::{self, Compare, Ct, Expr, Header, Meta, Verdict};
use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

/// The two ends of the channel to the other node of a pair, over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Of this node.
    pub local: SocketAddr,
    /// Of the other one; of the same family.
    pub peer: SocketAddr,
}

impl Rules<'_> {
    /// What a gateway can't do without: talking to itself, neighbour discovery (RFC 4861) and
    /// multicast listener discovery (RFC 3810), without redirects; and the adverts of VRRP (RFC
    /// 9568) that come from this link, so that no policy can make two gateways active by leaving
    /// them out.
    pub(super) fn local(&mut self, chain: &CStr) {
        const LOOPBACK_INDEX: u32 = 1;
        self.add(
            chain,
            "loopback",
            [
                expr::meta(Meta::IngressIndex, A),
                expr::compare(A, Compare::Equal, &LOOPBACK_INDEX.to_ne_bytes()),
                expr::count(counter::LOCAL),
                expr::verdict(Verdict::Accept),
            ],
        );
        for (name, low, high) in
            [("neighbour and listener discovery", 130, 136), ("listener report", 143, 143)]
        {
            self.add(
                chain,
                name,
                [
                    expr::meta(Meta::Family, A),
                    expr::compare(A, Compare::Equal, &[libc::NFPROTO_IPV6 as u8]),
                    expr::meta(Meta::Protocol, A),
                    expr::compare(A, Compare::Equal, &[libc::IPPROTO_ICMPV6 as u8]),
                    expr::payload(Header::Transport, 0, 1, A),
                    expr::range(A, &[low], &[high]),
                    expr::count(counter::LOCAL),
                    expr::verdict(Verdict::Accept),
                ],
            );
        }
        /// Where the IPv4 header has its TTL, and the IPv6 header its hop limit.
        const HOP_LIMITS: [(libc::c_int, u32); 2] =
            [(libc::NFPROTO_IPV4, 8), (libc::NFPROTO_IPV6, 7)];
        const VRRP: u8 = 112;
        for (family, offset) in HOP_LIMITS {
            self.add(
                chain,
                "VRRP advert from this link",
                [
                    expr::meta(Meta::Protocol, A),
                    expr::compare(A, Compare::Equal, &[VRRP]),
                    expr::meta(Meta::Family, A),
                    expr::compare(A, Compare::Equal, &[family as u8]),
                    expr::payload(Header::Network, offset, 1, A),
                    expr::compare(A, Compare::Equal, &[255]),
                    expr::count(counter::LOCAL),
                    expr::verdict(Verdict::Accept),
                ],
            );
        }
    }

    /// What comes from the other node of a pair: it has to get through before anything else is
    /// known of its sessions, also while no daemon answers. With it go the ICMP errors about what
    /// this node sends there, such as those of a peer whose daemon was killed.
    pub(super) fn peer(&mut self, chain: &CStr, ends: Peer) {
        let channel = Channel::new(ends);
        let mut rule = vec![
            expr::meta(Meta::Family, A),
            expr::compare(A, Compare::Equal, &[channel.family]),
            expr::meta(Meta::Protocol, A),
            expr::compare(A, Compare::Equal, &[libc::IPPROTO_UDP as u8]),
        ];
        rule.extend(channel.addresses(Header::Network, 0, ends.peer, ends.local));
        rule.extend(channel.ports(0, ends.peer, ends.local));
        rule.extend([expr::count(counter::LOCAL), expr::verdict(Verdict::Accept)]);
        self.add(chain, "the peer's sync channel", rule);

        let mut rule = vec![
            expr::ct(Ct::State, A),
            expr::bits(A, A, expr::CT_STATE_RELATED, 0),
            expr::compare(A, Compare::NotEqual, &[0; 4]),
            expr::meta(Meta::Family, A),
            expr::compare(A, Compare::Equal, &[channel.family]),
            expr::meta(Meta::Protocol, A),
            expr::compare(A, Compare::Equal, &[channel.icmp]),
            expr::payload(Header::Transport, ICMP_HEADER + channel.protocol, 1, A),
            expr::compare(A, Compare::Equal, &[libc::IPPROTO_UDP as u8]),
        ];
        rule.extend(channel.addresses(Header::Transport, ICMP_HEADER, ends.local, ends.peer));
        rule.extend(channel.ports(ICMP_HEADER + channel.header, ends.local, ends.peer));
        rule.extend([expr::count(counter::LOCAL), expr::verdict(Verdict::Accept)]);
        self.add(chain, "errors about the sync channel", rule);
    }
}

/// Bytes before the packet that an ICMP error is about.
const ICMP_HEADER: u32 = 8;

/// Where an IP header without options has what tells the sync channel.
struct Channel {
    family: u8,
    icmp: u8,
    protocol: u32,
    source: u32,
    length: u32,
    header: u32,
}

impl Channel {
    const fn new(ends: Peer) -> Self {
        match ends.local.is_ipv4() {
            true => Self {
                family: libc::NFPROTO_IPV4 as u8,
                icmp: libc::IPPROTO_ICMP as u8,
                protocol: 9,
                source: 12,
                length: 4,
                header: 20,
            },
            false => Self {
                family: libc::NFPROTO_IPV6 as u8,
                icmp: libc::IPPROTO_ICMPV6 as u8,
                protocol: 6,
                source: 8,
                length: 16,
                header: 40,
            },
        }
    }

    /// The addresses of an IP header at this place are these.
    fn addresses(&self, base: Header, at: u32, from: SocketAddr, to: SocketAddr) -> [Expr; 4] {
        let bytes = |end: SocketAddr| match end.ip() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        [
            expr::payload(base, at + self.source, self.length, A),
            expr::compare(A, Compare::Equal, &bytes(from)),
            expr::payload(base, at + self.source + self.length, self.length, A),
            expr::compare(A, Compare::Equal, &bytes(to)),
        ]
    }

    /// The ports of a UDP header at this place are these.
    fn ports(&self, at: u32, from: SocketAddr, to: SocketAddr) -> [Expr; 4] {
        [
            expr::payload(Header::Transport, at, 2, A),
            expr::compare(A, Compare::Equal, &from.port().to_be_bytes()),
            expr::payload(Header::Transport, at + 2, 2, A),
            expr::compare(A, Compare::Equal, &to.port().to_be_bytes()),
        ]
    }
}
