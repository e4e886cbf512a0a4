//! Netlink messages and attributes as bytes: a bounds-checked reader and a writer.
//!
//! Layouts are those of `linux/netlink.h` and `linux/netfilter/nfnetlink.h`: host byte order in
//! the headers, 4-byte alignment everywhere. Not here: what the attributes mean.

/// `NLM_F_REQUEST`.
pub const F_REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub const F_ACK: u16 = 0x4;
/// `NLM_F_DUMP`.
pub const F_DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const F_REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const F_EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const F_CREATE: u16 = 0x400;

/// `NLMSG_ERROR`: an error, or with code 0 an acknowledgement.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const DONE: u16 = 3;

const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// The length of `struct nfgenmsg`, which follows the header of every netfilter message.
pub const NFGENMSG: usize = 4;

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub seq: u32,
    /// `nlmsg_pid`: in a notification the port of the socket whose request it is about, or 0.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes of a netfilter message, behind its `nfgenmsg`.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        attributes(self.payload.get(NFGENMSG..).unwrap_or_default())
    }

    /// The error code of an [`ERROR`] message as a positive errno; 0 is an acknowledgement.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let code = self.payload.first_chunk::<4>().map_or(i32::MIN + 1, |b| i32::from_ne_bytes(*b));
        code.wrapping_neg()
    }
}

/// The messages of a datagram. Ends at the first whose length is impossible.
#[must_use]
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

/// Iterator of [`messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.rest.first_chunk::<HEADER>()?;
        let length = u32_ne(header, 0)? as usize;
        let payload = self.rest.get(HEADER..length)?;
        let kind = u16_ne(header, 4)?;
        let flags = u16_ne(header, 6)?;
        let seq = u32_ne(header, 8)?;
        let port = u32_ne(header, 12)?;
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        Some(Message { kind, flags, seq, port, payload })
    }
}

/// The attributes in a run of bytes. Ends at the first whose length is impossible.
#[must_use]
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// Iterator of [`attributes`]: the type without its flag bits, and the payload.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_ne(self.rest, 0)?);
        let kind = u16_ne(self.rest, 2)? & TYPE_MASK;
        let payload = self.rest.get(ATTRIBUTE..length)?;
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// A big-endian 16-bit payload.
#[must_use]
pub fn be16(payload: &[u8]) -> Option<u16> {
    payload.try_into().ok().map(u16::from_be_bytes)
}

/// A big-endian 32-bit payload.
#[must_use]
pub fn be32(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_be_bytes)
}

/// A big-endian 64-bit payload.
#[must_use]
pub fn be64(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_be_bytes)
}

/// Writes messages one after the other into a buffer that can be used again.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    message: usize,
    overflow: bool,
}

impl Writer {
    /// A writer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), message: 0, overflow: false }
    }

    /// Begins a netfilter message: header and `nfgenmsg` with the address family and `res_id`.
    pub fn message(&mut self, kind: u16, flags: u16, seq: u32, family: u8, resource: u16) {
        let [high, low] = resource.to_be_bytes();
        self.message_with(kind, flags, seq, &[family, 0, high, low]);
    }

    /// Begins a message of any family: header, and the struct that its attributes follow, whose
    /// length has to be a multiple of four.
    pub fn message_with(&mut self, kind: u16, flags: u16, seq: u32, fixed: &[u8]) {
        self.message = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        self.seal();
    }

    /// Makes the message that is being written ask for an acknowledgement.
    pub fn request_ack(&mut self) {
        if let Some([low, high]) = self.bytes.get_mut(self.message + 6..self.message + 8) {
            let flags = u16::from_ne_bytes([*low, *high]) | F_ACK;
            [*low, *high] = flags.to_ne_bytes();
        }
    }

    /// Adds an attribute.
    pub fn bytes(&mut self, kind: u16, payload: &[u8]) {
        self.head(kind, payload.len());
        self.bytes.extend_from_slice(payload);
        self.pad();
        self.seal();
    }

    /// Adds a string with its closing zero.
    pub fn string(&mut self, kind: u16, text: &str) {
        self.head(kind, text.len() + 1);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.seal();
    }

    /// Adds a byte.
    pub fn byte(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// Adds a big-endian 16-bit number.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Adds a big-endian 32-bit number.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Adds a big-endian 64-bit number.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Adds an attribute that holds what `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.head(kind | NESTED, 0);
        fill(self);
        let length = self.bytes.len() - start;
        match (u16::try_from(length), self.bytes.get_mut(start..start + 2)) {
            (Ok(length), Some(field)) => field.copy_from_slice(&length.to_ne_bytes()),
            _ => self.overflow = true,
        }
        self.seal();
    }

    /// Adds an attribute that holds attributes which are already there as bytes.
    pub fn nested(&mut self, kind: u16, content: &[u8]) {
        self.bytes(kind | NESTED, content);
    }

    /// Bytes of the message that is being written, header included.
    #[must_use]
    pub fn message_len(&self) -> usize {
        self.bytes.len() - self.message
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written, or `None` when an attribute became longer than the 65,535 bytes that its
    /// length field can say.
    #[must_use]
    pub fn finished(&self) -> Option<&[u8]> {
        if self.overflow { None } else { Some(&self.bytes) }
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.message = 0;
        self.overflow = false;
    }

    fn head(&mut self, kind: u16, payload: usize) {
        let length = u16::try_from(payload + ATTRIBUTE).unwrap_or_else(|_| {
            self.overflow = true;
            0
        });
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// Writes the length of the current message into its header.
    fn seal(&mut self) {
        let length = self.bytes.len() - self.message;
        match (u32::try_from(length), self.bytes.get_mut(self.message..self.message + 4)) {
            (Ok(length), Some(field)) => field.copy_from_slice(&length.to_ne_bytes()),
            _ => self.overflow = true,
        }
    }
}

fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_ne(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

fn u32_ne(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_holds_what_was_written_in_order() {
        let mut writer = Writer::default();
        writer.message(0x0102, F_CREATE, 7, 2, 0x0a0b);
        writer.byte(1, 9);
        writer.be16(2, 0x1234);
        writer.be32(3, 5);
        writer.be64(4, 6);
        writer.string(5, "name");
        writer.nest(6, |w| w.nest(7, |w| w.be32(8, 9)));
        writer.nested(6, &[8, 0, 1, 0, 1, 2, 3, 4]);
        let bytes = writer.finished().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let mut messages = messages(bytes);
        let message = messages.next().unwrap();
        assert!(messages.next().is_none());
        assert_eq!((message.kind, message.seq, message.port), (0x0102, 7, 0));
        assert_eq!(message.flags, F_REQUEST | F_CREATE);
        assert_eq!(message.payload[..NFGENMSG], [2, 0, 0x0a, 0x0b]);
        let seen = message.attributes().collect::<Vec<_>>();
        assert_eq!(seen[0], (1, &[9][..]));
        assert_eq!(
            (be16(seen[1].1), be32(seen[2].1), be64(seen[3].1)),
            (Some(0x1234), Some(5), Some(6))
        );
        assert_eq!(seen[4], (5, &b"name\0"[..]));
        let inner = attributes(attributes(seen[5].1).next().unwrap().1).next().unwrap();
        assert_eq!((inner.0, be32(inner.1)), (8, Some(9)));
        assert_eq!(attributes(seen[6].1).next(), Some((1, &[1, 2, 3, 4][..])));
        assert_eq!(seen.len(), 7);
    }

    #[test]
    fn only_the_message_being_written_asks_for_an_acknowledgement() {
        let mut writer = Writer::default();
        writer.message(1, 0, 1, 0, 0);
        writer.message(1, F_CREATE, 2, 0, 0);
        writer.request_ack();
        writer.be32(1, 1);
        let bytes = writer.finished().unwrap();
        let flags = |at: usize| u16_ne(bytes, at + 6).unwrap();
        assert_eq!((flags(0), flags(20)), (F_REQUEST, F_REQUEST | F_CREATE | F_ACK));
    }

    #[test]
    fn an_attribute_beyond_64_kib_is_refused_and_forgotten_by_clear() {
        for fill in [
            |writer: &mut Writer| writer.bytes(1, &[0; 65_532]),
            |writer: &mut Writer| writer.nest(1, |w| (0..9).for_each(|_| w.bytes(2, &[0; 8000]))),
        ] {
            let mut writer = Writer::default();
            writer.message(1, 0, 1, 0, 0);
            fill(&mut writer);
            assert_eq!(writer.finished(), None);
            writer.clear();
            writer.message(1, 0, 1, 0, 0);
            writer.bytes(1, &[0; 65_531]);
            assert!(writer.finished().is_some());
        }
    }

    #[test]
    fn reading_ends_at_an_impossible_length() {
        for length in [0u16, 3, 9] {
            let mut bytes = [8, 0, 1, 0, 0, 0, 0, 0, 8, 0, 2, 0, 0, 0, 0, 0];
            bytes[8..10].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(attributes(&bytes).count(), 1, "attribute of length {length}");
        }
        let mut writer = Writer::default();
        writer.message(1, 0, 1, 0, 0);
        writer.message(2, 0, 2, 0, 0);
        let good = writer.finished().unwrap().to_vec();
        for length in [0u32, 15, 21, u32::MAX] {
            let mut bytes = good.clone();
            bytes[20..24].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&bytes).count(), 1, "message of length {length}");
        }
    }

    #[test]
    fn an_error_without_a_code_is_no_acknowledgement() {
        let errno =
            |payload: &[u8]| Message { kind: ERROR, flags: 0, seq: 1, port: 0, payload }.errno();
        assert_eq!(errno(&(-2i32).to_ne_bytes()), 2);
        assert_eq!(errno(&[0; 4]), 0);
        assert_ne!(errno(&[0; 3]), 0);
        assert_ne!(errno(&i32::MIN.to_ne_bytes()), 0);
    }

    proptest! {
        #[test]
        fn attributes_are_read_as_they_were_written(
            written in proptest::collection::vec(
                (0u16..=TYPE_MASK, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        ) {
            let mut writer = Writer::default();
            writer.message(1, 0, 1, 0, 0);
            written.iter().for_each(|(kind, payload)| writer.bytes(*kind, payload));
            let message = messages(writer.finished().unwrap()).next().unwrap();
            let read = message.attributes().map(|(kind, payload)| (kind, payload.to_vec()));
            prop_assert_eq!(read.collect::<Vec<_>>(), written);
        }

        #[test]
        fn random_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(messages(&bytes).count() <= bytes.len() / HEADER);
            prop_assert!(attributes(&bytes).count() <= bytes.len() / ATTRIBUTE);
        }
    }
}
