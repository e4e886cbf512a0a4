//! Sections: what a packet is made of.

use super::bytes::{Malformed, Reader, Writer};
use super::record::{Change, RecordReader};
use crate::model::{GroupTag, Role};
use serde::{Deserialize, Serialize};

/// Leaves are gathered into so many groups, and each group has so many leaves. Both fit into one
/// datagram as digests.
pub(crate) const GROUPS: usize = 128;
pub(crate) const LEAVES_PER_GROUP: usize = 128;

/// How many leaves there are: the buckets that sessions are compared by.
#[must_use]
pub const fn leaf_count() -> usize {
    GROUPS * LEAVES_PER_GROUP
}

const BEAT: u8 = 1;
const RECORDS: u8 = 2;
const LIST: u8 = 3;
const ASK_GROUPS: u8 = 4;
const GROUP_DIGESTS: u8 = 5;
const ASK_LEAVES: u8 = 6;
const LEAF_DIGESTS: u8 = 7;
const RESYNC_DONE: u8 = 8;
const HELLO: u8 = 9;
const ASK_RULES: u8 = 10;
const RULES: u8 = 11;
const GOODBYE: u8 = 12;
const KEYSPACE: u8 = 13;
const DIGEST_KEY: u8 = 14;
const ASK_RESYNC: u8 = 15;
const CATCH_UP: u8 = 16;
const CAUGHT_UP: u8 = 17;

/// How many VRRP groups a heartbeat can name.
pub(crate) const MAX_ROLES: usize = 64;

/// The heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Everything that the sender had when the nodes met, the receiver has acknowledged.
    pub complete: bool,
    /// The sender has nothing to send and nothing unacknowledged.
    pub idle: bool,
    /// The sender waits for the receiver to have everything in its kernel, and wants to hear of it
    /// at once.
    pub asks: bool,
    /// Up to this packet of the receiver's, the sender has everything in its kernel.
    pub applied: u64,
    /// Sessions that the sender holds.
    pub sessions: u64,
    /// The digest of these.
    pub root: u64,
    /// What the sender is for which VRRP group, at most 64.
    pub roles: Vec<(GroupTag, Role)>,
    /// The XOR of the keyed hashes of those sessions of all groups that are the sender's; `None` from
    /// a node that doesn't say.
    pub homes: Option<u64>,
}

/// The first section after contact was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Whether it answers one, so that it isn't answered again.
    pub answer: bool,
    /// Whether the sender takes all sessions that belong to all groups for its own.
    pub claims: bool,
    /// VRRP groups for which the sender was active at any time since contact was lost, a bit each.
    pub active: [u64; 4],
}

/// What a key stands for, told to a peer whose keys are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleIdentity(pub u128);

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section<'a> {
    /// The heartbeat.
    Beat(Beat),
    /// Changes of sessions.
    Records(Records<'a>),
    /// All sessions of a leaf whose place is from `low` up to and with `high`.
    List {
        /// The leaf.
        leaf: u16,
        /// The lowest place.
        low: u32,
        /// The highest place.
        high: u32,
        /// What the sender had received when it wrote this.
        received: u64,
        /// The sessions.
        records: Records<'a>,
    },
    /// Asks for the digests of all groups.
    AskGroups,
    /// The digests of all groups.
    Groups(Vec<u64>),
    /// Asks for the digests of a group's leaves.
    AskLeaves(u8),
    /// The digests of a group's leaves.
    Leaves(u8, Vec<u64>),
    /// Everything that differs has been listed and acknowledged.
    ResyncDone,
    /// Contact is back.
    Hello(Hello),
    /// Asks what keys stand for.
    AskRules(Vec<u32>),
    /// What keys stand for; `None` for a key that stands for nothing.
    Rules(Vec<(u32, Option<RuleIdentity>)>),
    /// The sender stops.
    Goodbye,
    /// The digest of the sender's key table: keys of the records that follow are from it.
    Keyspace(u128),
    /// What sessions are hashed with from here on.
    DigestKey([u64; 2]),
    /// Asks the node that leads to compare what both have.
    AskResync,
    /// Asks to be told, under this number, once all changes until now were sent.
    CatchUp(u32),
    /// The changes up to the question of this number precede this.
    CaughtUp(u32),
}

/// The records of a section, read one after the other.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    records: RecordReader,
}

impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.reader.rest() == other.reader.rest()
    }
}

impl Eq for Records<'_> {}

impl Iterator for Records<'_> {
    type Item = Result<Change, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let change = self.records.read(&mut self.reader);
        if change.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(change)
    }
}

impl<'a> Section<'a> {
    /// Reads the next section that is known; `None` at the end.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        while !reader.is_empty() {
            let tag = reader.u8("a section's tag")?;
            let mut content = Reader::new(reader.counted("a section")?);
            if let Some(section) = Self::read_content(tag, &mut content)? {
                return Ok(Some(section));
            }
        }
        Ok(None)
    }

    fn read_content(tag: u8, reader: &mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        let section = match tag {
            BEAT => Self::Beat(read_beat(reader)?),
            RECORDS => Self::Records(records(reader)),
            LIST => {
                let leaf = u16::from_le_bytes(reader.array("a leaf")?);
                let low = u32::from_le_bytes(reader.array("a place")?);
                let high = u32::from_le_bytes(reader.array("a place")?);
                let received = reader.number("an acknowledgement")?;
                if usize::from(leaf) >= leaf_count() || low > high {
                    return Err(Malformed::Range("a list"));
                }
                Self::List { leaf, low, high, received, records: records(reader) }
            }
            ASK_GROUPS => Self::AskGroups,
            GROUP_DIGESTS => Self::Groups(read_digests(reader, GROUPS)?),
            ASK_LEAVES => Self::AskLeaves(read_group(reader)?),
            LEAF_DIGESTS => {
                Self::Leaves(read_group(reader)?, read_digests(reader, LEAVES_PER_GROUP)?)
            }
            RESYNC_DONE => Self::ResyncDone,
            HELLO => Self::Hello(read_hello(reader)?),
            ASK_RULES => {
                let mut keys = Vec::new();
                while !reader.is_empty() {
                    keys.push(reader.number32("a key")?);
                }
                Self::AskRules(keys)
            }
            RULES => {
                let mut rules = Vec::new();
                while !reader.is_empty() {
                    let key = reader.number32("a key")?;
                    let rule = match reader.u8("a rule")? {
                        0 => None,
                        _ => Some(RuleIdentity(u128::from_le_bytes(reader.array("a rule")?))),
                    };
                    rules.push((key, rule));
                }
                Self::Rules(rules)
            }
            GOODBYE => Self::Goodbye,
            ASK_RESYNC => Self::AskResync,
            CATCH_UP => Self::CatchUp(reader.number32("a question")?),
            CAUGHT_UP => Self::CaughtUp(reader.number32("a question")?),
            DIGEST_KEY => {
                let mut half = || reader.array("a digest key").map(u64::from_le_bytes);
                Self::DigestKey([half()?, half()?])
            }
            KEYSPACE => Self::Keyspace(u128::from_le_bytes(reader.array("a key table")?)),
            _ => return Ok(None),
        };
        Ok(Some(section))
    }

    /// Writes it. Records are copied as they are; those that are being written for the first time
    /// are written by [`super::RecordWriter`].
    pub fn write(&self, writer: &mut Writer) {
        let mut content = Writer::default();
        let tag = match self {
            Self::Beat(beat) => {
                write_beat(&mut content, beat);
                BEAT
            }
            Self::Records(records) => {
                content.put(records.reader.rest());
                RECORDS
            }
            Self::List { leaf, low, high, received, records } => {
                write_list_head(&mut content, *leaf, (*low, *high), *received);
                content.put(records.reader.rest());
                LIST
            }
            Self::AskGroups => ASK_GROUPS,
            Self::Groups(digests) => {
                write_digests(&mut content, digests);
                GROUP_DIGESTS
            }
            Self::AskLeaves(group) => {
                content.u8(*group);
                ASK_LEAVES
            }
            Self::Leaves(group, digests) => {
                content.u8(*group);
                write_digests(&mut content, digests);
                LEAF_DIGESTS
            }
            Self::ResyncDone => RESYNC_DONE,
            Self::Hello(hello) => {
                content.u8(u8::from(hello.answer) | u8::from(hello.claims) << 1);
                hello.active.iter().for_each(|bits| content.put(&bits.to_le_bytes()));
                HELLO
            }
            Self::AskRules(keys) => {
                keys.iter().for_each(|key| content.number((*key).into()));
                ASK_RULES
            }
            Self::Rules(rules) => {
                for (key, rule) in rules {
                    content.number((*key).into());
                    content.u8(rule.is_some().into());
                    rule.iter().for_each(|rule| content.put(&rule.0.to_le_bytes()));
                }
                RULES
            }
            Self::Goodbye => GOODBYE,
            Self::AskResync => ASK_RESYNC,
            Self::CatchUp(number) => {
                content.number((*number).into());
                CATCH_UP
            }
            Self::CaughtUp(number) => {
                content.number((*number).into());
                CAUGHT_UP
            }
            Self::DigestKey(key) => {
                write_digests(&mut content, key);
                DIGEST_KEY
            }
            Self::Keyspace(digest) => {
                content.put(&digest.to_le_bytes());
                KEYSPACE
            }
        };
        writer.u8(tag);
        writer.counted(content.as_slice());
    }
}

impl Section<'_> {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.finish()
    }
}

/// Writes tag and length of a section with records.
pub(crate) fn section_head(writer: &mut Writer, list: bool, content: &Writer) {
    writer.u8(if list { LIST } else { RECORDS });
    writer.counted(content.as_slice());
}

/// Writes what precedes the records of a list.
pub(crate) fn write_list_head(
    writer: &mut Writer,
    leaf: u16,
    (low, high): (u32, u32),
    received: u64,
) {
    writer.put(&leaf.to_le_bytes());
    writer.put(&low.to_le_bytes());
    writer.put(&high.to_le_bytes());
    writer.number(received);
}

/// Writes digests.
fn write_digests(writer: &mut Writer, digests: &[u64]) {
    digests.iter().for_each(|digest| writer.put(&digest.to_le_bytes()));
}

fn records<'a>(reader: &Reader<'a>) -> Records<'a> {
    Records { reader: *reader, records: RecordReader::default() }
}

fn read_digests(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u64>, Malformed> {
    (0..count).map(|_| reader.array("a digest").map(u64::from_le_bytes)).collect()
}

fn read_group(reader: &mut Reader<'_>) -> Result<u8, Malformed> {
    let group = reader.u8("a group of leaves")?;
    if usize::from(group) < GROUPS { Ok(group) } else { Err(Malformed::Range("a group of leaves")) }
}

fn read_hello(reader: &mut Reader<'_>) -> Result<Hello, Malformed> {
    let bits = reader.u8("a greeting")?;
    let (answer, claims) = (bits & 1 != 0, bits & 2 != 0);
    let mut active = [0; 4];
    for bits in &mut active {
        *bits = u64::from_le_bytes(reader.array("a greeting")?);
    }
    Ok(Hello { answer, claims, active })
}

fn write_beat(writer: &mut Writer, beat: &Beat) {
    writer.u8(u8::from(beat.complete) | u8::from(beat.idle) << 1 | u8::from(beat.asks) << 2);
    writer.number(beat.applied);
    writer.number(beat.sessions);
    writer.put(&beat.root.to_le_bytes());
    let roles = beat.roles.get(..MAX_ROLES).unwrap_or(&beat.roles);
    writer.u8(roles.len() as u8);
    for (group, role) in roles {
        writer.put(&[group.0, *role as u8]);
    }
    beat.homes.iter().for_each(|homes| writer.put(&homes.to_le_bytes()));
}

fn read_beat(reader: &mut Reader<'_>) -> Result<Beat, Malformed> {
    let flags = reader.u8("a heartbeat")?;
    let applied = reader.number("a heartbeat")?;
    let sessions = reader.number("a heartbeat")?;
    let root = u64::from_le_bytes(reader.array("a heartbeat")?);
    let count = usize::from(reader.u8("a heartbeat")?);
    if count > MAX_ROLES {
        return Err(Malformed::Range("the groups of a heartbeat"));
    }
    let mut roles = Vec::with_capacity(count);
    for _ in 0..count {
        let [group, role] = reader.array("the groups of a heartbeat")?;
        let role = match role {
            1 => Role::Backup,
            2 => Role::Active,
            _ => Role::Unknown,
        };
        roles.push((GroupTag(group), role));
    }
    let homes = (!reader.is_empty()).then(|| reader.array("a heartbeat"));
    let homes = homes.transpose()?.map(u64::from_le_bytes);
    let [complete, idle, asks] = [1, 2, 4].map(|bit| flags & bit != 0);
    Ok(Beat { complete, idle, asks, applied, sessions, root, roles, homes })
}
