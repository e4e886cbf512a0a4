//! What the nodes say to each other, inside the sealed channel.
//!
//! ```text
//!  packet   flags u8 | cumulative ack | selective ack | sequence number, if it has one | sections
//!  section  tag u8 | length | content                       unknown tags are skipped
//!  record   bitmap | the fields that it names               unknown fields are skipped
//! ```
//!
//! Numbers without a size are LEB128. Everything else is little-endian, addresses and ports are in
//! network order. A record names only the fields in which it differs from the record before it in
//! the same section; the first differs from an empty one. So every section can be read by itself.
//! Sections about the policy travel in packets of their own.
//!
//! Goes in: bytes of an authenticated peer, which are nevertheless checked: an old or a faulty
//! peer is no reason to fall. Comes out: messages. Not here: sealing, sequence numbers' meaning.

mod bytes;
pub mod coarse;
mod expectation;
mod fields;
mod message;
mod offer;
mod record;
mod section;
mod tuples;

pub use bytes::{Malformed, Reader, Writer};
pub use fields::MAX_RECORD;
pub use message::{Ack, Packet, read_packet, write_packet};
pub use offer::{
    Have, LATEST, LONGEST_NAME, LONGEST_REASON, OfferMessage, Outcome, PART, PARTS, PolicyDigest,
    PolicyVersion, Verdict, shortened,
};
pub use record::{Change, RecordReader, RecordWriter, pack, unpack, unpack_identity};
pub use section::{Beat, Hello, RuleIdentity, Section, leaf_count};

pub(crate) use record::{parts, put_whole_identity};
pub(crate) use section::{GROUPS, LEAVES_PER_GROUP, section_head, write_list_head};
