//! A denied flow costs the daemon one question; the kernel remembers it for some seconds and
//! counts its packets on the rule that denied it.

use crate::bed::{Bed, OUTSIDE, at, policy};
use std::time::{Duration, Instant};
use twinwall_testbed::traffic::report::UdpSend;

/// How long the kernel remembers that a flow was denied.
const REMEMBERED: Duration = Duration::from_secs(5);

const RULES: [&str; 2] = [
    "seq: 10, name: no-udp, from: lan, to: any, service: { udp: [7000] }, action: drop",
    "seq: 20, name: no-ping, from: lan, to: any, \
     service: { icmp: [echo-request], icmpv6: [echo-request] }, action: drop",
];

const GATEWAY: [&str; 2] = ["10.0.0.2", "2001:db8:10::2"];

/// Sends one packet, waits until the rule has counted it, sends the rest: one question, and on a
/// machine that is too busy to send all of it within the memory of the kernel, one more each time
/// that the memory has run out.
fn costs_one_question(bed: &Bed, rule: &str, to: &str, mut send: impl FnMut(u32), rest: u32) {
    let begun = Instant::now();
    let (asked, counted) = (bed.exception("asked"), bed.rule(rule).packets);
    send(1);
    bed.wait("the first packet is denied", || {
        (bed.rule(rule).packets == counted + 1).then_some(())
    });
    send(rest);
    let expected = counted + 1 + u64::from(rest);
    bed.wait("all packets are counted", || (bed.rule(rule).packets >= expected).then_some(()));
    assert_eq!(bed.rule(rule).packets, expected, "{rule}");
    let asked = bed.exception("asked") - asked;
    let run_out = begun.elapsed().as_millis() / REMEMBERED.as_millis();
    assert!((1..=1 + run_out).contains(&u128::from(asked)), "{to}: {asked}, {run_out} run out");
}

#[test]
fn a_thousand_packets_of_one_denied_flow_cost_one_question() {
    let Some(bed) = Bed::up("denied: udp", &policy(&RULES)) else { return };
    let inside = GATEWAY.map(|address| address.parse().unwrap());
    for to in OUTSIDE.into_iter().chain(inside) {
        let to = at(to, 7000);
        let send = |count: u32| {
            let options = format!("udp-send --to {to} --count {count} --rate 10000 --from");
            let from = if to.starts_with('[') { "[2001:db8:10::5]" } else { "10.0.0.5" };
            let sent: UdpSend = bed.traffic("client", &format!("{options} {from}:6000"));
            assert_eq!(sent.sent, u64::from(count));
        };
        costs_one_question(&bed, "no-udp", &to, send, 999);
    }
    assert!(bed.sessions().is_empty());
}

#[test]
fn a_denied_ping_costs_one_question() {
    let Some(bed) = Bed::up("denied: ping", &policy(&RULES)) else { return };
    let inside = GATEWAY.map(|address| address.parse().unwrap());
    for to in OUTSIDE.into_iter().chain(inside) {
        // A flow of ICMP is a type and a code between two addresses; each ping has another number.
        let send = |count: u32| assert_eq!(bed.ping_in_vain("client", to, count).received(), 0);
        costs_one_question(&bed, "no-ping", &to.to_string(), send, 99);
    }
}

#[test]
fn denied_flows_are_told_apart_and_counted_exactly() {
    let Some(bed) = Bed::up("denied: many", &policy(&RULES)) else { return };
    let asked = bed.exception("asked");
    for to in OUTSIDE {
        let to = at(to, 7000);
        let options = format!("udp-send --to {to} --count 5000 --flows 100 --rate 10000");
        let sent: UdpSend = bed.traffic("client", &options);
        assert_eq!(sent.sent, 5000);
    }
    bed.wait("all are counted", || (bed.rule("no-udp").packets >= 10_000).then_some(()));
    assert_eq!(bed.rule("no-udp").packets, 10_000);
    let asked = bed.exception("asked") - asked;
    // More of a flow's packets may come before the first is answered.
    assert!((200..=2000).contains(&asked), "{asked} questions for 200 flows");
}

#[test]
fn a_denied_flow_passes_at_once_when_the_policy_comes_to_accept_it() {
    let Some(bed) = Bed::up("denied: accepted", &policy(&RULES)) else { return };
    for to in OUTSIDE {
        bed.apply(&policy(&RULES));
        let to = at(to, 7000);
        let options = format!("udp-send --to {to} --count 1000000 --rate 1000");
        let _server = bed.serve("server", &format!("udp-recv --listen {to}"));
        bed.watch_passed("forward", "passed", &["udp dport 7000"]);
        let sender = bed.start("client", &options);
        let denied = bed.rule("no-udp").packets;
        bed.wait("it is denied", || (bed.rule("no-udp").packets > denied + 50).then_some(()));
        assert_eq!(bed.seen("passed").packets, 0);
        bed.apply(
            &policy(&RULES).replace("udp: [7000] }, action: drop", "udp: [7000] }, action: accept"),
        );
        let passed = bed.seen("passed").packets;
        let counted = bed.rule("no-udp").packets;
        bed.wait("it passes", || (bed.seen("passed").packets > passed + 50).then_some(()));
        bed.wait("it is counted", || (bed.rule("no-udp").packets > counted + 50).then_some(()));
        drop(sender);
        bed.nft("delete table inet watch\n");
    }
}
