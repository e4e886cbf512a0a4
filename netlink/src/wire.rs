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
    /// `nlmsg_seq`.
    pub seq: u32,
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
        let seq = u32_ne(header, 8)?;
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        Some(Message { kind, seq, payload })
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
        self.message = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
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
