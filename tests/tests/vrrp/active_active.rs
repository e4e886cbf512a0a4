//! Two groups, each node active for one: sessions of both halves and of both directions outlive
//! whatever happens to a node, a group or the link between them, also where request and reply take
//! different nodes.

use crate::bed::{Bed, SOON};
use std::fs;
use std::net::IpAddr;
use std::time::Duration;
use twinwall_control::{Request, SessionFilter, report, sync};
use twinwall_testbed::scenario::fault::Fault;
use twinwall_testbed::scenario::pair::{Peer, Side};
use twinwall_testbed::testing::eventually;
use twinwall_testbed::traffic::report::{Outcome, Tcp, UdpSend};
use twinwall_testbed::{Process, Vrrp};

/// Each half of the LAN gets the shared address of its own group.
const POLICY: &str = "\
version: 1
name: active-active
defaults: { action: drop, log: false, on_change: rematch }
zones:
  wan: { interfaces: [eth0] }
  lan: { interfaces: [eth1] }
  dmz: { interfaces: [eth2] }
services:
  published: { tcp: [7100] }
rules:
  - { seq: 10, name: out, from: lan, to: wan, action: accept }
  - { seq: 20, name: in, from: wan, to: lan, service: published, action: accept }
";
const NAT: &str = "\
nat:
  - { seq: 10, name: first, from: lan, to: wan, src: 10.0.0.5, snat: 203.0.113.1 }
  - { seq: 20, name: second, from: lan, to: wan, src: 10.0.0.6, snat: 203.0.113.4 }
";

const V4: &str = "198.51.100.7:7000";
const V6: &str = "[2001:db8:40::7]:7000";
/// What is exchanged until the test stops it.
const EXCHANGE: &str = "--bytes 0 --rate 2000 --chunk 100 --for 180 --connect-timeout 20";
/// Connections of each tool.
const EACH: usize = 5;

const FIRST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));
const SECOND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 6));

/// A pair with replication, each node active for its group.
fn up(test: &str, policy: &str) -> Option<Bed> {
    // A busy machine must not make the nodes change places by themselves.
    let interval = Duration::from_secs(1);
    let vrrp = Vrrp { active_active: true, interval, ..Vrrp::default() };
    let mut bed = Bed::build(test, [Peer::TwinwallSync; 2], vrrp)?;
    fs::write(&bed.testbed().record().policy, policy).unwrap();
    bed.start(Side::A).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait_shared().unwrap();
    wait_equal(&bed, 0);
    Some(bed)
}

fn status(bed: &Bed, side: Side) -> sync::Status {
    bed.gateway(side).unwrap().ask(&Request::Sync).unwrap()
}

#[track_caller]
fn wait_equal(bed: &Bed, least: usize) {
    bed.wait("both have the same sessions", || {
        let both = [Side::A, Side::B].map(|side| status(bed, side));
        let equal = |status: &sync::Status| {
            let settled = status.equal && status.differing == 0 && status.writes_waiting == 0;
            let enough = status.sessions >= least as u64;
            status.peer == "alive" && settled && status.complete && enough
        };
        (both.iter().all(equal) && both[0].sessions == both[1].sessions).then_some(())
    });
}

fn start(bed: &Bed, node: &str, arguments: &str) -> Process {
    let node = bed.testbed().node(node).unwrap();
    node.traffic(arguments.split_whitespace()).unwrap().spawn().unwrap()
}

/// The sessions of a host, whoever began them, by their TCP or UDP port.
fn sessions(bed: &Bed, side: Side, host: IpAddr) -> Vec<report::Session> {
    let report: report::Sessions =
        bed.gateway(side).unwrap().ask(&Request::Sessions(SessionFilter::default())).unwrap();
    let of = |one: &report::Session| one.src == host || one.dst == host;
    report.sessions.into_iter().filter(of).collect()
}

/// Waits until all sessions of a host are carried by this gateway and by no other.
#[track_caller]
fn wait_carried(bed: &Bed, side: Side, host: IpAddr) {
    let carried = |side, by: &str| {
        let sessions = sessions(bed, side, host);
        let mut carriers = sessions.iter().filter_map(|one| one.carried.as_deref()).peekable();
        carriers.peek().is_some() && carriers.all(|carrier| carrier == by)
    };
    let both = || (carried(side, "here") && carried(side.other(), "peer")).then_some(());
    if eventually(SOON * 2, both).is_none() {
        let shown = [Side::A, Side::B].map(|side| sessions(bed, side, host));
        panic!("{} does not carry the sessions of {host}: {shown:#?}", side.name());
    }
}

/// Connections of both clients in both directions and families.
struct Traffic {
    servers: Vec<Process>,
    clients: Vec<Process>,
}

impl Traffic {
    fn start(bed: &Bed) -> Self {
        let listeners = [
            ("server", V4),
            ("server", V6),
            ("client", "10.0.0.5:7100"),
            ("client2", "10.0.0.6:7100"),
        ];
        let servers = listeners.map(|(node, at)| {
            let mut server = start(bed, node, &format!("tcp-serve --listen {at} --for 180"));
            server.wait_ready().unwrap();
            server
        });
        let ways = [
            ("client", V4),
            ("client", V6),
            ("client2", V4),
            ("client2", V6),
            ("server", "10.0.0.5:7100"),
            ("server", "10.0.0.6:7100"),
        ];
        let clients = ways.map(|(node, to)| {
            start(bed, node, &format!("tcp-connect --to {to} --connections {EACH} {EXCHANGE}"))
        });
        let traffic = Self { servers: servers.into(), clients: clients.into() };
        wait_equal(bed, traffic.count());
        bed.wait("all are through their handshakes", || {
            let through = |side| {
                let both = [FIRST, SECOND].map(|host| sessions(bed, side, host));
                let state = |one: &&report::Session| one.state.as_deref() == Some("established");
                both.iter().flatten().filter(state).count()
            };
            // Those of IPv6 have other addresses.
            [Side::A, Side::B].into_iter().all(|side| through(side) == 4 * EACH).then_some(())
        });
        traffic
    }

    fn count(&self) -> usize {
        self.clients.len() * EACH
    }

    /// Every session goes on, under the rule that decided it, and everywhere the same.
    #[track_caller]
    fn check(&mut self, bed: &Bed, step: &str) {
        for client in &mut self.clients {
            assert!(client.is_running(), "{step}: a connection has ended");
        }
        wait_equal(bed, self.count());
        for (side, host) in [Side::A, Side::B].into_iter().flat_map(|s| [(s, FIRST), (s, SECOND)]) {
            for one in sessions(bed, side, host) {
                let rule = if one.dst_port == 7100 { "in" } else { "out" };
                assert_eq!(one.rule.as_deref(), Some(rule), "{step}: {one:?}");
            }
        }
    }

    /// Ends it: no connection was lost at any time.
    #[track_caller]
    fn end(self) {
        for client in self.clients {
            let tcp: Tcp = client.stop_and_report().unwrap();
            let stalled = tcp.count(Outcome::Stalled) + tcp.count(Outcome::Completed);
            assert_eq!((tcp.connections, stalled, tcp.corrupt), (EACH, EACH, 0), "{tcp:?}");
            assert!(tcp.list.iter().all(|one| one.received > 1_000), "{tcp:?}");
        }
        drop(self.servers);
    }
}

/// Packets that were dropped as invalid, on both gateways.
fn invalid(bed: &Bed) -> u64 {
    let of = |side| {
        let status: report::Status = bed.gateway(side).unwrap().ask(&Request::Status).unwrap();
        let found = status.exceptions.into_iter().find(|row| row.reason == "invalid");
        found.unwrap().packets
    };
    of(Side::A) + of(Side::B)
}

#[test]
fn one_node_takes_all_and_gives_its_half_back_without_a_session_lost() {
    let Some(mut bed) = up("active-active: halves", &format!("{POLICY}{NAT}")) else { return };
    let mut traffic = Traffic::start(&bed);
    traffic.check(&bed, "at the start");
    wait_carried(&bed, Side::A, FIRST);
    wait_carried(&bed, Side::B, SECOND);
    for dead in [Side::A, Side::B] {
        bed.kill9(dead).unwrap();
        bed.wait_holding(dead.other()).unwrap();
        bed.start(dead).unwrap();
        bed.wait_shared().unwrap();
        traffic.check(&bed, "a node has returned");
        wait_carried(&bed, Side::A, FIRST);
        wait_carried(&bed, Side::B, SECOND);
    }
    let of_group = |verb| ["failover", verb, "--group", "first"];
    bed.wait_shared().unwrap();
    bed.gateway(Side::A).unwrap().twinwall(&of_group("now")).unwrap().success().unwrap();
    bed.wait_active(Side::B).unwrap();
    traffic.check(&bed, "one group was handed over");
    wait_carried(&bed, Side::B, FIRST);
    bed.gateway(Side::A).unwrap().twinwall(&of_group("back")).unwrap().success().unwrap();
    bed.wait_shared().unwrap();
    traffic.check(&bed, "it was taken back");
    wait_carried(&bed, Side::A, FIRST);
    traffic.end();
}

#[test]
fn request_and_reply_may_take_different_nodes() {
    // Translated sessions have their way back by their address; these have none.
    let Some(mut bed) = up("active-active: asymmetric", POLICY) else { return };
    let ways = |verb: &str, via: u8| {
        bed.shell(
            "server",
            &format!(
                "ip route {verb} 10.0.0.5/32 via 203.0.113.{via}; \
                 ip route {verb} 2001:db8:10::5/128 via 2001:db8:30::{via}"
            ),
        );
    };
    ways("add", 4);
    let mut traffic = Traffic::start(&bed);
    traffic.check(&bed, "at the start");
    // A packet that overtakes the news of its session is dropped, and comes again.
    let before = invalid(&bed);
    for via in [1, 4] {
        let exchanged = |bed: &Bed| -> u64 {
            let rules = bed.gateway(Side::A).unwrap().ask(&Request::Rules).unwrap();
            let rules: report::Rules = rules;
            rules.rules.iter().map(|rule| rule.packets).sum()
        };
        let sent = exchanged(&bed);
        bed.wait("packets go through", || (exchanged(&bed) > sent + 200).then_some(()));
        ways("replace", via);
        traffic.check(&bed, "the way back is another one");
    }
    assert_eq!(invalid(&bed), before, "no packet of a running session is invalid to either kernel");
    bed.kill9(Side::B).unwrap();
    bed.wait_holding(Side::A).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait_shared().unwrap();
    traffic.check(&bed, "a node has returned");
    traffic.end();
}

#[test]
fn a_stream_goes_on_although_the_node_that_began_it_hears_no_more_of_it() {
    let Some(mut bed) = up("active-active: streams", &format!("{POLICY}{NAT}")) else { return };
    for side in [Side::A, Side::B] {
        // Two seconds without a packet end a session that nobody holds.
        let script =
            "for i in /proc/sys/net/netfilter/nf_conntrack_udp_timeout*; do echo 2 >$i; done";
        bed.shell(side.name(), script);
    }
    bed.stop(Side::B).unwrap();
    bed.wait_holding(Side::A).unwrap();
    let mut server = start(&bed, "server", &format!("udp-push --listen {V4} --rate 100 --for 60"));
    server.wait_ready().unwrap();
    // It sends one datagram, and the next in a minute.
    let push = format!("udp-send --to {V4} --count 100000 --rate 0.016 --replies --for 60");
    let stream = start(&bed, "client2", &push);
    bed.wait("the stream is carried by A", || {
        (!sessions(&bed, Side::A, SECOND).is_empty()).then_some(())
    });
    bed.start(Side::B).unwrap();
    bed.wait_shared().unwrap();
    // From here on only packets of the server come, through B.
    wait_carried(&bed, Side::B, SECOND);
    let until = std::time::Instant::now() + Duration::from_secs(5);
    bed.wait("more than twice the timeout is over", || {
        assert_eq!(sessions(&bed, Side::B, SECOND).len(), 1, "it is still there");
        (std::time::Instant::now() > until).then_some(())
    });
    let sent: UdpSend = stream.stop_and_report().unwrap();
    drop(server);
    let replies = sent.replies.unwrap();
    let span = Duration::from_nanos(replies.last_ns - replies.first_ns);
    assert!(span > Duration::from_secs(5), "{replies:?}");
    assert!(replies.longest_gap_ms < 2_000.0, "{replies:?}");
    bed.wait("it ends on both nodes", || {
        let left = |side| sessions(&bed, side, SECOND).len();
        (left(Side::A) + left(Side::B) == 0).then_some(())
    });
}

#[test]
fn after_a_cut_and_a_split_both_agree_and_each_session_is_where_its_packets_are() {
    let Some(bed) = up("active-active: split", &format!("{POLICY}{NAT}")) else { return };
    let mut traffic = Traffic::start(&bed);
    for side in [Side::A, Side::B] {
        let rules = "table netdev sync { chain in { type filter hook ingress device eth3 priority 0; \
                     policy drop; }; }";
        bed.shell(side.name(), &format!("nft '{rules}'"));
    }
    bed.wait("the peer is not heard", || (status(&bed, Side::A).peer != "alive").then_some(()));
    let more = ["client", "client2"].map(|node| {
        start(&bed, node, &format!("tcp-connect --to {V4} --connections {EACH} {EXCHANGE}"))
    });
    let known = |side, host| sessions(&bed, side, host).len();
    bed.wait("sessions begin on both sides", || {
        (known(Side::A, FIRST) >= 3 * EACH && known(Side::B, SECOND) >= 3 * EACH).then_some(())
    });
    for side in [Side::A, Side::B] {
        bed.shell(side.name(), "nft delete table netdev sync");
    }
    traffic.clients.extend(more);
    traffic.check(&bed, "the link was cut");
    wait_carried(&bed, Side::A, FIRST);
    wait_carried(&bed, Side::B, SECOND);
    Fault::Apart.begin(bed.testbed()).unwrap();
    for side in [Side::A, Side::B] {
        bed.wait_holding(side).unwrap();
    }
    Fault::Apart.end(bed.testbed()).unwrap();
    bed.wait_shared().unwrap();
    traffic.check(&bed, "both were active for everything");
    wait_carried(&bed, Side::A, FIRST);
    wait_carried(&bed, Side::B, SECOND);
    traffic.end();
}
