//! Datagrams of connection tracking: reading ends, and a tuple that is read can be written and
//! read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinwall_netlink::conntrack::{Session, Tuple, sessions};
use twinwall_netlink::wire::{Writer, messages};

const TUPLE_ORIG: u16 = 1;

fuzz_target!(|data: &[u8]| {
    assert!(sessions(data).count() <= data.len() / 16);
    for session in sessions(data).flatten() {
        assert_eq!(Tuple::parse(session.original_bytes), Some(session.original));
        let _ = (session.original.fields(), session.reference());
        for tuple in [Some(session.original), Some(session.reply), session.master] {
            tuple.as_ref().map(check);
        }
    }
    for message in messages(data) {
        let _ = Session::parse(&message);
    }
});

fn check(tuple: &Tuple) {
    let mut writer = Writer::default();
    writer.message(0, 0, 0, tuple.family(), 0);
    writer.nest(TUPLE_ORIG, |w| tuple.write(w));
    let bytes = writer.finished().expect("a tuple is short");
    let attribute = messages(bytes).next().and_then(|message| message.attributes().next());
    assert_eq!(attribute.and_then(|(_, content)| Tuple::parse(content)), Some(*tuple));
}
