//! Expectations: sessions that a helper has seen announced and that have yet to begin.
//!
//! Goes in: a message of a dump or a notification. Comes out: an [`Expectation`]. Layouts are those
//! of `linux/netfilter/nfnetlink_conntrack.h`. Not here: requests, helpers.

use super::entry::parse_name;
use super::tuple::Tuple;
use crate::wire::{Message, attributes, be16, be32};

/// `NFNL_SUBSYS_CTNETLINK_EXP`, the upper byte of the message types, and `enum
/// ctnl_exp_msg_types`.
const SUBSYSTEM: u16 = 2 << 8;
pub(super) const MSG_NEW: u16 = SUBSYSTEM;
pub(super) const MSG_GET: u16 = SUBSYSTEM | 1;
pub(super) const MSG_DELETE: u16 = SUBSYSTEM | 2;

/// `enum ctattr_expect` and `ctattr_expect_nat`.
pub(super) const MASTER: u16 = 1;
pub(super) const TUPLE: u16 = 2;
pub(super) const MASK: u16 = 3;
pub(super) const TIMEOUT: u16 = 4;
pub(super) const ID: u16 = 5;
pub(super) const HELP_NAME: u16 = 6;
pub(super) const ZONE: u16 = 7;
pub(super) const FLAGS: u16 = 8;
pub(super) const CLASS: u16 = 9;
pub(super) const NAT: u16 = 10;
pub(super) const FUNCTION: u16 = 11;
pub(super) const NAT_DIR: u16 = 1;
pub(super) const NAT_TUPLE: u16 = 2;

/// Helpers whose expected sessions have no helper of their own. A name can end in a port, as in
/// `ftp-2121`.
const CHILDLESS: [&str; 8] = ["ftp", "tftp", "irc", "amanda", "pptp", "netbios-ns", "snmp", "sane"];

/// An expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The original direction of the expected session, as far as the mask says.
    pub tuple: Tuple,
    /// The bits of the tuple's source that count. The destination counts whole, whatever is here.
    pub mask: Tuple,
    /// The original direction of the session that expects it.
    pub master: Tuple,
    /// The conntrack zone of both directions of the master. The kernel never says it: 0 in what is
    /// read, so fill it in from the master where there are zones.
    pub zone: u16,
    /// Seconds until it ends if the session doesn't begin.
    pub timeout: Option<u32>,
    /// Tells it from a later one with the same tuple; each kernel has its own.
    pub id: Option<u32>,
    /// The name of the master's helper, 1 to 15 bytes.
    pub helper: Option<Box<str>>,
    /// `NF_CT_EXPECT_*`.
    pub flags: u32,
    /// The class within the helper; its limits and its timeout depend on it.
    pub class: u32,
    /// What its session is to be translated to.
    pub nat: Option<ExpectedNat>,
    /// The name of the kernel's function that sees the session's first packet, at most 31 bytes.
    pub function: Option<Box<str>>,
}

/// Translation of an expected session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedNat {
    /// The direction of the master that announced it: 0 original, 1 reply.
    pub direction: u32,
    /// The source of this is the address and port that were announced; the rest means nothing.
    pub tuple: Tuple,
}

impl Expectation {
    /// Reads a message; `None` when something is missing or has an impossible length.
    #[must_use]
    pub fn parse(message: &Message<'_>) -> Option<Self> {
        let (mut tuple, mut mask, mut master, mut zone) = (None, None, None, 0);
        let (mut timeout, mut id, mut helper) = (None, None, None);
        let (mut flags, mut class, mut nat, mut function) = (0, 0, None, None);
        for (kind, payload) in message.attributes() {
            match kind {
                TUPLE => tuple = Some(Tuple::parse(payload)?),
                MASK => mask = Some(Tuple::parse(payload)?),
                MASTER => master = Some(Tuple::parse(payload)?),
                ZONE => zone = be16(payload)?,
                TIMEOUT => timeout = Some(be32(payload)?),
                ID => id = Some(be32(payload)?),
                HELP_NAME => helper = Some(parse_name(payload)?),
                FLAGS => flags = be32(payload)?,
                CLASS => class = be32(payload)?,
                NAT => nat = Some(ExpectedNat::parse(payload)?),
                FUNCTION => function = Some(parse_name(payload)?),
                _ => {}
            }
        }
        let (tuple, mask, master) = (tuple?, mask?, master?);
        Some(Self { tuple, mask, master, zone, timeout, id, helper, flags, class, nat, function })
    }

    /// The helper to name in a request: the kernel gives it to the expected session too, and takes
    /// the class only together with it.
    pub(super) fn child_helper(&self) -> Option<&str> {
        let name = self.helper.as_deref()?;
        let childless = CHILDLESS.iter().any(|kind| {
            name.strip_prefix(kind).is_some_and(|port| port.is_empty() || port.starts_with('-'))
        });
        (self.class != 0 || !childless).then_some(name)
    }
}

impl ExpectedNat {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut direction, mut tuple) = (None, None);
        for (kind, payload) in attributes(bytes) {
            match kind {
                NAT_DIR => direction = Some(be32(payload)?),
                NAT_TUPLE => tuple = Some(Tuple::parse(payload)?),
                _ => {}
            }
        }
        Some(Self { direction: direction?, tuple: tuple? })
    }
}
