//! Maps, their elements, and named counters: the messages that nftnl 0.9.4 can't write, and the
//! reading of elements and counters from dumps and notifications.
//!
//! Attribute numbers: `linux/netfilter/nf_tables.h`. Keys of four bytes are in host byte order.

use super::expr::Verdict;
use super::uapi;
use crate::wire::{self, F_CREATE, Message, Writer};

/// `NFNL_SUBSYS_NFTABLES` in the upper byte of a message type.
const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;

const MSG_NEWSET: u16 = SUBSYSTEM | libc::NFT_MSG_NEWSET as u16;
const MSG_NEWSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_NEWSETELEM as u16;
const MSG_GETSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_GETSETELEM as u16;
const MSG_DELSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_DELSETELEM as u16;
const MSG_DELRULE: u16 = SUBSYSTEM | libc::NFT_MSG_DELRULE as u16;
const MSG_DELTABLE: u16 = SUBSYSTEM | libc::NFT_MSG_DELTABLE as u16;
const MSG_NEWOBJ: u16 = SUBSYSTEM | libc::NFT_MSG_NEWOBJ as u16;
const MSG_GETOBJ: u16 = SUBSYSTEM | libc::NFT_MSG_GETOBJ as u16;
const MSG_DELCHAIN: u16 = SUBSYSTEM | libc::NFT_MSG_DELCHAIN as u16;
const MSG_GETCHAIN: u16 = SUBSYSTEM | libc::NFT_MSG_GETCHAIN as u16;

/// `enum nft_set_flags`: what kind of map.
const SET_MAP: u32 = libc::NFT_SET_MAP as u32;
const SET_TIMEOUT: u32 = libc::NFT_SET_TIMEOUT as u32;
const SET_EVAL: u32 = libc::NFT_SET_EVAL as u32;

/// Data types as user space numbers them (nftables' `datatype.h`); the kernel only keeps them.
pub const TYPE_IPV4: u32 = 7;
/// An IPv6 address.
pub const TYPE_IPV6: u32 = 8;
/// An upper-layer protocol.
pub const TYPE_PROTOCOL: u32 = 12;
/// A mark.
pub const TYPE_MARK: u32 = 19;
/// An interface index.
pub const TYPE_INTERFACE: u32 = 20;
/// What nft's listing reads to show keys that are not in network byte order: type
/// (`NFTNL_UDATA_SET_KEYBYTEORDER`), length and value. For verdicts nft 1.0.6 aborts when their
/// byte order is said too.
const HOST_BYTE_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};
/// `NFT_DATA_VERDICT`.
const TYPE_VERDICT: u32 = 0xffff_ff00;

/// A table, by family and name.
#[derive(Clone, Copy, Debug)]
pub struct TableName<'a> {
    /// `NFPROTO_` number.
    pub family: u8,
    /// Name.
    pub name: &'a str,
}

/// What a map's elements hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Only their key: a set.
    Nothing,
    /// A verdict, and a counter in each element.
    CountedVerdict,
    /// A mark.
    Mark,
    /// A mark, and a counter in each element.
    CountedMark,
}

/// A map to be made.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// Name.
    pub name: &'a str,
    /// Bytes of the key.
    pub key_length: u32,
    /// Type of the key, for listings.
    pub key_type: u32,
    /// What the elements hold.
    pub data: Data,
    /// The most elements that it can hold, which fixes its size; `None` lets it grow.
    pub size: Option<u32>,
    /// For maps that rules fill: milliseconds until an element vanishes.
    pub timeout: Option<u64>,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, with IP headers.
    pub bytes: u64,
}

impl std::ops::AddAssign for Counter {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// An element of a map with four-byte keys, as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key.
    pub key: u32,
    /// Its verdict, when it has one.
    pub verdict: Option<ElementVerdict>,
    /// Its counter; zero without one.
    pub counter: Counter,
}

/// The verdict of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementVerdict {
    /// `NF_ACCEPT`.
    Accept,
    /// `NF_DROP`.
    Drop,
    /// A chain that decides.
    Goto(String),
    /// Another code.
    Other(u32),
}

/// Writes a message that makes a map; `id` tells the maps of one transaction apart.
pub fn write_map(writer: &mut Writer, table: TableName<'_>, map: &Map<'_>, id: u32) {
    let dynamic = if map.timeout.is_some() { SET_TIMEOUT | SET_EVAL } else { 0 };
    writer.message(MSG_NEWSET, F_CREATE, 0, table.family, 0);
    writer.string(uapi::NFTA_SET_TABLE, table.name);
    writer.string(uapi::NFTA_SET_NAME, map.name);
    let held = match map.data {
        Data::Nothing => None,
        Data::CountedVerdict => Some((TYPE_VERDICT, 16)),
        Data::Mark | Data::CountedMark => Some((TYPE_MARK, 4)),
    };
    writer.be32(uapi::NFTA_SET_FLAGS, dynamic | if held.is_some() { SET_MAP } else { 0 });
    writer.be32(uapi::NFTA_SET_KEY_TYPE, map.key_type);
    writer.be32(uapi::NFTA_SET_KEY_LEN, map.key_length);
    if let Some((kind, length)) = held {
        writer.be32(uapi::NFTA_SET_DATA_TYPE, kind);
        writer.be32(uapi::NFTA_SET_DATA_LEN, length);
    }
    writer.be32(uapi::NFTA_SET_ID, id);
    if map.key_type == TYPE_MARK {
        writer.bytes(uapi::NFTA_SET_USERDATA, &HOST_BYTE_ORDER);
    }
    if let Some(size) = map.size {
        writer.nest(uapi::NFTA_SET_DESC, |w| w.be32(uapi::NFTA_SET_DESC_SIZE, size));
    }
    if let Some(timeout) = map.timeout {
        writer.be64(uapi::NFTA_SET_TIMEOUT, timeout);
    }
    if matches!(map.data, Data::CountedVerdict | Data::CountedMark) {
        writer.nest(uapi::NFTA_SET_EXPR, |w| {
            w.string(uapi::NFTA_EXPR_NAME, "counter");
            w.nest(uapi::NFTA_EXPR_DATA, |w| {
                w.be64(uapi::NFTA_COUNTER_BYTES, 0);
                w.be64(uapi::NFTA_COUNTER_PACKETS, 0);
            });
        });
    }
}

/// What to do with the elements of [`write_elements`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add them.
    Add,
    /// Delete them.
    Delete,
}

/// Writes one message that changes as many elements as fit, taking them from `keys`; `data` adds
/// what an element holds. Returns how many it took.
pub fn write_elements<T>(
    writer: &mut Writer,
    table: TableName<'_>,
    map: &str,
    change: Change,
    items: &mut impl Iterator<Item = T>,
    mut element: impl FnMut(&mut Writer, T),
) -> usize {
    /// Leaves room below the 65,535 bytes of a nest for one more element.
    const FULL: usize = 60_000;
    let (kind, flags) = match change {
        Change::Add => (MSG_NEWSETELEM, F_CREATE),
        Change::Delete => (MSG_DELSETELEM, 0),
    };
    writer.message(kind, flags, 0, table.family, 0);
    writer.string(uapi::NFTA_SET_ELEM_LIST_TABLE, table.name);
    writer.string(uapi::NFTA_SET_ELEM_LIST_SET, map);
    let mut taken = 0;
    writer.nest(uapi::NFTA_SET_ELEM_LIST_ELEMENTS, |w| {
        while w.message_len() < FULL {
            let Some(item) = items.next() else { break };
            w.nest(uapi::NFTA_LIST_ELEM, |w| element(w, item));
            taken += 1;
        }
    });
    taken
}

/// Writes a four-byte key into an element.
pub fn write_key(writer: &mut Writer, key: u32) {
    writer.nest(uapi::NFTA_SET_ELEM_KEY, |w| w.bytes(uapi::NFTA_DATA_VALUE, &key.to_ne_bytes()));
}

/// Writes four bytes of data into an element.
pub fn write_mark(writer: &mut Writer, mark: u32) {
    writer.nest(uapi::NFTA_SET_ELEM_DATA, |w| w.bytes(uapi::NFTA_DATA_VALUE, &mark.to_ne_bytes()));
}

/// Writes a verdict into an element.
pub fn write_verdict(writer: &mut Writer, verdict: Verdict<'_>) {
    writer.nest(uapi::NFTA_SET_ELEM_DATA, |w| {
        w.nest(uapi::NFTA_DATA_VERDICT, |w| {
            w.be32(uapi::NFTA_VERDICT_CODE, verdict.code());
            if let Verdict::Goto(chain) = verdict {
                w.bytes(uapi::NFTA_VERDICT_CHAIN, chain.to_bytes_with_nul());
            }
        });
    });
}

/// Writes a message that empties a map.
pub fn write_flush_map(writer: &mut Writer, table: TableName<'_>, map: &str) {
    writer.message(MSG_DELSETELEM, 0, 0, table.family, 0);
    writer.string(uapi::NFTA_SET_ELEM_LIST_TABLE, table.name);
    writer.string(uapi::NFTA_SET_ELEM_LIST_SET, map);
}

/// Writes a message that empties a chain.
pub fn write_flush_chain(writer: &mut Writer, table: TableName<'_>, chain: &str) {
    writer.message(MSG_DELRULE, 0, 0, table.family, 0);
    writer.string(uapi::NFTA_RULE_TABLE, table.name);
    writer.string(uapi::NFTA_RULE_CHAIN, chain);
}

/// Writes a message that deletes an empty chain.
pub fn write_delete_chain(writer: &mut Writer, table: TableName<'_>, chain: &str) {
    writer.message(MSG_DELCHAIN, 0, 0, table.family, 0);
    writer.string(uapi::NFTA_CHAIN_TABLE, table.name);
    writer.string(uapi::NFTA_CHAIN_NAME, chain);
}

/// Writes a message that deletes a table with everything in it.
pub fn write_delete_table(writer: &mut Writer, table: TableName<'_>) {
    writer.message(MSG_DELTABLE, 0, 0, table.family, 0);
    writer.string(uapi::NFTA_TABLE_NAME, table.name);
}

/// Writes a message that makes a named counter.
pub fn write_counter(writer: &mut Writer, table: TableName<'_>, name: &str) {
    writer.message(MSG_NEWOBJ, F_CREATE, 0, table.family, 0);
    writer.string(uapi::NFTA_OBJ_TABLE, table.name);
    writer.string(uapi::NFTA_OBJ_NAME, name);
    writer.be32(uapi::NFTA_OBJ_TYPE, uapi::NFT_OBJECT_COUNTER);
    writer.nest(uapi::NFTA_OBJ_DATA, |w| {
        w.be64(uapi::NFTA_COUNTER_BYTES, 0);
        w.be64(uapi::NFTA_COUNTER_PACKETS, 0);
    });
}

/// Writes a request for all elements of a map.
pub fn write_dump_elements(writer: &mut Writer, table: TableName<'_>, map: &str, seq: u32) {
    writer.message(MSG_GETSETELEM, wire::F_DUMP, seq, table.family, 0);
    writer.string(uapi::NFTA_SET_ELEM_LIST_TABLE, table.name);
    writer.string(uapi::NFTA_SET_ELEM_LIST_SET, map);
}

/// Writes a request for all named counters of a table.
pub fn write_dump_counters(writer: &mut Writer, table: TableName<'_>, seq: u32) {
    writer.message(MSG_GETOBJ, wire::F_DUMP, seq, table.family, 0);
    writer.string(uapi::NFTA_OBJ_TABLE, table.name);
    writer.be32(uapi::NFTA_OBJ_TYPE, uapi::NFT_OBJECT_COUNTER);
}

/// Writes a question whether a chain exists; the kernel's refusal is ENOENT.
pub fn write_get_chain(writer: &mut Writer, table: TableName<'_>, chain: &str, seq: u32) {
    writer.message(MSG_GETCHAIN, wire::F_ACK, seq, table.family, 0);
    writer.string(uapi::NFTA_CHAIN_TABLE, table.name);
    writer.string(uapi::NFTA_CHAIN_NAME, chain);
}

/// Reads the elements of a dump's message.
pub fn read_elements(message: &Message<'_>, mut each: impl FnMut(Element)) {
    for (kind, list) in message.attributes() {
        if kind == uapi::NFTA_SET_ELEM_LIST_ELEMENTS {
            wire::attributes(list).filter_map(|(_, bytes)| read_element(bytes)).for_each(&mut each);
        }
    }
}

/// Reads the elements that a notification says were deleted from a map of a table; nothing for
/// any other message.
pub fn read_deleted(
    message: &Message<'_>,
    table: TableName<'_>,
    map: &str,
    each: impl FnMut(Element),
) {
    let named = |wanted: u16, name: &str| {
        message.attributes().any(|(kind, text)| kind == wanted && text_is(text, name))
    };
    let ours = message.kind == MSG_DELSETELEM
        && message.payload.first() == Some(&table.family)
        && named(uapi::NFTA_SET_ELEM_LIST_TABLE, table.name)
        && named(uapi::NFTA_SET_ELEM_LIST_SET, map);
    if ours {
        read_elements(message, each);
    }
}

/// Whether a notification says that the table was deleted, by whomever.
#[must_use]
pub fn is_deleted_table(message: &Message<'_>, table: TableName<'_>) -> bool {
    let named = |name| text_is(name, table.name);
    message.kind == MSG_DELTABLE
        && message.payload.first() == Some(&table.family)
        && message.attributes().any(|(kind, text)| kind == uapi::NFTA_TABLE_NAME && named(text))
}

/// Reads name and value of a named counter.
#[must_use]
pub fn read_counter(message: &Message<'_>) -> Option<(String, Counter)> {
    let mut name = None;
    let mut counter = None;
    for (kind, payload) in message.attributes() {
        match kind {
            uapi::NFTA_OBJ_NAME => name = text(payload),
            uapi::NFTA_OBJ_DATA => counter = Some(counter_of(payload)),
            _ => {}
        }
    }
    Some((name?, counter?))
}

fn read_element(bytes: &[u8]) -> Option<Element> {
    let mut key = None;
    let mut verdict = None;
    let mut counter = Counter::default();
    for (kind, payload) in wire::attributes(bytes) {
        match kind {
            uapi::NFTA_SET_ELEM_KEY => {
                key = first(payload, uapi::NFTA_DATA_VALUE).and_then(|b| b.try_into().ok())
            }
            uapi::NFTA_SET_ELEM_DATA => {
                verdict = first(payload, uapi::NFTA_DATA_VERDICT).and_then(read_verdict)
            }
            uapi::NFTA_SET_ELEM_EXPR
                if first(payload, uapi::NFTA_EXPR_NAME).is_some_and(|n| text_is(n, "counter")) =>
            {
                counter = counter_of(first(payload, uapi::NFTA_EXPR_DATA).unwrap_or_default());
            }
            _ => {}
        }
    }
    Some(Element { key: u32::from_ne_bytes(key?), verdict, counter })
}

fn read_verdict(bytes: &[u8]) -> Option<ElementVerdict> {
    let code = first(bytes, uapi::NFTA_VERDICT_CODE).and_then(wire::be32)?;
    Some(match (code as i32, first(bytes, uapi::NFTA_VERDICT_CHAIN).and_then(text)) {
        (libc::NFT_GOTO, Some(chain)) => ElementVerdict::Goto(chain),
        (libc::NF_ACCEPT, _) => ElementVerdict::Accept,
        (libc::NF_DROP, _) => ElementVerdict::Drop,
        _ => ElementVerdict::Other(code),
    })
}

fn counter_of(bytes: &[u8]) -> Counter {
    let field = |kind| first(bytes, kind).and_then(wire::be64).unwrap_or_default();
    Counter { packets: field(uapi::NFTA_COUNTER_PACKETS), bytes: field(uapi::NFTA_COUNTER_BYTES) }
}

fn first(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    wire::attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload)
}

fn text(payload: &[u8]) -> Option<String> {
    let bytes = payload.strip_suffix(&[0]).unwrap_or(payload);
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn text_is(payload: &[u8], wanted: &str) -> bool {
    payload.strip_suffix(&[0]).unwrap_or(payload) == wanted.as_bytes()
}
