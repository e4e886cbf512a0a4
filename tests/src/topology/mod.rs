//! Which nodes a testbed has, how they are joined, and their addresses and routes. Pure data.
//!
//! ```text
//!  client ── br-lan ── eth1 ┐      ┌ eth0 ── br-wan ── server
//! client2 ──┘               │ gw-a │
//!              dmz ─ br-dmz ─ eth2 ┘        gw-b is joined alike; eth3 ── eth3 is the sync link
//! ```
//!
//! The three bridges live in a node of their own, `switch`, so that one or two gateways attach in
//! the same way and a leg can be cut at its port there. Not here: how this is built (`setup`), and
//! who holds a pair's virtual addresses (`vrrp`).

mod segment;

pub use segment::{PUBLISHED_V4, Prefix, Segment};

use crate::error::Error;
use segment::SECOND;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of the server that no node is directly attached to.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// The same for IPv6.
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x40, 0, 0, 0, 0, 7);

/// How many gateways there are, and who holds the addresses that hosts use as their gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gateways {
    /// `gw-a`, which holds them.
    #[default]
    One,
    /// `gw-a` and `gw-b`, with a link of their own between them. The addresses are left to VRRP:
    /// without a daemon nobody holds them.
    Two,
    /// The same, but `gw-a` holds the addresses, for good.
    TwoStatic,
    /// Two with a second set of addresses on each segment, so that each gateway can be active for
    /// one: `client` uses the first set and `client2` the second, and so do the routes back to
    /// them.
    TwoActive,
}

impl Gateways {
    /// Whether VRRP holds the addresses that hosts use as their gateway.
    #[must_use]
    pub const fn elect(self) -> bool {
        matches!(self, Self::Two | Self::TwoActive)
    }
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination as `ip route` has it: `default` or a prefix.
    pub to: String,
    /// Next hop.
    pub via: IpAddr,
}

/// An interface of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name inside the node.
    pub name: &'static str,
    /// What it is joined to.
    pub segment: Segment,
    /// Its addresses, the node's main ones first.
    pub addresses: Vec<Prefix>,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An end system.
    Host,
    /// Forwards, and runs the daemon.
    Gateway,
    /// Holds the bridges.
    Switch,
}

/// One network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub role: Role,
    /// Its interfaces; for the switch none, its ports follow from the others' interfaces.
    pub interfaces: Vec<Interface>,
    /// Its static routes.
    pub routes: Vec<Route>,
}

impl NodeSpec {
    /// The first IPv4 address of its first interface.
    #[must_use]
    pub fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses().find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// The first IPv6 address of its first interface.
    #[must_use]
    pub fn v6(&self) -> Option<Ipv6Addr> {
        self.addresses().find_map(|address| match address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        })
    }

    /// Every address, the main ones first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.interfaces.iter().flat_map(|i| i.addresses.iter().map(|prefix| prefix.address))
    }

    /// The switch's name for the port of one of this node's interfaces.
    #[must_use]
    pub fn port(&self, interface: &Interface) -> String {
        match self.role {
            Role::Gateway => format!("{}-{}", self.name, interface.segment.name()),
            Role::Host | Role::Switch => self.name.to_owned(),
        }
    }
}

/// All nodes of a testbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The nodes, the switch first.
    pub nodes: Vec<NodeSpec>,
}

impl Topology {
    /// The testbed's nodes with one or two gateways.
    #[must_use]
    pub fn new(gateways: Gateways) -> Self {
        let mut nodes = vec![
            NodeSpec { name: "switch", role: Role::Switch, interfaces: vec![], routes: vec![] },
            host("client", Segment::Lan, &[5]),
            host("client2", Segment::Lan, &[6]),
            server(),
            host("dmz", Segment::Dmz, &[10, 11]),
        ];
        let published = Prefix::host(IpAddr::V4(PUBLISHED_V4));
        match gateways {
            Gateways::One => nodes.push(gateway("gw-a", &[2, 1], None, Some(published))),
            Gateways::Two | Gateways::TwoActive => {
                nodes.push(gateway("gw-a", &[2], Some(1), None));
                nodes.push(gateway("gw-b", &[3], Some(2), None));
            }
            Gateways::TwoStatic => {
                nodes.push(gateway("gw-a", &[2, 1], Some(1), Some(published)));
                nodes.push(gateway("gw-b", &[3], Some(2), None));
            }
        }
        if gateways == Gateways::TwoActive {
            nodes.iter_mut().for_each(use_second);
        }
        Self { nodes }
    }

    /// The node of this name.
    ///
    /// # Errors
    /// When there is none; the message lists those that there are.
    pub fn node(&self, name: &str) -> Result<&NodeSpec, Error> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| Error::NoNode {
            node: name.to_owned(),
            known: self.nodes.iter().map(|node| node.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The nodes that run the daemon.
    pub fn gateways(&self) -> impl Iterator<Item = &NodeSpec> {
        self.nodes.iter().filter(|node| node.role == Role::Gateway)
    }
}

/// A host with these host parts on one segment, and the gateway address as its way out.
fn host(name: &'static str, segment: Segment, hosts: &[u8]) -> NodeSpec {
    let via = |prefix: Prefix| Route { to: "default".to_owned(), via: prefix.address };
    NodeSpec {
        name,
        role: Role::Host,
        interfaces: vec![Interface { name: "eth0", segment, addresses: both(segment, hosts) }],
        routes: vec![via(segment.v4(1)), via(segment.v6(1))],
    }
}

/// The server on the WAN: it has addresses beyond the WAN's own net, and no default route.
fn server() -> NodeSpec {
    let segment = Segment::Wan;
    let mut addresses = both(segment, &[9]);
    addresses.push(Prefix::host(IpAddr::V4(OUTSIDE_V4)));
    addresses.push(Prefix::host(IpAddr::V6(OUTSIDE_V6)));
    let inside = |to: &str, prefix: Prefix| Route { to: to.to_owned(), via: prefix.address };
    NodeSpec {
        name: "server",
        role: Role::Host,
        interfaces: vec![Interface { name: "eth0", segment, addresses }],
        routes: vec![
            inside("10.0.0.0/16", segment.v4(1)),
            inside("10.20.0.0/24", segment.v4(1)),
            inside("2001:db8:10::/64", segment.v6(1)),
            inside("2001:db8:20::/64", segment.v6(1)),
        ],
    }
}

/// Has `client2` use the second set of addresses, and the others use it to reach that.
fn use_second(node: &mut NodeSpec) {
    let Some(segment) = node.interfaces.first().map(|interface| interface.segment) else { return };
    let [v4, v6] = [segment.v4(SECOND), segment.v6(SECOND.into())].map(|prefix| prefix.address);
    match (node.role, node.name) {
        (Role::Host, "client2") => {
            for route in &mut node.routes {
                route.via = if route.via.is_ipv4() { v4 } else { v6 };
            }
        }
        (Role::Host, "server" | "dmz") => {
            for (prefix, via) in both(Segment::Lan, &[6]).into_iter().zip([v4, v6]) {
                let to = Prefix::host(prefix.address).to_string();
                node.routes.push(Route { to, via });
            }
        }
        _ => {}
    }
}

/// A gateway with these host parts on each leg, its part on the sync link, and what else it has on
/// the WAN.
fn gateway(
    name: &'static str,
    hosts: &[u8],
    sync: Option<u8>,
    published: Option<Prefix>,
) -> NodeSpec {
    let interface = |segment: Segment, hosts: &[u8]| Interface {
        name: segment.gateway_interface(),
        segment,
        addresses: both(segment, hosts),
    };
    let mut interfaces: Vec<_> = Segment::BRIDGED.map(|s| interface(s, hosts)).into();
    if let Some(wan) = interfaces.first_mut() {
        wan.addresses.extend(published);
    }
    interfaces.extend(sync.map(|part| interface(Segment::Sync, &[part])));
    NodeSpec {
        name,
        role: Role::Gateway,
        interfaces,
        routes: vec![
            Route { to: "198.51.100.0/24".to_owned(), via: Segment::Wan.v4(9).address },
            Route { to: "2001:db8:40::/64".to_owned(), via: Segment::Wan.v6(9).address },
        ],
    }
}

/// IPv4 and IPv6 addresses for each host part; the parts are written alike in both families, so
/// 10 becomes `::10`.
fn both(segment: Segment, hosts: &[u8]) -> Vec<Prefix> {
    let digits = |host: u8| u16::from(host / 10) * 16 + u16::from(host % 10);
    hosts.iter().flat_map(|&host| [segment.v4(host), segment.v6(digits(host))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn addresses_are_as_documented() {
        let topology = Topology::new(Gateways::Two);
        let all = |name: &str| -> Vec<String> {
            topology.node(name).unwrap().addresses().map(|a| a.to_string()).collect()
        };
        assert_eq!(all("client"), ["10.0.0.5", "2001:db8:10::5"]);
        assert_eq!(all("dmz"), ["10.20.0.10", "2001:db8:20::10", "10.20.0.11", "2001:db8:20::11"]);
        assert_eq!(
            all("server"),
            ["203.0.113.9", "2001:db8:30::9", "198.51.100.7", "2001:db8:40::7"]
        );
        let has = |all: Vec<String>| all.contains(&"203.0.113.10".to_owned());
        assert!(!has(all("gw-a")) && !has(all("gw-b")), "it is VRRP's");
        let fixed = Topology::new(Gateways::TwoStatic);
        let addresses = fixed.node("gw-a").unwrap().addresses();
        assert!(has(addresses.map(|address| address.to_string()).collect()));
        assert!(all("gw-b").contains(&"10.255.0.2".to_owned()));
    }

    #[test]
    fn each_client_of_an_active_pair_has_its_own_way_there_and_back() {
        let topology = Topology::new(Gateways::TwoActive);
        let routes = |name: &str| -> Vec<String> {
            let routes = &topology.node(name).unwrap().routes;
            routes.iter().map(|route| format!("{} {}", route.to, route.via)).collect()
        };
        assert_eq!(routes("client"), ["default 10.0.0.1", "default 2001:db8:10::1"]);
        assert_eq!(routes("client2"), ["default 10.0.0.4", "default 2001:db8:10::4"]);
        assert!(routes("server").contains(&"10.0.0.6/32 203.0.113.4".to_owned()));
        assert!(routes("dmz").contains(&"2001:db8:10::6/128 2001:db8:20::4".to_owned()));
        let taken: HashSet<_> = topology.nodes.iter().flat_map(NodeSpec::addresses).collect();
        for segment in Segment::BRIDGED {
            let second = segment.second_v4().into_iter().chain(segment.second_v6());
            let first = segment.virtual_v4().into_iter().chain(segment.virtual_v6());
            let all: HashSet<_> = second.chain(first).collect();
            assert!(all.is_disjoint(&taken), "{segment:?}");
        }
    }

    #[test]
    fn no_address_is_given_twice() {
        let topology = Topology::new(Gateways::TwoStatic);
        let mut seen = HashSet::new();
        for address in topology.nodes.iter().flat_map(NodeSpec::addresses) {
            assert!(seen.insert(address), "{address} is on two nodes");
        }
    }

    #[test]
    fn port_names_fit_an_interface_name() {
        let topology = Topology::new(Gateways::Two);
        for node in &topology.nodes {
            for interface in &node.interfaces {
                assert!(node.port(interface).len() <= 15);
            }
        }
    }

    #[test]
    fn an_unknown_node_is_answered_with_the_known_ones() {
        let error = Topology::new(Gateways::One).node("gw-b").unwrap_err().to_string();
        assert!(error.contains("gw-a") && error.contains("client2"), "{error}");
    }
}
