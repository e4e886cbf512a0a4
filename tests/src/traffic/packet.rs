//! The datagrams of the UDP tools: numbered, with the time of sending.
//!
//! ```text
//!  0       4       8              16              24
//! | "TWTB" | flow  | number        | sent, ns      | padding ...
//! ```
//! All numbers are big-endian; `sent` is a reading of [`crate::clock::now`].

/// Bytes of the header, and so of the shortest datagram.
pub const HEADER: usize = 24;

/// The longest datagram that IPv4 and IPv6 can both carry.
pub const LONGEST: usize = 65_507;

/// A datagram that ends the stream of a `udp-push` to its sender.
pub const STOP: &[u8] = b"stop";

const MAGIC: [u8; 4] = *b"TWTB";

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which of the sender's flows.
    pub flow: u32,
    /// Its number within the flow, from 0.
    pub number: u64,
    /// When it was sent.
    pub sent: u64,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let fields = MAGIC
            .into_iter()
            .chain(self.flow.to_be_bytes())
            .chain(self.number.to_be_bytes())
            .chain(self.sent.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        bytes
    }

    /// Reads a datagram. `None` if it isn't one of ours.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let rest = datagram.strip_prefix(&MAGIC)?;
        let (flow, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Self {
            flow: u32::from_be_bytes(*flow),
            number: u64::from_be_bytes(*number),
            sent: u64::from_be_bytes(*sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_others_are_refused() {
        let header = Header { flow: 3, number: 1 << 40, sent: 7 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for length in 0..HEADER {
            assert_eq!(Header::decode(&bytes[..length]), None);
        }
        assert_eq!(Header::decode(&[b'x'; HEADER]), None);
    }
}
