//! Names and sizes of everything in the table.

use super::marks::Marks;
use crate::nft::sets::{self, Data, Map, TableName};
use std::ffi::CStr;

/// The table. Nothing outside it is ever written.
pub const TABLE: TableName<'static> =
    TableName { family: libc::NFPROTO_INET as u8, name: "twinwall" };

/// Session key to verdict, with a counter in each element.
pub const DECIDE: &CStr = c"decide";
/// Stale key to its only successor, during a reload. An element counts the sessions that it has
/// moved: only the first packet of each finds the stale key.
pub const REKEY: &CStr = c"rekey";
/// Keys that no longer decide though their elements are still there, during a reload.
pub const HIDDEN: &CStr = c"hidden";
/// Those of them whose packets are dropped meanwhile.
pub const HELD: &CStr = c"held";
/// Denied IPv4 flows and the key that denied them.
pub const DENIED4: &CStr = c"denied4";
/// Denied IPv6 flows and the key that denied them.
pub const DENIED6: &CStr = c"denied6";

/// The most session keys of old and new policy together. The map has a fixed size because lookups
/// in such a map are a little faster than in one that grows; an empty place costs 11 bytes.
pub const DECIDE_SIZE: u32 = 524_288;
/// The most denied flows of a family that are remembered. When it is full, more is asked.
const DENIED_SIZE: u32 = 65_536;
/// Milliseconds that a denied flow is remembered for.
const DENIED_TIMEOUT: u64 = 5_000;

/// Counters of packets that no rule of the policy decides.
pub mod counter {
    use std::ffi::CStr;

    /// Came in with our bits set in the packet mark; the bits were cleared.
    pub const FORGED: &CStr = c"forged";
    /// Conntrack found them invalid; dropped.
    pub const INVALID: &CStr = c"invalid";
    /// Sent to the daemon.
    pub const ASKED: &CStr = c"asked";
    /// Came back twice with a key that is not in the map; dropped.
    pub const AGAIN: &CStr = c"again";
    /// No daemon answered; `queue_failure` decided.
    pub const UNCLASSIFIED: &CStr = c"unclassified";
    /// Loopback, neighbour discovery, multicast group membership and VRRP; accepted.
    pub const LOCAL: &CStr = c"local";

    /// All of them.
    pub const ALL: [&CStr; 6] = [FORGED, INVALID, ASKED, AGAIN, UNCLASSIFIED, LOCAL];
}

/// A map's name as text; all are ASCII.
#[must_use]
pub fn text(name: &CStr) -> &str {
    name.to_str().unwrap_or_default()
}

/// The maps and sets, in the order that they are made in.
pub(super) fn maps() -> [Map<'static>; 6] {
    let flow = |address: u32| {
        [sets::TYPE_INTERFACE, address, address, sets::TYPE_PROTOCOL, sets::TYPE_MARK]
            .iter()
            .fold(0, |concatenated, kind| concatenated << 6 | kind)
    };
    let denied = |name, key_length, address| Map {
        name,
        key_length,
        key_type: flow(address),
        data: Data::Mark,
        size: Some(DENIED_SIZE),
        timeout: Some(DENIED_TIMEOUT),
    };
    let keyed = |name, data, size| Map {
        name,
        key_length: 4,
        key_type: sets::TYPE_MARK,
        data,
        size,
        timeout: None,
    };
    [
        keyed(text(DECIDE), Data::CountedVerdict, Some(DECIDE_SIZE)),
        keyed(text(REKEY), Data::CountedMark, None),
        keyed(text(HIDDEN), Data::Nothing, None),
        keyed(text(HELD), Data::Nothing, None),
        denied(text(DENIED4), 20, sets::TYPE_IPV4),
        denied(text(DENIED6), 44, sets::TYPE_IPV6),
    ]
}

/// The name of an empty chain that says what this table looks like. A table with the same one can
/// be adopted with its maps; any change to maps, base chains or marks has to change it.
#[must_use]
pub fn version(marks: Marks) -> String {
    format!("layout-4-{:x}-{:x}", marks.key_mask(), marks.control_mask())
}
