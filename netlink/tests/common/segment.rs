//! A cable with a node at one end, and at the other a host that the test plays with frames.
//!
//! Goes in: frames that the host sends. Comes out: frames that reach the host. Not here: what is
//! in them.

use super::{eventually, ip};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use twinwall_netlink::frame::{self, Sender};
use twinwall_netlink::link;
use twinwall_netlink::sys;
use twinwall_netlink::sys::message::Messages;

/// The host's addresses.
pub(crate) const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub(crate) const HOST4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
pub(crate) const HOST6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
/// The node's Ethernet address.
pub(crate) const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The cable: the node's interface is a0, the host's b0.
pub(crate) struct Segment {
    /// Index of a0.
    pub(crate) node: u32,
    /// Index of b0.
    pub(crate) host: u32,
    sender: Sender,
    capture: OwnedFd,
    messages: Messages,
}

impl Segment {
    /// The node has 10.0.0.2/24 and fe80::2.
    pub(crate) fn new() -> Self {
        ip("link set lo up");
        ip("link add a0 address 02:00:00:00:00:02 type veth peer b0");
        ip("link set a0 addrgenmode none");
        ip("link set b0 addrgenmode none");
        ip("link set a0 up");
        ip("link set b0 up");
        ip("addr add 10.0.0.2/24 dev a0");
        ip("addr add fe80::2/64 dev a0 nodad");
        ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev a0");
        ip("neigh add fe80::9 lladdr 02:00:00:00:00:09 dev a0");
        eventually("the cable carries packets", || {
            link::list().unwrap().iter().find(|l| l.name == "a0" && l.running).map(drop)
        });
        let all = i32::from((libc::ETH_P_ALL as u16).to_be());
        Self {
            node: index("a0"),
            host: index("b0"),
            sender: Sender::open().unwrap(),
            capture: sys::socket(libc::AF_PACKET, libc::SOCK_RAW, all).unwrap(),
            messages: Messages::new(2048),
        }
    }

    /// The host sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.sender.send(self.host, frame).unwrap();
    }

    /// The host sends an IPv4 packet.
    pub(crate) fn send4(&self, mac: [u8; 6], to: Ipv4Addr, ttl: u8, protocol: u8, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::ethernet(&mut bytes, mac, HOST_MAC, frame::IPV4, &[]);
        frame::ipv4(&mut bytes, HOST4, to, ttl, protocol, payload).unwrap();
        self.send(&bytes);
    }

    /// The host sends an IPv6 packet.
    pub(crate) fn send6(&self, mac: [u8; 6], to: Ipv6Addr, limit: u8, next: u8, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::ethernet(&mut bytes, mac, HOST_MAC, frame::IPV6, &[]);
        frame::ipv6(&mut bytes, HOST6, to, limit, next, payload).unwrap();
        self.send(&bytes);
    }

    /// The frames that have reached the host since the last call.
    pub(crate) fn captured(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while self.messages.receive(self.capture.as_fd(), usize::MAX).unwrap() > 0 {
            for datagram in self.messages.iter() {
                // struct sockaddr_ll: family, protocol, interface, hardware, type of packet.
                let interface = datagram.name.get(4..8) == Some(&self.host.to_ne_bytes()[..]);
                let outgoing = datagram.name.get(10) == Some(&libc::PACKET_OUTGOING);
                if interface && !outgoing {
                    frames.push(datagram.bytes.to_vec());
                }
            }
        }
        frames
    }

    /// Waits for a frame that reaches the host.
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        eventually(what, || self.captured().into_iter().find(|frame| wanted(frame)))
    }
}

/// Index of the interface with this name.
pub(crate) fn index(name: &str) -> u32 {
    link::list().unwrap().iter().find(|link| link.name == name).unwrap().index
}
