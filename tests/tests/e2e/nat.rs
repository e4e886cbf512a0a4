//! Address translation: what the other side sees, what rules and `sessions` see, ICMP errors
//! through it, and what a reload does to translated sessions.

use crate::bed::{Bed, CLIENT, OUTSIDE, at, with_nat};
use std::net::{IpAddr, SocketAddr};
use twinwall_control::report::Session;
use twinwall_testbed::traffic::report::{Outcome, Reception, Tcp, UdpSend};

/// Addresses of the gateway on the WAN that translations use; the IPv6 one is added by the tests.
const PUBLISHED: [&str; 2] = ["203.0.113.10", "2001:db8:30::10"];
const OTHER: [&str; 2] = ["203.0.113.11", "2001:db8:30::11"];

const OUT: &str = "seq: 10, name: out, from: lan, to: wan, \
    src: [10.0.0.0/16, \"2001:db8:10::/64\"], action: accept";
const IN: &str = "seq: 20, name: in, from: wan, to: dmz, \
    dst: [10.20.0.10, \"2001:db8:20::10\"], service: { tcp: [80], udp: [80] }, action: accept";

fn up(test: &str, nat: &[&str]) -> Option<Bed> {
    let bed = Bed::up(test, &with_nat(&[OUT, IN], nat))?;
    bed.shell(
        "gw-a",
        "ip address add 203.0.113.11/32 dev eth0; \
         ip address add 2001:db8:30::10/128 dev eth0 nodad; \
         ip address add 2001:db8:30::11/128 dev eth0 nodad",
    );
    Some(bed)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Exchanges datagrams with the server and returns the addresses that it saw.
fn exchange(bed: &Bed, node: &str, to: IpAddr) -> IpAddr {
    let to = at(to, 7000);
    let server = bed.serve("server", &format!("tcp-serve --listen {to} --connections 1"));
    let tcp: Tcp = bed.traffic(node, &format!("tcp-connect --to {to} --bytes 20000"));
    assert_eq!(tcp.count(Outcome::Completed), 1, "{tcp:?}");
    let there: Tcp = server.report().unwrap();
    let _echo = bed.serve("server", &format!("udp-echo --listen {to}"));
    let udp: UdpSend =
        bed.traffic(node, &format!("udp-send --to {to} --count 20 --rate 1000 --replies"));
    assert_eq!(udp.replies.unwrap().received, 20);
    there.list[0].peer.ip()
}

fn host(address: &str) -> IpAddr {
    let parsed = address.parse::<SocketAddr>().map(|socket| socket.ip());
    parsed.unwrap_or_else(|_| address.parse().unwrap())
}

#[test]
fn masquerade_shows_the_egress_address_and_rules_see_the_inside() {
    let nat = ["seq: 1, name: m, from: lan, to: wan, snat: masquerade"];
    let Some(bed) = Bed::up("nat: masquerade", &with_nat(&[OUT, IN], &nat)) else { return };
    bed.watch("forward", "all", &["meta l4proto { tcp, udp }"]);
    let own = bed.gateway.spec().interfaces[0].addresses.clone();
    for (to, client) in OUTSIDE.into_iter().zip(CLIENT) {
        let seen = exchange(&bed, "client", to);
        assert!(own.iter().any(|prefix| prefix.address == seen), "{seen}");
        let sessions: Vec<Session> =
            bed.sessions_of("out").into_iter().filter(|s| s.src == ip(client)).collect();
        assert_eq!(sessions.len(), 2, "{sessions:?}");
        for session in sessions {
            assert_eq!(session.snat.as_deref().map(host), Some(seen), "{session:?}");
            assert_eq!((session.dst, session.dnat.as_deref()), (to, None), "{session:?}");
            let zones = (session.from.as_deref(), session.to.as_deref());
            assert_eq!(zones, (Some("lan"), Some("wan")), "{session:?}");
        }
    }
    assert_eq!(bed.rule("out").packets, bed.seen("all").packets);
}

#[test]
fn snat_to_an_address_shows_that_address() {
    let nat = [
        "seq: 1, name: v4, from: lan, to: wan, snat: 203.0.113.10",
        "seq: 2, name: v6, from: lan, to: wan, snat: \"2001:db8:30::10\"",
    ];
    let Some(bed) = up("nat: snat", &nat) else { return };
    for (to, published) in OUTSIDE.into_iter().zip(PUBLISHED) {
        assert_eq!(exchange(&bed, "client", to), ip(published));
        let shown = bed.sessions_of("out").into_iter().filter_map(|session| session.snat);
        assert!(shown.map(|snat| host(&snat)).any(|snat| snat == ip(published)));
    }
    // What isn't from the LAN to the WAN is left alone.
    let seen = exchange(&bed, "gw-a", ip("203.0.113.9"));
    assert_ne!(seen, ip(PUBLISHED[0]));
}

/// Both families, to the web server's port 80 from two ports of the published addresses.
const INWARDS: [&str; 2] = [
    "seq: 1, name: in4, from: wan, to_addr: 203.0.113.10, \
     service: { tcp: [8080], udp: [8080] }, dnat: { to: 10.20.0.10, port: 80 }",
    "seq: 2, name: in6, from: wan, to_addr: \"2001:db8:30::10\", \
     service: { tcp: [8080], udp: [8080] }, dnat: { to: \"2001:db8:20::10\", port: 80 }",
];
const INSIDE: [&str; 2] = ["10.20.0.10", "2001:db8:20::10"];

#[test]
fn dnat_reaches_the_inside_server_and_rules_see_its_address() {
    let Some(bed) = up("nat: dnat", &INWARDS) else { return };
    bed.watch("forward", "all", &["meta l4proto { tcp, udp }"]);
    for (published, inside) in PUBLISHED.into_iter().zip(INSIDE) {
        let (outer, inner) = (at(ip(published), 8080), at(ip(inside), 80));
        let _tcp = bed.serve("dmz", &format!("tcp-serve --listen {inner}"));
        let _udp = bed.serve("dmz", &format!("udp-echo --listen {inner}"));
        let tcp: Tcp = bed.traffic("server", &format!("tcp-connect --to {outer} --bytes 20000"));
        assert_eq!(tcp.count(Outcome::Completed), 1, "{tcp:?}");
        let options = format!("udp-send --to {outer} --count 20 --rate 1000 --replies");
        let udp: UdpSend = bed.traffic("server", &options);
        let replies = udp.replies.unwrap();
        assert_eq!(replies.received, 20);
        assert_eq!(replies.flows[0].source.to_string(), outer, "it answers from outside");
        let sessions: Vec<Session> =
            bed.sessions_of("in").into_iter().filter(|s| s.dst == ip(published)).collect();
        assert_eq!(sessions.len(), 2, "{sessions:?}");
        for session in sessions {
            assert_eq!(session.dnat.as_deref(), Some(inner.as_str()), "{session:?}");
            assert_eq!((session.dst_port, session.snat), (8080, None));
            assert_eq!(session.to.as_deref(), Some("dmz"));
        }
        // The same service at another port of the address is for the gateway itself.
        let tcp: Tcp = bed.traffic(
            "server",
            &format!("tcp-connect --to {} --connect-timeout 0.2", at(ip(published), 80)),
        );
        assert_eq!(tcp.count(Outcome::TimedOut), 1, "{tcp:?}");
    }
    assert_eq!(bed.rule("in").packets, bed.seen("all").packets);
}

#[test]
fn icmp_errors_come_back_through_snat_and_dnat() {
    let mut nat = vec![
        "seq: 3, name: v4, from: lan, to: wan, snat: 203.0.113.10",
        "seq: 4, name: v6, from: lan, to: wan, snat: \"2001:db8:30::10\"",
    ];
    nat.extend(INWARDS);
    let Some(bed) = up("nat: icmp errors", &nat) else { return };
    for (family, to) in OUTSIDE.into_iter().enumerate() {
        let outer = at(ip(PUBLISHED[family]), 8080);
        for (node, to, rule) in [("client", at(to, 7999), "out"), ("server", outer, "in")] {
            let (heard, counted) = (bed.unreachables(node), bed.rule(rule).packets);
            let options = format!("udp-send --to {to} --count 10 --rate 200 --replies");
            let sent: UdpSend = bed.traffic(node, &options);
            assert!(sent.errors.contains_key("refused"), "{to}: {sent:?}");
            assert_eq!(bed.unreachables(node) - heard, 10, "{to}");
            assert_eq!(bed.rule(rule).packets - counted, 20, "{to}: errors count on `{rule}`");
        }
    }
    assert_eq!((bed.rule("(default)").packets, bed.rule("(self)").packets), (0, 0));
}

/// A UDP stream that goes on: who receives it, who sends it.
fn stream(bed: &Bed, node: &str, port: u16, to: IpAddr) -> [twinwall_testbed::Process; 2] {
    let to = at(to, port);
    let server = bed.serve("server", &format!("udp-recv --listen {to}"));
    let client = bed.start(node, &format!("udp-send --to {to} --count 1000000 --rate 500"));
    [server, client]
}

#[test]
fn a_changed_translation_ends_only_the_sessions_that_have_it() {
    for family in [0, 1] {
        let net = ["10.0.0.6", "\"2001:db8:10::6\""][family];
        let rules = |address: &str| {
            let own = format!("seq: 1, name: own, from: lan, to: wan, src: {net}, snat: {address}");
            let rest = format!(
                "seq: 2, name: rest, from: lan, to: wan, snat: {}",
                quoted(PUBLISHED[family])
            );
            with_nat(&[OUT], &[own.as_str(), rest.as_str()])
        };
        let Some(bed) = up("nat: changed", &[]) else { return };
        bed.apply(&rules(&quoted(PUBLISHED[family])));
        let to = OUTSIDE[family];
        let port = at(to, 7000);
        let server = bed.serve("server", &format!("tcp-serve --listen {port}"));
        let connect = format!("tcp-connect --to {port} --bytes 0 --rate 20000 --chunk 100");
        let stays = bed.start("client", &format!("{connect} --for 20"));
        let changes = bed.start("client2", &format!("{connect} --for 20"));
        let [receiver, sender] = stream(&bed, "client2", 7001, to);
        let before = bed.wait("three sessions are up", || {
            let up = bed.sessions_of("out");
            (up.iter().filter(|s| s.snat.is_some()).count() == 3).then_some(up)
        });
        let applied = bed.apply(&rules(&quoted(OTHER[family])));
        assert_eq!(applied.sessions.ended, 2, "{applied:?}");
        assert_eq!(applied.sessions.unchanged, 1, "{applied:?}");
        bed.wait("the stream goes on from the other address", || {
            let other = ip(OTHER[family]);
            let sessions = bed.sessions_of("out");
            let moved =
                |s: &Session| s.protocol == "udp" && s.snat.as_deref().map(host) == Some(other);
            sessions.iter().any(moved).then_some(())
        });
        let kept = before.iter().find(|s| s.src == ip(CLIENT[family])).unwrap();
        let same =
            |s: &Session| s.src_port == kept.src_port && s.snat == kept.snat && s.key == kept.key;
        assert!(bed.sessions_of("out").iter().any(same), "{kept:?}");
        drop(sender);
        let stays: Tcp = stays.stop_and_report().unwrap();
        assert_eq!((stays.count(Outcome::Completed), stays.corrupt), (1, 0), "{stays:?}");
        assert!(stays.longest_stall_ms < 2_000.0, "{stays:?}");
        drop((changes, server));
        let got: Reception = receiver.stop_and_report().unwrap();
        let sources: Vec<IpAddr> = got.flows.iter().map(|flow| flow.source.ip()).collect();
        assert!(sources.contains(&ip(PUBLISHED[family])) && sources.contains(&ip(OTHER[family])));
    }
}

fn quoted(address: &str) -> String {
    format!("\"{address}\"")
}
