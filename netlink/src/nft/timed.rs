//! Sets of keys, with elements that time out or stay, and base chains of any family: messages that
//! nftnl 0.9.4 can't write.
//!
//! Attribute numbers: `linux/netfilter/nf_tables.h`. Keys are in network byte order. Elements are
//! written and sets emptied by [`super::sets`].

use super::sets::TableName;
use super::uapi;
use crate::wire::{F_CREATE, Writer};

/// `NFNL_SUBSYS_NFTABLES` in the upper byte of a message type.
const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
const MSG_NEWSET: u16 = SUBSYSTEM | libc::NFT_MSG_NEWSET as u16;
const MSG_NEWCHAIN: u16 = SUBSYSTEM | libc::NFT_MSG_NEWCHAIN as u16;

/// Data type of an Ethernet address as user space numbers it (nftables' `datatype.h`).
pub const TYPE_ETHERNET: u32 = 9;

/// A set to be made.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// Name.
    pub name: &'a str,
    /// Bytes of the key.
    pub key_length: u32,
    /// Type of the key, for listings; a concatenation has six bits for each part.
    pub key_type: u32,
    /// Whether its elements can have timeouts.
    pub timeouts: bool,
}

/// Writes a message that makes a set; `id` tells the sets of one transaction apart.
pub fn write_set(writer: &mut Writer, table: TableName<'_>, set: &Set<'_>, id: u32) {
    let flags = if set.timeouts { libc::NFT_SET_TIMEOUT as u32 } else { 0 };
    writer.message(MSG_NEWSET, F_CREATE, 0, table.family, 0);
    writer.string(uapi::NFTA_SET_TABLE, table.name);
    writer.string(uapi::NFTA_SET_NAME, set.name);
    writer.be32(uapi::NFTA_SET_FLAGS, flags);
    writer.be32(uapi::NFTA_SET_KEY_TYPE, set.key_type);
    writer.be32(uapi::NFTA_SET_KEY_LEN, set.key_length);
    writer.be32(uapi::NFTA_SET_ID, id);
}

/// Writes a key into an element, and the milliseconds that it stays for if it is not to stay for
/// ever.
pub fn write_timed_key(writer: &mut Writer, key: &[u8], timeout: Option<u64>) {
    writer.nest(uapi::NFTA_SET_ELEM_KEY, |w| w.bytes(uapi::NFTA_DATA_VALUE, key));
    if let Some(timeout) = timeout {
        writer.be64(uapi::NFTA_SET_ELEM_TIMEOUT, timeout);
    }
}

/// Writes a message that makes a filter chain at a hook, with the policy to accept. The numbers of
/// the hooks are those of the table's family.
pub fn write_base_chain(
    writer: &mut Writer,
    table: TableName<'_>,
    name: &str,
    hook: u32,
    priority: i32,
) {
    writer.message(MSG_NEWCHAIN, F_CREATE, 0, table.family, 0);
    writer.string(uapi::NFTA_CHAIN_TABLE, table.name);
    writer.string(uapi::NFTA_CHAIN_NAME, name);
    writer.nest(uapi::NFTA_CHAIN_HOOK, |w| {
        w.be32(uapi::NFTA_HOOK_HOOKNUM, hook);
        w.be32(uapi::NFTA_HOOK_PRIORITY, priority.cast_unsigned());
    });
    writer.be32(uapi::NFTA_CHAIN_POLICY, libc::NF_ACCEPT as u32);
    writer.string(uapi::NFTA_CHAIN_TYPE, "filter");
}
