//! Sessions and expectations written into the kernel, and what becomes of each request.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::conntrack::ports;
use common::entries::{BOTH_WAYS, CLIENT, SERVER, get, tcp, udp, write};
use common::inside;
use std::net::Ipv4Addr;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Expectation, Field, Layer4, MarkFilter, Outcome, ProtoInfo, Request,
    SctpInfo, Select, SeqAdjust, Status, SynProxy, TcpEnd, TcpInfo, Tuple, Writer,
};

fn open() -> (Writer, Conntrack) {
    (Writer::open().unwrap(), Conntrack::open().unwrap())
}

/// What was written, as the kernel tells it: with the bits of the status that it sets itself.
fn told(written: &Entry, bits: u32, read: &Entry) -> Entry {
    let status = written.status.unwrap_or_default().0 | Status::CONFIRMED.0 | bits;
    let (id, timeout) = (read.id, read.timeout);
    Entry { status: Some(Status(status)), id, timeout, ..written.clone() }
}

#[test]
fn what_is_written_is_read_again_in_every_field() {
    if !inside("what_is_written_is_read_again_in_every_field") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let adjust = |by| SeqAdjust { position: by, before: by + 1, after: by + 2 };
    let shifted = Entry {
        seq_adjust: Some([adjust(10), adjust(20)]),
        syn_proxy: Some(SynProxy { isn: 1, its: 2, offset: 3 }),
        zone: 5,
        ..tcp(1000)
    };
    let client6 = "fd01::1".parse::<std::net::Ipv6Addr>().unwrap();
    let server6 = "fd02::1".parse::<std::net::Ipv6Addr>().unwrap();
    let sctp = ports(client6, server6, 132, 1001, 38412);
    let sctp = Entry {
        original: sctp,
        reply: Some(sctp.inverse()),
        proto: Some(ProtoInfo::Sctp(SctpInfo { state: 4, tags: Some([7, 8]) })),
        ..udp(1)
    };
    let one_way = Tuple { zone: Some(8), ..udp(1002).original };
    let one_way = Entry { original: one_way, ..udp(1002) };
    let other_way = Tuple { zone: Some(9), ..udp(1003).reply.unwrap() };
    let other_way = Entry { reply: Some(other_way), ..udp(1003) };
    let child = Entry { master: Some(shifted.original), zone: 5, ..tcp(1004) };
    let unanswered = Entry { status: None, mark: Some(0), ..udp(1005) };
    let liberal = TcpEnd { scale: 14, flags: 0xff };
    let info = TcpInfo { state: 4, ends: Some([TcpEnd { scale: 2, flags: 3 }, liberal]) };
    let liberal = Entry { proto: Some(ProtoInfo::Tcp(info)), ..tcp(1006) };
    let adjusted = Status::SEQ_ADJUST.0;
    for (entry, bits) in [
        (shifted, adjusted),
        (sctp, 0),
        (one_way, 0),
        (other_way, 0),
        (child, Status::EXPECTED.0),
        (unanswered, 0),
        (liberal, 0),
    ] {
        assert_eq!(write(&mut writer, &[Request::Put(&entry)]), [Outcome::Created]);
        let read = get(&mut conntrack, &entry).unwrap();
        let mut told = told(&entry, bits, &read);
        if let Some(ProtoInfo::Tcp(TcpInfo { ends: Some(ends), .. })) = &mut told.proto {
            ends.iter_mut().for_each(|end| end.flags &= TcpEnd::PORTABLE);
        }
        assert_eq!(read, told);
        assert!(read.timeout.is_some_and(|left| (595..=600).contains(&left)));
        assert_eq!(read.source_nat().or(read.destination_nat()), None);
    }
}

#[test]
fn the_kernel_finds_the_translation_in_the_reply_direction() {
    if !inside("the_kernel_finds_the_translation_in_the_reply_direction") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let inner = Ipv4Addr::new(10, 3, 0, 9);
    let outer = Ipv4Addr::new(10, 2, 0, 254);
    // (source, its port, destination, its port) of the reply direction, and what is translated.
    let cases = [
        (SERVER, 443, CLIENT, 1000, false, false),
        (SERVER, 443, outer, 1001, true, false),
        (SERVER, 443, outer, 30_000, true, false),
        (SERVER, 443, CLIENT, 30_001, true, false),
        (inner, 443, CLIENT, 1004, false, true),
        (inner, 8443, CLIENT, 1005, false, true),
        (SERVER, 8443, CLIENT, 1006, false, true),
        (inner, 8443, outer, 30_002, true, true),
    ];
    let mut sessions = Vec::new();
    for ((src, sport, dst, dport, source, destination), port) in cases.into_iter().zip(1000..) {
        let reply = Some(ports(src, dst, 6, sport, dport));
        sessions.push((Entry { reply, ..tcp(port) }, source, destination));
        let session = udp(port);
        let reply = Some(ports(src, dst, 17, if sport == 443 { 53 } else { sport }, dport));
        sessions.push((Entry { reply, ..session }, source, destination));
        let six = |v4: Ipv4Addr| v4.to_ipv6_mapped();
        let original = ports(six(CLIENT), six(SERVER), 6, port, 443);
        let reply = Some(ports(six(src), six(dst), 6, sport, dport));
        sessions.push((Entry { original, reply, ..tcp(port) }, source, destination));
    }
    for (id, to, number) in [(77, CLIENT, 1), (78, outer, 1), (79, outer, 2), (80, CLIENT, 2)] {
        let echo = |src: Ipv4Addr, dst: Ipv4Addr, id, kind| Tuple {
            src: src.into(),
            dst: dst.into(),
            protocol: 1,
            layer4: Layer4::Icmp { id, kind, code: 0 },
            zone: None,
        };
        let original = echo(CLIENT, SERVER, id, 8);
        let id = if number == 1 { id } else { id + 1000 };
        let reply = Some(echo(SERVER, to, id, 0));
        sessions.push((Entry { original, reply, ..udp(1) }, number == 2 || to == outer, false));
    }
    for (entry, source, destination) in sessions {
        let found = (entry.source_nat().is_some(), entry.destination_nat().is_some());
        assert_eq!(found, (source, destination));
        assert_eq!(write(&mut writer, &[Request::Put(&entry)]), [Outcome::Created]);
        let read = get(&mut conntrack, &entry).unwrap();
        assert_eq!(read.reply, entry.reply);
        let status = read.status.unwrap();
        let found = (status.has(Status::SRC_NAT), status.has(Status::DST_NAT));
        assert_eq!(found, (source, destination), "{entry:?}");
    }
}

#[test]
fn a_put_of_what_is_there_changes_all_that_can_change() {
    if !inside("a_put_of_what_is_there_changes_all_that_can_change") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let outer = Ipv4Addr::new(10, 2, 0, 254);
    let reply = Some(ports(SERVER, outer, 6, 443, 30_000));
    let before = Entry { reply, helper: Some("ftp".into()), status: None, ..tcp(1000) };
    assert_eq!(write(&mut writer, &[Request::Put(&before)]), [Outcome::Created]);
    let id = get(&mut conntrack, &before).unwrap().id;
    let end = |scale, flags| TcpEnd { scale, flags };
    let info = TcpInfo { state: 5, ends: Some([end(1, 7), end(2, 3)]) };
    let after = Entry {
        proto: Some(ProtoInfo::Tcp(info)),
        status: Some(BOTH_WAYS),
        timeout: Some(50),
        mark: Some(0xdead_beef),
        ..before.clone()
    };
    for request in [Request::Put(&after), Request::Update(&after)] {
        assert_eq!(write(&mut writer, &[request]), [Outcome::Updated]);
        let read = get(&mut conntrack, &after).unwrap();
        let bits = Status::SRC_NAT.0 | 0x180 | Status::HELPER.0;
        assert_eq!(read, told(&after, bits, &read));
        assert!(read.timeout.is_some_and(|left| (45..=50).contains(&left)));
        assert_eq!(read.id, id, "it is still the same session");
    }
    // What an update doesn't say stays.
    let little = Entry { mark: Some(1), ..Entry::new(after.original, 0) };
    assert_eq!(write(&mut writer, &[Request::Update(&little)]), [Outcome::Updated]);
    let read = get(&mut conntrack, &after).unwrap();
    assert_eq!((read.mark, read.proto, read.reply), (Some(1), after.proto, after.reply));
}

#[test]
fn timeouts_of_many_sessions_are_set() {
    if !inside("timeouts_of_many_sessions_are_set") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let sessions = (0..300).map(|i| udp(1000 + i)).collect::<Vec<_>>();
    write(&mut writer, &sessions.iter().map(Request::Put).collect::<Vec<_>>());
    let gone = udp(9999);
    let all = sessions.iter().chain([&gone]);
    let requests =
        all.map(|entry| Request::Timeout { original: &entry.original, zone: 0, seconds: 100_000 });
    let outcomes = write(&mut writer, &requests.collect::<Vec<_>>());
    assert_eq!(outcomes[..300], [Outcome::Updated; 300]);
    assert_eq!(outcomes[300], Outcome::Missing);
    let mut seen = 0;
    conntrack
        .entries(Select::default(), |entry| {
            assert!(entry.timeout.is_some_and(|left| (99_990..=100_000).contains(&left)));
            seen += 1;
        })
        .unwrap();
    assert_eq!(seen, 300);
}

#[test]
fn expectations_are_made_prolonged_and_ended() {
    if !inside("expectations_are_made_prolonged_and_ended") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let master = Entry { helper: Some("ftp".into()), zone: 3, ..tcp(1000) };
    let plain = tcp(1001);
    let tuple = ports(SERVER, CLIENT, 6, 0, 4000);
    let expectation = |timeout| Expectation {
        tuple,
        mask: ports(Ipv4Addr::BROADCAST, Ipv4Addr::BROADCAST, 6, 0, 0xffff),
        master: master.original,
        zone: 3,
        timeout: Some(timeout),
        id: None,
        helper: Some("ftp".into()),
        flags: 0,
        class: 0,
        nat: None,
        function: None,
    };
    let [short, long] = [30, 200].map(expectation);
    use Outcome::{Created, Deleted, Incomplete, Missing, NoMaster, Refused, Updated};
    let row = [Request::Expect(&short), Request::Put(&master), Request::Put(&plain)];
    assert_eq!(write(&mut writer, &row), [NoMaster, Created, Created]);
    assert_eq!(write(&mut writer, &[Request::Expect(&short)]), [Created]);
    let mut all = || {
        let mut all = Vec::new();
        conntrack.expectations(|expectation| all.push(expectation)).unwrap();
        all
    };
    let [read] = &all()[..] else { panic!("one was made") };
    let told = Expectation { id: read.id, timeout: read.timeout, zone: 0, ..short.clone() };
    assert_eq!(*read, told);
    assert!(read.timeout.is_some_and(|left| (20..=30).contains(&left)));
    assert_eq!(write(&mut writer, &[Request::Expect(&long)]), [Updated]);
    let [read] = &all()[..] else { panic!("there is one") };
    assert!(read.timeout.is_some_and(|left| (190..=200).contains(&left)));
    let unexpect = |id| Request::Unexpect { tuple: &tuple, zone: 3, id };
    let id = read.id;
    let row = [unexpect(id.map(|id| id ^ 1)), unexpect(id), unexpect(id)];
    assert_eq!(write(&mut writer, &row), [Missing, Deleted, Missing]);
    assert_eq!(all(), []);
    let helpless = Expectation { master: plain.original, zone: 0, ..short.clone() };
    let odd = Expectation { mask: udp(1).original, ..short.clone() };
    let row = [Request::Expect(&helpless), Request::Expect(&odd)];
    assert_eq!(write(&mut writer, &row), [Refused(libc::EOPNOTSUPP), Incomplete(Field::Mask)]);
}

#[test]
fn a_dump_gives_the_selected_sessions_and_no_others() {
    if !inside("a_dump_gives_the_selected_sessions_and_no_others") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let made = (0..60u16)
        .map(|i| Entry {
            zone: i % 3,
            mark: Some(u32::from(i % 4) << 4 | 5),
            status: [None, Some(Status::SEEN_REPLY), Some(BOTH_WAYS)][usize::from(i / 20)],
            ..tcp(1000 + i)
        })
        .collect::<Vec<_>>();
    let outcomes = write(&mut writer, &made.iter().map(Request::Put).collect::<Vec<_>>());
    assert_eq!(outcomes, [Outcome::Created; 60]);
    let mut count = |select| conntrack.entries(select, drop).unwrap().sessions;
    let all = Select::default();
    assert_eq!(count(all), 60);
    let mark = Some(MarkFilter { mark: 0x30, mask: 0xf0 });
    assert_eq!(count(Select { mark, ..all }), 15);
    for zone in 0..4 {
        assert_eq!(count(Select { zone: Some(zone), ..all }), if zone < 3 { 20 } else { 0 });
    }
    let none = Status::default();
    let (reply, assured) = (Status::SEEN_REPLY, Status::ASSURED);
    for (set, clear, wanted) in
        [(none, none, 60), (reply, none, 40), (reply, assured, 20), (none, reply, 20)]
    {
        assert_eq!(count(Select { status: Some((set, clear)), ..all }), wanted);
    }
    assert_eq!(count(Select { family: Some(libc::AF_INET as u8), ..all }), 60);
    assert_eq!(count(Select { family: Some(libc::AF_INET6 as u8), ..all }), 0);
    let both = Select { mark, zone: Some(0), status: Some((assured, none)), ..all };
    let wanted = (40..60).filter(|i| i % 4 == 3 && i % 3 == 0).count() as u64;
    assert_eq!(count(both), wanted);
}

#[test]
fn only_a_request_for_it_makes_a_session_strict_again() {
    if !inside("only_a_request_for_it_makes_a_session_strict_again") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let strict = tcp(1000);
    let Some(ProtoInfo::Tcp(tcp)) = strict.proto else { panic!("no TCP state") };
    let liberal = Entry { proto: Some(ProtoInfo::Tcp(tcp.liberal())), ..strict.clone() };
    let set = |on| Request::Liberal { original: &strict.original, zone: 0, on };
    let mut after = |request: Request<'_>| {
        assert!(matches!(
            write(&mut writer, &[request])[..],
            [Outcome::Created | Outcome::Updated]
        ));
        let Some(ProtoInfo::Tcp(read)) = get(&mut conntrack, &strict).unwrap().proto else {
            panic!("no TCP state")
        };
        assert_eq!(read.portable(), tcp, "nothing else is changed");
        read.ends.unwrap().map(|end| end.flags & TcpEnd::BE_LIBERAL != 0)
    };
    assert_eq!(after(Request::Put(&liberal)), [true; 2]);
    assert_eq!(after(Request::Put(&strict)), [true; 2]);
    assert_eq!(after(set(false)), [false; 2]);
    assert_eq!(after(Request::Update(&strict)), [false; 2]);
    assert_eq!(after(Request::Update(&liberal)), [true; 2]);
    assert_eq!(after(Request::Renew(&strict)), [false; 2]);
    assert_eq!(after(set(true)), [true; 2]);
    assert_eq!(
        write(&mut writer, &[Request::Liberal { original: &udp(1).original, zone: 0, on: true }]),
        [Outcome::Missing]
    );
}
