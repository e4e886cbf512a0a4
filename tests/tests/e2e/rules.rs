//! Each protocol in each family through each hook: decided by the right rule, and counted there
//! exactly.

use crate::bed::{Bed, CLIENT, Counted, OUTSIDE, at, policy};
use std::net::IpAddr;
use twinwall_testbed::traffic::report::{Outcome, Tcp, UdpSend};

/// For each protocol a rule of that name, and what nft calls its packets.
const TCP: (&str, &[&str]) = ("tcp", &["meta l4proto tcp"]);
const UDP: (&str, &[&str]) = ("udp", &["meta l4proto udp"]);
const PING: (&str, &[&str]) = (
    "ping",
    &["icmp type { echo-request, echo-reply }", "icmpv6 type { echo-request, echo-reply }"],
);

/// A rule for each protocol from and to these zones.
fn a_rule_each(from: &str, to: &str, action: &str) -> Vec<String> {
    let services = [
        ("tcp", "{ tcp: [7000] }"),
        ("udp", "{ udp: [7000] }"),
        ("ping", "{ icmp: [echo-request], icmpv6: [echo-request] }"),
    ];
    let rule = |(seq, (name, service))| {
        format!(
            "seq: {seq}, name: {name}, from: {from}, to: {to}, service: {service}, \
             action: {action}"
        )
    };
    (1..).zip(services).map(rule).collect()
}

fn watch_all(bed: &Bed, hook: &str) {
    for (name, conditions) in [TCP, UDP, PING] {
        bed.watch(hook, name, conditions);
    }
}

/// Traffic of each protocol from a node to an address, all of which is answered.
fn exchange(bed: &Bed, from: &str, server: &str, to: IpAddr) {
    let to_port = at(to, 7000);
    let _tcp = bed.serve(server, &format!("tcp-serve --listen {to_port}"));
    let _udp = bed.serve(server, &format!("udp-echo --listen {to_port}"));
    let tcp: Tcp =
        bed.traffic(from, &format!("tcp-connect --to {to_port} --connections 3 --bytes 20000"));
    assert_eq!(tcp.count(Outcome::Completed), 3, "{tcp:?}");
    let udp: UdpSend =
        bed.traffic(from, &format!("udp-send --to {to_port} --count 50 --rate 500 --replies"));
    assert_eq!(udp.replies.unwrap().received, 50);
    assert_eq!(bed.ping(from, to, 5).received(), 5);
}

/// Checks that each rule has counted what its watch has, that sessions between these zones are
/// under it, and that nothing else was counted.
fn assert_counted(bed: &Bed, zones: (&str, &str), connections: u64) {
    for (name, sessions) in [("tcp", 2 * connections), ("udp", 2), ("ping", 2)] {
        let rule = bed.rule(name);
        assert_eq!(rule.sessions, sessions, "{name}");
        assert!(rule.last_hit.is_some(), "{name}");
        assert_eq!(Counted::from(rule), bed.seen(name), "{name}");
        let listed = bed.sessions_of(name);
        assert_eq!(listed.len() as u64, sessions, "{name}");
        for session in listed {
            let found = (session.from.as_deref(), session.to.as_deref());
            assert_eq!(found, (Some(zones.0), Some(zones.1)), "{session:?}");
            assert_eq!(session.action.as_deref(), Some("accept"), "{session:?}");
        }
    }
    for name in ["(self)", "(default)"] {
        assert_eq!(bed.rule(name).packets, 0, "{name}");
    }
}

#[test]
fn forwarded_traffic_is_accepted_and_counted_by_its_rule_in_both_families() {
    let policy = policy(&a_rule_each("lan", "wan", "accept"));
    let Some(bed) = Bed::up("rules: forward", &policy) else { return };
    watch_all(&bed, "forward");
    for to in OUTSIDE {
        exchange(&bed, "client", "server", to);
    }
    assert_counted(&bed, ("lan", "wan"), 3);
    assert_eq!(bed.rule("udp").packets, 200, "50 each way in both families");
    assert_eq!(bed.rule("ping").packets, 20);
    let source = |session: &twinwall_control::report::Session| session.src.to_string();
    let sources: Vec<_> = bed.sessions_of("udp").iter().map(source).collect();
    assert!(CLIENT.iter().all(|client| sources.iter().any(|s| s == client)), "{sources:?}");
}

#[test]
fn traffic_to_the_gateway_is_accepted_and_counted_by_its_rule_in_both_families() {
    let policy = policy(&a_rule_each("lan", "self", "accept"));
    let Some(bed) = Bed::up("rules: input", &policy) else { return };
    watch_all(&bed, "input");
    for to in ["10.0.0.2", "2001:db8:10::2"] {
        exchange(&bed, "client", "gw-a", to.parse().unwrap());
    }
    assert_counted(&bed, ("lan", "self"), 3);
    // Its answers leave by the output hook, where nothing is filtered.
    assert_eq!(bed.rule("udp").packets, 100);
    assert_eq!(bed.rule("ping").packets, 10);
}

#[test]
fn what_no_rule_accepts_is_dropped_in_silence_and_counted_by_the_default() {
    let policy = policy(&a_rule_each("dmz", "wan", "accept"));
    let Some(bed) = Bed::up("rules: default", &policy) else { return };
    let anything = "meta l4proto { tcp, udp, icmp } ip saddr 10.0.0.5";
    let anything6 = "ip6 saddr 2001:db8:10::5 th dport 7000";
    let anything6_ping = "ip6 saddr 2001:db8:10::5 icmpv6 type echo-request";
    let all = [anything, anything6, anything6_ping];
    for hook in ["forward", "input"] {
        bed.watch(hook, hook, &all);
        bed.watch_passed(hook, &format!("passed-{hook}"), &all);
    }
    let inside: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "2001:db8:10::2".parse().unwrap()];
    for to in OUTSIDE.into_iter().chain(inside) {
        let port = at(to, 7000);
        let options = format!("udp-send --to {port} --count 20 --rate 1000 --replies --linger 0.2");
        let udp: UdpSend = bed.traffic("client", &options);
        assert_eq!(udp.replies.unwrap().received, 0);
        assert!(udp.errors.is_empty(), "{to}: {:?}", udp.errors);
        let options = format!("tcp-connect --to {port} --connect-timeout 0.3");
        let tcp: Tcp = bed.traffic("client", &options);
        assert_eq!(tcp.count(Outcome::TimedOut), 1, "{tcp:?}");
        let ping = bed.ping_in_vain("client", to, 3);
        assert_eq!((ping.received(), ping.errors("nreachable")), (0, 0));
    }
    let seen = [bed.seen("forward"), bed.seen("input")];
    let total = Counted {
        packets: seen[0].packets + seen[1].packets,
        bytes: seen[0].bytes + seen[1].bytes,
    };
    assert!(total.packets >= 4 * (20 + 1 + 3), "{total:?}");
    assert_eq!(Counted::from(bed.rule("(default)")), total);
    for hook in ["passed-forward", "passed-input"] {
        assert_eq!(bed.seen(hook).packets, 0, "{hook}");
    }
    assert!(bed.sessions().is_empty(), "a denied flow leaves no session: {:?}", bed.sessions());
}

#[test]
fn first_match_by_seq_decides_wherever_it_stands_in_the_file() {
    let rules = [
        "seq: 30, name: rest, from: lan, to: wan, action: drop",
        "seq: 20, name: wide, from: lan, to: wan, service: { udp: [7000-7001] }, action: accept",
        "seq: 10, name: narrow, from: lan, to: wan, service: { udp: [7000] }, action: accept",
    ];
    let Some(bed) = Bed::up("rules: order", &policy(&rules)) else { return };
    for to in OUTSIDE {
        for (port, count) in [(7000, 10), (7001, 20), (7002, 30)] {
            let to = at(to, port);
            let _server = bed.serve("server", &format!("udp-recv --listen {to}"));
            let _: UdpSend =
                bed.traffic("client", &format!("udp-send --to {to} --count {count} --rate 1000"));
        }
    }
    let packets = bed.packets();
    assert_eq!((packets["narrow"], packets["wide"], packets["rest"]), (20, 40, 60), "{packets:?}");
}

#[test]
fn sessions_that_the_gateway_begins_pass_by_the_built_in_rule() {
    let policy = policy(&["seq: 10, name: none, from: any, to: any, action: drop"]);
    let Some(bed) = Bed::up("rules: self", &policy) else { return };
    watch_all(&bed, "input");
    for to in OUTSIDE {
        exchange(&bed, "gw-a", "server", to);
    }
    let seen: u64 = [TCP, UDP, PING].iter().map(|(name, _)| bed.seen(name).packets).sum();
    let own = bed.rule("(self)");
    assert_eq!((own.action.as_str(), own.packets), ("accept", seen));
    assert_eq!(own.sessions, 2 * (3 + 1 + 1));
    assert_eq!(bed.rule("none").packets, 0);
    for session in bed.sessions_of("(self)") {
        let zones = (session.from.as_deref(), session.to.as_deref());
        assert_eq!(zones, (Some("self"), Some("wan")), "{session:?}");
    }
}

#[test]
fn a_rule_from_self_decides_what_comes_back_to_the_gateway() {
    let policy = policy(&[
        "seq: 10, name: counted, from: self, to: wan, service: { udp: [7000] }, action: accept",
        "seq: 20, name: cut, from: self, to: wan, service: { udp: [7001] }, action: drop",
    ]);
    let Some(bed) = Bed::up("rules: from self", &policy) else { return };
    for to in OUTSIDE {
        for (port, back) in [(7000, 50), (7001, 0)] {
            let to = at(to, port);
            let _echo = bed.serve("server", &format!("udp-echo --listen {to}"));
            let options =
                format!("udp-send --to {to} --count 50 --rate 1000 --replies --linger 0.3");
            let sent: UdpSend = bed.traffic("gw-a", &options);
            assert_eq!(
                sent.replies.as_ref().unwrap().received,
                back,
                "{to} {sent:?} {:?} {:?} {:?}",
                bed.status(),
                bed.packets(),
                bed.shell("gw-a", "cat /proc/net/snmp6 /proc/net/snmp; nft list ruleset")
            );
        }
    }
    let packets = bed.packets();
    assert_eq!((packets["counted"], packets["cut"]), (100, 100), "{packets:?}");
    assert_eq!(packets["(self)"], 0);
}
