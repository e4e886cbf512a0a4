//! FTP with the kernel's helper, which somebody else's table attaches: the data connection follows
//! its control connection.

use crate::bed::{Bed, OUTSIDE, at, policy};
use twinwall_control::report::Session;
use twinwall_testbed::Process;
use twinwall_testbed::traffic::report::{FtpGet, FtpServe};

const MODES: [&str; 2] = ["passive", "active"];

const FTP: &str = "seq: 10, name: ftp, from: lan, to: wan, service: { tcp: [21] }, action: accept";

/// The gateway with a helper for port 21, in a table that is not Twinwall's.
fn up(test: &str, policy: &str) -> Option<Bed> {
    let bed = Bed::up(test, policy)?;
    bed.nft(
        "table inet helpers { ct helper ftp { type \"ftp\" protocol tcp; }; \
         chain prerouting { type filter hook prerouting priority 0; \
         tcp dport 21 ct helper set \"ftp\"; }; }",
    );
    Some(bed)
}

fn data_sessions(bed: &Bed) -> Vec<Session> {
    bed.sessions().into_iter().filter(|session| session.expected).collect()
}

#[test]
fn a_data_connection_passes_and_counts_on_the_rule_of_its_control_connection() {
    let Some(bed) = up("ftp: modes", &policy(&[FTP])) else { return };
    bed.watch("forward", "all", &["meta l4proto tcp"]);
    let mut transfers = 0;
    for to in OUTSIDE {
        let to = at(to, 21);
        let server = bed.serve("server", &format!("ftp-serve --listen {to} --sessions 4"));
        for mode in MODES {
            for extended in ["", "--extended"] {
                let options = format!("ftp-get --to {to} --mode {mode} {extended}");
                let got: FtpGet = bed.traffic("client", &options);
                assert!(got.complete && got.bytes == 100_000, "{to} {mode}: {got:?}");
                transfers += 1;
                let data = data_sessions(&bed);
                assert_eq!(data.len(), transfers, "{data:?}");
            }
        }
        let served: FtpServe = server.report().unwrap();
        assert_eq!((served.sessions, served.transfers), (4, 4));
    }
    assert!(data_sessions(&bed).iter().all(|session| session.rule.as_deref() == Some("ftp")));
    assert_eq!(bed.rule("ftp").packets, bed.seen("all").packets);
    assert_eq!(bed.rule("(default)").packets, 0);
}

#[test]
fn without_the_helper_a_data_connection_is_decided_by_the_rules() {
    let Some(bed) = Bed::up("ftp: no helper", &policy(&[FTP])) else { return };
    for to in OUTSIDE {
        let to = at(to, 21);
        let _server = bed.serve("server", &format!("ftp-serve --listen {to}"));
        for mode in MODES {
            let options = format!("ftp-get --to {to} --mode {mode} --connect-timeout 0.3");
            let got: FtpGet = bed.traffic("client", &options);
            assert!(!got.complete, "{got:?}");
        }
    }
    assert!(bed.rule("(default)").packets >= 4);
}

/// The same service by two rules, and what changes between control and data connection.
fn two_rules(first: (u32, &str), second: (u32, &str)) -> String {
    let rule = |name: &str, (seq, action): (u32, &str)| {
        format!(
            "seq: {seq}, name: {name}, from: lan, to: wan, service: {{ tcp: [21] }}, \
             action: {action}"
        )
    };
    policy(&[rule("one", first), rule("two", second)])
}

/// A client that has logged in, and transfers some seconds later.
fn log_in(bed: &Bed, to: &str, mode: &str) -> Process {
    let options =
        format!("ftp-get --to {to} --mode {mode} --pause 3 --connect-timeout 0.5 --for 15");
    let client = bed.start("client", &options);
    bed.wait("the client has logged in", || {
        let established = |s: &Session| s.state.as_deref() == Some("established") && s.replied;
        bed.sessions().iter().any(established).then_some(())
    });
    client
}

#[test]
fn a_data_connection_follows_its_parent_to_the_rule_that_has_it_now() {
    let Some(bed) = up("ftp: moved before", &two_rules((10, "accept"), (20, "accept"))) else {
        return;
    };
    let [v4, v6] = OUTSIDE.map(|to| at(to, 21));
    let _servers = [&v4, &v6].map(|to| bed.serve("server", &format!("ftp-serve --listen {to}")));
    let cases = [(&v4, "passive"), (&v4, "active"), (&v6, "passive"), (&v6, "active")];
    let mut clients: Vec<Process> = cases.iter().map(|(to, mode)| log_in(&bed, to, mode)).collect();
    bed.wait("all have logged in", || (bed.rule("one").sessions == 4).then_some(()));
    bed.apply(&two_rules((100, "accept"), (200, "accept")));
    assert_eq!(bed.rule("one").sessions, 4, "renumbered");
    let applied = bed.apply(&two_rules((200, "accept"), (100, "accept")));
    assert!(applied.sessions.remarked >= 4, "{applied:?}");
    assert!(data_sessions(&bed).is_empty() && clients.iter_mut().all(Process::is_running));
    let first = bed.rule("one").packets;
    for (client, case) in clients.into_iter().zip(cases) {
        let got: FtpGet = client.report().unwrap();
        assert!(got.complete, "{case:?}: {got:?}");
    }
    let data = data_sessions(&bed);
    assert_eq!(data.len(), 4, "{data:?}");
    assert!(data.iter().all(|session| session.rule.as_deref() == Some("two")), "{data:?}");
    assert_eq!(bed.rule("one").packets, first, "nothing is counted by the other rule any more");
    assert_eq!(bed.rule("(default)").packets, 0);
}

#[test]
fn a_data_connection_is_refused_once_its_parent_is() {
    let Some(bed) = up("ftp: dropped before", &two_rules((10, "accept"), (20, "drop"))) else {
        return;
    };
    let [v4, v6] = OUTSIDE.map(|to| at(to, 21));
    let _servers = [&v4, &v6].map(|to| bed.serve("server", &format!("ftp-serve --listen {to}")));
    let clients = [(&v4, "passive"), (&v6, "active")].map(|(to, mode)| log_in(&bed, to, mode));
    bed.wait("all have logged in", || (bed.rule("one").sessions == 2).then_some(()));
    let applied = bed.apply(&two_rules((20, "accept"), (10, "drop")));
    // One that a packet moves while the sweep is at it may be counted by both.
    assert!(applied.sessions.ended >= 2, "{applied:?}");
    bed.wait("the clients go on in vain", || (bed.rule("two").packets > 0).then_some(()));
    drop(clients);
    assert!(data_sessions(&bed).is_empty());
}

/// Transfers that take some seconds, with a link that is slow enough for that.
fn transfers(bed: &Bed, size: u64) -> Vec<Process> {
    bed.shell("server", "tc qdisc add dev eth0 root tbf rate 40mbit burst 32k latency 500ms");
    let [v4, v6] = OUTSIDE.map(|to| at(to, 21));
    let cases = [(&v4, "passive"), (&v4, "active"), (&v6, "passive"), (&v6, "active")];
    let clients = cases.map(|(to, mode)| {
        let options = format!("ftp-get --to {to} --mode {mode} --size {size} --for 15");
        bed.start("client", &options)
    });
    bed.wait("data flows", || {
        let flowing = data_sessions(bed).iter().filter(|session| session.replied).count() == 4;
        flowing.then_some(())
    });
    clients.into()
}

fn large_files(bed: &Bed, size: u64) -> [Process; 2] {
    OUTSIDE
        .map(|to| bed.serve("server", &format!("ftp-serve --listen {} --size {size}", at(to, 21))))
}

#[test]
fn a_running_data_connection_moves_with_its_parent() {
    let Some(bed) = up("ftp: moved", &two_rules((10, "accept"), (20, "accept"))) else { return };
    let _servers = large_files(&bed, 3_000_000);
    let clients = transfers(&bed, 3_000_000);
    bed.apply(&two_rules((100, "accept"), (200, "accept")));
    assert!(data_sessions(&bed).iter().all(|session| session.rule.as_deref() == Some("one")));
    let applied = bed.apply(&two_rules((200, "accept"), (100, "accept")));
    assert!(applied.sessions.remarked >= 8, "{applied:?}");
    let first = bed.rule("one").packets;
    let data = data_sessions(&bed);
    assert_eq!(data.len(), 4);
    assert!(data.iter().all(|session| session.rule.as_deref() == Some("two")), "{data:?}");
    for client in clients {
        let got: FtpGet = client.report().unwrap();
        assert!(got.complete, "{got:?}");
    }
    assert_eq!(bed.rule("one").packets, first, "nothing is counted by the other rule any more");
}

#[test]
fn a_running_data_connection_is_cut_with_its_parent() {
    let Some(bed) = up("ftp: cut", &two_rules((10, "accept"), (20, "drop"))) else { return };
    let _servers = large_files(&bed, 50_000_000);
    let mut clients = transfers(&bed, 50_000_000);
    bed.watch_passed("forward", "passed", &["meta l4proto tcp"]);
    let applied = bed.apply(&two_rules((20, "accept"), (10, "drop")));
    let passed = bed.seen("passed").packets;
    assert!(applied.sessions.ended >= 8, "{applied:?}");
    let refused = bed.rule("two").packets;
    bed.wait("they try again", || (bed.rule("two").packets > refused + 4).then_some(()));
    assert_eq!(bed.seen("passed").packets, passed);
    assert!(clients.iter_mut().all(Process::is_running), "no transfer got done");
}
