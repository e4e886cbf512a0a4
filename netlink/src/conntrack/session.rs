//! Sessions as ctnetlink describes them.
//!
//! Goes in: a message of a dump, a look-up or a notification. Comes out: its fields, with the
//! bytes of the original tuple as they came, so that the session can be named again without
//! encoding it anew. Not here: requests.

use super::proto::ProtoInfo;
use super::tuple::Tuple;
use crate::wire::{self, Message, attributes, be16, be32, be64};

/// `enum ctattr_type`.
pub(super) const TUPLE_ORIG: u16 = 1;
pub(super) const TUPLE_REPLY: u16 = 2;
pub(super) const STATUS: u16 = 3;
pub(super) const PROTOINFO: u16 = 4;
pub(super) const HELP: u16 = 5;
pub(super) const NAT_SRC: u16 = 6;
pub(super) const TIMEOUT: u16 = 7;
pub(super) const MARK: u16 = 8;
pub(super) const COUNTERS_ORIG: u16 = 9;
pub(super) const COUNTERS_REPLY: u16 = 10;
pub(super) const ID: u16 = 12;
pub(super) const NAT_DST: u16 = 13;
pub(super) const TUPLE_MASTER: u16 = 14;
pub(super) const SEQ_ADJ_ORIG: u16 = 15;
pub(super) const SEQ_ADJ_REPLY: u16 = 16;
pub(super) const ZONE: u16 = 18;
pub(super) const MARK_MASK: u16 = 21;
pub(super) const LABELS: u16 = 22;
pub(super) const SYNPROXY: u16 = 24;
pub(super) const STATUS_MASK: u16 = 26;

/// `CTA_COUNTERS_PACKETS` and `_BYTES`.
const COUNTERS_PACKETS: u16 = 1;
const COUNTERS_BYTES: u16 = 2;

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// The direction of the first packet, before any translation.
    pub original: Tuple,
    /// The other direction, as packets come in from there. Its source is the destination of the
    /// original direction after DNAT, its destination the source after SNAT.
    pub reply: Tuple,
    /// The original direction of the session that expected this one.
    pub master: Option<Tuple>,
    /// How far it has come and what is done with it.
    pub status: Status,
    /// The connmark.
    pub mark: u32,
    /// Seconds until it ends if nothing comes; `None` for one that hardware forwards.
    pub timeout: Option<u32>,
    /// State of a TCP session, a number of `enum tcp_conntrack`: 3 is established.
    pub tcp_state: Option<u8>,
    /// The conntrack zone of both directions; 0 if none, or if a tuple has its own.
    pub zone: u16,
    /// Tells this session from a later one with the same tuples.
    pub id: u32,
    /// What went in the original and in the reply direction, if the kernel counts
    /// (`net.netfilter.nf_conntrack_acct`).
    pub counters: Option<(Counter, Counter)>,
    /// The content of its `CTA_TUPLE_ORIG`.
    pub original_bytes: &'a [u8],
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// Names a session in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef<'a> {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// The content of its `CTA_TUPLE_ORIG`.
    pub original: &'a [u8],
    /// The conntrack zone of both directions.
    pub zone: u16,
}

/// Bits of `enum ip_conntrack_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Another session expected it.
    pub const EXPECTED: Self = Self(1);
    /// Packets went both ways.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// It is not given up early when the table is full.
    pub const ASSURED: Self = Self(1 << 2);
    /// Its first packet went through.
    pub const CONFIRMED: Self = Self(1 << 3);
    /// Its source is translated.
    pub const SRC_NAT: Self = Self(1 << 4);
    /// Its destination is translated.
    pub const DST_NAT: Self = Self(1 << 5);
    /// Sequence numbers are shifted.
    pub const SEQ_ADJUST: Self = Self(1 << 6);
    /// Its translation of the source, even if it is none, is settled.
    pub const SRC_NAT_DONE: Self = Self(1 << 7);
    /// Its translation of the destination, even if it is none, is settled.
    pub const DST_NAT_DONE: Self = Self(1 << 8);
    /// It is being removed.
    pub const DYING: Self = Self(1 << 9);
    /// Packets don't prolong it.
    pub const FIXED_TIMEOUT: Self = Self(1 << 10);
    /// A rule or a program chose its helper.
    pub const HELPER: Self = Self(1 << 13);
    /// It goes past the rules, in software.
    pub const OFFLOAD: Self = Self(1 << 14);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl<'a> Session<'a> {
    /// Reads a message; `None` when something is missing or has an impossible length.
    #[must_use]
    pub fn parse(message: &Message<'a>) -> Option<Self> {
        let mut original_bytes = None;
        let (mut original, mut reply, mut master) = (None, None, None);
        let (mut status, mut mark, mut zone, mut id) = (0, 0, 0, 0);
        let (mut timeout, mut tcp_state) = (None, None);
        let (mut forth, mut back) = (None, None);
        for (kind, payload) in message.attributes() {
            match kind {
                TUPLE_ORIG => {
                    original = Some(Tuple::parse(payload)?);
                    original_bytes = Some(payload);
                }
                TUPLE_REPLY => reply = Some(Tuple::parse(payload)?),
                TUPLE_MASTER => master = Some(Tuple::parse(payload)?),
                STATUS => status = be32(payload)?,
                MARK => mark = be32(payload)?,
                TIMEOUT => timeout = Some(be32(payload)?),
                ZONE => zone = be16(payload)?,
                ID => id = be32(payload)?,
                PROTOINFO => tcp_state = parse_tcp_state(payload),
                COUNTERS_ORIG => forth = Some(parse_counter(payload)?),
                COUNTERS_REPLY => back = Some(parse_counter(payload)?),
                _ => {}
            }
        }
        Some(Self {
            original: original?,
            reply: reply?,
            master,
            status: Status(status),
            mark,
            timeout,
            tcp_state,
            zone,
            id,
            counters: forth.zip(back),
            original_bytes: original_bytes?,
        })
    }

    /// Names this session in a request.
    #[must_use]
    pub fn reference(&self) -> SessionRef<'a> {
        SessionRef {
            family: self.original.family(),
            original: self.original_bytes,
            zone: self.zone,
        }
    }
}

/// The sessions of a datagram, and `None` for each message that can't be read. Acknowledgements
/// and the end of a dump are left out.
pub fn sessions(datagram: &[u8]) -> impl Iterator<Item = Option<Session<'_>>> {
    let kinds = super::MSG_NEW..=super::MSG_GET_UNCONFIRMED;
    wire::messages(datagram)
        .filter(move |message| kinds.contains(&message.kind))
        .map(|message| Session::parse(&message))
}

fn parse_tcp_state(bytes: &[u8]) -> Option<u8> {
    match ProtoInfo::parse(bytes)? {
        Some(ProtoInfo::Tcp(tcp)) => Some(tcp.state),
        _ => None,
    }
}

pub(super) fn parse_counter(bytes: &[u8]) -> Option<Counter> {
    let mut counter = Counter::default();
    for (kind, payload) in attributes(bytes) {
        match kind {
            COUNTERS_PACKETS => counter.packets = be64(payload)?,
            COUNTERS_BYTES => counter.bytes = be64(payload)?,
            _ => {}
        }
    }
    Some(counter)
}

#[cfg(test)]
mod tests {
    use super::super::proto::{PROTOINFO_TCP, TCP_STATE};
    use super::super::tuple::Layer4;
    use super::super::tuple::tests::{any_tuple, bytes};
    use super::*;
    use crate::wire::Writer;
    use proptest::prelude::*;

    fn tuple(a: u8, b: u8, src: u16, dst: u16) -> Tuple {
        let address = |last: u8| [192, 0, 2, last].into();
        let layer4 = Layer4::Ports { src, dst };
        Tuple { src: address(a), dst: address(b), protocol: 6, layer4, zone: None }
    }

    fn datagram(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(super::super::MSG_NEW, 0, 0, 2, 0);
        fill(&mut writer);
        writer.finished().unwrap().to_vec()
    }

    fn whole(writer: &mut Writer) {
        writer.nest(TUPLE_ORIG, |w| tuple(1, 2, 1025, 443).write(w));
        writer.nest(TUPLE_REPLY, |w| tuple(3, 1, 8443, 1025).write(w));
        writer.be32(STATUS, 0x2e);
        writer.nest(PROTOINFO, |w| {
            w.nest(PROTOINFO_TCP, |w| {
                w.byte(2, 7);
                w.byte(TCP_STATE, 3);
            });
        });
        writer.be32(TIMEOUT, 431_999);
        writer.be32(MARK, 0xaa00_0005);
        for (kind, packets) in [(COUNTERS_ORIG, 10), (COUNTERS_REPLY, 20)] {
            writer.nest(kind, |w| {
                w.be64(COUNTERS_PACKETS, packets);
                w.be64(COUNTERS_BYTES, packets * 100);
            });
        }
        writer.nest(TUPLE_MASTER, |w| tuple(1, 2, 1024, 21).write(w));
        writer.be32(ID, 0xdead_beef);
        writer.be16(ZONE, 9);
        writer.bytes(500, b"an attribute of a later kernel");
    }

    #[test]
    fn a_session_is_read_with_all_its_fields() {
        let datagram = datagram(whole);
        let counter = |packets| Counter { packets, bytes: packets * 100 };
        let original = tuple(1, 2, 1025, 443);
        let expected = Session {
            original,
            reply: tuple(3, 1, 8443, 1025),
            master: Some(tuple(1, 2, 1024, 21)),
            status: Status(0x2e),
            mark: 0xaa00_0005,
            timeout: Some(431_999),
            tcp_state: Some(3),
            zone: 9,
            id: 0xdead_beef,
            counters: Some((counter(10), counter(20))),
            original_bytes: &bytes(&original),
        };
        assert_eq!(sessions(&datagram).collect::<Vec<_>>(), [Some(expected)]);
        assert!(expected.status.has(Status::DST_NAT) && !expected.status.has(Status::SRC_NAT));
        let reference = expected.reference();
        assert_eq!((reference.family, reference.zone), (libc::AF_INET as u8, 9));
    }

    #[test]
    fn what_the_kernel_leaves_out_has_no_value() {
        let datagram = datagram(|writer| {
            writer.nest(TUPLE_ORIG, |w| tuple(1, 2, 3, 4).write(w));
            writer.nest(TUPLE_REPLY, |w| tuple(2, 1, 4, 3).write(w));
        });
        let session = sessions(&datagram).next().unwrap().unwrap();
        assert_eq!((session.timeout, session.tcp_state, session.counters), (None, None, None));
        assert_eq!((session.master, session.zone, session.mark), (None, 0, 0));
    }

    #[test]
    fn a_session_without_a_tuple_or_with_a_short_number_is_unreadable() {
        let both = |writer: &mut Writer| {
            writer.nest(TUPLE_ORIG, |w| tuple(1, 2, 3, 4).write(w));
            writer.nest(TUPLE_REPLY, |w| tuple(2, 1, 4, 3).write(w));
        };
        for datagram in [
            datagram(|_| ()),
            datagram(|w| w.nest(TUPLE_ORIG, |w| tuple(1, 2, 3, 4).write(w))),
            datagram(|w| w.nest(TUPLE_REPLY, |w| tuple(1, 2, 3, 4).write(w))),
            datagram(|w| {
                both(w);
                w.byte(MARK, 1);
            }),
            datagram(|w| {
                both(w);
                w.nest(TUPLE_MASTER, |_| ());
            }),
        ] {
            assert_eq!(sessions(&datagram).collect::<Vec<_>>(), [None]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn the_bytes_of_the_tuple_are_those_that_came(original in any_tuple(), reply in any_tuple()) {
            let datagram = datagram(|writer| {
                writer.nest(TUPLE_ORIG, |w| original.write(w));
                writer.nest(TUPLE_REPLY, |w| reply.write(w));
            });
            let session = sessions(&datagram).next().unwrap().unwrap();
            prop_assert_eq!((session.original, session.reply), (original, reply));
            prop_assert_eq!(session.original_bytes, bytes(&original));
        }

        #[test]
        fn random_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(sessions(&bytes).count() <= bytes.len() / 16);
        }

        #[test]
        fn a_cut_or_overwritten_session_is_read_or_refused(
            cut in 0usize..400,
            at in any::<proptest::sample::Index>(),
            value in any::<u8>(),
        ) {
            let mut bytes = datagram(whole);
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(cut);
            prop_assert!(sessions(&bytes).count() <= 16);
        }
    }
}
