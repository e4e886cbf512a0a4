//! The traffic tools count exactly, and name what a firewall does to a flow.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do, by panicking")]

use std::net::SocketAddr;
use std::time::Duration;
use twinwall_testbed::testing::{eventually, need};
use twinwall_testbed::topology::{OUTSIDE_V4, OUTSIDE_V6};
use twinwall_testbed::traffic::gap::measure;
use twinwall_testbed::traffic::report::{
    FtpGet, FtpServe, Outcome, Reception, Solicit, Stream, Tcp, UdpEcho, UdpPush, UdpSend,
};
use twinwall_testbed::{Process, Signal, Testbed, clock};

/// For whatever has to happen soon, on however busy a machine.
const SOON: Duration = Duration::from_secs(20);

fn build() -> Option<Testbed> {
    need("traffic", Testbed::builder().build())
}

/// The server's outside addresses with this port.
fn outside(port: u16) -> [String; 2] {
    [SocketAddr::new(OUTSIDE_V4.into(), port), SocketAddr::new(OUTSIDE_V6.into(), port)]
        .map(|address| address.to_string())
}

/// Starts a server and waits until it listens.
fn serve(testbed: &Testbed, arguments: &str) -> Process {
    let node = testbed.node("server").unwrap();
    let mut process = node.traffic(arguments.split_whitespace()).unwrap().spawn().unwrap();
    process.wait_ready().unwrap();
    process
}

fn client<T: serde::de::DeserializeOwned>(testbed: &Testbed, arguments: &str) -> T {
    let node = testbed.node("client").unwrap();
    node.traffic(arguments.split_whitespace()).unwrap().json().unwrap()
}

fn nft(testbed: &Testbed, ruleset: &str) {
    nft_at(testbed, "gw-a", ruleset);
}

fn nft_at(testbed: &Testbed, node: &str, ruleset: &str) {
    let node = testbed.node(node).unwrap();
    node.command("nft").unwrap().args(["-f", "-"]).input(ruleset).run().unwrap();
}

/// The first counter of a listing.
fn packets(listing: &str) -> u64 {
    let mut words = listing.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

#[test]
fn twenty_thousand_a_second_arrive_complete_and_in_order() {
    let Some(testbed) = build() else { return };
    for to in outside(7000) {
        let server = serve(&testbed, &format!("udp-recv --listen {to} --count 20000 --idle 3"));
        let sent: UdpSend =
            client(&testbed, &format!("udp-send --to {to} --rate 20000 --count 20000"));
        let got: Reception = server.report().unwrap();
        assert_eq!((sent.sent, sent.unsent), (20_000, 0));
        // Without the privilege for a large buffer a stall of the receiver shows as overrun.
        assert_eq!(got.received + got.overrun, 20_000, "{got:?}");
        assert!(got.lost <= got.overrun, "{got:?}");
        if rustix::process::geteuid().is_root() {
            assert_eq!((got.received, got.lost), (20_000, 0));
        }
        assert_eq!((got.duplicated, got.reordered, got.foreign), (0, 0, 0));
        assert_eq!(got.flows_total, 1);
        assert_eq!(got.flows[0].source, sent.sources[0]);
        let pause = Duration::from_secs_f64(sent.put_off_ms / 1000.0);
        let took = clock::between(sent.first_ns, sent.last_ns);
        assert!(took >= Duration::from_millis(990), "{took:?}: not faster than asked for");
        assert!(took <= Duration::from_millis(1_200) + pause, "{took:?}, put off {pause:?}");
    }
}

#[test]
fn losses_are_counted_exactly() {
    let Some(testbed) = build() else { return };
    nft(
        &testbed,
        "table inet lossy { chain forward { type filter hook forward priority 0; \
         udp dport 7000 numgen inc mod 10 5 counter drop; }; }",
    );
    let server = serve(&testbed, "udp-recv --listen 198.51.100.7:7000 --idle 1");
    let sent: UdpSend =
        client(&testbed, "udp-send --to 198.51.100.7:7000 --rate 10000 --count 2000 --flows 4");
    let got: Reception = server.report().unwrap();
    assert_eq!((sent.sent, got.received, got.flows_total), (2000, 1800, 4));
    // Every tenth of all, so of each flow numbers are missing; those at its end can't be known.
    let known: u64 = got.flows.iter().map(|flow| flow.highest + 1).sum();
    assert_eq!(got.lost, known - 1800);
    assert!((196..=200).contains(&got.lost), "{got:?}");
}

#[test]
fn what_comes_back_is_counted() {
    let Some(testbed) = build() else { return };
    for to in outside(7000) {
        let server = serve(&testbed, &format!("udp-echo --listen {to} --count 3000"));
        let options = format!("udp-send --to {to} --rate 5000 --count 3000 --flows 3 --replies");
        let sent: UdpSend = client(&testbed, &options);
        let replies = sent.replies.unwrap();
        assert_eq!((replies.received, replies.lost, replies.flows_total), (3000, 0, 3));
        let echo: UdpEcho = server.report().unwrap();
        assert_eq!((echo.datagrams, echo.returned, echo.sources), (3000, 3000, 3));
    }
}

#[test]
fn a_pushed_stream_flows_in_the_reply_direction_only() {
    let Some(testbed) = build() else { return };
    nft(
        &testbed,
        "table inet once { chain forward { type filter hook forward priority 0; \
         ip protocol udp ip saddr 10.0.0.5 counter name asked; }; counter asked { }; }",
    );
    let server = serve(&testbed, "udp-push --listen 203.0.113.9:9000 --rate 2000 --count 1000");
    let got: Reception =
        client(&testbed, "udp-recv --listen 10.0.0.5:7000 --hello 203.0.113.9:9000 --count 1000");
    let pushed: UdpPush = server.report().unwrap();
    assert_eq!((pushed.streams.len(), pushed.streams[0].sent), (1, 1000));
    assert_eq!((got.received, got.lost), (1000, 0));
    let gateway = testbed.node("gw-a").unwrap();
    let counter = gateway.run("nft", &["list", "counter", "inet", "once", "asked"]).unwrap();
    assert!(counter.contains("packets 1 "), "{counter}");
}

#[test]
fn nothing_that_was_sent_after_a_cut_arrives() {
    let Some(testbed) = build() else { return };
    nft(
        &testbed,
        "table inet cut { counter passed { }; \
         chain forward { type filter hook forward priority 0; counter name passed; }; }",
    );
    let server = serve(&testbed, "udp-recv --listen 198.51.100.7:7000 --idle 1");
    let client = testbed.node("client").unwrap();
    let arguments = ["udp-send", "--to", "198.51.100.7:7000", "--rate", "2000"];
    let sender = client.traffic(arguments).unwrap().args(["--count", "1000000"]).spawn().unwrap();
    let gateway = testbed.node("gw-a").unwrap();
    let passed = || gateway.run("nft", &["list", "counter", "inet", "cut", "passed"]).unwrap();
    eventually(SOON, || (!passed().contains("packets 0 ")).then_some(())).unwrap();
    nft(&testbed, "add chain inet cut forward { policy drop; }\n");
    let cut = clock::now();
    let count = passed();
    eventually(SOON, || (passed() != count).then_some(())).unwrap();
    let got: Reception = server.report().unwrap();
    let sent: UdpSend = sender.stop_and_report().unwrap();
    assert!(got.received > 0 && got.received < sent.sent, "{got:?}");
    let after = clock::between(cut, got.last_sent_ns);
    assert!(after.is_zero() && sent.last_ns > cut, "{after:?} {got:?}");
}

#[test]
fn a_stream_goes_both_ways_and_its_gap_is_that_of_a_cut() {
    let Some(testbed) = build() else { return };
    let [node, gateway, switch] =
        ["client", "gw-a", "switch"].map(|name| testbed.node(name).unwrap());
    for (to, family) in outside(7000).into_iter().zip(["ipv4", "ipv6"]) {
        let watch = format!("stream-{family}");
        let count = |name: &str, hook: &str, port: &str| {
            format!(
                "table inet {watch} {{ counter {name} {{ }}; chain {name} {{ \
                 type filter hook {hook} priority 0; \
                 meta nfproto {family} udp {port} 7000 counter name {name}; }}; }}\n"
            )
        };
        nft_at(&testbed, "client", &count("asked", "output", "dport"));
        nft_at(&testbed, "gw-a", &count("answered", "forward", "sport"));
        // What has been sent ahead, and what has come back as far as the switch.
        let sent = || {
            [(&node, "asked"), (&gateway, "answered")].map(|(node, name)| {
                packets(&node.run("nft", &["list", "counter", "inet", &watch, name]).unwrap())
            })
        };
        let mut server = serve(&testbed, &format!("stream --listen {to}"));
        let options = format!("stream --to {to} --for 30");
        let mut client = node.traffic(options.split_whitespace()).unwrap().spawn().unwrap();
        client.wait_ready().unwrap();
        let went_on = |from: [u64; 2]| {
            let more = |then: u64, now: u64| now >= then + 150;
            let both = || {
                let now = sent();
                (more(from[0], now[0]) && more(from[1], now[1])).then_some(())
            };
            eventually(SOON, both).unwrap();
        };
        went_on([0, 0]);
        // Not the link: without a carrier the kernel may forget the neighbours, at once or within a
        // second; then it keeps what is sent until it has found them again, and nothing is lost.
        let port = |state: &str| {
            switch.run("bridge", &["link", "set", "dev", "client", "state", state]).unwrap();
        };
        let at = clock::now();
        port("disabled");
        let cut = clock::now();
        went_on(sent());
        let cut = clock::between(cut, clock::now());
        port("forwarding");
        went_on(sent());
        client.signal(Signal::TERM).unwrap();
        server.signal(Signal::TERM).unwrap();
        let (client, server): (Stream, Stream) =
            (client.report().unwrap(), server.report().unwrap());
        for (sender, receiver) in [(&client, &server), (&server, &client)] {
            let gap = measure(sender, receiver, at);
            // A receiver that was kept from its processor has got the last ones late.
            assert!(u128::from(gap.longest_ns) >= cut.as_nanos() / 2, "{to}: {cut:?} {gap:?}");
            // Some of those that were counted were still, or already, under way beside the cut.
            assert!(gap.longest_run >= 100, "{to}: {cut:?} {gap:?}");
            assert_eq!(gap.duplicated, 0, "{to}");
            let arrived = u64::try_from(receiver.arrivals.len()).unwrap();
            assert_eq!(arrived + gap.lost, sender.sent, "{to}: every datagram is accounted for");
        }
    }
}

#[test]
fn neighbours_are_asked_for_again_and_again() {
    let Some(testbed) = build() else { return };
    nft(
        &testbed,
        "table arp watch { chain in { type filter hook input priority 0; \
         arp operation request arp saddr ip 10.0.0.6 counter; }; }\n\
         table ip6 watch { chain in { type filter hook input priority 0; \
         icmpv6 type nd-neighbor-solicit counter; }; }",
    );
    let options = "solicit --address 10.0.0.1 --address 2001:db8:10::1 --rate 200 --for 1";
    let client = testbed.node("client2").unwrap();
    let report: Solicit = client.traffic(options.split_whitespace()).unwrap().json().unwrap();
    assert!(report.rounds >= 100, "{report:?}");
    for family in ["arp", "ip6"] {
        let gateway = testbed.node("gw-a").unwrap();
        let text = gateway.run("nft", &["list", "chain", family, "watch", "in"]).unwrap();
        let packets = packets(&text);
        assert!(packets >= report.rounds / 2, "{family}: {packets} of {report:?}");
    }
}

#[test]
fn a_datagram_beyond_the_mtu_arrives_whole() {
    let Some(testbed) = build() else { return };
    for to in outside(7000) {
        let server = serve(&testbed, &format!("udp-recv --listen {to} --count 10 --idle 3"));
        let _: UdpSend =
            client(&testbed, &format!("udp-send --to {to} --size 4000 --count 10 --rate 100"));
        let got: Reception = server.report().unwrap();
        assert_eq!((got.received, got.bytes), (10, 40_000));
    }
    let statistics = testbed.node("client").unwrap().run("cat", &["/proc/net/snmp6"]).unwrap();
    let fragments = statistics.lines().find_map(|line| line.strip_prefix("Ip6FragCreates"));
    assert_eq!(fragments.unwrap().trim(), "30", "three for each datagram");
}

#[test]
fn a_burst_is_one_flow() {
    let Some(testbed) = build() else { return };
    let server = serve(&testbed, "udp-recv --listen 198.51.100.7:7000 --count 1000 --idle 3");
    let sent: UdpSend = client(&testbed, "burst --to 198.51.100.7:7000 --count 1000");
    let got: Reception = server.report().unwrap();
    assert_eq!((sent.sent, sent.flows), (1000, 1));
    assert_eq!((got.received + got.overrun, got.flows_total), (1000, 1));
}

#[test]
fn icmp_errors_are_counted_by_kind() {
    let Some(testbed) = build() else { return };
    for to in outside(7999) {
        let sent: UdpSend =
            client(&testbed, &format!("udp-send --to {to} --count 1 --linger 10 --replies"));
        assert_eq!(sent.errors.get("refused"), Some(&1), "{to}: {:?}", sent.errors);
    }
    nft(
        &testbed,
        "table inet no { chain forward { type filter hook forward priority 0; \
         udp dport 7999 reject with icmpx admin-prohibited; }; }",
    );
    let options = "udp-send --to 198.51.100.7:7999 --count 1 --linger 10 --replies";
    let sent: UdpSend = client(&testbed, options);
    assert_eq!(sent.errors.get("host-unreachable"), Some(&1), "{:?}", sent.errors);
}

#[test]
fn every_byte_of_many_connections_is_accounted_for() {
    let Some(testbed) = build() else { return };
    for to in outside(8000) {
        let listen = format!("tcp-serve --listen {to} --connections 50");
        let connect = format!("tcp-connect --to {to} --connections 50 --bytes 20000");
        for mode in ["echo", "sink", "source"] {
            let bytes = if mode == "source" { " --bytes 20000" } else { "" };
            let server = serve(&testbed, &format!("{listen} --mode {mode}{bytes}"));
            let here: Tcp = client(&testbed, &format!("{connect} --mode {mode}"));
            let there: Tcp = server.report().unwrap();
            assert_eq!(here.count(Outcome::Completed), 50, "{mode}: {:?}", here.outcomes);
            assert_eq!(there.count(Outcome::Completed), 50, "{mode}: {:?}", there.outcomes);
            assert_eq!((here.sent, here.received), (there.received, there.sent), "{mode}");
            assert_eq!(here.sent.max(here.received), 1_000_000);
            assert_eq!((here.corrupt, there.corrupt), (0, 0));
        }
    }
}

#[test]
fn the_end_of_a_connection_is_named() {
    let Some(testbed) = build() else { return };
    let only = |options: &str| -> Outcome {
        let report: Tcp = client(&testbed, &format!("tcp-connect {options}"));
        assert_eq!(report.list.len(), 1);
        report.list[0].outcome
    };
    assert_eq!(only("--to 198.51.100.7:8001"), Outcome::Refused);
    let server = serve(&testbed, "tcp-serve --listen 198.51.100.7:8000");
    nft(
        &testbed,
        "table inet t { chain forward { type filter hook forward priority 0; \
         tcp dport 8002 drop; tcp dport 8003 reject with tcp reset; \
         tcp dport 8004 reject with icmpx host-unreachable; }; }",
    );
    let soon = "--connect-timeout 0.3";
    assert_eq!(only(&format!("--to 198.51.100.7:8002 {soon}")), Outcome::TimedOut);
    assert_eq!(only("--to [2001:db8:40::7]:8003"), Outcome::Refused);
    assert_eq!(only("--to [2001:db8:40::7]:8004"), Outcome::Unreachable);
    let open = "--to 198.51.100.7:8000 --bytes 0 --rate 10000 --chunk 100";
    assert_eq!(only(&format!("{open} --for 0.3")), Outcome::Completed);
    let long = |seconds: &str| {
        let node = testbed.node("client").unwrap();
        let options = format!("tcp-connect {open} --for {seconds}");
        node.traffic(options.split_whitespace()).unwrap().spawn().unwrap()
    };
    let established = || {
        let sessions = testbed.node("client").unwrap().run("cat", &["/proc/net/tcp"]).unwrap();
        sessions.lines().filter(|line| line.contains(":1F40 01")).count()
    };
    let wait = |count: usize| {
        let found = || (established() == count).then_some(());
        eventually(SOON, found).unwrap();
    };
    let cut = long("20");
    wait(1);
    nft(&testbed, "add rule inet t forward tcp dport 8000 reject with tcp reset\n");
    let report: Tcp = cut.report().unwrap();
    assert_eq!(report.count(Outcome::Reset), 1, "{report:?}");
    nft(&testbed, "delete table inet t\n");
    let stalled = long("4");
    wait(1);
    nft(
        &testbed,
        "table inet t { chain forward { type filter hook forward priority 0; policy drop; }; }",
    );
    let report: Tcp = stalled.report().unwrap();
    assert!(report.longest_stall_ms > 500.0, "{report:?}");
    let served: Tcp = server.stop_and_report().unwrap();
    assert_eq!(served.connections, 3);
}

#[test]
fn ftp_transfers_need_the_kernels_helper_and_get_it() {
    let Some(testbed) = build() else { return };
    let modes = [
        "--mode passive",
        "--mode active",
        "--mode passive --extended",
        "--mode active --extended",
    ];
    let gate = |helper: &str| {
        nft(
            &testbed,
            &format!(
                "table inet gate {{ }}; delete table inet gate; table inet gate {{ \
                 ct helper ftp {{ type \"ftp\" protocol tcp; }}; \
                 chain prerouting {{ type filter hook prerouting priority 0; {helper} }}; \
                 chain forward {{ type filter hook forward priority 0; policy drop; \
                 ct state established,related accept; tcp dport 21 accept; }}; }}"
            ),
        );
    };
    gate("tcp dport 21 ct helper set \"ftp\";");
    for to in outside(21) {
        let server = serve(&testbed, &format!("ftp-serve --listen {to} --sessions 4 --for 60"));
        for mode in modes {
            let got: FtpGet = client(&testbed, &format!("ftp-get --to {to} {mode}"));
            assert!(got.complete && got.bytes == 100_000, "{to} {mode}: {got:?}");
        }
        let served: FtpServe = server.report().unwrap();
        assert_eq!((served.sessions, served.transfers), (4, 4));
    }
    gate("");
    let _server = serve(&testbed, "ftp-serve --listen 198.51.100.7:21");
    for mode in modes {
        let options = format!("ftp-get --to 198.51.100.7:21 --connect-timeout 0.3 {mode}");
        let got: FtpGet = client(&testbed, &options);
        assert!(!got.complete && got.error.is_some(), "{mode}: {got:?}");
    }
}
