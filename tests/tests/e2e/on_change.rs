//! `on_change`: what becomes of the sessions of a rule that a reload changes.

use crate::bed::{Bed, OUTSIDE, at, policy};
use twinwall_control::report::Session;
use twinwall_testbed::Process;
use twinwall_testbed::traffic::report::{Outcome, Reception, Tcp};

fn rule(name: &str, port: u16, action: &str, on_change: &str) -> String {
    format!(
        "seq: {port}, name: {name}, from: lan, to: wan, \
         service: {{ tcp: [{port}], udp: [{port}] }}, action: {action}, on_change: {on_change}"
    )
}

/// A connection that goes on until it is told to stop.
struct Connection {
    client: Process,
    _server: Process,
}

impl Connection {
    fn open(bed: &Bed, family: usize, port: u16) -> Self {
        let to = at(OUTSIDE[family], port);
        let server = bed.serve("server", &format!("tcp-serve --listen {to}"));
        let options = format!("tcp-connect --to {to} --bytes 0 --rate 10000 --chunk 100");
        let client = bed.start("client", &options);
        bed.wait("the connection is up", || {
            let up = |s: &Session| {
                s.state.as_deref() == Some("established") && at(s.dst, s.dst_port) == to
            };
            bed.sessions().iter().any(up).then_some(())
        });
        Self { client, _server: server }
    }

    fn end(self) -> Tcp {
        self.client.stop_and_report().unwrap()
    }
}

/// Whether a new connection gets through.
fn connects(bed: &Bed, family: usize, port: u16) -> bool {
    let to = at(OUTSIDE[family], port);
    let options = format!("tcp-connect --to {to} --connect-timeout 0.3 --bytes 100");
    let tcp: Tcp = bed.traffic("client", &options);
    tcp.count(Outcome::Completed) == 1
}

#[test]
fn kept_sessions_go_on_under_the_rule_that_accepted_them_and_new_ones_do_not() {
    let open = policy(&[rule("web", 7000, "accept", "keep")]);
    for (what, changed) in [
        ("dropped", policy(&[rule("web", 7000, "drop", "keep")])),
        ("deleted", policy::<&str>(&[])),
    ] {
        let Some(bed) = Bed::up(&format!("keep: {what}"), &open) else { return };
        let connections = [0, 1].map(|family| Connection::open(&bed, family, 7000));
        let sessions = bed.sessions_of("web");
        let applied = bed.apply(&changed);
        assert_eq!((applied.keys.kept, applied.sessions.ended), (1, 0), "{what}: {applied:?}");
        let counted = bed.rule("web");
        bed.wait("they go on", || (bed.rule("web").packets > counted.packets + 50).then_some(()));
        for family in [0, 1] {
            assert!(!connects(&bed, family, 7000), "{what}: a new one is refused");
        }
        if what == "deleted" {
            assert_eq!((counted.seq, counted.action.as_str()), (None, "accept"));
        }
        let mut kept = bed.sessions_of("web");
        kept.retain(|s| s.action.as_deref() == Some("accept"));
        let keys = |sessions: &[Session]| sessions.iter().map(|s| s.key).collect::<Vec<_>>();
        assert_eq!(keys(&kept), keys(&sessions), "{what}");
        for connection in connections {
            let report = connection.end();
            assert_eq!(report.count(Outcome::Completed), 1, "{what}: {report:?}");
        }
    }
}

#[test]
fn kept_sessions_survive_a_restart() {
    let Some(bed) = Bed::up("keep: restart", &policy(&[rule("web", 7000, "accept", "keep")]))
    else {
        return;
    };
    let connection = Connection::open(&bed, 0, 7000);
    bed.write_policy(&policy(&[rule("web", 7000, "drop", "keep")]));
    bed.gateway.reload().unwrap();
    bed.wait("it is loaded", || (bed.status().generation == 2).then_some(()));
    bed.gateway.kill9().unwrap();
    bed.gateway.start().unwrap();
    let counted = bed.rule("web").packets;
    bed.wait("it goes on", || (bed.rule("web").packets > counted + 50).then_some(()));
    assert!(!connects(&bed, 0, 7000));
    let report = connection.end();
    assert_eq!(report.count(Outcome::Completed), 1, "{report:?}");
}

#[test]
fn terminated_sessions_are_gone_though_the_new_policy_would_accept_them() {
    // Only the server sends, so what comes after the reload cannot make the same session again.
    for on_change in ["terminate", "rematch"] {
        let two = |first: u32, second: u32| {
            let rule = |seq: u32, name: &str| {
                format!(
                    "seq: {seq}, name: {name}, from: lan, to: wan, service: {{ udp: [9000] }}, \
                     action: accept, on_change: {on_change}"
                )
            };
            policy(&[rule(first, "one"), rule(second, "two")])
        };
        let Some(bed) = Bed::up(&format!("terminate: {on_change}"), &two(10, 20)) else { return };
        for (server, client) in OUTSIDE.into_iter().zip(["10.0.0.5:6000", "[2001:db8:10::5]:6000"])
        {
            bed.apply(&two(10, 20));
            let server = at(server, 9000);
            let pusher = bed.serve("server", &format!("udp-push --listen {server} --rate 200"));
            let options = format!("udp-recv --listen {client} --hello {server}");
            let receiver = bed.serve("client", &options);
            let counted = bed.rule("one").packets;
            bed.wait("it flows", || (bed.rule("one").packets > counted + 20).then_some(()));
            let applied = bed.apply(&two(20, 10));
            let before = bed.packets();
            let (ended, rule) =
                if on_change == "terminate" { (1, "(default)") } else { (0, "two") };
            assert_eq!(applied.sessions.ended, ended, "{on_change}: {applied:?}");
            bed.wait("it goes elsewhere", || {
                (bed.rule(rule).packets > before[rule] + 20).then_some(())
            });
            drop(pusher);
            let got: Reception = receiver.stop_and_report().unwrap();
            assert_eq!(got.lost, 0, "{got:?}");
        }
    }
}

#[test]
fn renumbering_ends_no_session_whatever_on_change_says() {
    let rules = |base: u32| {
        let rule = |(place, on_change): (u32, &str)| {
            format!(
                "seq: {}, name: {on_change}, from: lan, to: wan, service: {{ tcp: [{}] }}, \
                 action: accept, on_change: {on_change}",
                base * (place + 1),
                7000 + place
            )
        };
        policy(&[(0, "keep"), (1, "terminate"), (2, "rematch")].map(rule))
    };
    let Some(bed) = Bed::up("renumbered", &rules(10)) else { return };
    let connections: Vec<Connection> =
        [7000, 7001, 7002].map(|port| Connection::open(&bed, 0, port)).into();
    let before = bed.sessions();
    for base in [7, 1000, 3] {
        let applied = bed.apply(&rules(base));
        assert_eq!((applied.keys.added, applied.keys.removed), (0, 0), "{applied:?}");
        assert_eq!((applied.sessions.ended, applied.sessions.remarked), (0, 0), "{applied:?}");
    }
    let keys = |sessions: &[Session]| {
        let mut keys: Vec<_> = sessions.iter().map(|s| (s.dst_port, s.key)).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(&bed.sessions()), keys(&before));
    for connection in connections {
        let report = connection.end();
        assert_eq!(report.count(Outcome::Completed), 1, "{report:?}");
    }
}

#[test]
fn accept_to_drop_cuts_a_running_connection_and_a_stream_in_both_directions() {
    let open = policy(&[rule("all", 7000, "accept", "rematch")]);
    let Some(bed) = Bed::up("cut", &open) else { return };
    for family in [0, 1] {
        bed.apply(&open);
        let connection = Connection::open(&bed, family, 7000);
        let to = at(OUTSIDE[family], 7000);
        let echo = bed.serve("server", &format!("udp-echo --listen {to}"));
        let options = format!("udp-send --to {to} --count 1000000 --rate 500");
        let stream = bed.start("client", &options);
        let counted = bed.rule("all").packets;
        bed.wait("both flow", || (bed.rule("all").packets > counted + 100).then_some(()));
        let both = ["tcp dport 7000", "tcp sport 7000", "udp dport 7000", "udp sport 7000"];
        bed.watch_passed("forward", "passed", &both);
        bed.apply(&policy(&[rule("all", 7000, "drop", "rematch")]));
        let passed = bed.seen("passed").packets;
        let counted = bed.rule("all").packets;
        bed.wait("both try on", || (bed.rule("all").packets > counted + 100).then_some(()));
        assert_eq!(bed.seen("passed").packets, passed);
        let report = connection.end();
        assert_eq!(report.count(Outcome::Completed) + report.count(Outcome::Stalled), 1);
        drop((stream, echo));
        bed.nft("delete table inet watch\n");
    }
}
