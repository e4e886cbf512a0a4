//! What passes to the gateway itself whatever the policy says.

use super::chains::{A, Rules};
use super::layout::counter;
use crate::nft::expr::{self, Compare, Header, Meta, Verdict};
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
    /// known of its sessions, also while no daemon answers.
    pub(super) fn peer(&mut self, chain: &CStr, Peer { local, peer }: Peer) {
        let bytes = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (family, source, destination, length) = match local.is_ipv4() {
            true => (libc::NFPROTO_IPV4, 12, 16, 4),
            false => (libc::NFPROTO_IPV6, 8, 24, 16),
        };
        self.add(
            chain,
            "the peer's sync channel",
            [
                expr::meta(Meta::Family, A),
                expr::compare(A, Compare::Equal, &[family as u8]),
                expr::meta(Meta::Protocol, A),
                expr::compare(A, Compare::Equal, &[libc::IPPROTO_UDP as u8]),
                expr::payload(Header::Network, source, length, A),
                expr::compare(A, Compare::Equal, &bytes(peer.ip())),
                expr::payload(Header::Network, destination, length, A),
                expr::compare(A, Compare::Equal, &bytes(local.ip())),
                expr::payload(Header::Transport, 0, 2, A),
                expr::compare(A, Compare::Equal, &peer.port().to_be_bytes()),
                expr::payload(Header::Transport, 2, 2, A),
                expr::compare(A, Compare::Equal, &local.port().to_be_bytes()),
                expr::count(counter::LOCAL),
                expr::verdict(Verdict::Accept),
            ],
        );
    }
}
