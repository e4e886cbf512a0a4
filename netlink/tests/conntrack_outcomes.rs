//! What becomes of each request to write a session, and in which order.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::conntrack::ports;
use common::entries::{BOTH_WAYS, SERVER, get, tcp, udp, write};
use common::inside;
use common::space::Space;
use std::net::Ipv4Addr;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Field, MarkFilter, Outcome, ProtoInfo, Request, Select, Status, TcpEnd,
    TcpInfo, Writer,
};

fn open() -> (Writer, Conntrack) {
    (Writer::open().unwrap(), Conntrack::open().unwrap())
}

#[test]
fn a_status_that_is_further_here_stays_and_the_rest_is_changed() {
    if !inside("a_status_that_is_further_here_stays_and_the_rest_is_changed") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let master = tcp(999);
    write(&mut writer, &[Request::Put(&master)]);
    let all = Some(BOTH_WAYS);
    let some = Some(Status::SEEN_REPLY);
    // What it is here, what is said; whether it is expected here, whether it is said.
    for (case, (here, said)) in
        (0u16..).zip([(all, some), (all, None), (some, all), (None, all), (None, some)])
    {
        for (number, (expected_here, expected_said)) in
            (0u16..).zip([(false, false), (true, false), (false, true), (true, true)])
        {
            let master = |expected: bool| expected.then_some(master.original);
            let entry = tcp(2000 + case * 10 + number);
            let entry = Entry { status: here, master: master(expected_here), ..entry };
            let later = Entry {
                status: said,
                master: master(expected_said),
                mark: Some(5),
                timeout: Some(77),
                ..entry.clone()
            };
            assert_eq!(write(&mut writer, &[Request::Put(&entry)]), [Outcome::Created]);
            assert_eq!(write(&mut writer, &[Request::Put(&later)]), [Outcome::Updated]);
            let read = get(&mut conntrack, &entry).unwrap();
            let bits = here.unwrap_or_default().0 | said.unwrap_or_default().0;
            assert_eq!(read.status.unwrap().0 & 6, bits);
            assert_eq!((read.mark, read.master), (Some(5), entry.master));
            assert!(read.timeout.is_some_and(|left| left <= 77));
        }
    }
}

#[test]
fn each_request_of_a_long_row_has_its_own_outcome() {
    if !inside("each_request_of_a_long_row_has_its_own_outcome") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let sessions = (0..200).map(|i| tcp(1000 + i)).collect::<Vec<_>>();
    write(&mut writer, &sessions.iter().step_by(2).map(Request::Put).collect::<Vec<_>>());
    let changed = sessions.iter().map(|s| Entry { mark: Some(9), ..s.clone() });
    let changed = changed.collect::<Vec<_>>();
    let orphan = Entry { master: Some(udp(7).original), ..tcp(5000) };
    let strange = Entry { helper: Some("nothing".into()), ..tcp(5001) };
    let stateless = Entry { proto: None, ..tcp(5002) };
    let timeless = Entry { timeout: None, ..tcp(5003) };
    let one_sided = Entry { reply: None, ..tcp(5004) };
    let nameless = Entry { helper: Some("".into()), ..tcp(5005) };
    let mixed = Entry { reply: Some(udp(1).original), ..tcp(5006) };
    let state = TcpInfo { state: 10, ends: Some([TcpEnd::default(); 2]) };
    let impossible = Entry { proto: Some(ProtoInfo::Tcp(state)), ..tcp(5007) };
    let odd = [
        (&orphan, Outcome::NoMaster),
        (&strange, Outcome::Refused(libc::EOPNOTSUPP)),
        (&stateless, Outcome::Incomplete(Field::Proto)),
        (&timeless, Outcome::Incomplete(Field::Timeout)),
        (&one_sided, Outcome::Incomplete(Field::Reply)),
        (&nameless, Outcome::Incomplete(Field::Helper)),
        (&mixed, Outcome::Incomplete(Field::Reply)),
        (&impossible, Outcome::Incomplete(Field::Proto)),
    ];
    let mut requests = Vec::new();
    let mut wanted = Vec::new();
    for (i, entry) in changed.iter().enumerate() {
        requests.push(Request::Put(entry));
        wanted.push(if i % 2 == 0 { Outcome::Updated } else { Outcome::Created });
        let (entry, outcome) = odd[i % odd.len()];
        requests.push(Request::Put(entry));
        wanted.push(outcome);
    }
    assert_eq!(write(&mut writer, &requests), wanted);
    assert_eq!(conntrack.count().unwrap(), 200);
    let nine = MarkFilter { mark: 9, mask: u32::MAX };
    let select = Select { mark: Some(nine), ..Select::default() };
    assert_eq!(conntrack.entries(select, drop).unwrap().sessions, 200);
    let (first, second) = sessions.split_at(100);
    let delete = |entry: &Entry, id| -> Request<'static> {
        Request::Delete { original: Box::leak(Box::new(entry.original)), zone: 0, id }
    };
    let gone = first.iter().map(|entry| delete(entry, None)).collect::<Vec<_>>();
    assert_eq!(write(&mut writer, &gone), [Outcome::Deleted; 100]);
    let updates = sessions.iter().map(Request::Update).collect::<Vec<_>>();
    let wanted = [[Outcome::Missing; 100], [Outcome::Updated; 100]].concat();
    assert_eq!(write(&mut writer, &updates), wanted);
    let later = second.iter().map(|entry| {
        let id = get(&mut conntrack, entry).unwrap().id.unwrap();
        delete(entry, Some(id ^ 1))
    });
    assert_eq!(write(&mut writer, &later.collect::<Vec<_>>()), [Outcome::Missing; 100]);
    let same = second.iter().map(|entry| delete(entry, get(&mut conntrack, entry).unwrap().id));
    assert_eq!(write(&mut writer, &same.collect::<Vec<_>>()), [Outcome::Deleted; 100]);
}

#[test]
fn requests_for_one_session_are_carried_out_in_their_order() {
    if !inside("requests_for_one_session_are_carried_out_in_their_order") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let entry = tcp(1000);
    let marked = |mark| Entry { mark: Some(mark), ..entry.clone() };
    let [one, two, three] = [1, 2, 3].map(marked);
    let delete = Request::Delete { original: &entry.original, zone: 0, id: None };
    use Outcome::{Created, Deleted, Missing, Updated};
    let row = [Request::Put(&one), Request::Put(&two), delete, Request::Update(&two), delete];
    assert_eq!(write(&mut writer, &row), [Created, Updated, Deleted, Missing, Missing]);
    let row = [Request::Put(&one), Request::Put(&three), Request::Put(&two)];
    assert_eq!(write(&mut writer, &row), [Created, Updated, Updated]);
    assert_eq!(get(&mut conntrack, &entry).unwrap().mark, Some(2));
    let row = [Request::Put(&one), delete];
    assert_eq!(write(&mut writer, &row), [Updated, Deleted]);
    assert_eq!(conntrack.count().unwrap(), 0);
}

#[test]
fn a_session_whose_translated_ports_are_taken_clashes_and_harms_nobody() {
    if !inside("a_session_whose_translated_ports_are_taken_clashes_and_harms_nobody") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let outer = Ipv4Addr::new(10, 2, 0, 254);
    let reply = Some(ports(SERVER, outer, 6, 443, 30_000));
    let [one, two] = [1000, 1001].map(|port| Entry { reply, ..tcp(port) });
    let row = [Request::Put(&one), Request::Put(&two), Request::Renew(&two)];
    assert_eq!(write(&mut writer, &row), [Outcome::Created, Outcome::Clash, Outcome::Clash]);
    assert_eq!(conntrack.count().unwrap(), 1);
    let read = get(&mut conntrack, &one).unwrap();
    assert_eq!((read.reply, read.mark), (reply, one.mark));
}

#[test]
fn labels_are_replaced_and_a_session_without_room_for_them_says_so() {
    if !inside("labels_are_replaced_and_a_session_without_room_for_them_says_so") {
        return;
    }
    let space = Space::new();
    let (mut writer, mut conntrack) = space.run(open);
    let labelled = |labels| Entry { labels: Some(labels), ..tcp(1000) };
    let [none, some, other] = [0, 1 << 127 | 1, 6 << 64].map(labelled);
    use Outcome::{Created, NoRoomForLabels, Updated};
    let row = [Request::Put(&some), Request::Put(&none), Request::Put(&other)];
    assert_eq!(write(&mut writer, &row), [Created, Updated, NoRoomForLabels]);
    assert_eq!(get(&mut conntrack, &some).unwrap().labels, None);
    space.nft("table inet t { chain c { type filter hook input priority 0; ct label set 1; }; }");
    let delete = Request::Delete { original: &some.original, zone: 0, id: None };
    let row = [delete, Request::Put(&some)];
    assert_eq!(write(&mut writer, &row), [Outcome::Deleted, Created]);
    assert_eq!(get(&mut conntrack, &some).unwrap().labels, some.labels);
    assert_eq!(write(&mut writer, &[Request::Put(&other)]), [Updated]);
    assert_eq!(get(&mut conntrack, &some).unwrap().labels, other.labels);
    assert_eq!(write(&mut writer, &[Request::Put(&none)]), [Updated]);
    assert_eq!(get(&mut conntrack, &some).unwrap().labels, None);
}

#[test]
fn a_fixed_timeout_stays_and_does_not_stand_in_the_way() {
    if !inside("a_fixed_timeout_stays_and_does_not_stand_in_the_way") {
        return;
    }
    let (mut writer, mut conntrack) = open();
    let fixed = Status(BOTH_WAYS.0 | Status::FIXED_TIMEOUT.0);
    let entry = Entry { status: Some(fixed), timeout: Some(500), ..udp(1000) };
    let later = Entry { timeout: Some(9000), mark: Some(3), ..entry.clone() };
    let row = [Request::Put(&entry), Request::Put(&later)];
    assert_eq!(write(&mut writer, &row), [Outcome::Created, Outcome::Updated]);
    let read = get(&mut conntrack, &entry).unwrap();
    assert_eq!(read.mark, Some(3));
    assert!(read.status.unwrap().has(fixed) && read.timeout.is_some_and(|left| left <= 500));
}
