//! What is written means what was meant, and whatever is read is read or refused.

use super::encode;
use super::entry::{Entry, SeqAdjust, SynProxy};
use super::events::{Event, Kind, events};
use super::expectation::{Expectation, ExpectedNat, MSG_NEW as EXPECT_NEW};
use super::proto::{ProtoInfo, SctpInfo, TcpEnd, TcpInfo};
use super::session::{self, Status};
use super::tuple::tests::any_tuple;
use super::tuple::{Layer4, Tuple};
use crate::wire::{self, Message, Writer, attributes, be16};
use proptest::prelude::*;
use std::net::IpAddr;

/// A tuple of a protocol that has ports, ICMP or neither, as the kernel makes them.
fn sound_tuple() -> impl Strategy<Value = Tuple> {
    let protocol = prop_oneof![Just(6), Just(17), Just(1), Just(47), Just(132), Just(50)];
    (any_tuple(), protocol, any::<(u16, u16)>()).prop_map(|(tuple, protocol, (a, b))| {
        let layer4 = match protocol {
            1 => Layer4::Icmp { id: a, kind: 8, code: 0 },
            50 => Layer4::None,
            _ => Layer4::Ports { src: a, dst: b },
        };
        Tuple { protocol, layer4, zone: None, ..tuple }
    })
}

/// The same, with some addresses and ports in place of others.
fn translated(tuple: Tuple, other: Tuple, what: u8) -> Tuple {
    let pick = |bit: u8| what & 1 << bit != 0;
    let same = tuple.family() == other.family();
    let address = |bit, is, to| if pick(bit) && same { to } else { is };
    let layer4 = match (tuple.layer4, other.layer4) {
        (Layer4::Ports { src, dst }, Layer4::Ports { src: s, dst: d }) => {
            Layer4::Ports { src: if pick(2) { s } else { src }, dst: if pick(3) { d } else { dst } }
        }
        (Layer4::Icmp { id, kind, code }, Layer4::Icmp { id: i, .. }) => {
            Layer4::Icmp { id: if pick(2) { i } else { id }, kind, code }
        }
        (is, _) => is,
    };
    let src = address(0, tuple.src, other.src);
    Tuple { src, dst: address(1, tuple.dst, other.dst), layer4, ..tuple }
}

fn any_proto(protocol: u8) -> BoxedStrategy<Option<ProtoInfo>> {
    let end = || (0u8..15, any::<u8>()).prop_map(|(scale, flags)| TcpEnd { scale, flags });
    match protocol {
        6 => (0u8..10, end(), end())
            .prop_map(|(state, a, b)| TcpInfo { state, ends: Some([a, b]) })
            .prop_map(|tcp| Some(ProtoInfo::Tcp(tcp)))
            .boxed(),
        132 => any::<(u8, [u32; 2])>()
            .prop_map(|(state, tags)| SctpInfo { state, tags: Some(tags) })
            .prop_map(|sctp| Some(ProtoInfo::Sctp(sctp)))
            .boxed(),
        _ => Just(None).boxed(),
    }
}

/// An entry that can be made, with any translation.
fn any_entry() -> impl Strategy<Value = Entry> {
    let tuples = (sound_tuple(), sound_tuple(), 0u8..16);
    let adjust = any::<[u32; 3]>().prop_map(|[position, before, after]| SeqAdjust {
        position,
        before,
        after,
    });
    let rest = (
        any::<(u16, u32, u32, u32)>(),
        any::<Option<u128>>(),
        proptest::option::of("[a-z]{1,15}"),
        proptest::option::of((adjust.clone(), adjust)),
        proptest::option::of((1u32.., any::<u32>(), any::<u32>())),
        any::<bool>(),
    );
    (tuples, rest).prop_flat_map(|((original, other, what), rest)| {
        any_proto(original.protocol).prop_map(move |proto| {
            let ((zone, status, timeout, mark), labels, helper, seq, syn, master) = rest.clone();
            let same = other.family() == original.family();
            Entry {
                zone,
                reply: Some(translated(original, other, what).inverse()),
                status: Some(Status(status)),
                proto,
                timeout: Some(timeout),
                mark: Some(mark),
                labels: labels.filter(|labels| *labels != 0),
                helper: helper.map(Into::into),
                master: (master && same).then_some(other),
                seq_adjust: seq.map(|(forth, back)| [forth, back]),
                syn_proxy: syn.map(|(isn, its, offset)| SynProxy { isn, its, offset }),
                ..Entry::new(original, 0)
            }
        })
    })
}

fn any_expectation() -> impl Strategy<Value = Expectation> {
    let tuples = (any_tuple(), any_tuple(), any_tuple(), any_tuple());
    let names = (proptest::option::of("[a-z]{1,15}"), proptest::option::of("[a-z]{1,31}"));
    (tuples, any::<(u32, u32, u32, bool)>(), names).prop_map(|(tuples, numbers, names)| {
        let (tuple, mask, master, to) = tuples;
        let (direction, flags, class, nat) = numbers;
        Expectation {
            tuple,
            mask,
            master,
            zone: 7,
            timeout: None,
            id: None,
            // The name is left out for some helpers unless there is a class.
            helper: names.0.map(Into::into),
            flags,
            class: class | 1,
            nat: nat.then_some(ExpectedNat { direction, tuple: to }),
            function: names.1.map(Into::into),
        }
    })
}

fn bytes(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    fill(&mut writer);
    writer.finished().unwrap().to_vec()
}

fn only(bytes: &[u8]) -> Message<'_> {
    let mut messages = wire::messages(bytes);
    let message = messages.next().unwrap();
    assert!(messages.next().is_none());
    message
}

/// What the kernel does with a reply direction and a translation: it works on the inverse, and
/// each range holds one address and one port.
fn translate(reply: Tuple, message: &Message<'_>) -> Tuple {
    let mut seen = reply.inverse();
    let mut range = |wanted: u16, source: bool| {
        let Some((_, nat)) = message.attributes().find(|(kind, _)| *kind == wanted) else {
            return;
        };
        let field = |kind: u16| attributes(nat).find(|(k, _)| *k == kind).map(|(_, bytes)| bytes);
        let v4 = field(1).map(|b| IpAddr::from(<[u8; 4]>::try_from(b).unwrap()));
        let v6 = field(4).map(|b| IpAddr::from(<[u8; 16]>::try_from(b).unwrap()));
        assert_eq!((field(1), field(4)), (field(2), field(5)), "one address");
        let to = v4.or(v6).unwrap();
        if source {
            seen.src = to
        } else {
            seen.dst = to
        }
        let ports = field(3).map(|ports| attributes(ports).collect::<Vec<_>>());
        if let Some(ports) = ports {
            assert_eq!(ports[0].1, ports[1].1, "one port");
            let port = be16(ports[0].1).unwrap();
            match &mut seen.layer4 {
                Layer4::Ports { src, .. } if source => *src = port,
                Layer4::Ports { dst, .. } => *dst = port,
                Layer4::Icmp { id, .. } => *id = port,
                Layer4::None => panic!("a port where there is none"),
            }
        }
    };
    range(session::NAT_DST, false);
    range(session::NAT_SRC, true);
    seen.inverse()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_session_that_is_made_is_the_one_that_was_meant(entry in any_entry()) {
        prop_assert_eq!(entry.complete(), Ok(()));
        let bytes = bytes(|w| encode::create(w, &entry, 5));
        let message = only(&bytes);
        let read = Entry::parse(&message).unwrap();
        let reply = translate(read.reply.unwrap(), &message);
        prop_assert_eq!(Some(reply), entry.reply);
        let settable = Status::SEEN_REPLY.0 | Status::ASSURED.0 | Status::FIXED_TIMEOUT.0;
        let status = entry.status.unwrap().0 & settable | Status::CONFIRMED.0;
        let mut meant = Entry { reply: read.reply, status: Some(Status(status)), ..entry };
        if let Some(ProtoInfo::Tcp(tcp)) = &mut meant.proto {
            tcp.ends.iter_mut().flatten().for_each(|end| end.flags &= TcpEnd::PORTABLE);
        }
        prop_assert_eq!(read, meant);
    }

    #[test]
    fn a_change_never_names_what_the_kernel_refuses_to_change(
        entry in any_entry(),
        here in any::<u32>(),
    ) {
        let here = Status(here);
        let status = encode::status_on(&entry, here);
        if let Some(status) = status {
            prop_assert_eq!(status.0 & here.0, here.0, "nothing is cleared");
            let fixed = Status::EXPECTED.0 | Status::CONFIRMED.0 | Status::DYING.0;
            prop_assert_eq!((status.0 ^ here.0) & fixed, 0);
        }
        let bytes = bytes(|w| encode::update(w, &entry, status, 5));
        let message = only(&bytes);
        for (kind, _) in message.attributes() {
            prop_assert!(![session::NAT_SRC, session::NAT_DST, session::TUPLE_MASTER,
                session::HELP, session::TUPLE_REPLY].contains(&kind));
        }
        let read = Entry::parse(&message).unwrap();
        prop_assert_eq!((read.original, read.zone, read.mark), (entry.original, entry.zone, entry.mark));
        prop_assert_eq!((read.labels, read.status), (entry.labels, status));
    }

    #[test]
    fn an_expectation_is_read_as_it_was_written(expectation in any_expectation()) {
        let bytes = bytes(|w| encode::expect(w, &expectation, 5));
        let message = only(&bytes);
        prop_assert_eq!(message.kind, EXPECT_NEW);
        prop_assert_eq!(Expectation::parse(&message), Some(expectation));
    }

    #[test]
    fn a_later_message_replaces_only_what_it_says(known in any_entry(), said in any_entry()) {
        let mut merged = known.clone();
        merged.merge(&Entry::new(said.original, 0));
        prop_assert_eq!(&merged, &known);
        merged.merge(&said);
        prop_assert_eq!((merged.mark, merged.status, merged.reply), (said.mark, said.status, said.reply));
        prop_assert_eq!(merged.labels, said.labels.or(known.labels));
        prop_assert_eq!(merged.helper, said.helper.or(known.helper));
    }

    #[test]
    fn random_bytes_are_events_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
        prop_assert!(events(&bytes).count() <= bytes.len() / 16);
    }

    #[test]
    fn an_overwritten_or_cut_event_is_read_or_refused(
        entry in any_entry(),
        expectation in any_expectation(),
        writes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = bytes(|w| {
            encode::create(w, &entry, 1);
            encode::expect(w, &expectation, 2);
        });
        let whole = events(&bytes).collect::<Vec<_>>();
        let session = matches!(whole[0], Some(Event::Session { kind: Kind::New, port: 0, .. }));
        let expected = matches!(whole[1], Some(Event::Expectation { kind: Kind::New, .. }));
        prop_assert!(session && expected);
        for (at, value) in writes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        prop_assert!(events(&bytes).count() <= bytes.len() / 16);
    }

    #[test]
    fn well_formed_attributes_with_random_content_are_read_or_refused(
        fields in proptest::collection::vec(
            (1u16..30, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        kind in prop_oneof![Just(0x100u16), Just(0x102), Just(0x200), Just(0x202)],
    ) {
        let bytes = bytes(|w| {
            w.message(kind, 0, 0, 2, 0);
            let address = IpAddr::from([10, 0, 0, 1]);
            let layer4 = Layer4::None;
            let tuple = Tuple { src: address, dst: address, protocol: 6, layer4, zone: None };
            for kind in 1..=3 {
                w.nest(kind, |w| tuple.write(w));
            }
            fields.iter().for_each(|(kind, content)| w.bytes(*kind, content));
        });
        prop_assert_eq!(events(&bytes).count(), 1);
    }
}
