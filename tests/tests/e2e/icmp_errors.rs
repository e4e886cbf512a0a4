//! ICMP errors pass with the session that they are about, count on its rule, and never move it.

use crate::bed::{Bed, CLIENT, OUTSIDE, at, policy};
use crate::craft;
use std::net::SocketAddr;
use twinwall_control::report::Session;
use twinwall_testbed::Process;
use twinwall_testbed::traffic::report::UdpSend;

fn rule(seq: u32, name: &str, action: &str) -> String {
    format!(
        "seq: {seq}, name: {name}, from: lan, to: wan, service: {{ udp: [7000] }}, action: {action}"
    )
}

#[test]
fn port_unreachable_passes_and_leaves_its_session_with_its_rule() {
    let Some(bed) = Bed::up("icmp: port", &policy(&[rule(10, "udp", "accept")])) else { return };
    for to in OUTSIDE {
        let (heard, counted) = (bed.unreachables("client"), bed.rule("udp").packets);
        let to = at(to, 7000);
        let options = format!("udp-send --to {to} --count 20 --rate 200 --replies");
        let sent: UdpSend = bed.traffic("client", &options);
        assert!(sent.errors.contains_key("refused"), "{sent:?}");
        assert_eq!(bed.unreachables("client") - heard, 20);
        assert_eq!(bed.rule("udp").packets - counted, 40, "datagrams and errors");
    }
    let sessions = bed.sessions();
    assert_eq!(sessions.len(), 2, "an error makes no session of its own: {sessions:?}");
    assert!(sessions.iter().all(|session| session.rule.as_deref() == Some("udp")), "{sessions:?}");
    assert_eq!(bed.rule("(default)").packets, 0);
}

/// A stream without answers, and its session.
fn stream(bed: &Bed, family: usize) -> (Process, Session) {
    let (from, to) = (socket(CLIENT[family]), at(OUTSIDE[family], 7000));
    let options = format!("udp-send --to {to} --from {from} --count 1000000 --rate 200");
    let sender = bed.start("client", &options);
    let session = bed.wait("the session is there", || {
        bed.sessions().into_iter().find(|session| session.src == from.ip())
    });
    (sender, session)
}

fn socket(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 6000)
}

#[test]
fn packet_too_big_passes_and_leaves_its_session_with_its_rule() {
    let Some(bed) = Bed::up("icmp: mtu", &policy(&[rule(10, "udp", "accept")])) else { return };
    for (family, to) in OUTSIDE.into_iter().enumerate() {
        let _server = bed.serve("server", &format!("udp-recv --listen {}", at(to, 7000)));
        let (_sender, session) = stream(&bed, family);
        let about = craft::udp(socket(CLIENT[family]), SocketAddr::new(to, 7000), 0);
        craft::inject(&bed, "server", &[craft::too_big(to, 1300, &about)]);
        bed.wait("the client has learnt the MTU", || {
            let route = bed.shell("client", &format!("ip route get {to}"));
            route.contains("mtu 1300").then_some(())
        });
        let after = bed.sessions();
        let same = after.iter().find(|s| s.src == session.src).unwrap();
        assert_eq!((same.key, &same.rule), (session.key, &session.rule));
    }
    assert_eq!(bed.rule("(default)").packets, 0);
    assert_eq!(bed.exception("invalid"), 0);
}

#[test]
fn an_error_about_a_session_that_has_just_become_stale_does_not_decide_it() {
    // The reload takes the session from one rule to another, with errors in both directions of
    // time: those that come meanwhile are decided with their session.
    let two =
        |one: u32, two: u32| policy(&[rule(one, "one", "accept"), rule(two, "two", "accept")]);
    let Some(bed) = Bed::up("icmp: reload", &two(10, 20)) else { return };
    for to in OUTSIDE {
        let to = at(to, 7000);
        bed.apply(&two(10, 20));
        // Nobody listens, so each datagram is answered by an error.
        let options = format!("udp-send --to {to} --count 1000000 --rate 2000 --flows 8");
        let sender = bed.start("client", &options);
        for turn in 0..10 {
            let (first, second, name, other) =
                if turn % 2 == 0 { (20, 10, "two", "one") } else { (10, 20, "one", "two") };
            bed.apply(&two(first, second));
            let before = bed.packets();
            bed.wait("it counts on its new rule", || {
                (bed.rule(name).packets > before[name] + 40).then_some(())
            });
            assert_eq!(bed.rule(other).packets, before[other], "turn {turn}");
        }
        drop(sender);
    }
    assert_eq!(bed.rule("(default)").packets, 0);
    assert!(bed.sessions().iter().all(|session| session.rule.is_some()));
    for reason in ["again", "unclassified"] {
        assert_eq!(bed.exception(reason), 0, "{reason}");
    }
}

#[test]
fn errors_about_a_refused_session_are_refused_with_it() {
    let open = policy(&[rule(10, "udp", "accept")]);
    let Some(bed) = Bed::up("icmp: refused", &open) else { return };
    for (family, to) in OUTSIDE.into_iter().enumerate() {
        bed.apply(&open);
        let server = bed.serve("server", &format!("udp-recv --listen {}", at(to, 7000)));
        let (sender, _) = stream(&bed, family);
        drop(sender);
        drop(server);
        bed.apply(&policy(&[rule(10, "udp", "drop")]));
        let (heard, counted) = (bed.unreachables("client"), bed.rule("udp").packets);
        let about = craft::udp(socket(CLIENT[family]), SocketAddr::new(to, 7000), 0);
        craft::inject(&bed, "server", &[craft::port_unreachable(to, &about)]);
        bed.wait("it is counted", || (bed.rule("udp").packets == counted + 1).then_some(()));
        assert_eq!(bed.unreachables("client"), heard);
    }
}
