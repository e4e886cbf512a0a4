//! Sessions outlive a failover: they are on the other gateway before it takes over.

use crate::bed::Bed;
use crate::recording::replay;
use std::fs;
use std::time::Duration;
use twinwall_control::{Request, SessionFilter, report, sync};
use twinwall_testbed::scenario::fault::Fault;
use twinwall_testbed::scenario::pair::{Peer, Side};
use twinwall_testbed::traffic::report::{FtpSession, Outcome, Tcp, UdpSend};
use twinwall_testbed::{Process, Vrrp};

/// All that leaves the LAN gets the shared address; the WAN may not begin anything.
const POLICY: &str = "\
version: 1
name: replication
defaults: { action: drop, log: false, on_change: rematch }
zones:
  wan: { interfaces: [eth0] }
  lan: { interfaces: [eth1] }
  dmz: { interfaces: [eth2] }
rules:
  - { seq: 10, name: out, from: lan, to: wan, action: accept }
nat:
  - { seq: 10, name: shared, from: lan, to: wan, snat: 203.0.113.1, family: ipv4 }
";

const V4: &str = "198.51.100.7:7000";
const V6: &str = "[2001:db8:40::7]:7000";

/// A pair with replication, gw-a active, both with the same sessions.
fn up(test: &str) -> Option<Bed> {
    up_with(test, Vrrp::default())
}

fn up_with(test: &str, vrrp: Vrrp) -> Option<Bed> {
    let mut bed = Bed::build(test, [Peer::TwinwallSync; 2], vrrp)?;
    fs::write(&bed.testbed().record().policy, POLICY).unwrap();
    bed.start(Side::A).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait_active(Side::A).unwrap();
    wait_equal(&bed, 0);
    Some(bed)
}

fn status(bed: &Bed, side: Side) -> sync::Status {
    bed.gateway(side).unwrap().ask(&Request::Sync).unwrap()
}

/// Waits until both have the same sessions, at least so many.
#[track_caller]
fn wait_equal(bed: &Bed, least: u64) {
    bed.wait("both have the same sessions", || {
        let both = [Side::A, Side::B].map(|side| status(bed, side));
        let equal = |status: &sync::Status| {
            let settled = status.equal && status.differing == 0 && status.writes_waiting == 0;
            status.peer == "alive" && settled && status.complete && status.sessions >= least
        };
        (both.iter().all(equal) && both[0].sessions == both[1].sessions).then_some(())
    });
}

fn start(bed: &Bed, node: &str, arguments: &str) -> Process {
    let node = bed.testbed().node(node).unwrap();
    node.traffic(arguments.split_whitespace()).unwrap().spawn().unwrap()
}

fn sessions(bed: &Bed, side: Side) -> Vec<report::Session> {
    let filter = SessionFilter { rule: Some("out".to_owned()), ..SessionFilter::default() };
    let report: report::Sessions =
        bed.gateway(side).unwrap().ask(&Request::Sessions(filter)).unwrap();
    report.sessions
}

/// What is left of the only session, in seconds.
fn timeout(bed: &Bed, side: Side) -> Option<u32> {
    sessions(bed, side).first().map(|session| session.timeout)
}

#[test]
fn tcp_sessions_outlive_kill_return_and_handover() {
    let Some(mut bed) = up("replication: tcp") else { return };
    let servers = [V4, V6].map(|to| {
        let mut server = start(&bed, "server", &format!("tcp-serve --listen {to}"));
        server.wait_ready().unwrap();
        server
    });
    // 40 exchanges a second on each connection, until the end of the test stops them.
    let clients = [V4, V6].map(|to| {
        let options = "--connections 20 --bytes 0 --rate 4000 --chunk 100 --for 120";
        start(&bed, "client", &format!("tcp-connect --to {to} {options}"))
    });
    wait_equal(&bed, 40);
    assert!(sessions(&bed, Side::B).iter().all(|one| one.carried.as_deref() == Some("peer")));
    bed.kill9(Side::A).unwrap();
    bed.wait_holding(Side::B).unwrap();
    bed.wait("its sessions are carried there", || {
        let sessions = sessions(&bed, Side::B);
        let here = sessions.iter().filter(|one| one.carried.as_deref() == Some("here"));
        (here.count() >= 40).then_some(())
    });
    bed.start(Side::A).unwrap();
    bed.wait_active(Side::A).unwrap();
    wait_equal(&bed, 40);
    bed.hand_over(Side::A).unwrap();
    bed.wait_active(Side::B).unwrap();
    wait_equal(&bed, 40);
    bed.hand_back(Side::A).unwrap();
    bed.wait_active(Side::A).unwrap();
    wait_equal(&bed, 40);
    for side in [Side::A, Side::B] {
        for session in sessions(&bed, side) {
            assert_eq!(session.rule.as_deref(), Some("out"), "{session:?}");
            assert_eq!(session.snat.is_some(), session.src.is_ipv4(), "{session:?}");
        }
    }
    for client in clients {
        let tcp: Tcp = client.stop_and_report().unwrap();
        let lost = tcp.count(Outcome::Reset) + tcp.count(Outcome::TimedOut);
        assert_eq!((tcp.connections, lost, tcp.corrupt), (20, 0, 0), "{tcp:?}");
        assert!(tcp.received > 20 * 4000, "they went on to the end: {tcp:?}");
    }
    drop(servers);
}

/// Waits until all of the client's sessions go on: none waits for an answer that the gateway takes
/// for invalid.
fn wait_moving(bed: &Bed, count: usize) {
    let moving = || {
        let text = bed.shell("client", "ss -tinH 'dport = :7000'");
        let times = text.split_whitespace().filter_map(|word| word.strip_prefix("lastrcv:"));
        times.filter(|time| time.parse().is_ok_and(|ms: u64| ms < 1_000)).count()
    };
    bed.wait("all sessions go on", || (moving() == count).then_some(()));
}

/// What a daemon says from its next start on: sessions that are lost while it is away, and how it
/// takes over again.
fn log_of_return(bed: &mut Bed) -> String {
    bed.kill9(Side::A).unwrap();
    bed.wait_holding(Side::B).unwrap();
    let before = bed.log(Side::A).len();
    bed.shell("gw-a", "conntrack -F >/dev/null 2>&1");
    bed.start(Side::A).unwrap();
    bed.wait_active(Side::A).unwrap();
    wait_equal(bed, 20);
    bed.log(Side::A).split_off(before)
}

#[test]
fn a_node_that_comes_back_has_everything_before_it_takes_over() {
    // Adverts so close together that VRRP could take over before replication has begun.
    let vrrp = Vrrp { interval: Duration::from_millis(10), ..Vrrp::default() };
    let Some(mut bed) = up_with("replication: return", vrrp) else { return };
    let mut server = start(&bed, "server", &format!("tcp-serve --listen {V4}"));
    server.wait_ready().unwrap();
    let options = "--connections 20 --bytes 0 --rate 4000 --chunk 100 --for 120";
    let client = start(&bed, "client", &format!("tcp-connect --to {V4} {options}"));
    wait_equal(&bed, 20);
    let log = log_of_return(&mut bed);
    let place = |words: &str| log.lines().position(|line| line.contains(words));
    let everything = place("everything that the peer has is here").unwrap();
    // On a busy machine the other one may fall silent; then there is nothing to wait for.
    let preempted = place("has a lower priority");
    assert!(preempted.is_none_or(|preempted| everything < preempted), "{log}");
    let tcp: Tcp = client.stop_and_report().unwrap();
    assert_eq!(tcp.count(Outcome::Reset) + tcp.count(Outcome::TimedOut), 0, "{tcp:?}");
}

#[test]
fn a_node_that_comes_back_knows_the_keys_before_sessions_come() {
    let Some(mut bed) = up("replication: keys") else { return };
    let mut server = start(&bed, "server", &format!("tcp-serve --listen {V4}"));
    server.wait_ready().unwrap();
    let idle = start(&bed, "client", &format!("tcp-connect --to {V4} --connections 20 --hold 60"));
    wait_equal(&bed, 20);
    let before = bed.log(Side::B).len();
    let log = log_of_return(&mut bed) + &bed.log(Side::B).split_off(before);
    assert!(!log.contains("key table is another one"), "{log}");
    let decided = sessions(&bed, Side::A);
    assert!(decided.len() >= 20, "{decided:?}");
    drop(idle);
}

/// An FTP session through a pair whose kernels help it.
fn ftp(bed: &Bed) -> (Process, Process) {
    for gateway in ["gw-a", "gw-b"] {
        let helper = "table inet helpers { ct helper ftp { type \"ftp\" protocol tcp; }; \
                      counter control { }; \
                      chain prerouting { type filter hook prerouting priority 0; \
                      tcp dport 21 ct helper set \"ftp\"; }; \
                      chain postrouting { type filter hook postrouting priority 0; \
                      tcp dport 21 counter name control; tcp sport 21 counter name control; }; }";
        bed.shell(gateway, &format!("nft '{helper}'"));
    }
    let to = "198.51.100.7:21";
    let mut server = start(bed, "server", &format!("ftp-serve --listen {to} --for 120"));
    server.wait_ready().unwrap();
    let client = start(bed, "client", &format!("ftp-session --to {to} --pause 0.05 --for 120"));
    (server, client)
}

/// Waits until so many transfers have gone through a node.
fn transferred(bed: &Bed, side: Side, least: usize) {
    bed.wait("files are transferred", || {
        let data = sessions(bed, side).into_iter().filter(|one| one.expected);
        (data.count() >= least).then_some(())
    });
}

#[test]
fn without_its_daemon_a_node_forwards_nothing_that_a_helper_could_rewrite() {
    // So far between that there is time to look before the peer takes over.
    let vrrp = Vrrp { interval: Duration::from_secs(1), ..Vrrp::default() };
    let Some(mut bed) = up_with("replication: helper alone", vrrp) else { return };
    let (_server, client) = ftp(&bed);
    transferred(&bed, Side::A, 3);
    let takeovers = bed.takeovers(Side::B);
    bed.kill9(Side::A).unwrap();
    let forwarded = || bed.shell("gw-a", "nft list counter inet helpers control");
    let before = forwarded();
    bed.wait("the other one takes over", || (bed.takeovers(Side::B) > takeovers).then_some(()));
    assert_eq!(forwarded(), before);
    let left = sessions(&bed, Side::B).into_iter().filter(|one| one.expected).count();
    transferred(&bed, Side::B, left + 3);
    let ftp: FtpSession = client.stop_and_report().unwrap();
    assert_eq!((ftp.lost.clone(), ftp.corrupt), (None, 0), "{ftp:?}");
}

#[test]
fn an_ftp_session_whose_commands_were_rewritten_goes_on_after_a_handover() {
    // Far between, so that a busy machine doesn't add takeovers of its own.
    let vrrp = Vrrp { interval: Duration::from_secs(1), ..Vrrp::default() };
    let Some(mut bed) = up_with("replication: ftp", vrrp) else { return };
    let (_server, client) = ftp(&bed);
    // Every PORT command gets a longer address, so each shifts what follows by some more.
    transferred(&bed, Side::A, 6);
    bed.hand_over(Side::A).unwrap();
    bed.wait_active(Side::B).unwrap();
    let left = sessions(&bed, Side::B).into_iter().filter(|one| one.expected).count();
    transferred(&bed, Side::B, left + 6);
    let ftp: FtpSession = client.stop_and_report().unwrap();
    assert_eq!((ftp.lost.clone(), ftp.corrupt), (None, 0), "{ftp:?}");
    assert!(ftp.complete.iter().all(|complete| *complete >= 4), "{ftp:?}");
}

#[test]
fn a_node_that_is_active_again_at_once_goes_on_with_its_sessions() {
    let vrrp = Vrrp { interval: Duration::from_millis(10), ..Vrrp::default() };
    let Some(mut bed) = up_with("replication: flap", vrrp) else { return };
    let mut server = start(&bed, "server", &format!("tcp-serve --listen {V4} --for 120"));
    server.wait_ready().unwrap();
    let options = "--connections 20 --bytes 0 --rate 4000 --chunk 100 --give-up 15 --for 120";
    let client = start(&bed, "client", &format!("tcp-connect --to {V4} {options}"));
    wait_equal(&bed, 20);
    for _ in 0..5 {
        let before = bed.takeovers(Side::B);
        bed.freeze(Side::A, true).unwrap();
        bed.wait("the other one takes over", || (bed.takeovers(Side::B) > before).then_some(()));
        // The other one forwards some of what this one never sees.
        std::thread::sleep(Duration::from_millis(60));
        bed.freeze(Side::A, false).unwrap();
        bed.wait_active(Side::A).unwrap();
    }
    wait_equal(&bed, 20);
    wait_moving(&bed, 20);
    let tcp: Tcp = client.stop_and_report().unwrap();
    let lost = tcp.count(Outcome::Reset) + tcp.count(Outcome::TimedOut);
    assert_eq!((tcp.connections, lost, tcp.corrupt), (20, 0, 0), "{tcp:?}");
}

#[test]
fn a_node_whose_peer_was_active_beside_it_goes_on_with_its_sessions() {
    let Some(bed) = up("replication: split") else { return };
    let mut server = start(&bed, "server", &format!("tcp-serve --listen {V4} --for 120"));
    server.wait_ready().unwrap();
    let options = "--connections 20 --bytes 0 --rate 4000 --chunk 100 --give-up 15 --for 120";
    let client = start(&bed, "client", &format!("tcp-connect --to {V4} {options}"));
    wait_equal(&bed, 20);
    for _ in 0..3 {
        let before = bed.takeovers(Side::B);
        Fault::Apart.begin(bed.testbed()).unwrap();
        bed.wait("the other one takes over", || (bed.takeovers(Side::B) > before).then_some(()));
        // Hosts believe the one that spoke last; it forwards what the first one never sees.
        std::thread::sleep(Duration::from_millis(60));
        Fault::Apart.end(bed.testbed()).unwrap();
        bed.wait_active(Side::A).unwrap();
    }
    wait_equal(&bed, 20);
    wait_moving(&bed, 20);
    let tcp: Tcp = client.stop_and_report().unwrap();
    let lost = tcp.count(Outcome::Reset) + tcp.count(Outcome::TimedOut);
    assert_eq!((tcp.connections, lost, tcp.corrupt), (20, 0, 0), "{tcp:?}");
}

#[test]
fn what_ends_on_one_node_ends_on_the_other() {
    let Some(bed) = up("replication: end") else { return };
    let mut server = start(&bed, "server", &format!("tcp-serve --listen {V4}"));
    server.wait_ready().unwrap();
    let client = start(&bed, "client", &format!("tcp-connect --to {V4} --connections 5 --hold 60"));
    bed.wait("the sessions are on both", || (sessions(&bed, Side::B).len() >= 5).then_some(()));
    bed.shell("gw-a", "conntrack -D -p tcp --dport 7000 >/dev/null 2>&1");
    bed.wait("they are on neither", || {
        let left = |side| sessions(&bed, side).into_iter().filter(|one| one.dst_port == 7000);
        (left(Side::A).count() == 0 && left(Side::B).count() == 0).then_some(())
    });
    drop(client);
}

#[test]
fn an_idle_session_does_not_run_out_on_the_node_that_stands_by() {
    let Some(mut bed) = up("replication: idle") else { return };
    let mut echo = start(&bed, "server", &format!("udp-echo --listen {V4}"));
    echo.wait_ready().unwrap();
    let node = bed.testbed().node("client").unwrap();
    let arguments = ["udp-send", "--to", V4, "--count", "5", "--rate", "100", "--replies"];
    let sent: UdpSend = node.traffic(arguments).unwrap().json().unwrap();
    assert_eq!(sent.replies.unwrap().received, 5);
    bed.wait("it is on both", || timeout(&bed, Side::A).and(timeout(&bed, Side::B)));
    // The kernel's own for UDP is two minutes.
    bed.wait("it is held", || timeout(&bed, Side::B).filter(|timeout| *timeout > 3_600));
    assert!(timeout(&bed, Side::A).unwrap() <= 120);
    bed.hand_over(Side::A).unwrap();
    bed.wait_active(Side::B).unwrap();
    bed.wait("its timeout is a normal one again", || {
        timeout(&bed, Side::B).filter(|timeout| *timeout <= 120)
    });
    bed.wait("it is held on the other one now", || {
        timeout(&bed, Side::A).filter(|timeout| *timeout > 3_600)
    });
}

#[test]
fn a_node_with_another_key_gets_nothing_and_is_counted() {
    let Some(mut bed) = up("replication: key") else { return };
    bed.stop(Side::B).unwrap();
    let config = bed.testbed().record().folder.join("gw-b").join("twinwalld.yaml");
    let other = bed.testbed().record().folder.join("gw-b").join("other.key");
    bed.shell("gw-b", &format!("umask 077; echo {} >{}", "1b".repeat(31) + "2c", other.display()));
    let text = fs::read_to_string(&config).unwrap();
    let line = text.lines().find(|line| line.contains("key-file:")).unwrap();
    fs::write(&config, text.replace(line, &format!("  key-file: {}", other.display()))).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait("its datagrams are refused", || {
        let refused =
            status(&bed, Side::A).refused.into_iter().chain(status(&bed, Side::B).refused);
        refused.into_iter().find(|row| row.reason.contains("no known key") && row.count > 0)
    });
    assert_ne!(status(&bed, Side::A).peer, "alive");
    assert_eq!(status(&bed, Side::B).received, 0);
}

/// Its interfaces may take seconds to go. A session that runs out in its kernel meanwhile is one
/// that the other gateway carries.
#[test]
fn a_gateway_that_stops_says_first_that_it_carries_nothing_any_more() {
    let Some(bed) = up("a_gateway_that_stops_says_first_that_it_carries_nothing_any_more") else {
        return;
    };
    bed.gateway(Side::A).unwrap().stop().unwrap();
    let recording = bed.gateway(Side::A).unwrap().state_path().join("flight.rec");
    let (output, shown) = replay(&recording, &["--steps"]);
    assert!(output.status.success(), "{output:?}");
    let roles: Vec<&str> = shown.lines().filter(|line| line.contains(" Roles([")).collect();
    assert!(roles.iter().any(|line| line.contains("Active")), "{roles:?}");
    assert!(roles.last().unwrap().contains("Backup"), "{roles:?}");
}

/// ICMP errors that a node's own sockets have got.
fn unreachable(bed: &Bed, side: Side) -> u64 {
    let text = bed.shell(side.name(), "cat /proc/net/snmp");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let [names, values] = [lines.next().unwrap(), lines.next().unwrap()];
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "InDestUnreachs").unwrap().1.parse().unwrap()
}

#[test]
fn answers_of_a_peer_whose_daemon_was_killed_belong_to_the_sync_link() {
    let Some(mut bed) = up("replication: errors") else { return };
    let denied = |bed: &Bed| {
        let rules: report::Rules = bed.gateway(Side::A).unwrap().ask(&Request::Rules).unwrap();
        rules.rules.into_iter().find(|rule| rule.name == "(default)").unwrap().packets
    };
    let before = denied(&bed);
    bed.kill9(Side::B).unwrap();
    bed.wait("its kernel says that nobody listens", || {
        (unreachable(&bed, Side::A) >= 20).then_some(())
    });
    assert_eq!(denied(&bed), before, "no rule of the policy has to do with them");
    bed.start(Side::B).unwrap();
    wait_equal(&bed, 0);
}
