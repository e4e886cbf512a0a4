//! `reject` tells the sender, at once and each time; `drop` doesn't.

use crate::bed::{Bed, Counted, OUTSIDE, at, policy};
use std::net::IpAddr;
use twinwall_testbed::traffic::report::{Outcome, Tcp, UdpSend};

const GATEWAY: [&str; 2] = ["10.0.0.2", "2001:db8:10::2"];

/// Everything that was refused by `rule`, as a watch sees it.
const REFUSED: [&str; 3] =
    ["th dport 7000-7001", "icmp type echo-request", "icmpv6 type echo-request"];

fn addresses() -> impl Iterator<Item = (IpAddr, &'static str)> {
    let inside = GATEWAY.map(|address| address.parse().unwrap());
    OUTSIDE.map(|to| (to, "forward")).into_iter().chain(inside.map(|to| (to, "input")))
}

#[test]
fn rejected_tcp_is_refused_at_once_by_a_reset() {
    let policy = policy(&["seq: 10, name: no, from: lan, to: any, action: reject"]);
    let Some(bed) = Bed::up("reject: tcp", &policy) else { return };
    for hook in ["forward", "input"] {
        bed.watch(hook, hook, &REFUSED);
    }
    for (to, _) in addresses() {
        let to = at(to, 7000);
        let options = format!("tcp-connect --to {to} --connections 10 --connect-timeout 10");
        let tcp: Tcp = bed.traffic("client", &options);
        assert_eq!(tcp.count(Outcome::Refused), 10, "{to}: {tcp:?}");
    }
    // A second try would come a second after the first.
    assert_eq!(bed.rule("no").packets, 40, "one SYN for each connection");
    assert_eq!(bed.seen("forward").packets + bed.seen("input").packets, 40);
    assert_eq!(bed.sessions().len(), 0);
}

#[test]
fn rejected_udp_and_ping_are_answered_by_port_unreachable_each_time() {
    let policy = policy(&["seq: 10, name: no, from: lan, to: any, action: reject"]);
    let Some(bed) = Bed::up("reject: udp", &policy) else { return };
    for hook in ["forward", "input"] {
        bed.watch(hook, hook, &REFUSED);
    }
    for (to, _) in addresses() {
        let (port, heard) = (at(to, 7000), bed.unreachables("client"));
        let options = format!("udp-send --to {port} --count 20 --rate 200 --replies --linger 0.2");
        let sent: UdpSend = bed.traffic("client", &options);
        assert!(sent.errors.contains_key("refused"), "{to}: {sent:?}");
        assert_eq!(bed.unreachables("client") - heard, 20, "{to}");
        let ping = bed.ping("client", to, 5);
        assert_eq!((ping.received(), ping.errors("nreachable")), (0, 5), "{to}");
    }
    let seen = [bed.seen("forward"), bed.seen("input")];
    assert_eq!([seen[0].packets, seen[1].packets], [50, 50]);
    assert_eq!(bed.rule("no").packets, 100);
    assert_eq!(bed.rule("no").bytes, seen[0].bytes + seen[1].bytes);
}

#[test]
fn a_running_connection_that_comes_to_be_rejected_is_reset() {
    let open =
        ["seq: 10, name: rule, from: lan, to: wan, service: { tcp: [7000] }, action: accept"];
    let Some(bed) = Bed::up("reject: running", &policy(&open)) else { return };
    for to in OUTSIDE {
        bed.apply(&policy(&open));
        let to = at(to, 7000);
        let _server = bed.serve("server", &format!("tcp-serve --listen {to}"));
        let options = format!("tcp-connect --to {to} --bytes 0 --rate 10000 --chunk 100");
        let client = bed.start("client", &options);
        bed.wait("the connection is up", || {
            let up = |s: &twinwall_control::report::Session| {
                s.state.as_deref() == Some("established") && at(s.dst, s.dst_port) == to
            };
            bed.sessions().iter().any(up).then_some(())
        });
        let applied = bed.apply(&policy(&open).replace("accept }", "reject }"));
        assert!(applied.sessions.ended >= 1, "{applied:?}");
        let report: Tcp = client.report().unwrap();
        assert_eq!(report.count(Outcome::Reset), 1, "{report:?}");
    }
}

#[test]
fn dropped_traffic_gets_no_answer() {
    let policy = policy(&["seq: 10, name: no, from: lan, to: any, action: drop"]);
    let Some(bed) = Bed::up("drop", &policy) else { return };
    for hook in ["forward", "input"] {
        bed.watch(hook, hook, &REFUSED);
    }
    // What the gateway sends to the client, but for neighbour discovery.
    bed.watch("output", "answers", &["ip daddr 10.0.0.5", "icmpv6 type 1-4", "tcp flags rst"]);
    for (to, _) in addresses() {
        let port = at(to, 7000);
        let options = format!("tcp-connect --to {port} --connections 5 --connect-timeout 0.2");
        let tcp: Tcp = bed.traffic("client", &options);
        assert_eq!(tcp.count(Outcome::TimedOut), 5, "{tcp:?}");
        let options = format!("udp-send --to {port} --count 20 --rate 1000 --replies --linger 0.1");
        let sent: UdpSend = bed.traffic("client", &options);
        assert!(sent.errors.is_empty(), "{to}: {:?}", sent.errors);
        let ping = bed.ping_in_vain("client", to, 3);
        assert_eq!((ping.received(), ping.errors("nreachable")), (0, 0), "{to}");
    }
    let seen = [bed.seen("forward"), bed.seen("input")];
    let packets = seen[0].packets + seen[1].packets;
    let total = Counted { packets, bytes: seen[0].bytes + seen[1].bytes };
    assert_eq!(Counted::from(bed.rule("no")), total);
    assert_eq!(bed.seen("answers").packets, 0);
}
