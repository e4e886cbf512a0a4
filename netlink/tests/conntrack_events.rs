//! Notifications of sessions, from traffic and from writes.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::conntrack::ports;
use common::entries::{BOTH_WAYS, CLIENT, SERVER, get, tcp, udp, write};
use common::space::Space;
use common::{eventually, inside};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Event, Expectation, Kind, Listener, Outcome, ProtoInfo, Request, TupleRef,
    Updater, Writer,
};

/// Makes the kernel track sessions, mark and label them.
const TRACK: &str = "table inet t {
    chain c {
        type filter hook input priority 0;
        tcp dport 80 ct state new ct mark set 7 accept
        tcp dport 80 ct original packets > 4 ct label set 9
        ct state established accept
    }
}";

/// Reads until the queue is empty; whether there was an overrun.
fn drain(listener: &mut Listener, mut each: impl FnMut(Event)) -> bool {
    let mut overrun = false;
    loop {
        let read = listener.read(&mut each).unwrap();
        assert_eq!(read.unreadable, 0);
        overrun |= read.overrun;
        if read.drained {
            return overrun;
        }
    }
}

fn all(listener: &mut Listener) -> Vec<Event> {
    let mut events = Vec::new();
    assert!(!drain(listener, |event| events.push(event)));
    events
}

fn sessions(events: Vec<Event>) -> Vec<(Kind, u32, Entry)> {
    let session = |event| match event {
        Event::Session { kind, port, entry } => Some((kind, port, entry)),
        Event::Expectation { .. } => None,
    };
    events.into_iter().filter_map(session).collect()
}

#[test]
fn what_traffic_does_merges_into_what_a_dump_says() {
    if !inside("what_traffic_does_merges_into_what_a_dump_says") {
        return;
    }
    let space = Space::new();
    space.nft(TRACK);
    let (mut listener, _) = space.run(|| Listener::open(1 << 20).unwrap());
    let mut conntrack = space.run(|| Conntrack::open().unwrap());
    let server = space.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 80)).unwrap());
    let mut client = space.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 80)).unwrap());
    let (mut stream, from) = server.accept().unwrap();
    for _ in 0..10 {
        client.write_all(b"question").unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
    }
    let original = ports(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, 6, from.port(), 80);
    let known = |event: Event, known: &mut Option<Entry>| {
        let (kind, port, entry) = sessions(vec![event]).remove(0);
        assert_eq!((port, entry.original), (0, original));
        match known {
            None => {
                assert_eq!(kind, Kind::New);
                *known = Some(entry);
            }
            Some(known) => {
                assert_eq!(kind, Kind::Update);
                known.merge(&entry);
            }
        }
    };
    let mut merged = None;
    let mut deltas = 0;
    let dumped = eventually("the events have come", || {
        drain(&mut listener, |event| {
            deltas += 1;
            known(event, &mut merged);
        });
        let dumped = conntrack.entry(TupleRef::Original(&original), 0).unwrap().unwrap();
        (merged.as_ref()?.labels.is_some() && merged.as_ref()?.proto? == dumped.proto?)
            .then_some(dumped)
    });
    let merged = merged.unwrap();
    assert!(deltas > 3, "the session was told of in parts");
    assert_eq!((merged.mark, merged.labels), (Some(7), Some(1 << 9)));
    assert_eq!(merged.status.unwrap().0 & BOTH_WAYS.0, BOTH_WAYS.0);
    // Packets and time go on without being told of.
    assert_eq!(merged, Entry { timeout: merged.timeout, counters: None, ..dumped });

    drop((client, stream));
    let gone = Request::Delete { original: &original, zone: 0, id: None };
    let mut writer = space.run(|| Writer::open().unwrap());
    assert_eq!(write(&mut writer, &[gone]), [Outcome::Deleted]);
    let mut last = None;
    drain(&mut listener, |event| last = Some(event));
    let Some(Event::Session { kind: Kind::Destroy, entry, port }) = last else {
        panic!("{last:?}")
    };
    assert_eq!((entry.original, entry.id, port), (original, merged.id, writer.port()));
    let Some(ProtoInfo::Tcp(end)) = entry.proto else { panic!("{entry:?}") };
    assert_eq!(end.ends, None, "the end is told without the windows");
    let mut whole = merged.clone();
    whole.merge(&entry);
    let (Some(ProtoInfo::Tcp(whole)), Some(ProtoInfo::Tcp(before))) = (whole.proto, merged.proto)
    else {
        panic!("no TCP state")
    };
    assert_eq!((whole.ends, whole.state), (before.ends, end.state));
}

#[test]
fn each_event_names_the_socket_that_asked_for_it() {
    if !inside("each_event_names_the_socket_that_asked_for_it") {
        return;
    }
    let space = Space::new();
    space.nft(TRACK);
    let (mut listener, _) = space.run(|| Listener::open(1 << 20).unwrap());
    let (mut quiet, _) = space.run(|| Listener::open(1 << 20).unwrap());
    let mut writer = space.run(|| Writer::open().unwrap());
    let mut sweep = space.run(|| Updater::open().unwrap());
    let mut conntrack = space.run(|| Conntrack::open().unwrap());
    assert_ne!(writer.port(), sweep.port());
    quiet.ignore(&[1, writer.port(), 2]).unwrap();
    let entry = tcp(1000);
    let changed = Entry { mark: Some(5), ..entry.clone() };
    let timeout = Request::Timeout { original: &entry.original, zone: 0, seconds: 9 };
    let delete = Request::Delete { original: &entry.original, zone: 0, id: None };
    write(&mut writer, &[Request::Put(&entry), Request::Put(&changed), timeout]);
    conntrack.dump(None, |session| sweep.remark(session.reference(), 6, 0xff).unwrap()).unwrap();
    assert_eq!(sweep.flush().unwrap().sent, 1);
    write(&mut writer, &[Request::Renew(&entry), delete]);
    let socket = space.run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap());
    socket.send_to(b"traffic", socket.local_addr().unwrap()).unwrap();
    let seen = sessions(all(&mut listener));
    let (own, other) = (writer.port(), sweep.port());
    let told = seen.iter().map(|(kind, port, entry)| (*kind, *port, entry.original.protocol));
    use Kind::{Destroy, New, Update};
    let wanted = [
        (New, own, 6),
        (Update, own, 6),
        (Update, own, 6),
        (Update, other, 6),
        (Destroy, own, 6),
        (New, own, 6),
        (Destroy, own, 6),
        (New, 0, 17),
    ];
    assert_eq!(told.collect::<Vec<_>>(), wanted);
    assert_eq!(seen[3].2.mark, Some(6));
    let heard = sessions(all(&mut quiet));
    let heard = heard.iter().map(|(kind, port, _)| (*kind, *port)).collect::<Vec<_>>();
    assert_eq!(heard, [(Update, other), (New, 0)]);
    quiet.ignore(&[]).unwrap();
    write(&mut writer, &[Request::Put(&entry)]);
    assert_eq!(all(&mut quiet).len(), 1);
    assert!(quiet.ignore(&[7; 17]).is_err());
}

#[test]
fn a_session_is_heard_of_once_established_if_its_handshake_is_ignored() {
    if !inside("a_session_is_heard_of_once_established_if_its_handshake_is_ignored") {
        return;
    }
    let space = Space::new();
    // The labels of port 81 are told of with its first packet only.
    space.nft(
        "table inet t { chain c { type filter hook output priority 0;
        ct state new ct mark set 7; tcp dport 81 ct state new ct label set 3; }; }",
    );
    let (mut listener, _) = space.run(|| Listener::open(1 << 20).unwrap());
    let mut writer = space.run(|| Writer::open().unwrap());
    listener.ignore_with_handshakes(&[writer.port()]).unwrap();
    write(&mut writer, &[Request::Put(&tcp(1000))]);
    let states = |listener: &mut Listener| {
        let states = |(kind, _, entry): (Kind, u32, Entry)| match entry.proto {
            Some(ProtoInfo::Tcp(tcp)) => (kind, entry.mark, entry.labels, Some(tcp.state)),
            _ => (kind, entry.mark, entry.labels, None),
        };
        sessions(all(listener)).into_iter().map(states).collect::<Vec<_>>()
    };
    let open = |port: u16| {
        space.run(|| {
            let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
            let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            (client, server.accept().unwrap())
        })
    };
    let mut seen = Vec::new();
    let _plain = open(80);
    eventually("the session is told of", || {
        seen.extend(states(&mut listener));
        (!seen.is_empty()).then_some(())
    });
    assert_eq!(seen, [(Kind::Update, Some(7), None, Some(3))]);
    seen.clear();
    let _labelled = open(81);
    eventually("the session is told of", || {
        seen.extend(states(&mut listener));
        (seen.len() == 2).then_some(())
    });
    let label = Some(1 << 3);
    let wanted = [(Kind::New, Some(7), label, Some(1)), (Kind::Update, Some(7), None, Some(3))];
    assert_eq!(seen, wanted);
    // Everything else is heard of.
    let socket = space.run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap());
    socket.send_to(b"traffic", socket.local_addr().unwrap()).unwrap();
    let mut other = space.run(|| Writer::open().unwrap());
    let delete = tcp(1000);
    let delete = Request::Delete { original: &delete.original, zone: 0, id: None };
    write(&mut other, &[delete]);
    let seen = states(&mut listener);
    let kinds = seen.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>();
    assert_eq!(kinds, [Kind::New, Kind::Destroy]);
}

#[test]
fn an_overrun_is_told_once_when_events_are_queued_again() {
    if !inside("an_overrun_is_told_once_when_events_are_queued_again") {
        return;
    }
    let (mut listener, given) = Listener::open(64 << 10).unwrap();
    assert!(given >= 64 << 10);
    let mut writer = Writer::open().unwrap();
    let entries = (0..2000).map(|i| tcp(1000 + i)).collect::<Vec<_>>();
    let requests = entries.iter().map(Request::Put).collect::<Vec<_>>();
    for round in 0..2 {
        let outcomes = write(&mut writer, &requests);
        let wanted = if round == 0 { Outcome::Created } else { Outcome::Updated };
        assert!(outcomes.iter().all(|outcome| *outcome == wanted));
        let mut seen = 0;
        // While the queue isn't empty, what comes is lost.
        assert!(!listener.read(|_| seen += 1).unwrap().overrun, "not told before it is over");
        write(&mut writer, &[Request::Put(&udp(5000 + round))]);
        let mut late = 0;
        let overrun = drain(&mut listener, |event| {
            seen += 1;
            late += usize::from(
                matches!(event, Event::Session { entry, .. } if entry.original.protocol == 17),
            );
        });
        assert!(overrun && seen < 1000 && late == 0, "{seen} events, {late} late ones");
        assert!(listener.drops().unwrap() > 0);
        write(&mut writer, &[Request::Put(&udp(6000 + round))]);
        let events = sessions(all(&mut listener));
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].2.original, udp(6000 + round).original);
    }
}

#[test]
fn a_large_buffer_loses_nothing_while_nobody_reads() {
    if !inside("a_large_buffer_loses_nothing_while_nobody_reads") {
        return;
    }
    // Without privileges on the host the buffer is capped, and so is what is promised.
    let (mut listener, given) = Listener::open(8 << 20).unwrap();
    let count = (given / 2048).min(20_000) as u16;
    let mut writer = Writer::open().unwrap();
    let entries = (0..count).map(tcp).collect::<Vec<_>>();
    write(&mut writer, &entries.iter().map(Request::Put).collect::<Vec<_>>());
    let events = sessions(all(&mut listener));
    assert_eq!(events.len(), usize::from(count));
    for ((kind, _, told), entry) in events.iter().zip(&entries) {
        assert_eq!((*kind, told.original, told.reply), (Kind::New, entry.original, entry.reply));
        let mark = entry.mark.filter(|mark| *mark != 0);
        assert_eq!((told.mark.filter(|mark| *mark != 0), told.proto), (mark, entry.proto));
    }
    assert_eq!(listener.drops().unwrap(), 0);
}

#[test]
fn expectations_are_told_of_when_they_begin_and_when_they_end() {
    if !inside("expectations_are_told_of_when_they_begin_and_when_they_end") {
        return;
    }
    let (mut listener, _) = Listener::open(1 << 20).unwrap();
    let mut writer = Writer::open().unwrap();
    let master = Entry { helper: Some("ftp".into()), ..tcp(1000) };
    let expectation = Expectation {
        tuple: ports(SERVER, CLIENT, 6, 0, 4000),
        mask: ports(Ipv4Addr::BROADCAST, Ipv4Addr::BROADCAST, 6, 0, 0xffff),
        master: master.original,
        zone: 0,
        timeout: Some(60),
        id: None,
        helper: Some("ftp".into()),
        flags: 0,
        class: 0,
        nat: None,
        function: None,
    };
    let unexpect = Request::Unexpect { tuple: &expectation.tuple, zone: 0, id: None };
    let row = [Request::Put(&master), Request::Expect(&expectation), unexpect];
    use Outcome::{Created, Deleted};
    assert_eq!(write(&mut writer, &row), [Created, Created, Deleted]);
    let told = all(&mut listener).into_iter().filter_map(|event| match event {
        Event::Expectation { kind, port, expectation } => Some((kind, port, expectation)),
        Event::Session { .. } => None,
    });
    let told = told.collect::<Vec<_>>();
    let kinds = told.iter().map(|(kind, port, _)| (*kind, *port)).collect::<Vec<_>>();
    assert_eq!(kinds, [(Kind::New, writer.port()), (Kind::Destroy, writer.port())]);
    for (_, _, read) in &told {
        let (id, timeout) = (read.id, read.timeout);
        assert_eq!(*read, Expectation { id, timeout, ..expectation.clone() });
    }
}

#[test]
fn with_events_always_on_sessions_from_before_the_listener_are_told_of() {
    if !inside("with_events_always_on_sessions_from_before_the_listener_are_told_of") {
        return;
    }
    let space = Space::new();
    space.set("netfilter/nf_conntrack_events", "1");
    let mut writer = space.run(|| Writer::open().unwrap());
    let entry = tcp(1000);
    write(&mut writer, &[Request::Put(&entry)]);
    let (mut listener, _) = space.run(|| Listener::open(1 << 20).unwrap());
    write(&mut writer, &[Request::Update(&Entry { mark: Some(9), ..entry.clone() })]);
    let events = sessions(all(&mut listener));
    let told = events.iter().map(|(kind, _, told)| (*kind, told.original, told.mark));
    assert_eq!(told.collect::<Vec<_>>(), [(Kind::Update, entry.original, Some(9))]);
}

#[test]
fn a_session_that_runs_out_is_told_of() {
    if !inside("a_session_that_runs_out_is_told_of") {
        return;
    }
    let (mut listener, _) = Listener::open(1 << 20).unwrap();
    let mut writer = Writer::open().unwrap();
    let mut conntrack = Conntrack::open().unwrap();
    let entry = Entry { timeout: Some(1), ..udp(1000) };
    write(&mut writer, &[Request::Put(&entry)]);
    let told = eventually("its end", || {
        std::thread::sleep(Duration::from_millis(20));
        // A look-up makes the kernel see that its time is over.
        let _ = get(&mut conntrack, &entry);
        sessions(all(&mut listener)).into_iter().find(|(kind, _, _)| *kind == Kind::Destroy)
    });
    assert_eq!((told.1, told.2.original), (0, entry.original));
}
