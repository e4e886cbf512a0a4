//! The wire format: what is written is read, and nothing else is.

use proptest::prelude::*;
use std::net::IpAddr;
use twinwall_ctsync::RuleIdentity;
use twinwall_ctsync::model::{
    Direction, Expectation, GroupTag, Layer4, Proto, Role, SeqAdjust, Session, Status, SynProxy,
    Tcp, TcpState, Tuple, Zone, join,
};
use twinwall_ctsync::wire::{
    Ack, Beat, Change, Hello, Reader, RecordReader, RecordWriter, Section, Writer, coarse, pack,
    read_packet, unpack, write_packet,
};

fn address(ipv6: bool) -> BoxedStrategy<IpAddr> {
    // Few prefixes, so that some are shared with the record before.
    if ipv6 {
        (0u8..3, any::<[u8; 4]>())
            .prop_map(|(net, low)| {
                let mut octets = [0x20, 1, 0xd, 0xb8, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                octets[12..].copy_from_slice(&low);
                octets.into()
            })
            .boxed()
    } else {
        (0u8..3, any::<[u8; 2]>()).prop_map(|(net, [a, b])| [10, net, a, b].into()).boxed()
    }
}

fn tuple(ipv6: bool, protocol: u8, form: u8) -> impl Strategy<Value = Tuple> {
    (address(ipv6), address(ipv6), any::<u16>(), any::<u16>()).prop_map(move |(src, dst, a, b)| {
        let [kind, code] = b.to_be_bytes();
        let layer4 = match form {
            0 => Layer4::None,
            1 => Layer4::Ports { src: a, dst: b },
            _ => Layer4::Icmp { id: a, kind, code },
        };
        Tuple { src, dst, protocol, layer4 }
    })
}

fn proto() -> impl Strategy<Value = Proto> {
    prop_oneof![
        Just(Proto::None),
        (0u8..16, 0u8..15, 0u8..15, any::<[u8; 2]>()).prop_map(|(state, a, b, flags)| {
            Proto::Tcp(Tcp {
                state: TcpState(state),
                scale_original: a,
                scale_reply: b,
                flags_original: flags[0],
                flags_reply: flags[1],
            })
        }),
        (any::<u8>(), any::<u32>(), any::<u32>()).prop_map(|(state, tag_original, tag_reply)| {
            Proto::Sctp { state, tag_original, tag_reply }
        }),
        (any::<u8>(), any::<u8>(), any::<u64>()).prop_map(|(state, role, handshake)| Proto::Dccp {
            state,
            role,
            handshake
        }),
    ]
}

fn adjust() -> impl Strategy<Value = [SeqAdjust; 2]> {
    any::<[u32; 6]>().prop_map(|[a, b, c, d, e, f]| {
        [
            SeqAdjust { position: a, before: b, after: c },
            SeqAdjust { position: d, before: e, after: f },
        ]
    })
}

fn expectation(ipv6: bool) -> impl Strategy<Value = Box<Expectation>> {
    let nat = proptest::option::of((0u32..2, tuple(ipv6, 6, 1)));
    (tuple(ipv6, 6, 1), any::<[u32; 2]>(), nat, proptest::option::of("[a-z-]{1,31}")).prop_map(
        |(mask, [flags, class], nat, function)| {
            Box::new(Expectation { mask, flags, class, nat, function: function.map(Into::into) })
        },
    )
}

prop_compose! {
    fn some_session(ipv6: bool, protocol: u8, form: u8)(
        original in tuple(ipv6, protocol, form),
        translated in proptest::option::of(tuple(ipv6, protocol, form)),
        zone in (0u16..3, 0u8..3),
        status in any::<u32>(),
        proto in proto(),
        timeout in any::<u32>(),
        mark in any::<u32>(),
        labels in prop_oneof![Just(0), any::<u128>()],
        helper in proptest::option::of("[a-z-]{1,15}"),
        master in proptest::option::of(tuple(ipv6, 6, 1)),
        more in (
            proptest::option::of(adjust()), proptest::option::of(any::<[u32; 3]>()), 0u8..3,
            proptest::option::weighted(0.2, expectation(ipv6)),
        ),
    ) -> Session {
        let mut session = Session::new(original, translated.unwrap_or(original.inverse()));
        let direction = [Direction::Both, Direction::Original, Direction::Reply][zone.1 as usize];
        session.zone = Zone { id: zone.0, direction };
        session.status = Status(status).replicated();
        session.proto = proto;
        session.timeout = coarse::rounded(timeout);
        session.mark = mark;
        session.labels = labels;
        session.helper = helper.map(Into::into);
        session.master = master;
        session.seq_adjust = more.0;
        session.syn_proxy = more.1.map(|[isn, its, offset]| SynProxy { isn, its, offset });
        session.group = GroupTag(more.2);
        session.expectation = more.3;
        session
    }
}

fn session() -> impl Strategy<Value = Session> {
    (any::<bool>(), prop_oneof![Just((6, 1)), Just((17, 1)), Just((1, 2)), Just((50, 0))])
        .prop_flat_map(|(ipv6, (protocol, form))| some_session(ipv6, protocol, form))
}

fn change() -> impl Strategy<Value = Change> {
    (session(), any::<u32>(), 0u8..5).prop_map(|(session, version, end)| {
        if end == 0 {
            let ran_out = version % 2 == 0;
            Change::End { identity: session.identity(), version, ran_out }
        } else {
            Change::Put { session, version }
        }
    })
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(changes in proptest::collection::vec(change(), 1..12)) {
        let mut writer = Writer::default();
        let mut records = RecordWriter::default();
        for change in &changes {
            let before = writer.len();
            records.write(&mut writer, change);
            prop_assert!(writer.len() - before <= twinwall_ctsync::wire::MAX_RECORD);
        }
        let mut reader = Reader::new(writer.as_slice());
        let mut records = RecordReader::default();
        for change in &changes {
            prop_assert_eq!(&records.read(&mut reader).unwrap(), change);
        }
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn a_session_in_memory_is_the_session(session in session(), version: u32) {
        let mut writer = Writer::default();
        pack(&mut writer, &session, version);
        prop_assert_eq!(unpack(writer.as_slice()).unwrap(), (session, version));
    }

    #[test]
    fn a_record_that_is_cut_short_is_refused(change in change(), keep in any::<prop::sample::Index>()) {
        let mut writer = Writer::default();
        RecordWriter::default().write(&mut writer, &change);
        let cut = keep.index(writer.len());
        let read = RecordReader::default().read(&mut Reader::new(&writer.as_slice()[..cut]));
        prop_assert!(read.is_err());
    }

    #[test]
    fn what_is_read_can_be_written_and_read_again(bytes: Vec<u8>) {
        if let Ok(change) = RecordReader::default().read(&mut Reader::new(&bytes)) {
            let mut writer = Writer::default();
            RecordWriter::default().write(&mut writer, &change);
            let again = RecordReader::default().read(&mut Reader::new(writer.as_slice()));
            prop_assert_eq!(again, Ok(change));
        }
    }

    #[test]
    fn unknown_fields_and_sections_are_skipped(change in change(), later: Vec<u8>) {
        let mut record = Writer::default();
        RecordWriter::default().write(&mut record, &change);
        let mut reader = Reader::new(record.as_slice());
        let bits = reader.number("bits").unwrap();
        let mut writer = Writer::default();
        writer.number(bits | 1 << 40);
        writer.put(reader.rest());
        writer.counted(&later);
        let mut reader = Reader::new(writer.as_slice());
        prop_assert_eq!(RecordReader::default().read(&mut reader).unwrap(), change);
        prop_assert!(reader.is_empty());

        let mut sections = Writer::default();
        sections.u8(200);
        sections.counted(&later);
        Section::AskGroups.write(&mut sections);
        let read = Section::read(&mut Reader::new(sections.as_slice()));
        prop_assert_eq!(read, Ok(Some(Section::AskGroups)));
    }

    #[test]
    fn sections_are_read_as_they_were_written(numbers: [u64; 4], keys: Vec<u32>, rule: u128) {
        let beat = Beat {
            complete: true,
            idle: false,
            asks: true,
            applied: numbers[0],
            sessions: numbers[1],
            root: numbers[2],
            roles: vec![(GroupTag(3), Role::Active), (GroupTag(4), Role::Backup)],
            homes: keys.first().map(|_| numbers[3]),
        };
        let rules = keys.iter().map(|key| (*key, (key % 2 == 0).then_some(RuleIdentity(rule))));
        let sections = [
            Section::Beat(beat),
            Section::AskGroups,
            Section::Groups(vec![numbers[3]; 128]),
            Section::AskLeaves(127),
            Section::Leaves(5, vec![numbers[0]; 128]),
            Section::ResyncDone,
            Section::Hello(Hello { answer: true, claims: numbers[0] & 1 != 0, active: numbers }),
            Section::AskRules(keys.clone()),
            Section::Rules(rules.collect()),
            Section::Goodbye,
            Section::Keyspace(rule),
            Section::DigestKey([numbers[0], numbers[1]]),
            Section::AskResync,
        ];
        let mut writer = Writer::default();
        sections.iter().for_each(|section| section.write(&mut writer));
        let mut reader = Reader::new(writer.as_slice());
        for section in sections {
            prop_assert_eq!(Section::read(&mut reader), Ok(Some(section)));
        }
        prop_assert_eq!(Section::read(&mut reader), Ok(None));
    }

    #[test]
    fn packets_are_read_as_they_were_written(
        cumulative: u64, last: u64, number in proptest::option::of(1u64..), selective: [u8; 20],
        sections: Vec<u8>,
    ) {
        let ack = Ack { cumulative, selective: selective.to_vec(), last };
        let bytes = write_packet(&ack, number, &sections);
        let packet = read_packet(&bytes).unwrap();
        prop_assert_eq!((packet.ack, packet.number, packet.sections), (ack, number, &sections[..]));
    }

    #[test]
    fn join_is_the_same_whoever_does_it(a in session(), b in session(), c in session()) {
        let alike = |other: &Session| {
            let mut other = other.clone();
            (other.original, other.zone) = (a.original, a.zone);
            other.reply = if other.mark.is_multiple_of(2) { a.reply } else { a.original.inverse() };
            other.master = a.master;
            other.expectation.clone_from(&a.expectation);
            other
        };
        let (b, c) = (alike(&b), alike(&c));
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
    }
}

#[test]
fn a_tcp_session_takes_about_twenty_bytes_after_one_like_it() {
    let session = |number: u16| {
        let original = Tuple {
            src: [10, 1, (number >> 8) as u8, number as u8].into(),
            dst: [192, 0, 2, 80].into(),
            protocol: 6,
            layer4: Layer4::Ports { src: number.wrapping_mul(40_503), dst: 443 },
        };
        let mut session = Session::new(original, original.inverse());
        session.reply.dst = [203, 0, 113, 7].into();
        session.status = Status(0x16);
        session.mark = 7;
        session.timeout = 432_000;
        session.proto = Proto::Tcp(Tcp {
            state: TcpState(3),
            scale_original: (number % 8) as u8,
            scale_reply: 7,
            flags_original: 0x23,
            flags_reply: 0x23,
        });
        session
    };
    let mut writer = Writer::default();
    let mut records = RecordWriter::default();
    for number in 0..100 {
        records.write(&mut writer, &Change::Put { session: session(number), version: 2 });
    }
    assert!(writer.len() < 100 * 20, "{}", writer.len());
}

#[test]
fn an_acknowledgement_at_the_highest_number_selects_nothing_beyond_it() {
    let ack = |cumulative| Ack { cumulative, selective: vec![0b101], last: 0 };
    let selected = |cumulative| ack(cumulative).selected().collect::<Vec<_>>();
    assert_eq!(selected(7), [9, 11]);
    assert_eq!(selected(u64::MAX - 2), [u64::MAX]);
    assert_eq!(selected(u64::MAX), [0u64; 0]);
}
