//! What the nodes say to each other about the policy.
//!
//! ```text
//!  have   flags u8 | number | heard | fields: tag u8, length, content     unknown ones are skipped
//!  ask    digest | offset | wanted u32: a bit for each part from there on
//!  part   digest | offset | bytes
//! ```
//!
//! They travel in packets of their own, which have no sequence number: what gets lost is asked for
//! again by the state machine ([`crate::offer`]). Their tags are those of sections, so a node that
//! doesn't know them skips them.
//!
//! Goes in: bytes of an authenticated peer, which are nevertheless checked. Comes out: messages.

use super::bytes::{Malformed, Reader, Writer};
use super::message::{Ack, read_packet, write_packet};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes of a policy's text in one part; the last one may have fewer.
pub const PART: usize = 1024;
/// Parts that are asked for at a time.
pub const PARTS: usize = 32;
/// The longest name of a policy that is sent, in bytes.
pub const LONGEST_NAME: usize = 64;
/// The longest reason that is sent, in bytes.
pub const LONGEST_REASON: usize = 600;
/// The latest moment of a confirmation that is believed, in milliseconds: beyond the year 140,000.
/// So there is always a later one.
pub const LATEST: u64 = 1 << 52;

const HAVE: u8 = 16;
const ASK: u8 = 17;
const PART_TAG: u8 = 18;

const VERSION: u8 = 1;
const SIZE: u8 = 2;
const GENERATION: u8 = 3;
const NAME: u8 = 4;
const VERDICT: u8 = 5;
const TRIAL: u8 = 6;
const DIGEST: u8 = 7;

/// BLAKE2s of a policy's text in the form in which it is sent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PolicyDigest(pub [u8; 32]);

impl fmt::Display for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A policy that an operator has confirmed. The later confirmation is the greater one; of two at
/// the same moment, both nodes prefer the same.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PolicyVersion {
    /// When it was confirmed, in milliseconds since 1970, but later than every version that the
    /// node knew then, whatever its clock said. At most [`LATEST`].
    pub stamp: u64,
    /// Which text.
    pub digest: PolicyDigest,
}

/// What became of the other node's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which one.
    pub version: PolicyVersion,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, for the operator; may be empty.
    pub reason: String,
}

/// What becomes of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It runs there.
    Taken,
    /// It is kept there until an operator takes it.
    Held,
    /// It is kept there until something else is over.
    Waits,
    /// It can't run there.
    Refused,
}

/// What a node says of its own policy and of the other's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Have {
    /// Whether the sender doesn't know yet that this has arrived, so that it has to be answered.
    pub ask: bool,
    /// Which state of the sender this is, from 1 up.
    pub number: u64,
    /// The last number of the receiver's that the sender has seen; 0 for none.
    pub heard: u64,
    /// The last policy that was confirmed; `None` if none ever was.
    pub version: Option<PolicyVersion>,
    /// Bytes of its text; 0 if it can't be had.
    pub size: u64,
    /// The sender's own count of policies that it has loaded.
    pub generation: u64,
    /// The policy's name, at most [`LONGEST_NAME`] bytes.
    pub name: String,
    /// What became of the receiver's policy.
    pub verdict: Option<Verdict>,
    /// Whether another policy runs there, which isn't confirmed yet.
    pub trial: bool,
    /// The digest of a policy that nobody has confirmed.
    pub digest: Option<PolicyDigest>,
}

/// A message about the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferMessage<'a> {
    /// What the sender has.
    Have(Have),
    /// Asks for parts of a text.
    Ask {
        /// Which text.
        digest: PolicyDigest,
        /// Where the first part begins.
        offset: u64,
        /// Which parts, the lowest bit for the first.
        wanted: u32,
    },
    /// A part of a text.
    Part {
        /// Which text.
        digest: PolicyDigest,
        /// Where it begins.
        offset: u64,
        /// At most [`PART`] bytes.
        bytes: &'a [u8],
    },
}

impl<'a> OfferMessage<'a> {
    /// Reads the message that a packet holds; `None` if it is a packet of another kind.
    ///
    /// # Errors
    /// When it is one and malformed.
    pub fn read(plaintext: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let Ok(packet) = read_packet(plaintext) else { return Ok(None) };
        let mut reader = Reader::new(packet.sections);
        let tag = reader.u8("a section's tag").unwrap_or(0);
        if packet.number.is_some() || !(HAVE..=PART_TAG).contains(&tag) {
            return Ok(None);
        }
        let mut content = Reader::new(reader.counted("a section")?);
        let message = match tag {
            HAVE => Self::Have(read_have(&mut content)?),
            ASK => {
                let digest = PolicyDigest(content.array("a digest")?);
                let offset = content.number("an offset")?;
                let wanted = u32::from_le_bytes(content.array("a question")?);
                Self::Ask { digest, offset, wanted }
            }
            _ => {
                let digest = PolicyDigest(content.array("a digest")?);
                let offset = content.number("an offset")?;
                let bytes = content.rest();
                if bytes.len() > PART {
                    return Err(Malformed::Range("a part"));
                }
                Self::Part { digest, offset, bytes }
            }
        };
        Ok(Some(message))
    }

    /// The packet that holds it.
    #[must_use]
    pub fn to_packet(&self) -> Vec<u8> {
        let mut content = Writer::default();
        let tag = match self {
            Self::Have(have) => {
                write_have(&mut content, have);
                HAVE
            }
            Self::Ask { digest, offset, wanted } => {
                content.put(&digest.0);
                content.number(*offset);
                content.put(&wanted.to_le_bytes());
                ASK
            }
            Self::Part { digest, offset, bytes } => {
                content.put(&digest.0);
                content.number(*offset);
                content.put(bytes);
                PART_TAG
            }
        };
        let mut section = Writer::default();
        section.u8(tag);
        section.counted(content.as_slice());
        // Nothing is acknowledged by it.
        write_packet(&Ack::default(), None, section.as_slice())
    }
}

/// The beginning of a text, as far as it has room, cut at a character.
#[must_use]
pub fn shortened(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn read_have(reader: &mut Reader<'_>) -> Result<Have, Malformed> {
    let ask = reader.u8("an offer")? & 1 != 0;
    let number = reader.number("an offer")?;
    let heard = reader.number("an offer")?;
    let mut have = Have { ask, number, heard, ..Have::default() };
    while !reader.is_empty() {
        let tag = reader.u8("a field of an offer")?;
        let mut field = Reader::new(reader.counted("a field of an offer")?);
        match tag {
            VERSION => have.version = Some(read_version(&mut field)?),
            SIZE => have.size = field.number("the size of an offer")?,
            GENERATION => have.generation = field.number("a generation")?,
            NAME => have.name = read_text(&mut field, LONGEST_NAME),
            VERDICT => have.verdict = read_verdict(&mut field)?,
            TRIAL => have.trial = true,
            DIGEST => have.digest = Some(PolicyDigest(field.array("a digest")?)),
            _ => {}
        }
    }
    Ok(have)
}

fn write_have(writer: &mut Writer, have: &Have) {
    writer.u8(have.ask.into());
    writer.number(have.number);
    writer.number(have.heard);
    let mut field = |tag, write: &dyn Fn(&mut Writer)| {
        let mut content = Writer::default();
        write(&mut content);
        writer.u8(tag);
        writer.counted(content.as_slice());
    };
    if let Some(version) = &have.version {
        field(VERSION, &|content| write_version(content, version));
    }
    field(SIZE, &|content| content.number(have.size));
    field(GENERATION, &|content| content.number(have.generation));
    field(NAME, &|content| content.put(shortened(&have.name, LONGEST_NAME).as_bytes()));
    if let Some(verdict) = &have.verdict {
        field(VERDICT, &|content| {
            write_version(content, &verdict.version);
            content.u8(match verdict.outcome {
                Outcome::Taken => 1,
                Outcome::Held => 2,
                Outcome::Waits => 3,
                Outcome::Refused => 4,
            });
            content.put(shortened(&verdict.reason, LONGEST_REASON).as_bytes());
        });
    }
    if have.trial {
        field(TRIAL, &|_| {});
    }
    if let Some(digest) = &have.digest {
        field(DIGEST, &|content| content.put(&digest.0));
    }
}

/// `None` for an outcome that isn't known.
fn read_verdict(reader: &mut Reader<'_>) -> Result<Option<Verdict>, Malformed> {
    let version = read_version(reader)?;
    let outcome = match reader.u8("a verdict")? {
        1 => Outcome::Taken,
        2 => Outcome::Held,
        3 => Outcome::Waits,
        4 => Outcome::Refused,
        _ => return Ok(None),
    };
    Ok(Some(Verdict { version, outcome, reason: read_text(reader, LONGEST_REASON) }))
}

fn read_version(reader: &mut Reader<'_>) -> Result<PolicyVersion, Malformed> {
    let stamp = reader.number("a version")?;
    if stamp > LATEST {
        return Err(Malformed::Range("a version"));
    }
    Ok(PolicyVersion { stamp, digest: PolicyDigest(reader.array("a version")?) })
}

fn write_version(writer: &mut Writer, version: &PolicyVersion) {
    writer.number(version.stamp);
    writer.put(&version.digest.0);
}

/// Text for an operator: what isn't UTF-8 is replaced, what is too long is cut off.
fn read_text(reader: &mut Reader<'_>, longest: usize) -> String {
    shortened(&String::from_utf8_lossy(reader.rest()), longest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(stamp: u64, byte: u8) -> PolicyVersion {
        PolicyVersion { stamp, digest: PolicyDigest([byte; 32]) }
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let verdict = Verdict {
            version: version(7, 9),
            outcome: Outcome::Refused,
            reason: "no zone `wän`".into(),
        };
        let have = Have {
            ask: true,
            number: 3,
            heard: 400,
            version: Some(version(1 << 41, 3)),
            size: 70_000,
            generation: 12,
            name: "edge".into(),
            verdict: Some(verdict),
            trial: true,
            digest: Some(PolicyDigest([2; 32])),
        };
        let digest = PolicyDigest([4; 32]);
        let bytes = [8; PART];
        for message in [
            OfferMessage::Have(have),
            OfferMessage::Have(Have::default()),
            OfferMessage::Ask { digest, offset: 1 << 20, wanted: 0x8000_0001 },
            OfferMessage::Part { digest, offset: 1 << 20, bytes: &bytes },
        ] {
            let packet = message.to_packet();
            assert!(packet.len() < 1200, "{} bytes", packet.len());
            assert_eq!(OfferMessage::read(&packet), Ok(Some(message)));
        }
    }

    #[test]
    fn a_field_that_is_not_known_is_skipped() {
        let have = Have { number: 5, generation: 8, ..Have::default() };
        let mut content = Writer::default();
        write_have(&mut content, &have);
        content.u8(99);
        content.counted(b"of tomorrow");
        assert_eq!(read_have(&mut Reader::new(content.as_slice())), Ok(have));
    }

    #[test]
    fn a_stamp_after_which_none_could_come_is_refused() {
        let have = Have { version: Some(version(LATEST + 1, 0)), ..Have::default() };
        assert!(OfferMessage::read(&OfferMessage::Have(have).to_packet()).is_err());
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(shortened("wän", 2), "w");
        assert_eq!(shortened("wän", 3), "wä");
        assert_eq!(shortened("wan", 9), "wan");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(tag in 14u8..20, bytes: Vec<u8>) {
            let mut section = Writer::default();
            section.u8(tag);
            section.counted(&bytes);
            let packet = write_packet(&Ack::default(), None, section.as_slice());
            let _ = OfferMessage::read(&packet);
            let _ = OfferMessage::read(&bytes);
        }
    }
}
