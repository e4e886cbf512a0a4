//! What is not Twinwall's stays as it is: other tables, other bits of the marks.

use crate::bed::{Bed, OUTSIDE, at, policy};
use twinwall_testbed::traffic::report::{FtpGet, Outcome, Tcp, UdpSend};

/// Somebody's tables in each family that Twinwall's packets pass, with one object of each kind.
const TABLES: &str = "
table ip theirs {
    set hosts { type ipv4_addr; flags timeout; elements = { 192.0.2.1, 192.0.2.2 timeout 1d }; }
    map ports { type inet_service : verdict; elements = { 9 : drop, 10 : accept }; }
    chain nat { type nat hook postrouting priority 90; ip saddr 192.0.2.1 masquerade; }
}
table ip6 twinwall {
    comment \"a table of another family may have any name\"
    chain forward { type filter hook forward priority 5; policy accept; meta mark 0 accept; }
}
table inet theirs {
    counter total { }
    quota most { 1000 mbytes }
    limit slow { rate 400/minute }
    ct helper ftp { type \"ftp\" protocol tcp; }
    set decide { type mark; elements = { 0x1, 0x2 }; }
    map denied4 { type ipv4_addr : mark; }
    chain prerouting { type filter hook prerouting priority 0; tcp dport 21 ct helper set \"ftp\"; }
    chain forward { type filter hook forward priority 20; policy accept; counter name total; goto other; }
    chain other { ct state established accept; }
}
";

/// The rules without what counters and timers say.
fn their_tables(bed: &Bed) -> String {
    ["ip theirs", "ip6 twinwall", "inet theirs"]
        .map(|table| bed.shell("gw-a", &format!("nft -s list table {table}")))
        .concat()
        .lines()
        .filter(|line| !line.contains("expires"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn open(seq: u32, action: &str) -> String {
    policy(&[
        format!("seq: {seq}, name: one, from: lan, to: wan, service: {{ tcp: [21, 7000], udp: [7000] }}, action: {action}"),
        "seq: 50, name: two, from: lan, to: wan, service: { tcp: [21, 7000], udp: [7000] }, action: accept".to_owned(),
    ])
}

/// Every way in which the daemon writes to the kernel, with traffic.
fn exercise(bed: &Bed) {
    let traffic = |step: &str, complete: bool| {
        for to in OUTSIDE {
            let port = at(to, 7000);
            let _tcp = bed.serve("server", &format!("tcp-serve --listen {port}"));
            let patience = if complete { 10.0 } else { 0.2 };
            let options = format!("tcp-connect --to {port} --connect-timeout {patience}");
            let tcp: Tcp = bed.traffic("client", &options);
            assert_eq!(tcp.count(Outcome::Completed) == 1, complete, "{step}: {tcp:?}");
            let _: UdpSend =
                bed.traffic("client", &format!("udp-send --to {port} --count 50 --rate 5000"));
        }
    };
    traffic("at first", true);
    bed.apply(&open(60, "accept"));
    traffic("swapped", true);
    bed.apply(&open(10, "drop"));
    traffic("dropped", false);
    bed.apply(&open(10, "reject"));
    traffic("rejected", false);
    bed.apply(&open(10, "accept"));
    traffic("accepted", true);
    bed.write_policy(&open(70, "accept"));
    bed.gateway.reload().unwrap();
    bed.wait("it is reloaded", || (bed.status().rules == 2).then_some(()));
    bed.gateway.kill9().unwrap();
    bed.gateway.start().unwrap();
    traffic("restarted", true);
    bed.gateway.stop().unwrap();
    traffic("stopped", false);
    bed.gateway.start().unwrap();
    traffic("started", true);
}

#[test]
fn tables_of_others_and_their_objects_stay_as_they_are() {
    let Some(bed) = Bed::without_daemon("foreign tables", twinwall_testbed::Testbed::builder())
    else {
        return;
    };
    bed.nft(TABLES);
    let before = their_tables(&bed);
    assert!(before.contains("quota") && before.contains("192.0.2.1"), "{before}");
    bed.write_policy(&open(10, "accept"));
    bed.gateway.start().unwrap();
    assert_eq!(their_tables(&bed), before, "after the start");
    exercise(&bed);
    assert_eq!(their_tables(&bed), before, "after reloads and restarts");
    let to = at(OUTSIDE[0], 21);
    let _server = bed.serve("server", &format!("ftp-serve --listen {to}"));
    let got: FtpGet = bed.traffic("client", &format!("ftp-get --to {to}"));
    assert!(got.complete, "their helper still helps: {got:?}");
    bed.gateway.stop().unwrap();
    assert_eq!(their_tables(&bed), before, "after the stop");
    let tables = bed.gateway.run("nft", &["list", "tables"]).unwrap();
    let mut tables: Vec<&str> = tables.lines().collect();
    tables.sort_unstable();
    let expected =
        ["table inet theirs", "table inet twinwall", "table ip theirs", "table ip6 twinwall"];
    assert_eq!(tables, expected);
}

/// Somebody else marks: connections in the eight high bits, packets in the four that are not
/// Twinwall's; and looks whether all arrive as they were. (Without a connection there is no mark.)
const MARKS: &str = "
table inet marks {
    counter everything { }
    counter wrong-packet { }
    counter wrong-connection { }
    chain marking { type filter hook prerouting priority -140; policy accept;
        ct mark and 0xff000000 == 0 ct mark set ct mark and 0x00ffffff or 0xa5000000
        meta mark set 0x0a000000
    }
    chain looking { type filter hook forward priority 10; policy accept;
        counter name everything
        meta mark != 0x0a000000 counter name wrong-packet
        ct mark and 0xff000000 != 0xa5000000 counter name wrong-connection
    }
}
";

#[test]
fn mark_bits_of_others_survive_everything() {
    let Some(bed) = Bed::without_daemon("foreign marks", twinwall_testbed::Testbed::builder())
    else {
        return;
    };
    bed.nft(MARKS);
    let wide = |seq: u32| {
        open(seq, "accept")
            .replace("udp: [7000]", "udp: [7000-7001]")
            .replace("defaults: {", "defaults: { queue_failure: open,")
    };
    bed.write_policy(&wide(10));
    bed.gateway.start().unwrap();
    // Sessions that go on through all of it.
    let to = at(OUTSIDE[0], 7001);
    let _echo = bed.serve("server", &format!("udp-echo --listen {to}"));
    let options = format!("udp-send --to {to} --count 1000000 --rate 1000 --flows 20 --replies");
    let sender = bed.start("client", &options);
    bed.wait("it flows", || (bed.rule("one").packets > 200).then_some(()));
    let counter = |name: &str| {
        let text = bed.gateway.run("nft", &["list", "counter", "inet", "marks", name]).unwrap();
        text.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    for turn in 0..4 {
        bed.apply(&wide(if turn % 2 == 0 { 60 } else { 10 }));
    }
    bed.gateway.kill9().unwrap();
    bed.gateway.start().unwrap();
    bed.gateway.stop().unwrap();
    let new = at(OUTSIDE[1], 7001);
    let _: UdpSend = bed.traffic("client", &format!("udp-send --to {new} --count 20 --rate 1000"));
    bed.gateway.start().unwrap();
    let seen = counter("everything");
    bed.wait("it flows on", || (counter("everything") > seen + 200).then_some(()));
    drop(sender);
    assert_eq!((counter("wrong-packet"), counter("wrong-connection")), (0, 0));
    assert!(bed.exception("unclassified") >= 20);
    assert_eq!(bed.exception("forged"), 0, "bits of others are no forgery");
}

#[test]
fn forged_bits_of_twinwalls_own_are_cleared_and_decide_nothing() {
    let policy = policy(&[
        "seq: 10, name: no, from: lan, to: wan, action: drop",
        "seq: 20, name: yes, from: dmz, to: wan, action: accept",
    ]);
    let Some(bed) = Bed::up("forged marks", &policy) else { return };
    // Every low number could be a key, and the high bits are those of an answer.
    bed.nft(
        "table inet forger { chain forge { type filter hook prerouting priority 0; \
         meta mark set numgen inc mod 64 offset 0x80000000; }; }",
    );
    bed.watch_passed("forward", "passed", &["udp dport 7000"]);
    for to in OUTSIDE {
        let to = at(to, 7000);
        let _: UdpSend = bed
            .traffic("client", &format!("udp-send --to {to} --count 128 --flows 64 --rate 5000"));
    }
    bed.wait("all are counted", || (bed.rule("no").packets >= 256).then_some(()));
    assert_eq!(bed.rule("no").packets, 256);
    assert_eq!(bed.seen("passed").packets, 0);
    assert!(bed.exception("forged") >= 256);
}
