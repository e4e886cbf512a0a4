//! Sessions: everything that is replicated of one.

use super::{GroupTag, Identity, Tuple, Zone};
use serde::{Deserialize, Serialize};
use std::mem::discriminant;

/// The longest helper name, in bytes (`NF_CT_HELPER_NAME_LEN` less the final zero).
pub const HELPER_LEN: usize = 15;

/// A session, or an expectation, which is a session that has yet to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The direction of the first packet, before any translation.
    pub original: Tuple,
    /// The other direction, as packets come in from there. Where it isn't the inverse of the
    /// original direction, there is NAT. Meaningless for an expectation.
    pub reply: Tuple,
    /// The conntrack zone.
    pub zone: Zone,
    /// How far it has come and what is done with it.
    pub status: Status,
    /// The state of its protocol.
    pub proto: Proto,
    /// Seconds until it ends if nothing comes. Both nodes keep it rounded up to one of 256 steps
    /// of about 6 %, at most 507,904 s.
    pub timeout: u32,
    /// The connmark. What the owned bits mean is each node's own, see [`crate::replica::policy`].
    pub mark: u32,
    /// The 128 labels; bit 0 is the lowest bit of the first byte.
    pub labels: u128,
    /// The name of its helper.
    pub helper: Option<Box<str>>,
    /// The original direction of the session that expected this one.
    pub master: Option<Tuple>,
    /// How sequence numbers are shifted, in the original and in the reply direction.
    pub seq_adjust: Option<[SeqAdjust; 2]>,
    /// What the SYN proxy remembers.
    pub syn_proxy: Option<SynProxy>,
    /// The VRRP group whose active node carries it.
    pub group: GroupTag,
    /// What makes it an expectation.
    pub expectation: Option<Box<Expectation>>,
}

/// Bits of `enum ip_conntrack_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Status(pub u32);

impl Status {
    /// Another session expected it.
    pub const EXPECTED: Self = Self(1);
    /// Packets went both ways.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// It is not given up early when the table is full.
    pub const ASSURED: Self = Self(1 << 2);
    /// Its first packet went through.
    pub const CONFIRMED: Self = Self(1 << 3);
    /// It is being removed.
    pub const DYING: Self = Self(1 << 9);
    /// Packets don't prolong it.
    pub const FIXED_TIMEOUT: Self = Self(1 << 10);
    /// What a write can't set in the kernel (`IPS_UNCHANGEABLE_MASK`, and what other attributes
    /// bring about): left out of what is replicated. A session that was written lacks some of
    /// them, such as `NAT_DONE` where nothing is translated, for as long as it lives. If they
    /// counted, each dump on either node would find the session changed.
    pub const LOCAL: Self = Self(!(Self::SEEN_REPLY.0 | Self::ASSURED.0 | Self::FIXED_TIMEOUT.0));

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits that the kernel never clears.
    #[must_use]
    pub const fn sticky(self) -> Self {
        Self(self.0 & (Self::SEEN_REPLY.0 | Self::ASSURED.0))
    }

    /// Without what is so on one node only.
    #[must_use]
    pub const fn replicated(self) -> Self {
        Self(self.0 & !Self::LOCAL.0)
    }
}

/// State of a session's protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proto {
    /// Nothing to keep.
    #[default]
    None,
    /// TCP.
    Tcp(Tcp),
    /// SCTP.
    Sctp {
        /// A number of `enum sctp_conntrack`.
        state: u8,
        /// Verification tag of the original direction.
        tag_original: u32,
        /// Verification tag of the reply direction.
        tag_reply: u32,
    },
    /// DCCP.
    Dccp {
        /// A number of `enum ct_dccp_states`.
        state: u8,
        /// A number of `enum ct_dccp_roles`, of the original direction.
        role: u8,
        /// The handshake's sequence number.
        handshake: u64,
    },
}

/// State of a TCP session. The kernel learns the windows from the first packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// Its state.
    pub state: TcpState,
    /// Window scale of the original direction, 0 to 14.
    pub scale_original: u8,
    /// Window scale of the reply direction, 0 to 14.
    pub scale_reply: u8,
    /// `IP_CT_TCP_FLAG_*` of the original direction. Write them with the mask 0xff.
    pub flags_original: u8,
    /// `IP_CT_TCP_FLAG_*` of the reply direction. Write them with the mask 0xff.
    pub flags_reply: u8,
}

/// A number of `enum tcp_conntrack`, 0 to 15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TcpState(pub u8);

impl TcpState {
    /// A SYN was seen.
    pub const SYN_SENT: Self = Self(1);
    /// It was answered.
    pub const SYN_RECV: Self = Self(2);
    /// Data flows.
    pub const ESTABLISHED: Self = Self(3);
    /// A FIN was seen.
    pub const FIN_WAIT: Self = Self(4);
    /// Both sides are closed.
    pub const TIME_WAIT: Self = Self(7);
    /// It was reset.
    pub const CLOSE: Self = Self(8);
    /// SYNs crossed.
    pub const SYN_SENT2: Self = Self(9);
}

/// How the sequence numbers of one direction are shifted (`CTA_SEQADJ_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqAdjust {
    /// From this sequence number on.
    pub position: u32,
    /// By how much before it.
    pub before: u32,
    /// By how much after it.
    pub after: u32,
}

/// What the SYN proxy remembers of a session (`CTA_SYNPROXY_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynProxy {
    /// Initial sequence number.
    pub isn: u32,
    /// Initial timestamp.
    pub its: u32,
    /// Offset of timestamps.
    pub offset: u32,
}

/// What an expectation has besides the tuple that it expects (`Session::original`), its master
/// and its helper (`Session::master`, `Session::helper`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Which bits of the tuple count.
    pub mask: Tuple,
    /// `NF_CT_EXPECT_*`.
    pub flags: u32,
    /// The class within the helper.
    pub class: u32,
    /// The direction that a translation is for, and the tuple to translate to.
    pub nat: Option<(u32, Tuple)>,
    /// The name of the function that sees the session's first packet.
    pub function: Option<Box<str>>,
}

impl Session {
    /// A session of which only the tuples are known.
    #[must_use]
    pub fn new(original: Tuple, reply: Tuple) -> Self {
        Self {
            original,
            reply,
            zone: Zone::default(),
            status: Status::default(),
            proto: Proto::None,
            timeout: 0,
            mark: 0,
            labels: 0,
            helper: None,
            master: None,
            seq_adjust: None,
            syn_proxy: None,
            group: GroupTag::default(),
            expectation: None,
        }
    }

    /// What tells it apart.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { original: self.original, zone: self.zone, expected: self.expectation.is_some() }
    }

    /// Whether the two differ in nothing but the time that is left.
    #[must_use]
    pub fn same_but_timeout(&self, other: &Self) -> bool {
        self.original == other.original
            && self.reply == other.reply
            && self.zone == other.zone
            && self.status == other.status
            && self.proto == other.proto
            && self.mark == other.mark
            && self.labels == other.labels
            && self.helper == other.helper
            && self.master == other.master
            && self.seq_adjust == other.seq_adjust
            && self.syn_proxy == other.syn_proxy
            && self.group == other.group
            && self.expectation == other.expectation
    }

    /// Whether the kernel can turn `self` into `other` by an update: translation, master and
    /// helper can't be changed.
    #[must_use]
    pub fn updates_to(&self, other: &Self) -> bool {
        self.reply == other.reply && self.master == other.master && self.helper == other.helper
    }

    /// Whether addresses and lengths are such as the kernel can have; nothing else is taken in.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let name = |name: &Option<Box<str>>, longest| {
            name.as_ref().is_none_or(|name| {
                let len = name.len();
                len > 0 && len <= longest && name.bytes().all(|byte| byte.is_ascii_graphic())
            })
        };
        let tuples = [Some(&self.original), Some(&self.reply), self.master.as_ref()];
        let proto = match self.proto {
            Proto::Tcp(tcp) => {
                tcp.state.0 < 16 && tcp.scale_original <= 14 && tcp.scale_reply <= 14
            }
            _ => true,
        };
        let expectation = self.expectation.as_ref().is_none_or(|expectation| {
            let to = expectation.nat.as_ref().map(|(_, tuple)| tuple);
            // A mask's addresses are of the family that it is a mask for.
            expectation.mask.is_valid()
                && expectation.mask.is_ipv6() == self.original.is_ipv6()
                && to.is_none_or(Tuple::is_valid)
                && name(&expectation.function, 31)
        });
        tuples.into_iter().flatten().all(Tuple::is_valid)
            && self.original.is_ipv6() == self.reply.is_ipv6()
            && self.original.protocol == self.reply.protocol
            && discriminant(&self.original.layer4) == discriminant(&self.reply.layer4)
            && name(&self.helper, HELPER_LEN)
            && proto
            && expectation
    }
}
