//! Neighbours that don't answer, against the kernel.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::segment::index;
use common::{eventually, inside, ip};
use std::net::UdpSocket;
use std::process::Command;
use twinwall_netlink::{link, neighbour};

fn neighbours() -> String {
    let output = Command::new("ip").args(["neigh", "show", "nud", "all"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn neighbours_that_are_looked_for_in_vain_are_forgotten_and_others_stay() {
    if !inside("neighbours_that_are_looked_for_in_vain_are_forgotten_and_others_stay") {
        return;
    }
    for name in ["a", "b"] {
        ip(&format!("link add {name}0 type veth peer {name}1"));
        ip(&format!("link set {name}0 up"));
        ip(&format!("link set {name}1 up"));
    }
    eventually("the cables carry packets", || {
        let links = link::list().unwrap();
        let up = |name: &str| links.iter().any(|link| link.name == name && link.running);
        (up("a0") && up("b0")).then_some(())
    });
    ip("addr add 10.0.0.2/24 dev a0");
    ip("addr add fd00::2/64 dev a0 nodad");
    ip("addr add 10.1.0.2/24 dev b0");
    ip("neigh add 10.0.0.8 lladdr 02:00:00:00:00:08 dev a0");
    for (from, to) in [("10.0.0.2:0", "10.0.0.9:9"), ("[fd00::2]:0", "[fd00::9]:9")] {
        UdpSocket::bind(from).unwrap().send_to(b"?", to).unwrap();
    }
    UdpSocket::bind("10.1.0.2:0").unwrap().send_to(b"?", "10.1.0.9:9").unwrap();
    let asked = ["10.0.0.9 dev a0", "fd00::9 dev a0", "10.1.0.9 dev b0"];
    eventually("the kernel looks for them", || {
        let found = neighbours();
        asked.iter().all(|one| found.contains(one)).then_some(())
    });
    assert_eq!(neighbour::forget_unresolved(&[index("a0")]).unwrap(), 2);
    // What goes to a router is looked for at the router, in vain, and what has no route isn't.
    ip("route add 10.2.0.0/24 via 10.1.0.9");
    let to = |address: &str| neighbour::forget_unresolved_to(address.parse().unwrap());
    assert_eq!(to("10.0.0.8").ok(), Some(false));
    assert!(to("192.0.2.1").is_err());
    let left = neighbours();
    let is_left =
        asked.map(|one| left.contains(&format!("{one}  ")) || left.contains(&format!("{one} ")));
    assert_eq!(is_left, [false, false, true], "{left}");
    assert!(left.contains("10.0.0.8 dev a0 lladdr 02:00:00:00:00:08"), "{left}");
    assert_eq!(to("10.2.0.7").ok(), Some(true));
    assert!(!neighbours().contains("10.1.0.9"), "{}", neighbours());
}
