//! From a topology to the shell script that builds it with `ip`, inside the holder.
//!
//! Everything is sent to `ip -batch`, since a process for each command would take seconds. Sysctls
//! are set before there is any interface, so that no interface ever runs with another setting. Not
//! here: who runs the script.

use crate::topology::{NodeSpec, Role, Segment, Topology};
use std::fmt::Write;

/// Addresses are usable at once; routes come from us alone; nobody filters by reverse path; ICMP
/// errors are not rationed, so that a test can count them.
const COMMON: &[(&str, &str)] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

/// Redirects would teach hosts a way round the gateway that a test watches.
const GATEWAY: &[(&str, &str)] = &[
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
];

/// A bridge needs no addresses.
const SWITCH: &[(&str, &str)] =
    &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

/// The script for `sh`. It ends at the first failure.
#[must_use]
pub fn script(topology: &Topology) -> String {
    let mut script = String::from("set -e\n");
    batch(&mut script, "ip", topology.nodes.iter().map(|n| format!("netns add {}", n.name)));
    for node in &topology.nodes {
        sysctls(&mut script, node);
    }
    batch(&mut script, "ip", links(topology));
    for node in &topology.nodes {
        let lines = match node.role {
            Role::Switch => switch_lines(topology),
            Role::Host | Role::Gateway => node_lines(node),
        };
        batch(&mut script, &format!("ip -n {}", node.name), lines);
    }
    // The kernel's workers open a link some time after it was set up, and until then its packets
    // are dropped. The caller's time limit bounds the wait.
    for node in &topology.nodes {
        let name = node.name;
        line(&mut script, format_args!("while ip -n {name} -o link | grep -q 'state [DL]'"));
        line(&mut script, format_args!("do sleep 0.005; done"));
    }
    line(&mut script, format_args!("while bridge -n switch link | grep -qv 'state forwarding'"));
    line(&mut script, format_args!("do sleep 0.005; done"));
    script
}

fn batch(script: &mut String, ip: &str, lines: impl IntoIterator<Item = String>) {
    line(script, format_args!("{ip} -batch - <<'END'"));
    for text in lines {
        line(script, format_args!("{text}"));
    }
    line(script, format_args!("END"));
}

fn sysctls(script: &mut String, node: &NodeSpec) {
    let special = match node.role {
        Role::Host => &[],
        Role::Gateway => GATEWAY,
        Role::Switch => SWITCH,
    };
    line(script, format_args!("nsenter --net=/run/netns/{} sh -e <<'END'", node.name));
    for (key, value) in COMMON.iter().chain(special) {
        line(script, format_args!("echo {value} >/proc/sys/net/{key}"));
    }
    line(script, format_args!("END"));
}

/// Bridges, and a veth pair for each interface, each end made in the namespace that it stays in.
fn links(topology: &Topology) -> Vec<String> {
    let mut lines: Vec<_> = Segment::BRIDGED
        .iter()
        .map(|segment| {
            let name = segment.name();
            format!(
                "link add br-{name} netns switch type bridge \
                 stp_state 0 forward_delay 0 mcast_snooping 0"
            )
        })
        .collect();
    let mut pairs = Vec::new();
    let mut sync = Vec::new();
    for node in &topology.nodes {
        for interface in &node.interfaces {
            let end = (interface.name.to_owned(), node.name);
            if interface.segment == Segment::Sync {
                sync.push(end);
            } else {
                pairs.push(((node.port(interface), "switch"), end));
            }
        }
    }
    if let [a, b] = sync.as_slice() {
        pairs.push((a.clone(), b.clone()));
    }
    // The kernel opens a veth at once only if its two ends differ in number; else it may take 1 s.
    lines.extend((100..).step_by(2).zip(pairs).map(|(index, ((a, a_node), (b, b_node)))| {
        format!(
            "link add name {a} index {index} netns {a_node} \
             type veth peer name {b} index {} netns {b_node}",
            index + 1
        )
    }));
    lines
}

fn switch_lines(topology: &Topology) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    lines.extend(Segment::BRIDGED.iter().map(|s| format!("link set br-{} up", s.name())));
    for node in &topology.nodes {
        for interface in node.interfaces.iter().filter(|i| i.segment != Segment::Sync) {
            let (port, segment) = (node.port(interface), interface.segment.name());
            lines.push(format!("link set {port} master br-{segment} up"));
        }
    }
    lines
}

fn node_lines(node: &NodeSpec) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for interface in &node.interfaces {
        let name = interface.name;
        for prefix in &interface.addresses {
            let nodad = if prefix.address.is_ipv6() { " nodad" } else { "" };
            lines.push(format!("address add {prefix} dev {name}{nodad}"));
        }
        lines.push(format!("link set {name} up"));
    }
    for route in &node.routes {
        lines.push(format!("route add {} via {}", route.to, route.via));
    }
    lines
}

fn line(script: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String never fails.
    let _ = writeln!(script, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Gateways;

    #[test]
    fn only_two_gateways_get_a_sync_link() {
        assert!(!script(&Topology::new(Gateways::One)).contains("eth3"));
        let pair = script(&Topology::new(Gateways::Two));
        assert!(pair.contains("type veth peer name eth3 index 121 netns gw-b"), "{pair}");
    }

    #[test]
    fn every_bridged_interface_has_a_port() {
        let topology = Topology::new(Gateways::Two);
        let script = script(&topology);
        for port in ["client", "client2", "server", "dmz", "gw-a-wan", "gw-b-lan", "gw-b-dmz"] {
            assert!(script.contains(&format!("link set {port} master br-")), "{port}");
        }
    }
}
