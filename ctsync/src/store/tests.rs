//! Claims about the store, held to a map.

use super::*;
use crate::model::{Layer4, Status, Tuple};
use std::collections::BTreeMap;

fn session(number: u32, long: bool) -> Session {
    let [_, b, c, d] = number.to_be_bytes();
    let original = Tuple {
        src: [10, b, c, d].into(),
        dst: [192, 0, 2, 1].into(),
        protocol: 6,
        layer4: Layer4::Ports { src: 1024, dst: 443 },
    };
    let mut session = Session::new(original, original.inverse());
    session.status = Status(6);
    session.mark = number;
    if long {
        session.labels = u128::MAX;
        session.master = Some(original);
    }
    session
}

#[test]
fn a_store_keeps_what_a_map_keeps_and_digests_follow() {
    let mut store = Store::new([1, 2], 0xff);
    let mut map = BTreeMap::new();
    let mut state = 1u64;
    for step in 0..60_000u32 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (state >> 40) as u32 % 3000;
        let session = session(number, state >> 33 & 1 != 0);
        let found = store.find(&session.identity());
        assert_eq!(found.is_some(), map.contains_key(&number));
        match (found, state >> 61) {
            (None, _) => {
                store.insert(&session, step, Flags::NONE).unwrap();
                map.insert(number, (session, step));
            }
            (Some(index), 0) => {
                store.remove(index);
                map.remove(&number);
            }
            (Some(index), _) => {
                assert_eq!(store.get(index).unwrap(), map[&number]);
                assert!(store.update(index, &session, step));
                map.insert(number, (session, step));
            }
        }
        assert_eq!(store.live(), map.len());
    }
    let mut fresh = Store::new([1, 2], 0xff);
    for (session, version) in map.values() {
        // The owned bits of the mark don't count.
        let mut session = session.clone();
        session.mark ^= 0x55;
        fresh.insert(&session, *version, Flags::NONE).unwrap();
    }
    assert_eq!(store.root(), fresh.root());
    assert_eq!(store.group_digests(), fresh.group_digests());
    for (number, _) in map {
        let index = store.find(&session(number, false).identity()).unwrap();
        store.remove(index);
    }
    assert_eq!((store.root(), store.live()), (0, 0));
    assert!(store.group_digests().iter().all(|digest| *digest == 0));
}

#[test]
fn an_ended_session_is_in_no_digest_and_can_live_again() {
    let mut store = Store::new([1, 2], 0);
    let index = store.insert(&session(1, false), 1, Flags::NONE).unwrap();
    let root = store.root();
    store.end_session(index, 2);
    assert_eq!((store.root(), store.live(), store.dead()), (0, 0, 1));
    store.update(index, &session(1, false), 1);
    assert_eq!((store.root(), store.live(), store.dead()), (root, 1, 0));
}

#[test]
fn another_key_keeps_the_sessions_and_changes_the_digests() {
    let mut store = Store::new([1, 2], 0);
    for number in 0..1000 {
        store.insert(&session(number, false), 1, Flags::NONE).unwrap();
    }
    let root = store.root();
    store.rekey([3, 4]);
    assert_ne!(store.root(), root);
    assert!((0..1000).all(|number| store.find(&session(number, false).identity()).is_some()));
    store.rekey([1, 2]);
    assert_eq!(store.root(), root);
}
