//! Protocol state of sessions: TCP, SCTP, DCCP.
//!
//! Goes in: the content of a `CTA_PROTOINFO` attribute. Comes out: the state, and what of it can be
//! carried over to another kernel. Not here: windows, which the kernel doesn't tell.

use crate::wire::{attributes, be32, be64};

/// `CTA_PROTOINFO_TCP`, `_DCCP` and `_SCTP`, and what is inside.
pub(super) const PROTOINFO_TCP: u16 = 1;
pub(super) const PROTOINFO_DCCP: u16 = 2;
pub(super) const PROTOINFO_SCTP: u16 = 3;
pub(super) const TCP_STATE: u16 = 1;
pub(super) const TCP_SCALES: [u16; 2] = [2, 3];
pub(super) const TCP_FLAGS: [u16; 2] = [4, 5];
pub(super) const DCCP_STATE: u16 = 1;
pub(super) const DCCP_ROLE: u16 = 2;
pub(super) const DCCP_HANDSHAKE: u16 = 3;
pub(super) const SCTP_STATE: u16 = 1;
pub(super) const SCTP_TAGS: [u16; 2] = [2, 3];

/// The state of a session's protocol (`CTA_PROTOINFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtoInfo {
    /// TCP.
    Tcp(TcpInfo),
    /// SCTP.
    Sctp(SctpInfo),
    /// DCCP; not in kernel 6.18, which no longer tracks it.
    Dccp(DccpInfo),
}

/// The state of a TCP session. The kernel doesn't tell its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// A number of `enum tcp_conntrack`: 3 is established.
    pub state: u8,
    /// What is known of the senders of the original and of the reply direction; not said when the
    /// session ends.
    pub ends: Option<[TcpEnd; 2]>,
}

/// What is known of one sender of a TCP session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpEnd {
    /// Window scale, 0 to 14.
    pub scale: u8,
    /// `IP_CT_TCP_FLAG_*`.
    pub flags: u8,
}

impl TcpInfo {
    /// Whether the kernel that said this has seen packets of the session, and so holds later ones
    /// against the windows that it learnt. A session that was written and has carried nothing yet
    /// has none; one whose packets went elsewhere meanwhile has old ones, see
    /// [`super::Request::Renew`].
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.ends.iter().flatten().any(|end| end.flags & TcpEnd::MAXACK_SET != 0)
    }

    /// What is the session's own and the same on every node, to be compared and replicated: the
    /// flags that are [portable](TcpEnd::PORTABLE), and of those without `BE_LIBERAL` unless the
    /// kernel picked the session up in the middle. Such a session has no window scales.
    #[must_use]
    pub fn portable(mut self) -> Self {
        let scaled = |end: &TcpEnd| end.flags & TcpEnd::WINDOW_SCALE != 0;
        let whole = self.ends.is_some_and(|ends| ends.iter().all(scaled));
        let kept = if whole { TcpEnd::PORTABLE & !TcpEnd::BE_LIBERAL } else { TcpEnd::PORTABLE };
        self.ends.iter_mut().flatten().for_each(|end| end.flags &= kept);
        self
    }

    /// The same with `BE_LIBERAL` on both ends, as a session is best written that may be running
    /// when it is taken over. The first packet of each side begins its window here. If that is one
    /// that was sent again, the other side may acknowledge what came before the takeover, which
    /// the kernel hasn't seen; without the flag it takes that for invalid and doesn't translate
    /// it, and where the address is its own, it answers with a reset. Once packets have gone both
    /// ways the windows are right, and the flag can go: [`super::Request::Liberal`].
    #[must_use]
    pub fn liberal(mut self) -> Self {
        self.ends.iter_mut().flatten().for_each(|end| end.flags |= TcpEnd::BE_LIBERAL);
        self
    }
}

impl TcpEnd {
    /// `IP_CT_TCP_FLAG_WINDOW_SCALE`: it sent a window scale. Without it on both ends the kernel
    /// takes no scales.
    pub const WINDOW_SCALE: u8 = 0x01;
    /// `IP_CT_TCP_FLAG_BE_LIBERAL`: its packets aren't held against the windows. The kernel sets it
    /// when it picks a session up in the middle.
    pub const BE_LIBERAL: u8 = 0x08;
    /// `IP_CT_TCP_FLAG_MAXACK_SET`: this kernel has seen an acknowledgement of it.
    pub const MAXACK_SET: u8 = 0x20;
    /// The flags that are the session's own. `DATA_UNACKNOWLEDGED` comes and goes with each packet.
    /// `MAXACK_SET` and `EXP_CHALLENGE_ACK` say that the kernel knows a sequence number, which it
    /// doesn't tell: with `MAXACK_SET` and no such number a kernel takes half of all resets for
    /// invalid.
    pub const PORTABLE: u8 = 0x8f;
}

/// The state of an SCTP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SctpInfo {
    /// A number of `enum sctp_conntrack`.
    pub state: u8,
    /// Verification tags of the original and of the reply direction; not said when the session
    /// ends.
    pub tags: Option<[u32; 2]>,
}

/// The state of a DCCP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DccpInfo {
    /// A number of `enum ct_dccp_states`.
    pub state: u8,
    /// A number of `enum ct_dccp_roles`, of the original direction; not said when the session
    /// ends.
    pub role: Option<u8>,
    /// The handshake's sequence number.
    pub handshake: Option<u64>,
}

impl ProtoInfo {
    /// Reads the content of `CTA_PROTOINFO`. `Some(None)` when it holds no protocol that is known
    /// here; `None` when something has an impossible length, or the state is missing.
    #[expect(clippy::option_option, reason = "unreadable is something else than unknown")]
    pub(super) fn parse(bytes: &[u8]) -> Option<Option<Self>> {
        for (kind, payload) in attributes(bytes) {
            match kind {
                PROTOINFO_TCP => return TcpInfo::parse(payload).map(|tcp| Some(Self::Tcp(tcp))),
                PROTOINFO_SCTP => return SctpInfo::parse(payload).map(|s| Some(Self::Sctp(s))),
                PROTOINFO_DCCP => return DccpInfo::parse(payload).map(|d| Some(Self::Dccp(d))),
                _ => {}
            }
        }
        Some(None)
    }

    pub(super) fn merge(&mut self, said: Self) {
        match (self, said) {
            (Self::Tcp(known), Self::Tcp(said)) => {
                known.state = said.state;
                known.ends = said.ends.or(known.ends);
            }
            (Self::Sctp(known), Self::Sctp(said)) => {
                known.state = said.state;
                known.tags = said.tags.or(known.tags);
            }
            (known, said) => *known = said,
        }
    }
}

impl TcpInfo {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut state, mut scales, mut flags) = (None, [None; 2], [None; 2]);
        for (kind, payload) in attributes(bytes) {
            match kind {
                TCP_STATE => state = Some(byte(payload)?),
                2 => scales[0] = Some(byte(payload)?),
                3 => scales[1] = Some(byte(payload)?),
                4 => flags[0] = Some(*payload.first()?),
                5 => flags[1] = Some(*payload.first()?),
                _ => {}
            }
        }
        let end = |scale: Option<u8>, flags: Option<u8>| {
            Some(TcpEnd { scale: scale.unwrap_or_default(), flags: flags? })
        };
        let ends = end(scales[0], flags[0]).zip(end(scales[1], flags[1]));
        Some(Self { state: state?, ends: ends.map(|(forth, back)| [forth, back]) })
    }
}

impl SctpInfo {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut state, mut tags) = (None, [None; 2]);
        for (kind, payload) in attributes(bytes) {
            match kind {
                SCTP_STATE => state = Some(byte(payload)?),
                2 => tags[0] = Some(be32(payload)?),
                3 => tags[1] = Some(be32(payload)?),
                _ => {}
            }
        }
        let [forth, back] = tags;
        Some(Self { state: state?, tags: forth.zip(back).map(|(forth, back)| [forth, back]) })
    }
}

impl DccpInfo {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut state, mut role, mut handshake) = (None, None, None);
        for (kind, payload) in attributes(bytes) {
            match kind {
                DCCP_STATE => state = Some(byte(payload)?),
                DCCP_ROLE => role = Some(byte(payload)?),
                DCCP_HANDSHAKE => handshake = Some(be64(payload)?),
                _ => {}
            }
        }
        Some(Self { state: state?, role, handshake })
    }
}

fn byte(payload: &[u8]) -> Option<u8> {
    match payload {
        [byte] => Some(*byte),
        _ => None,
    }
}
