//! What queued packets ask, from the bytes that the kernel hands up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use twinwall_firewalld::packet::{Question, read};
use twinwall_firewalld::snapshot::Zones;
use twinwall_netlink::dataplane::Marks;
use twinwall_netlink::dataplane::marks::{ASKED, EXPECTED, RELATED, STALE};
use twinwall_netlink::link::Link;
use twinwall_netlink::nfqueue::Packet;
use twinwall_policy::flow::{Flow, Tuple, protocol};
use twinwall_policy::interfaces::InterfaceZones;
use twinwall_policy::ruleset::Zone;
use twinwall_policy::zone::ZoneId;

const INPUT: u8 = 1;
const FORWARD: u8 = 2;
const LAN_INDEX: u32 = 900_001;
const WAN_INDEX: u32 = 900_002;
const CLIENT: [u8; 4] = [10, 0, 0, 5];
const SERVER: [u8; 4] = [203, 0, 113, 9];

fn lan() -> ZoneId {
    ZoneId::new(2).unwrap()
}

fn wan() -> ZoneId {
    ZoneId::new(3).unwrap()
}

fn zones() -> Zones {
    let zone = |name: &str, interfaces: &[&str]| Zone {
        name: name.into(),
        interfaces: interfaces.iter().map(|name| (*name).into()).collect(),
    };
    let zones =
        [zone("(outside)", &[]), zone("self", &[]), zone("lan", &["lan0"]), zone("wan", &["wan0"])];
    let link = |index, name: &str| Link {
        index,
        name: name.into(),
        up: true,
        running: true,
        loopback: false,
        kind: None,
        parent: None,
        master: None,
        mac: None,
    };
    let links = [link(LAN_INDEX, "lan0"), link(WAN_INDEX, "wan0")];
    Zones::new(InterfaceZones::new(&zones), &links)
}

/// An IPv4 packet without options.
fn ipv4(protocol: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend(src);
    packet.extend(dst);
    packet.extend(payload);
    packet
}

fn udp(src_port: u16, dst_port: u16) -> Vec<u8> {
    [src_port.to_be_bytes(), dst_port.to_be_bytes(), [0, 8], [0, 0]].concat()
}

fn ask(hook: u8, indev: u32, outdev: u32, mark: u32, payload: &[u8]) -> Option<Question> {
    let original_len = u32::try_from(payload.len()).unwrap();
    let packet =
        Packet { id: 1, hook, hw_protocol: 0x800, mark, indev, outdev, payload, original_len };
    read(&packet, Marks::default(), &zones())
}

fn flow(protocol: u8, src_port: u16, dst_port: u16, from: ZoneId, to: ZoneId) -> Flow {
    let (src, dst) = (IpAddr::from(CLIENT), IpAddr::from(SERVER));
    Flow { tuple: Tuple { src, dst, protocol, src_port, dst_port }, from, to }
}

fn session(flow: Flow, reply: bool) -> Option<Question> {
    Some(Question::Session { flow, reply, expected: false, stale: false })
}

#[test]
fn a_reply_asks_for_the_session_that_it_answers() {
    let wanted = flow(protocol::UDP, 4000, 53, lan(), wan());
    let forth = ipv4(protocol::UDP, CLIENT, SERVER, &udp(4000, 53));
    assert_eq!(ask(FORWARD, LAN_INDEX, WAN_INDEX, ASKED, &forth), session(wanted, false));
    let back = ipv4(protocol::UDP, SERVER, CLIENT, &udp(53, 4000));
    let mark = ASKED | Marks::default().reply();
    assert_eq!(ask(FORWARD, WAN_INDEX, LAN_INDEX, mark, &back), session(wanted, true));
}

#[test]
fn an_echo_reply_asks_for_the_session_of_its_request() {
    let back = ipv4(protocol::ICMP, SERVER, CLIENT, &[0, 0, 0, 0, 0, 7, 0, 1]);
    let mark = ASKED | Marks::default().reply();
    let wanted = flow(protocol::ICMP, 8, 0, lan(), wan());
    assert_eq!(ask(FORWARD, WAN_INDEX, LAN_INDEX, mark, &back), session(wanted, true));
}

#[test]
fn replies_to_the_gateway_belong_to_sessions_from_self() {
    let back = ipv4(protocol::UDP, SERVER, CLIENT, &udp(53, 4000));
    let mark = ASKED | Marks::default().reply();
    let wanted = flow(protocol::UDP, 4000, 53, ZoneId::SELF, wan());
    assert_eq!(ask(INPUT, WAN_INDEX, 0, mark, &back), session(wanted, true));
}

#[test]
fn an_icmp_error_asks_about_the_session_that_it_quotes() {
    let wanted = Some(Question::AboutSession(flow(protocol::UDP, 4000, 53, lan(), wan())));
    // Port unreachable from the server: it quotes what the client sent.
    let quoted = ipv4(protocol::UDP, CLIENT, SERVER, &udp(4000, 53));
    let error = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
    let error = ipv4(protocol::ICMP, SERVER, CLIENT, &error);
    let mark = ASKED | RELATED | Marks::default().reply();
    assert_eq!(ask(FORWARD, WAN_INDEX, LAN_INDEX, mark, &error), wanted);
    // Port unreachable from the client: it quotes what the server answered.
    let quoted = ipv4(protocol::UDP, SERVER, CLIENT, &udp(53, 4000));
    let error = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
    let error = ipv4(protocol::ICMP, CLIENT, SERVER, &error);
    assert_eq!(ask(FORWARD, LAN_INDEX, WAN_INDEX, ASKED | RELATED, &error), wanted);
}

#[test]
fn flags_of_the_kernel_are_passed_on() {
    let packet = ipv4(protocol::TCP, CLIENT, SERVER, &[0; 20]);
    let question = ask(FORWARD, LAN_INDEX, WAN_INDEX, ASKED | EXPECTED | STALE, &packet);
    let Some(Question::Session { expected, stale, reply, .. }) = question else {
        panic!("{question:?} is no question about a session");
    };
    assert_eq!((expected, stale, reply), (true, true, false));
}

#[test]
fn a_packet_without_its_ports_asks_nothing() {
    let packet = ipv4(protocol::UDP, CLIENT, SERVER, &[0, 1]);
    assert_eq!(ask(FORWARD, LAN_INDEX, WAN_INDEX, ASKED, &packet), None);
    assert_eq!(ask(FORWARD, LAN_INDEX, WAN_INDEX, ASKED, &[]), None);
}

#[test]
fn an_interface_of_no_zone_is_outside() {
    let packet = ipv4(protocol::UDP, CLIENT, SERVER, &udp(1, 2));
    let nowhere = 900_009;
    let wanted = flow(protocol::UDP, 1, 2, ZoneId::OUTSIDE, wan());
    assert_eq!(ask(FORWARD, nowhere, WAN_INDEX, ASKED, &packet), session(wanted, false));
}
