//! What a received packet costs, in nanoseconds: the median of nine runs of a million.
//!
//! Reads nothing. `cargo run --release -p twinwall-vrrp --example receive_figures`

#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use twinwall_vrrp::addresses::VirtualAddresses;
use twinwall_vrrp::config::{Election, RouterConfig};
use twinwall_vrrp::group::{GroupConfig, Leg};
use twinwall_vrrp::node::Node;
use twinwall_vrrp::receive::Datagram;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::types::{GROUP_V4, InterfaceId, Priority, Vrid};
use twinwall_vrrp::wire::{Advert, ChecksumKind, Endpoints};

const PACKETS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    for addresses in [1, 8, 255] {
        let advert = advert(addresses)?;
        let mut wrong = advert.clone();
        wrong.iter_mut().skip(2).take(1).for_each(|priority| *priority ^= 1);
        let old: Vec<u8> = [0x21].into_iter().chain(advert.iter().copied().skip(1)).collect();
        println!("{addresses:>3} addresses: valid {:>6.1} ns", cost(addresses, &advert, 255)?);
        println!("               checksum {:>6.1} ns", cost(addresses, &wrong, 255)?);
        println!("                version {:>6.1} ns", cost(addresses, &old, 255)?);
        println!("                    TTL {:>6.1} ns", cost(addresses, &advert, 64)?);
    }
    Ok(())
}

/// Of a packet to a node that is Backup.
fn cost(addresses: u32, packet: &[u8], hop_limit: u8) -> Result<f64, Box<dyn Error>> {
    let mut runs = Vec::new();
    for _ in 0..9 {
        let mut node = node(addresses)?;
        let mut out = Vec::new();
        node.start(Timestamp::ZERO, &mut out);
        let interface = InterfaceId(2);
        let endpoints = Endpoints::V4 { source: Ipv4Addr::new(10, 0, 1, 3), destination: GROUP_V4 };
        let datagram = Datagram { interface, hop_limit, endpoints, payload: packet };
        let start = Instant::now();
        for packet in 0..PACKETS {
            let now = Timestamp::new(Duration::from_micros(packet));
            // Counted by the node.
            let _ = node.receive(now, &datagram, &mut out);
        }
        runs.push(start.elapsed().as_nanos() as f64 / PACKETS as f64);
    }
    runs.sort_by(f64::total_cmp);
    runs.get(4).copied().ok_or_else(|| "no runs".into())
}

fn node(addresses: u32) -> Result<Node, Box<dyn Error>> {
    let vrid = Vrid::new(7).ok_or("7 is a VRID")?;
    let config = RouterConfig::new("lan", InterfaceId(2), vrid, list(addresses)?);
    let leg = Leg { config, primary: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2)) };
    let mut node = Node::new();
    node.add(GroupConfig::single(leg, Election::default()), Timestamp::ZERO)?;
    Ok(node)
}

fn advert(addresses: u32) -> Result<Vec<u8>, Box<dyn Error>> {
    let addresses = list(addresses)?;
    let vrid = Vrid::new(7).ok_or("7 is a VRID")?;
    let interval = twinwall_vrrp::types::Centiseconds::DEFAULT;
    let advert = Advert { vrid, priority: Priority::new(200), interval, addresses: &addresses };
    let endpoints = Endpoints::V4 { source: Ipv4Addr::new(10, 0, 1, 3), destination: GROUP_V4 };
    let mut bytes = Vec::new();
    advert.write(&endpoints, ChecksumKind::Standard, &mut bytes)?;
    Ok(bytes)
}

fn list(addresses: u32) -> Result<VirtualAddresses, Box<dyn Error>> {
    let host = |number| IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + number));
    Ok(VirtualAddresses::new((0..addresses).map(host))?)
}
