//! Packets that are not plain: fragments, IPv6 extension headers, bursts of one session, and those
//! that conntrack finds invalid.

use crate::bed::{Bed, CLIENT, OUTSIDE, at, policy};
use crate::craft;
use std::net::SocketAddr;
use twinwall_control::report::Session;
use twinwall_testbed::traffic::report::{Outcome, Reception, Tcp, UdpSend};

const UDP: &str =
    "seq: 10, name: udp, from: lan, to: wan, service: { udp: [7000] }, action: accept";
const TCP: &str =
    "seq: 20, name: tcp, from: lan, to: wan, service: { tcp: [7000] }, action: accept";

fn socket(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

#[test]
fn a_fragmented_datagram_is_decided_and_counted_as_one() {
    let Some(bed) = Bed::up("fragments", &policy(&[UDP])) else { return };
    bed.watch_passed("forward", "passed", &["udp dport 7001"]);
    for to in OUTSIDE {
        let (open, shut) = (at(to, 7000), at(to, 7001));
        let server = bed.serve("server", &format!("udp-recv --listen {open} --count 10"));
        let send = "udp-send --size 4000 --count 10 --rate 200 --to";
        let _: UdpSend = bed.traffic("client", &format!("{send} {open}"));
        let got: Reception = server.report().unwrap();
        assert_eq!((got.received, got.bytes), (10, 40_000));
        let _: UdpSend = bed.traffic("client", &format!("{send} {shut}"));
    }
    let headers = 2 * 8 + 20 + 40;
    for rule in ["udp", "(default)"] {
        let rule = bed.rule(rule);
        assert_eq!((rule.packets, rule.bytes), (20, 10 * (2 * 4000 + headers)), "{rule:?}");
    }
    assert_eq!(bed.seen("passed").packets, 0);
}

#[test]
fn ipv6_options_do_not_hide_what_a_packet_is() {
    let Some(bed) = Bed::up("extension headers", &policy(&[UDP])) else { return };
    bed.watch_passed("forward", "passed", &["ip6 saddr 2001:db8:10::5 meta l4proto udp"]);
    let from = socket(CLIENT[1], 6000);
    let to = SocketAddr::new(OUTSIDE[1], 7000);
    let server = bed.serve("server", &format!("udp-recv --listen {to} --count 20"));
    let open: Vec<_> = (0..10).map(|number| craft::udp_behind_options(from, to, number)).collect();
    craft::inject(&bed, "client", &open);
    let plain: Vec<_> = (10..20).map(|number| craft::udp(from, to, number)).collect();
    craft::inject(&bed, "client", &plain);
    let got: Reception = server.report().unwrap();
    assert_eq!((got.received, got.lost, got.foreign), (20, 0, 0), "{got:?}");
    assert_eq!(bed.rule("udp").packets, 20);
    let sessions = bed.sessions();
    assert_eq!(sessions.len(), 1, "with and without options it is one session: {sessions:?}");
    assert_eq!((sessions[0].protocol.as_str(), sessions[0].dst_port), ("udp", 7000));
    // Denied ones too, from the first on and from memory.
    let shut = SocketAddr::new(OUTSIDE[1], 7001);
    let shut: Vec<_> =
        (0..10).map(|number| craft::udp_behind_options(from, shut, number)).collect();
    craft::inject(&bed, "client", &shut);
    bed.wait("they are counted", || (bed.rule("(default)").packets >= 10).then_some(()));
    assert_eq!(bed.rule("(default)").packets, 10);
    assert_eq!(bed.seen("passed").packets, 20);
}

#[test]
fn a_burst_of_one_tuple_is_one_session_and_all_of_it_passes() {
    let Some(bed) = Bed::up("burst", &policy(&[UDP])) else { return };
    for to in OUTSIDE {
        let to = at(to, 7000);
        let server = bed.serve("server", &format!("udp-recv --listen {to} --count 1000 --idle 5"));
        let sent: UdpSend = bed.traffic("client", &format!("burst --to {to} --count 1000"));
        let got: Reception = server.report().unwrap();
        assert_eq!((sent.sent, got.received + got.overrun), (1000, 1000), "{got:?}");
    }
    assert_eq!(bed.rule("udp").packets, 2000);
    let sessions = bed.sessions();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert_eq!(bed.exception("unclassified"), 0);
}

#[test]
fn segments_out_of_nothing_are_invalid_and_make_no_session() {
    let Some(bed) = Bed::up("invalid: stray", &policy(&[UDP, TCP])) else { return };
    // Otherwise the kernel takes a lone acknowledgement for a connection that it has missed.
    bed.shell("gw-a", "echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose");
    bed.watch_passed("forward", "passed", &["meta l4proto tcp"]);
    let inside = ["10.0.0.2", "2001:db8:10::2"].map(|address| address.parse().unwrap());
    let mut packets = Vec::new();
    for (family, to) in OUTSIDE.into_iter().chain(inside).enumerate() {
        let from = socket(CLIENT[family % 2], 6000);
        let to = SocketAddr::new(to, 7000);
        packets.push(craft::tcp(from, to, |tcp| tcp.rst = true));
        packets.push(craft::tcp(from, to, |tcp| (tcp.rst, tcp.ack) = (true, true)));
        packets.push(craft::tcp(from, to, |tcp| (tcp.syn, tcp.ack) = (true, true)));
        packets.push(craft::tcp(from, to, |tcp| (tcp.fin, tcp.ack) = (true, true)));
        packets.push(craft::tcp(from, to, |tcp| tcp.ack = true));
        packets.push(craft::tcp(from, to, |_| {}));
        packets.push(craft::tcp(from, to, |tcp| (tcp.fin, tcp.psh, tcp.urg) = (true, true, true)));
        packets.push(craft::damaged(craft::tcp(from, to, |tcp| tcp.syn = true)));
        packets.push(craft::damaged(craft::udp(from, to, 0)));
    }
    craft::inject(&bed, "client", &packets);
    let expected = packets.len() as u64;
    bed.wait("all are counted", || (bed.exception("invalid") >= expected).then_some(()));
    assert_eq!(bed.exception("invalid"), expected);
    assert_eq!(bed.seen("passed").packets, 0);
    assert_eq!(bed.exception("asked"), 0, "nobody had to be asked");
    assert!(bed.sessions().is_empty(), "{:?}", bed.sessions());
    assert!(bed.rules().iter().all(|rule| rule.packets == 0), "{:?}", bed.rules());
}

#[test]
fn invalid_segments_within_a_connection_are_dropped_and_do_not_disturb_it() {
    let Some(bed) = Bed::up("invalid: within", &policy(&[TCP])) else { return };
    for (family, to) in OUTSIDE.into_iter().enumerate() {
        let (from, to) = (socket(CLIENT[family], 6000), SocketAddr::new(to, 7000));
        let _server = bed.serve("server", &format!("tcp-serve --listen {to}"));
        let options =
            format!("tcp-connect --to {to} --from {from} --bytes 0 --rate 20000 --chunk 100");
        let client = bed.start("client", &options);
        bed.wait("the connection is up", || {
            let up = |s: &Session| s.state.as_deref() == Some("established") && s.dst == to.ip();
            bed.sessions().iter().any(up).then_some(())
        });
        let invalid = bed.exception("invalid");
        let flags = craft::tcp(from, to, |tcp| (tcp.syn, tcp.fin) = (true, true));
        let checksum = craft::damaged(craft::tcp(from, to, |tcp| tcp.rst = true));
        craft::inject(&bed, "client", &[flags, checksum]);
        bed.wait("they are counted", || (bed.exception("invalid") == invalid + 2).then_some(()));
        // A quarter of the sequence space apart, so at least one is beyond the window. What is
        // before it could be a repetition, which the kernel lets pass.
        let quarters = (0..4).map(|quarter| {
            craft::tcp(from, to, |tcp| {
                (tcp.ack, tcp.psh, tcp.sequence_number) = (true, true, quarter << 30);
            })
        });
        craft::inject(&bed, "client", &quarters.collect::<Vec<_>>());
        bed.wait("those beyond the window are counted", || {
            (bed.exception("invalid") > invalid + 2).then_some(())
        });
        let report: Tcp = client.stop_and_report().unwrap();
        assert_eq!((report.count(Outcome::Completed), report.corrupt), (1, 0), "{report:?}");
    }
}

#[test]
fn an_icmp_error_about_no_session_is_invalid() {
    let Some(bed) = Bed::up("invalid: icmp", &policy(&[UDP])) else { return };
    let errors: Vec<_> = OUTSIDE
        .into_iter()
        .zip(CLIENT)
        .flat_map(|(server, client)| {
            let about = craft::udp(socket(client, 6000), SocketAddr::new(server, 7000), 0);
            [craft::port_unreachable(server, &about), craft::too_big(server, 1300, &about)]
        })
        .collect();
    craft::inject(&bed, "server", &errors);
    bed.wait("they are counted", || (bed.exception("invalid") == 4).then_some(()));
    assert_eq!(bed.unreachables("client"), 0);
    assert!(bed.sessions().is_empty());
    assert!(bed.rules().iter().all(|rule| rule.packets == 0), "{:?}", bed.rules());
}
