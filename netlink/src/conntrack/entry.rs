//! Everything that ctnetlink says of a session, as plain data.
//!
//! Goes in: a message of a dump, a look-up or a notification. Comes out: an [`Entry`], in which
//! what the message leaves out is `None`: notifications are deltas. Not here: requests, tuples.

use super::proto::ProtoInfo;
use super::session::{self, Counter, Status};
use super::tuple::Tuple;
use crate::wire::{Message, attributes, be16, be32};

/// `CTA_HELP_NAME`, `enum ctattr_seqadj` and `ctattr_synproxy`.
pub(super) const HELP_NAME: u16 = 1;
pub(super) const SEQADJ_POSITION: u16 = 1;
pub(super) const SEQADJ_BEFORE: u16 = 2;
pub(super) const SEQADJ_AFTER: u16 = 3;
pub(super) const SYNPROXY_ISN: u16 = 1;
pub(super) const SYNPROXY_ITS: u16 = 2;
pub(super) const SYNPROXY_OFFSET: u16 = 3;

/// What is said of a session. Only the original direction and the zone are always there. Merge
/// what a notification says into what is known of its session: [`Entry::merge`].
///
/// The kernel leaves a mark of 0 and labels of 0 out of a notification unless they have just
/// become so; labels of 0 it never says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The direction of the first packet, before any translation.
    pub original: Tuple,
    /// The conntrack zone of both directions; 0 if none, or if a tuple has its own.
    pub zone: u16,
    /// The other direction, as packets come in from there.
    pub reply: Option<Tuple>,
    /// How far it has come and what is done with it.
    pub status: Option<Status>,
    /// The state of its protocol.
    pub proto: Option<ProtoInfo>,
    /// Seconds until it ends if nothing comes. `None` too for one that hardware forwards.
    pub timeout: Option<u32>,
    /// The connmark.
    pub mark: Option<u32>,
    /// The 128 labels; bit 0 is the lowest bit of the first byte.
    pub labels: Option<u128>,
    /// The name of its helper, 1 to 15 bytes.
    pub helper: Option<Box<str>>,
    /// The original direction of the session that expected this one.
    pub master: Option<Tuple>,
    /// How sequence numbers are shifted in the original and in the reply direction.
    pub seq_adjust: Option<[SeqAdjust; 2]>,
    /// What the SYN proxy remembers. `None` too where all of it is 0, as the kernel says of every
    /// session that was written.
    pub syn_proxy: Option<SynProxy>,
    /// Tells this session from a later one with the same tuples; each kernel has its own.
    pub id: Option<u32>,
    /// What went in the original and in the reply direction, if the kernel counts
    /// (`net.netfilter.nf_conntrack_acct`). Can't be written.
    pub counters: Option<(Counter, Counter)>,
}

/// How the sequence numbers of one direction are shifted (`CTA_SEQADJ_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeqAdjust {
    /// From this sequence number on.
    pub position: u32,
    /// By how much before it, modulo 2^32.
    pub before: u32,
    /// By how much after it, modulo 2^32.
    pub after: u32,
}

/// What the SYN proxy remembers of a session (`CTA_SYNPROXY_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynProxy {
    /// Initial sequence number.
    pub isn: u32,
    /// Initial timestamp.
    pub its: u32,
    /// Offset of timestamps.
    pub offset: u32,
}

impl Entry {
    /// One that says nothing yet.
    #[must_use]
    pub fn new(original: Tuple, zone: u16) -> Self {
        Self {
            original,
            zone,
            reply: None,
            status: None,
            proto: None,
            timeout: None,
            mark: None,
            labels: None,
            helper: None,
            master: None,
            seq_adjust: None,
            syn_proxy: None,
            id: None,
            counters: None,
        }
    }

    /// Reads a message; `None` when the original direction is missing, or something has an
    /// impossible length.
    #[must_use]
    pub fn parse(message: &Message<'_>) -> Option<Self> {
        let original = message.attributes().find(|(kind, _)| *kind == session::TUPLE_ORIG)?.1;
        let mut entry = Self::new(Tuple::parse(original)?, 0);
        let mut adjusts = [None, None];
        let mut counters = [None, None];
        for (kind, payload) in message.attributes() {
            match kind {
                session::TUPLE_REPLY => entry.reply = Some(Tuple::parse(payload)?),
                session::TUPLE_MASTER => entry.master = Some(Tuple::parse(payload)?),
                session::STATUS => entry.status = Some(Status(be32(payload)?)),
                session::PROTOINFO => entry.proto = ProtoInfo::parse(payload)?,
                session::HELP => entry.helper = parse_helper(payload)?,
                session::TIMEOUT => entry.timeout = Some(be32(payload)?),
                session::MARK => entry.mark = Some(be32(payload)?),
                session::LABELS => entry.labels = Some(parse_labels(payload)?),
                session::ZONE => entry.zone = be16(payload)?,
                session::ID => entry.id = Some(be32(payload)?),
                session::SEQ_ADJ_ORIG => adjusts[0] = Some(SeqAdjust::parse(payload)?),
                session::SEQ_ADJ_REPLY => adjusts[1] = Some(SeqAdjust::parse(payload)?),
                session::SYNPROXY => {
                    let proxy = SynProxy::parse(payload)?;
                    entry.syn_proxy = (proxy != SynProxy::default()).then_some(proxy);
                }
                session::COUNTERS_ORIG => counters[0] = Some(session::parse_counter(payload)?),
                session::COUNTERS_REPLY => counters[1] = Some(session::parse_counter(payload)?),
                _ => {}
            }
        }
        if adjusts != [None, None] {
            entry.seq_adjust = Some(adjusts.map(Option::unwrap_or_default));
        }
        let [forth, back] = counters;
        entry.counters = forth.zip(back);
        Some(entry)
    }

    /// Puts what a later message says in place of what was known; what it doesn't say stays.
    pub fn merge(&mut self, later: &Self) {
        fn set<T: Clone>(known: &mut Option<T>, said: &Option<T>) {
            if said.is_some() {
                known.clone_from(said);
            }
        }
        set(&mut self.reply, &later.reply);
        set(&mut self.status, &later.status);
        match (&mut self.proto, &later.proto) {
            (Some(known), Some(said)) => known.merge(*said),
            (known, said) => set(known, said),
        }
        set(&mut self.timeout, &later.timeout);
        set(&mut self.mark, &later.mark);
        set(&mut self.labels, &later.labels);
        set(&mut self.helper, &later.helper);
        set(&mut self.master, &later.master);
        set(&mut self.seq_adjust, &later.seq_adjust);
        set(&mut self.syn_proxy, &later.syn_proxy);
        set(&mut self.id, &later.id);
        set(&mut self.counters, &later.counters);
    }
}

impl SeqAdjust {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut adjust = Self::default();
        for (kind, payload) in attributes(bytes) {
            match kind {
                SEQADJ_POSITION => adjust.position = be32(payload)?,
                SEQADJ_BEFORE => adjust.before = be32(payload)?,
                SEQADJ_AFTER => adjust.after = be32(payload)?,
                _ => {}
            }
        }
        Some(adjust)
    }
}

impl SynProxy {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut proxy = Self::default();
        for (kind, payload) in attributes(bytes) {
            match kind {
                SYNPROXY_ISN => proxy.isn = be32(payload)?,
                SYNPROXY_ITS => proxy.its = be32(payload)?,
                SYNPROXY_OFFSET => proxy.offset = be32(payload)?,
                _ => {}
            }
        }
        Some(proxy)
    }
}

/// Reads text that ends at its first zero or at the end, and is neither empty nor longer than the
/// kernel's longest helper name.
pub(super) fn parse_name(payload: &[u8]) -> Option<Box<str>> {
    let text = payload.split(|byte| *byte == 0).next()?;
    let text = str::from_utf8(text).ok()?;
    (!text.is_empty() && text.len() < 32).then(|| text.into())
}

#[expect(clippy::option_option, reason = "unreadable is something else than nameless")]
fn parse_helper(bytes: &[u8]) -> Option<Option<Box<str>>> {
    match attributes(bytes).find(|(kind, _)| *kind == HELP_NAME) {
        Some((_, payload)) => parse_name(payload).map(Some),
        None => Some(None),
    }
}

/// Reads labels; a kernel with room for fewer than 128 says fewer.
fn parse_labels(payload: &[u8]) -> Option<u128> {
    let mut bytes = [0; 16];
    bytes.get_mut(..payload.len())?.copy_from_slice(payload);
    Some(u128::from_le_bytes(bytes))
}
