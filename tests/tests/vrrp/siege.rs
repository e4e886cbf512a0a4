//! The sync channel under a flood that comes from the peer's address, as fast as a core can send:
//! it gets nothing, costs little, and what the peer has to say still arrives.
//!
//! Counted is the CPU time of all threads of the besieged daemon; what the kernel does with a
//! packet before it reaches a socket is the sender's, as on any link.

use crate::bed::{Bed, LAN_OUT, SOON};
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use twinwall_control::{Request, SessionFilter, report, sync};
use twinwall_testbed::scenario::pair::{Peer, Side};
use twinwall_testbed::testing::eventually;
use twinwall_testbed::usage::processor_time;
use twinwall_testbed::{Process, Vrrp};

/// Packets of the list that is sent again and again.
const LIST: usize = 256;
/// How long the cost is measured.
const SPAN: Duration = Duration::from_secs(3);
/// Of a core.
const MOST: f64 = 0.10;
fn up(test: &str) -> Option<Bed> {
    // Long enough that VRRP doesn't mind how busy the machine is.
    let vrrp = Vrrp { interval: Duration::from_secs(1), ..Vrrp::default() };
    let mut bed = Bed::build(test, [Peer::TwinwallSync; 2], vrrp)?;
    fs::write(&bed.testbed().record().policy, LAN_OUT).unwrap();
    bed.start(Side::A).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait_active(Side::A).unwrap();
    bed.wait("they have met", || status(&bed, Side::A).complete.then_some(()));
    Some(bed)
}

fn status(bed: &Bed, side: Side) -> sync::Status {
    bed.gateway(side).unwrap().ask(&Request::Sync).unwrap()
}

/// A datagram from gw-b's address to gw-a's, from the IP header on, in hexadecimal digits.
fn datagram(content: &[u8]) -> String {
    let [from, to] = [2, 1].map(|host| Ipv4Addr::new(10, 255, 0, host).octets());
    let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    bytes.extend(from.into_iter().chain(to));
    bytes.extend([0x0e, 0xc4, 0x0e, 0xc4]);
    bytes.extend((content.len() as u16 + 8).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(content);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pseudo-random bytes from a seed (SplitMix64: Steele, Lea and Flood 2014).
fn noise(seed: &mut u64, len: usize) -> Vec<u8> {
    let draw = |_| {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 33) as u8
    };
    (0..len).map(draw).collect()
}

/// What gw-b says to gw-a, as it is on the link.
fn recording(bed: &Bed) -> Vec<String> {
    let capture = format!(
        "timeout 20 tcpdump -ni eth3 -x -c {LIST} udp and src 10.255.0.2 and dst port 3780 2>/dev/null"
    );
    let text = bed.shell("gw-a", &capture);
    let mut packets: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line.trim_start().strip_prefix("0x"), packets.last_mut()) {
            (Some(digits), Some(packet)) => {
                packet.extend(digits.split_whitespace().skip(1));
            }
            _ => packets.push(String::new()),
        }
    }
    packets
}

/// The share of a core that the daemon takes for a while.
fn share(bed: &Bed, side: Side) -> f64 {
    let used = || {
        let pid = bed.gateway(side).unwrap().pid().unwrap();
        processor_time(pid).unwrap().as_secs_f64()
    };
    let (begun, before) = (Instant::now(), used());
    std::thread::sleep(SPAN);
    (used() - before) / begun.elapsed().as_secs_f64()
}

fn known(bed: &Bed, side: Side) -> usize {
    let filter = SessionFilter { rule: Some("out".to_owned()), ..SessionFilter::default() };
    let found: report::Sessions =
        bed.gateway(side).unwrap().ask(&Request::Sessions(filter)).unwrap();
    found.sessions.len()
}

/// Floods gw-a, and looks whether it minds.
fn besiege(bed: &Bed, what: &str, packets: &[String]) {
    let before = share(bed, Side::A);
    let changes = bed.takeovers(Side::A) + bed.takeovers(Side::B);
    let flooder = bed.testbed().node("gw-b").unwrap().traffic(["inject", "--times", "1000000000"]);
    let flood: Process = flooder.unwrap().input(packets.join("\n")).spawn().unwrap();
    // What the machine keeps from a thread that runs counts as that thread's time: when it is busy
    // with something else, another look tells.
    let mut looks = Vec::new();
    let cheap = eventually(SOON, || {
        let during = share(bed, Side::A);
        assert!(during > 0.0, "{what}: the daemon's time is not seen");
        println!("{what}: {:.1} % of a core, {:.1} % without", during * 100.0, before * 100.0);
        looks.push(during - before);
        (during - before <= MOST).then_some(())
    });
    let (had, count) = (known(bed, Side::B), 20);
    let node = bed.testbed().node("client").unwrap();
    let to = "198.51.100.7:7000";
    let arguments = ["udp-send", "--to", to, "--count", "20", "--flows", "20", "--rate", "200"];
    node.traffic(arguments).unwrap().spawn().unwrap().finish().unwrap();
    bed.wait(&format!("{what}: sessions arrive"), || {
        (known(bed, Side::B) >= had + count).then_some(())
    });
    bed.wait(&format!("{what}: both have the same"), || {
        let both = [Side::A, Side::B].map(|side| status(bed, side));
        let calm = |one: &sync::Status| one.peer == "alive" && one.equal && one.differing == 0;
        both.iter().all(calm).then_some(())
    });
    assert_eq!(bed.takeovers(Side::A) + bed.takeovers(Side::B), changes, "{what}");
    drop(flood);
    assert!(cheap.is_some(), "{what}: {looks:.3?} of a core");
}

#[test]
fn a_flood_from_the_peers_address_gets_nothing_and_costs_little() {
    let Some(bed) = up("siege") else { return };
    let mut seed = 20_251;
    let random: Vec<_> = (0..LIST).map(|_| datagram(&noise(&mut seed, 120))).collect();
    let old = recording(&bed);
    assert!(old.len() >= LIST / 2, "{}", old.len());
    // A handshake by somebody without the key: everything is right but what the key makes.
    let knocks: Vec<_> = (0..LIST)
        .map(|_| datagram(&[&[1, 1][..], &noise(&mut seed, 4 + 4 + 16 + 16)].concat()))
        .collect();
    // Sealed by somebody without the key.
    let forged: Vec<_> = old
        .iter()
        .map(|packet| format!("{}{}", &packet[..packet.len() - 32], "5a".repeat(16)))
        .collect();
    let kinds = [
        ("random bytes", random),
        ("an old recording", old),
        ("a wrong key", knocks),
        ("forged seals", forged),
    ];
    for (what, packets) in &kinds {
        besiege(&bed, what, packets);
    }
    let refused: u64 = status(&bed, Side::A).refused.iter().map(|row| row.count).sum();
    assert!(refused > 0, "what gets as far as the daemon is counted");
}
