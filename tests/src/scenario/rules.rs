//! What the gateways of a pair let through, whatever runs on them: a policy for Twinwall, a
//! stateful filter for a kernel without it.
//!
//! Pure text.

use crate::topology::Segment;

/// What both gateways let through, whatever runs on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// LAN and WAN may both begin sessions, so that a gap is that of VRRP and not that of a session
    /// which the other gateway doesn't know.
    #[default]
    Both,
    /// The LAN may begin sessions to the WAN, nobody else any.
    Out,
    /// The same, and they are translated to the shared address.
    Shared,
}

const POLICY: &str = "\
version: 1
name: scenario
defaults: { action: drop, log: false, on_change: rematch }
zones:
  wan: { interfaces: [eth0] }
  lan: { interfaces: [eth1] }
  dmz: { interfaces: [eth2] }
  sync: { interfaces: [eth3] }
services:
  stream: { udp: [7000] }
  ping: { icmp: [echo-request], icmpv6: [echo-request] }
rules:
  - { seq: 10, name: pair, from: sync, to: self, action: accept }";

const BOTH: &str = "
  - { seq: 30, name: ping, from: any, to: any, service: ping, action: accept }
  - { seq: 40, name: out, from: lan, to: wan, service: stream, action: accept }
  - { seq: 50, name: back, from: wan, to: lan, action: accept }
";

const OUT: &str = "
  - { seq: 30, name: out, from: lan, to: wan, action: accept }
";

const SHARED: &str = "\
nat:
  - { seq: 10, name: shared, from: lan, to: wan, snat: 203.0.113.1, family: ipv4 }
";

impl Rules {
    /// For Twinwall.
    pub(super) fn policy(self) -> String {
        let rules = match self {
            Self::Both => BOTH.to_owned(),
            Self::Out => OUT.to_owned(),
            Self::Shared => format!("{OUT}{SHARED}"),
        };
        format!("{POLICY}{rules}")
    }

    /// For the kernel alone, as text for `nft`. What goes over the sync link isn't tracked.
    pub(super) fn filter(self) -> String {
        let begin = if self == Self::Both { "" } else { "ip saddr 10.0.0.0/16 " };
        let nat = if self == Self::Shared {
            let address = Segment::Wan.address(1);
            format!(
                "chain nat {{ type nat hook postrouting priority srcnat; \
                 ip saddr 10.0.0.0/16 ip daddr 198.51.100.0/24 snat ip to {address}; }}\n"
            )
        } else {
            String::new()
        };
        let untracked = "udp dport 3780 notrack; meta l4proto 112 notrack;";
        format!(
            "table inet peer\ndelete table inet peer\ntable inet peer {{\n\
             chain in {{ type filter hook prerouting priority raw; {untracked} }}\n\
             chain out {{ type filter hook output priority raw; {untracked} }}\n\
             chain forward {{ type filter hook forward priority 0; policy drop; \
             ct state invalid drop; ct state established,related accept; \
             {begin}ct state new accept; }}\n{nat}}}\n"
        )
    }
}
