//! Connection tracking against the kernel, with entries made by the test in a namespace.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::conntrack::{Entry, insert, ports};
use common::{inside, inside_without_capabilities};
use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use twinwall_netlink::conntrack::{
    Conntrack, Layer4, MarkFilter, SessionRef, Status, Tuple, TupleRef, Updater,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1);

/// One entry of each kind, with marks 1, 2, ...
fn kinds() -> Vec<Entry> {
    let icmp = |kind| Layer4::Icmp { id: 77, kind, code: 0 };
    let (client, server) = (CLIENT.into(), SERVER.into());
    let (client6, server6) = (CLIENT6.into(), SERVER6.into());
    let gre = Tuple { src: client, dst: server, protocol: 47, layer4: Layer4::None, zone: None };
    [
        ports(CLIENT, SERVER, TCP, 1025, 443),
        ports(CLIENT6, SERVER6, TCP, 1025, 443),
        ports(CLIENT, SERVER, UDP, 1025, 53),
        ports(CLIENT6, SERVER6, 132, 1025, 38412),
        Tuple { src: client, dst: server, protocol: 1, layer4: icmp(8), zone: None },
        Tuple { src: client6, dst: server6, protocol: 58, layer4: icmp(128), zone: None },
        Tuple { protocol: 89, ..gre },
    ]
    .into_iter()
    .zip(1..)
    .map(|(tuple, mark)| Entry::new(tuple, mark))
    .collect()
}

fn marks(conntrack: &mut Conntrack, filter: Option<MarkFilter>) -> BTreeMap<u32, usize> {
    let mut marks = BTreeMap::new();
    let dumped = conntrack.dump(filter, |session| *marks.entry(session.mark).or_default() += 1);
    let dumped = dumped.unwrap();
    assert_eq!(dumped.unreadable, 0);
    assert_eq!(dumped.sessions as usize, marks.values().sum::<usize>());
    marks
}

#[test]
fn a_dump_gives_every_session_of_both_families_as_it_was_made() {
    if !inside("a_dump_gives_every_session_of_both_families_as_it_was_made") {
        return;
    }
    insert(kinds());
    let mut seen = Vec::new();
    let mut ids = HashSet::new();
    let dumped = Conntrack::open().unwrap().dump(None, |session| {
        assert!(session.status.has(Status::CONFIRMED) && session.status.has(Status::ASSURED));
        assert!(session.timeout.is_some_and(|left| (3500..=3600).contains(&left)));
        assert_eq!(session.tcp_state, (session.original.protocol == TCP).then_some(3));
        assert_eq!((session.master, session.zone), (None, 0));
        assert_eq!(Tuple::parse(session.original_bytes), Some(session.original));
        assert!(ids.insert(session.id));
        seen.push((session.mark, session.original, session.reply));
    });
    assert_eq!(dumped.unwrap().sessions, 7);
    seen.sort_by_key(|seen| seen.0);
    let made = kinds().into_iter().map(|entry| (entry.mark, entry.original, entry.reply));
    assert_eq!(seen, made.collect::<Vec<_>>());
}

#[test]
fn a_filter_lets_through_the_sessions_whose_masked_mark_is_equal() {
    if !inside("a_filter_lets_through_the_sessions_whose_masked_mark_is_equal") {
        return;
    }
    let entry = |i: u16| {
        Entry::new(ports(CLIENT, SERVER, UDP, 1000 + i, 53), 0xaa00_0000 | u32::from(i % 10))
    };
    let entry6 = |i: u16| Entry::new(ports(CLIENT6, SERVER6, UDP, 1000 + i, 53), u32::from(i % 10));
    insert((0..500).map(entry));
    insert((0..500).map(entry6));
    let mut conntrack = Conntrack::open().unwrap();
    let mut filtered = |mark, mask| marks(&mut conntrack, Some(MarkFilter { mark, mask }));
    assert_eq!(filtered(3, 0xff_ffff), BTreeMap::from([(3, 50), (0xaa00_0003, 50)]));
    assert_eq!(filtered(0xaa00_0003, u32::MAX), BTreeMap::from([(0xaa00_0003, 50)]));
    assert_eq!(filtered(0xaa00_0000, 0xff00_0000).values().sum::<usize>(), 500);
    assert_eq!(filtered(0, 0).values().sum::<usize>(), 1000);
    assert_eq!(filtered(11, 0xff_ffff), BTreeMap::new());
    assert_eq!(conntrack.count().unwrap(), 1000);
}

#[test]
fn new_marks_reach_all_sessions_and_touch_only_the_bits_of_the_mask() {
    if !inside("new_marks_reach_all_sessions_and_touch_only_the_bits_of_the_mask") {
        return;
    }
    const MASK: u32 = 0x00ff_ffff;
    insert((0..1000).map(|i| Entry::new(ports(CLIENT, SERVER, TCP, 2000 + i, 443), 0x5500_0007)));
    insert(kinds().into_iter().map(|entry| Entry { mark: 0x5500_0007, ..entry }));
    let mut conntrack = Conntrack::open().unwrap();
    let mut updater = Updater::open().unwrap();
    // While the dump runs, from its own bytes; with bits outside the mask that must not count.
    conntrack
        .dump(None, |session| {
            updater.remark(session.reference(), 0xffab_cdef, MASK).unwrap();
        })
        .unwrap();
    let tally = updater.flush().unwrap();
    assert_eq!((tally.sent, tally.gone, tally.refused, tally.overruns), (1007, 0, 0, 0));
    assert_eq!(marks(&mut conntrack, None), BTreeMap::from([(0x55ab_cdef, 1007)]));
}

#[test]
fn sessions_that_are_gone_are_counted_and_the_rest_is_changed() {
    if !inside("sessions_that_are_gone_are_counted_and_the_rest_is_changed") {
        return;
    }
    let tuple = |i: u16| ports(CLIENT, SERVER, UDP, 1000 + i, 53);
    insert((0..200).map(|i| Entry::new(tuple(i), 1)));
    let mut conntrack = Conntrack::open().unwrap();
    let mut references = Vec::new();
    let keep = |session: SessionRef<'_>| (session.family, session.original.to_vec());
    conntrack
        .dump(None, |session| references.push((keep(session.reference()), session.id)))
        .unwrap();
    let mut updater = Updater::open().unwrap();
    let reference = |(family, original): &(u8, Vec<u8>)| -> SessionRef<'static> {
        SessionRef { family: *family, original: original.clone().leak(), zone: 0 }
    };
    for (kept, id) in &references[..150] {
        updater.delete(reference(kept), *id).unwrap();
    }
    assert_eq!(updater.flush().unwrap().gone, 0);
    assert_eq!(conntrack.count().unwrap(), 50);
    for (kept, _) in &references {
        updater.remark(reference(kept), 2, 0xff).unwrap();
    }
    let tally = updater.flush().unwrap();
    assert_eq!((tally.sent, tally.gone, tally.refused), (200, 150, 0));
    assert_eq!(marks(&mut conntrack, None), BTreeMap::from([(2, 50)]));
    assert_eq!(updater.flush().unwrap().sent, 0, "a tally begins anew");
}

#[test]
fn a_session_with_another_id_is_not_ended() {
    if !inside("a_session_with_another_id_is_not_ended") {
        return;
    }
    insert(kinds());
    let mut conntrack = Conntrack::open().unwrap();
    let mut updater = Updater::open().unwrap();
    let delete = |updater: &mut Updater, conntrack: &mut Conntrack, flip: u32| {
        conntrack
            .dump(None, |session| updater.delete(session.reference(), session.id ^ flip).unwrap())
            .unwrap();
        updater.flush().unwrap()
    };
    assert_eq!(delete(&mut updater, &mut conntrack, 1).gone, 7);
    assert_eq!(conntrack.count().unwrap(), 7);
    assert_eq!(delete(&mut updater, &mut conntrack, 0).gone, 0);
    assert_eq!(conntrack.count().unwrap(), 0);
}

#[test]
fn a_request_without_a_tuple_ends_nothing() {
    if !inside("a_request_without_a_tuple_ends_nothing") {
        return;
    }
    insert(kinds());
    let mut updater = Updater::open().unwrap();
    let nothing = SessionRef { family: libc::AF_INET as u8, original: &[], zone: 0 };
    updater.delete(nothing, 0).unwrap();
    let tally = updater.flush().unwrap();
    assert_eq!((tally.gone, tally.refused), (0, 1));
    assert_eq!(tally.reason.unwrap().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(Conntrack::open().unwrap().count().unwrap(), 7);
}

#[test]
fn a_session_is_found_by_either_direction() {
    if !inside("a_session_is_found_by_either_direction") {
        return;
    }
    let original = ports(CLIENT, SERVER, TCP, 1025, 443);
    // As after DNAT to another server and SNAT to another address.
    let reply = ports(Ipv4Addr::new(10, 2, 0, 9), Ipv4Addr::new(10, 2, 0, 254), TCP, 8443, 30000);
    insert([Entry { reply, ..Entry::new(original, 5) }]);
    insert(kinds().into_iter().skip(1));
    let mut conntrack = Conntrack::open().unwrap();
    let mut get = |tuple: TupleRef<'_>| conntrack.get(tuple, 0, |s| (s.mark, s.original)).unwrap();
    assert_eq!(get(TupleRef::Original(&original)), Some((5, original)));
    assert_eq!(get(TupleRef::Reply(&reply)), Some((5, original)));
    for entry in kinds().iter().skip(1) {
        assert_eq!(get(TupleRef::Original(&entry.original)), Some((entry.mark, entry.original)));
        assert_eq!(get(TupleRef::Reply(&entry.reply)), Some((entry.mark, entry.original)));
    }
    assert_eq!(get(TupleRef::Original(&ports(SERVER, CLIENT, TCP, 9, 9))), None);
}

#[test]
fn sessions_in_zones_are_found_and_changed_each_by_itself() {
    if !inside("sessions_in_zones_are_found_and_changed_each_by_itself") {
        return;
    }
    let tuple = ports(CLIENT, SERVER, UDP, 1025, 53);
    let one_way = Tuple { zone: Some(8), ..ports(CLIENT, SERVER, UDP, 1026, 53) };
    let one_way_reply = ports(SERVER, CLIENT, UDP, 53, 1026);
    insert([
        Entry::new(tuple, 1),
        Entry { zone: 7, ..Entry::new(tuple, 2) },
        Entry { reply: one_way_reply, ..Entry::new(one_way, 3) },
    ]);
    let mut conntrack = Conntrack::open().unwrap();
    let mut updater = Updater::open().unwrap();
    let mut zones = Vec::new();
    conntrack
        .dump(None, |session| {
            zones.push((session.mark, session.zone, session.original.zone));
            updater.remark(session.reference(), session.mark + 10, 0xff).unwrap();
        })
        .unwrap();
    zones.sort_unstable();
    assert_eq!(zones, [(1, 0, None), (2, 7, None), (3, 0, Some(8))]);
    let tally = updater.flush().unwrap();
    assert_eq!((tally.gone, tally.refused), (0, 0), "{:?}", tally.reason);
    let expected = BTreeMap::from([(11, 1), (12, 1), (13, 1)]);
    assert_eq!(marks(&mut conntrack, None), expected);
    let mut mark = |zone| conntrack.get(TupleRef::Original(&tuple), zone, |s| s.mark).unwrap();
    assert_eq!((mark(0), mark(7), mark(9)), (Some(11), Some(12), None));
}

#[test]
fn an_expected_session_names_the_one_that_expected_it() {
    if !inside("an_expected_session_names_the_one_that_expected_it") {
        return;
    }
    let control = ports(CLIENT, SERVER, TCP, 1025, 21);
    let data = ports(SERVER, CLIENT, TCP, 20, 1026);
    insert([Entry::new(control, 1), Entry { master: Some(control), ..Entry::new(data, 2) }]);
    let mut conntrack = Conntrack::open().unwrap();
    let mut get = |tuple| conntrack.get(TupleRef::Original(tuple), 0, |s| s.master).unwrap();
    assert_eq!(get(&data), Some(Some(control)));
    assert_eq!(get(&control), Some(None));
}

#[test]
fn a_missing_capability_is_an_error_and_not_an_empty_table() {
    if !inside_without_capabilities("a_missing_capability_is_an_error_and_not_an_empty_table") {
        return;
    }
    let mut conntrack = Conntrack::open().unwrap();
    let errno = conntrack.dump(None, |_| ()).unwrap_err().errno();
    assert_eq!(errno, Some(libc::EPERM));
    assert_eq!(conntrack.count().unwrap_err().errno(), Some(libc::EPERM));
}
