//! What the kernel sends to the owner of a queue.
//!
//! Goes in: datagrams. Comes out: packets, errors that verdicts met, and how much could not be
//! read. Layouts are those of `linux/netfilter/nfnetlink_queue.h`. Not here: what is inside the
//! packets, see [`super::packet`].

use crate::wire::{self, Message, be32};

/// `NFNL_SUBSYS_QUEUE`, the upper byte of the message types.
const SUBSYSTEM: u16 = 3 << 8;
const MSG_PACKET: u16 = SUBSYSTEM;
pub(super) const MSG_VERDICT: u16 = SUBSYSTEM | 1;
pub(super) const MSG_CONFIG: u16 = SUBSYSTEM | 2;

/// `NFQA_CFG_CMD`, and the command that did something in kernels before 3.8 and nothing since.
pub(super) const CFG_CMD: u16 = 1;
pub(super) const CMD_PF_BIND: u8 = 3;

/// The sequence number of the request that a [`super::Waker`] makes; others count from 0.
pub(super) const WAKE_SEQ: u32 = u32::MAX;

/// `enum nfqnl_attr_type`.
const PACKET_HDR: u16 = 1;
pub(super) const VERDICT_HDR: u16 = 2;
pub(super) const MARK: u16 = 3;
const IFINDEX_INDEV: u16 = 5;
const IFINDEX_OUTDEV: u16 = 6;
const PAYLOAD: u16 = 10;
const CAP_LEN: u16 = 13;

/// A packet that waits in the kernel for its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Names the packet in its verdict. Rises by one with each packet of a queue.
    pub id: u32,
    /// The hook, a number of `enum nf_inet_hooks`: 1 input, 2 forward.
    pub hook: u8,
    /// The EtherType, 0 for packets that this host sends.
    pub hw_protocol: u16,
    /// The packet mark.
    pub mark: u32,
    /// Index of the interface that it came in by, 0 for none.
    pub indev: u32,
    /// Index of the interface that it goes out by, 0 for none.
    pub outdev: u32,
    /// The packet from its IP header on, cut off after [`super::Config::copy_bytes`].
    pub payload: &'a [u8],
    /// Bytes of the whole packet.
    pub original_len: u32,
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// The message with this sequence number was carried out, errno 0, or refused.
    Answer {
        /// The sequence number.
        seq: u32,
        /// The errno.
        errno: i32,
    },
    /// A packet without a readable header, so that it has no number to give a verdict for.
    Malformed,
}

/// The messages of a datagram; those of other kinds are left out.
pub fn events(datagram: &[u8]) -> impl Iterator<Item = Event<'_>> {
    wire::messages(datagram).filter_map(|message| match message.kind {
        MSG_PACKET => Some(packet(&message).map_or(Event::Malformed, Event::Packet)),
        wire::ERROR => Some(Event::Answer { seq: message.seq, errno: message.errno() }),
        _ => None,
    })
}

fn packet<'a>(message: &Message<'a>) -> Option<Packet<'a>> {
    let mut packet = None;
    for (kind, payload) in message.attributes() {
        if kind == PACKET_HDR {
            let [i3, i2, i1, i0, p1, p0, hook] = *payload.first_chunk()?;
            packet.get_or_insert(Packet {
                id: u32::from_be_bytes([i3, i2, i1, i0]),
                hook,
                hw_protocol: u16::from_be_bytes([p1, p0]),
                mark: 0,
                indev: 0,
                outdev: 0,
                payload: &[],
                original_len: 0,
            });
            continue;
        }
        // The kernel writes the header first. Others before it would be lost.
        let packet = packet.as_mut()?;
        match kind {
            MARK => packet.mark = be32(payload)?,
            IFINDEX_INDEV => packet.indev = be32(payload)?,
            IFINDEX_OUTDEV => packet.outdev = be32(payload)?,
            CAP_LEN => packet.original_len = be32(payload)?,
            PAYLOAD => packet.payload = payload,
            _ => {}
        }
    }
    let packet = packet.as_mut()?;
    // The kernel gives the whole length only when it cut something off.
    let captured = u32::try_from(packet.payload.len()).unwrap_or(u32::MAX);
    packet.original_len = packet.original_len.max(captured);
    Some(*packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;
    use proptest::prelude::*;

    fn header(id: u32) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend([0x86, 0xdd, 2]);
        bytes
    }

    fn datagram(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(MSG_PACKET, 0, 0, 10, 5);
        fill(&mut writer);
        writer.finished().unwrap().to_vec()
    }

    fn whole() -> Vec<u8> {
        datagram(|w| {
            w.bytes(PACKET_HDR, &header(77));
            w.be32(IFINDEX_INDEV, 3);
            w.be32(IFINDEX_OUTDEV, 4);
            w.be32(MARK, 0x8000_0001);
            w.bytes(4, &[0; 16]);
            w.be32(CAP_LEN, 1500);
            w.bytes(PAYLOAD, b"a packet");
        })
    }

    #[test]
    fn a_packet_is_read_with_all_its_fields() {
        let bytes = whole();
        let packet = Packet {
            id: 77,
            hook: 2,
            hw_protocol: 0x86dd,
            mark: 0x8000_0001,
            indev: 3,
            outdev: 4,
            payload: b"a packet",
            original_len: 1500,
        };
        assert_eq!(events(&bytes).collect::<Vec<_>>(), [Event::Packet(packet)]);
    }

    #[test]
    fn without_a_capture_length_the_payload_is_the_packet() {
        let bytes = datagram(|w| {
            w.bytes(PACKET_HDR, &header(1));
            w.bytes(PAYLOAD, &[0; 60]);
        });
        let Some(Event::Packet(packet)) = events(&bytes).next() else { panic!("no packet") };
        assert_eq!((packet.original_len, packet.mark, packet.indev), (60, 0, 0));
    }

    #[test]
    fn a_packet_without_payload_still_has_its_number() {
        let bytes = datagram(|w| w.bytes(PACKET_HDR, &header(9)));
        let Some(Event::Packet(packet)) = events(&bytes).next() else { panic!("no packet") };
        assert_eq!((packet.id, packet.payload), (9, &[][..]));
    }

    #[test]
    fn a_packet_without_a_header_is_malformed() {
        for bytes in [
            datagram(|_| ()),
            datagram(|w| w.be32(MARK, 1)),
            datagram(|w| w.bytes(PACKET_HDR, &[0; 6])),
            datagram(|w| {
                w.bytes(PACKET_HDR, &header(1));
                w.bytes(MARK, &[0; 3]);
            }),
        ] {
            assert_eq!(events(&bytes).collect::<Vec<_>>(), [Event::Malformed]);
        }
    }

    #[test]
    fn an_attribute_of_length_zero_ends_the_packet_and_not_in_a_loop() {
        let mut bytes = datagram(|w| {
            w.bytes(PACKET_HDR, &header(5));
            w.be32(MARK, 6);
        });
        let mark = bytes.len() - 8;
        bytes[mark..mark + 2].fill(0);
        let Some(Event::Packet(packet)) = events(&bytes).next() else { panic!("no packet") };
        assert_eq!((packet.id, packet.mark), (5, 0));
    }

    #[test]
    fn answers_are_told_from_packets() {
        let mut bytes = whole();
        for errno in [0, libc::ENOENT] {
            bytes.extend(36u32.to_ne_bytes());
            bytes.extend(wire::ERROR.to_ne_bytes());
            bytes.extend([0; 2]);
            bytes.extend(8u32.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend((-errno).to_ne_bytes());
            bytes.extend([0; 16]);
        }
        let events = events(&bytes).skip(1).collect::<Vec<_>>();
        let answer = |errno| Event::Answer { seq: 8, errno };
        assert_eq!(events, [answer(0), answer(libc::ENOENT)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn random_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(events(&bytes).count() <= bytes.len() / 16);
        }

        #[test]
        fn a_cut_or_overwritten_packet_ends(
            cut in 0usize..200,
            at in any::<proptest::sample::Index>(),
            value in any::<u8>(),
        ) {
            let mut bytes = whole();
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(cut);
            prop_assert!(events(&bytes).count() <= bytes.len() / 16);
        }
    }
}
