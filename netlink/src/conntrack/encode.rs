//! Requests about one session or expectation, as bytes.
//!
//! Goes in: an [`Entry`] or an [`Expectation`]. Comes out: the messages that make it, change it or
//! end it, or the name of the field without which the kernel would make something else of it. Not
//! here: sending, what becomes of the answers.

use super::entry::{self, Entry, SeqAdjust};
use super::expectation::{self, Expectation};
use super::proto::{self, ProtoInfo, TcpEnd};
use super::session::{self, Status};
use super::tuple::{Layer4, Tuple};
use super::{MSG_DELETE, MSG_NEW};
use crate::wire::{F_CREATE, F_EXCL, Writer};
use std::net::IpAddr;

/// `enum ctattr_nat` and `ctattr_protonat`.
const NAT_V4_MIN: u16 = 1;
const NAT_V4_MAX: u16 = 2;
const NAT_PROTO: u16 = 3;
const NAT_V6_MIN: u16 = 4;
const NAT_V6_MAX: u16 = 5;
const PROTONAT_PORT_MIN: u16 = 1;
const PROTONAT_PORT_MAX: u16 = 2;

const TCP: u8 = 6;
const DCCP: u8 = 33;
const SCTP: u8 = 132;

/// `TCP_CONNTRACK_SYN_SENT2`, the last state that the kernel takes.
const TCP_STATE_MAX: u8 = 9;
/// `NF_CT_HELPER_NAME_LEN` less the final zero, and the same of a function.
const HELPER_MAX: usize = 15;
const FUNCTION_MAX: usize = 31;

/// The bits of the status that a request can set. The kernel sets the others itself, or ignores
/// them.
const SETTABLE: u32 = Status::SEEN_REPLY.0 | Status::ASSURED.0 | Status::FIXED_TIMEOUT.0;

/// A field that a request lacks, or that the kernel would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Field {
    /// The reply direction is missing, or of another family or protocol than the original one.
    #[error("reply direction")]
    Reply,
    /// The timeout is missing.
    #[error("timeout")]
    Timeout,
    /// The state of TCP or SCTP is missing, incomplete or of another protocol.
    #[error("protocol state")]
    Proto,
    /// The helper's name is empty or longer than 15 bytes.
    #[error("helper")]
    Helper,
    /// The master, or what an expectation is translated to, is of another family.
    #[error("master")]
    Master,
    /// The mask of an expectation is of another family or protocol than its tuple.
    #[error("mask")]
    Mask,
    /// The name of an expectation's function is empty or longer than 31 bytes.
    #[error("function")]
    Function,
}

/// What is translated: the address and, if it is another one, the port or ICMP identifier that
/// takes the place of the original source or destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The address.
    pub address: IpAddr,
    /// The port, ICMP identifier or GRE key, where the protocol has one.
    pub port: Option<u16>,
}

impl Entry {
    /// What the source is translated to; `None` if it isn't, or if the reply direction isn't known.
    #[must_use]
    pub fn source_nat(&self) -> Option<Translation> {
        let seen = self.reply?.inverse();
        let (was, is) = (source_port(&self.original), source_port(&seen));
        (seen.src != self.original.src || was != is)
            .then_some(Translation { address: seen.src, port: is })
    }

    /// What the destination is translated to; `None` if it isn't, or if the reply direction isn't
    /// known.
    #[must_use]
    pub fn destination_nat(&self) -> Option<Translation> {
        let seen = self.reply?.inverse();
        let (was, is) = (destination_port(&self.original), destination_port(&seen));
        (seen.dst != self.original.dst || was != is)
            .then_some(Translation { address: seen.dst, port: is })
    }

    /// Whether the kernel can make a session of this, and would make this one of it.
    ///
    /// # Errors
    /// The first field that is missing or impossible.
    pub fn complete(&self) -> Result<(), Field> {
        self.reply.ok_or(Field::Reply)?;
        self.timeout.ok_or(Field::Timeout)?;
        // Without its state a session of these would never leave state 0.
        if matches!(self.original.protocol, TCP | SCTP) && self.proto.is_none() {
            return Err(Field::Proto);
        }
        self.consistent()
    }

    /// Whether the fields that there are fit together.
    pub(super) fn consistent(&self) -> Result<(), Field> {
        let same = |tuple: &Tuple| tuple.family() == self.original.family();
        if self.reply.is_some_and(|r| !same(&r) || r.protocol != self.original.protocol) {
            return Err(Field::Reply);
        }
        let whole = match (self.original.protocol, self.proto) {
            (_, None) => true,
            (TCP, Some(ProtoInfo::Tcp(tcp))) => tcp.ends.is_some() && tcp.state <= TCP_STATE_MAX,
            (SCTP, Some(ProtoInfo::Sctp(sctp))) => sctp.tags.is_some(),
            (DCCP, Some(ProtoInfo::Dccp(dccp))) => dccp.role.is_some(),
            _ => false,
        };
        if !whole {
            return Err(Field::Proto);
        }
        if self.helper.as_deref().is_some_and(|name| !is_name(name, HELPER_MAX)) {
            return Err(Field::Helper);
        }
        if self.master.is_some_and(|master| !same(&master)) {
            return Err(Field::Master);
        }
        Ok(())
    }
}

impl Expectation {
    /// Whether the kernel can make an expectation of this.
    ///
    /// # Errors
    /// The first field that is impossible.
    pub fn complete(&self) -> Result<(), Field> {
        let same = |tuple: &Tuple| tuple.family() == self.tuple.family();
        if !same(&self.mask) || self.mask.protocol != self.tuple.protocol {
            return Err(Field::Mask);
        }
        if !same(&self.master) || self.nat.is_some_and(|nat| !same(&nat.tuple)) {
            return Err(Field::Master);
        }
        if self.helper.as_deref().is_some_and(|name| !is_name(name, HELPER_MAX)) {
            return Err(Field::Helper);
        }
        if self.function.as_deref().is_some_and(|name| !is_name(name, FUNCTION_MAX)) {
            return Err(Field::Function);
        }
        Ok(())
    }
}

/// Makes a session, which must not exist yet and be [complete](Entry::complete).
pub(super) fn create(w: &mut Writer, entry: &Entry, seq: u32) {
    head(w, MSG_NEW, F_CREATE | F_EXCL, seq, &entry.original, entry.zone);
    // The kernel translates from this tuple on and so finds out by itself that there is NAT: had
    // it the translated tuple here, it would see nothing to be translated.
    let plain =
        Tuple { zone: entry.reply.and_then(|reply| reply.zone), ..entry.original.inverse() };
    w.nest(session::TUPLE_REPLY, |w| plain.write(w));
    if let Some(to) = entry.destination_nat() {
        w.nest(session::NAT_DST, |w| nat(w, to, has_ports(&entry.original)));
    }
    if let Some(to) = entry.source_nat() {
        w.nest(session::NAT_SRC, |w| nat(w, to, true));
    }
    if let Some(helper) = &entry.helper {
        w.nest(session::HELP, |w| w.string(entry::HELP_NAME, helper));
    }
    if let Some(master) = &entry.master {
        w.nest(session::TUPLE_MASTER, |w| master.write(w));
    }
    // The kernel has confirmed it when it comes to this, and hasn't yet put it to its master.
    let status = entry.status.unwrap_or_default().0 & SETTABLE | Status::CONFIRMED.0;
    w.be32(session::STATUS, status);
    w.be32(session::TIMEOUT, entry.timeout.unwrap_or_default());
    common(w, entry, TcpEnd::PORTABLE);
    if let Some(labels) = entry.labels.filter(|labels| *labels != 0) {
        w.bytes(session::LABELS, &labels.to_le_bytes());
    }
}

/// Changes a session. `status` is what is sent for the status: all bits that can't be changed have
/// to be as the kernel has them.
pub(super) fn update(w: &mut Writer, entry: &Entry, status: Option<Status>, seq: u32) {
    head(w, MSG_NEW, 0, seq, &entry.original, entry.zone);
    if let Some(status) = status {
        w.be32(session::STATUS, status.0);
    }
    // The kernel refuses to change a timeout that is fixed, and all that comes with it.
    let fixed = entry.status.is_some_and(|status| status.has(Status::FIXED_TIMEOUT));
    if let Some(timeout) = entry.timeout.filter(|_| !fixed) {
        w.be32(session::TIMEOUT, timeout);
    }
    // Whether a session that is there is liberal is a matter of this node.
    common(w, entry, TcpEnd::PORTABLE & !TcpEnd::BE_LIBERAL);
    if let Some(labels) = entry.labels {
        w.bytes(session::LABELS, &labels.to_le_bytes());
    }
}

/// The status for the first try of an update: what can be set, and what can't be changed as it
/// will be if the session here is the same as there. `None` if there is nothing to be set.
pub(super) fn status_to_set(entry: &Entry) -> Option<Status> {
    let wanted = entry.status?.0 & SETTABLE;
    let expected = if entry.master.is_some() { Status::EXPECTED.0 } else { 0 };
    (wanted != 0).then_some(Status(wanted | Status::CONFIRMED.0 | expected))
}

/// The status for an update of a session that has this status in the kernel.
pub(super) fn status_on(entry: &Entry, here: Status) -> Option<Status> {
    let wanted = entry.status?.0 & SETTABLE;
    (wanted & !here.0 != 0).then_some(Status(wanted | here.0))
}

/// Changes the timeout only.
pub(super) fn timeout(w: &mut Writer, original: &Tuple, zone: u16, seconds: u32, seq: u32) {
    head(w, MSG_NEW, 0, seq, original, zone);
    w.be32(session::TIMEOUT, seconds);
}

/// Changes only whether the packets of a TCP session are held against its windows.
pub(super) fn liberal(w: &mut Writer, original: &Tuple, zone: u16, on: bool, seq: u32) {
    head(w, MSG_NEW, 0, seq, original, zone);
    let flags = if on { TcpEnd::BE_LIBERAL } else { 0 };
    w.nest(session::PROTOINFO, |w| {
        w.nest(proto::PROTOINFO_TCP, |w| {
            for kind in proto::TCP_FLAGS {
                w.bytes(kind, &[flags, TcpEnd::BE_LIBERAL]);
            }
        });
    });
}

/// Ends a session; with an id only if it is the one with this id.
pub(super) fn delete(w: &mut Writer, original: &Tuple, zone: u16, id: Option<u32>, seq: u32) {
    head(w, MSG_DELETE, 0, seq, original, zone);
    if let Some(id) = id {
        w.be32(session::ID, id);
    }
}

/// Makes an expectation, which must not exist yet.
pub(super) fn expect(w: &mut Writer, expectation: &Expectation, seq: u32) {
    expectation_head(w, expectation::MSG_NEW, F_CREATE | F_EXCL, seq, &expectation.tuple);
    expectation_body(w, expectation);
}

/// Changes the time that an expectation has left; nothing else of it can be changed.
pub(super) fn prolong(w: &mut Writer, expectation: &Expectation, seconds: u32, seq: u32) {
    expectation_head(w, expectation::MSG_NEW, 0, seq, &expectation.tuple);
    expectation_body(w, expectation);
    w.be32(expectation::TIMEOUT, seconds);
}

/// Ends an expectation; with an id only if it is the one with this id.
pub(super) fn unexpect(w: &mut Writer, tuple: &Tuple, zone: u16, id: Option<u32>, seq: u32) {
    expectation_head(w, expectation::MSG_DELETE, 0, seq, tuple);
    if zone != 0 {
        w.be16(expectation::ZONE, zone);
    }
    if let Some(id) = id {
        w.be32(expectation::ID, id);
    }
}

fn head(w: &mut Writer, kind: u16, flags: u16, seq: u32, original: &Tuple, zone: u16) {
    w.message(kind, flags, seq, original.family(), 0);
    w.nest(session::TUPLE_ORIG, |w| original.write(w));
    if zone != 0 {
        w.be16(session::ZONE, zone);
    }
}

/// What a new session and a change have in common. `clearing` are the flags of TCP that are set to
/// what the entry says; the others are only set.
fn common(w: &mut Writer, entry: &Entry, clearing: u8) {
    if let Some(proto) = &entry.proto {
        w.nest(session::PROTOINFO, |w| protoinfo(w, proto, clearing));
    }
    if let Some(mark) = entry.mark {
        w.be32(session::MARK, mark);
    }
    if let Some([forth, back]) = &entry.seq_adjust {
        w.nest(session::SEQ_ADJ_ORIG, |w| seq_adjust(w, forth));
        w.nest(session::SEQ_ADJ_REPLY, |w| seq_adjust(w, back));
    }
    if let Some(proxy) = &entry.syn_proxy {
        w.nest(session::SYNPROXY, |w| {
            w.be32(entry::SYNPROXY_ISN, proxy.isn);
            w.be32(entry::SYNPROXY_ITS, proxy.its);
            w.be32(entry::SYNPROXY_OFFSET, proxy.offset);
        });
    }
}

fn protoinfo(w: &mut Writer, proto: &ProtoInfo, clearing: u8) {
    match proto {
        ProtoInfo::Tcp(tcp) => w.nest(proto::PROTOINFO_TCP, |w| {
            w.byte(proto::TCP_STATE, tcp.state);
            let ends = tcp.ends.iter().flatten();
            for ((end, scale), flags) in ends.zip(proto::TCP_SCALES).zip(proto::TCP_FLAGS) {
                // The kernel refuses more than RFC 7323, section 2.3, allows.
                w.byte(scale, end.scale.min(14));
                let set = end.flags & TcpEnd::PORTABLE;
                w.bytes(flags, &[set, set | clearing]);
            }
        }),
        ProtoInfo::Sctp(sctp) => w.nest(proto::PROTOINFO_SCTP, |w| {
            w.byte(proto::SCTP_STATE, sctp.state);
            for (tag, kind) in sctp.tags.iter().flatten().zip(proto::SCTP_TAGS) {
                w.be32(kind, *tag);
            }
        }),
        ProtoInfo::Dccp(dccp) => w.nest(proto::PROTOINFO_DCCP, |w| {
            w.byte(proto::DCCP_STATE, dccp.state);
            if let Some(role) = dccp.role {
                w.byte(proto::DCCP_ROLE, role);
            }
            if let Some(handshake) = dccp.handshake {
                w.be64(proto::DCCP_HANDSHAKE, handshake);
            }
        }),
    }
}

fn seq_adjust(w: &mut Writer, adjust: &SeqAdjust) {
    w.be32(entry::SEQADJ_POSITION, adjust.position);
    w.be32(entry::SEQADJ_BEFORE, adjust.before);
    w.be32(entry::SEQADJ_AFTER, adjust.after);
}

/// A range of one address and one port, so that the kernel has no choice.
fn nat(w: &mut Writer, to: Translation, with_port: bool) {
    match to.address {
        IpAddr::V4(v4) => {
            w.bytes(NAT_V4_MIN, &v4.octets());
            w.bytes(NAT_V4_MAX, &v4.octets());
        }
        IpAddr::V6(v6) => {
            w.bytes(NAT_V6_MIN, &v6.octets());
            w.bytes(NAT_V6_MAX, &v6.octets());
        }
    }
    if let Some(port) = to.port.filter(|_| with_port) {
        w.nest(NAT_PROTO, |w| {
            w.be16(PROTONAT_PORT_MIN, port);
            w.be16(PROTONAT_PORT_MAX, port);
        });
    }
}

fn expectation_head(w: &mut Writer, kind: u16, flags: u16, seq: u32, tuple: &Tuple) {
    w.message(kind, flags, seq, tuple.family(), 0);
    w.nest(expectation::TUPLE, |w| tuple.write(w));
}

fn expectation_body(w: &mut Writer, expectation: &Expectation) {
    w.nest(expectation::MASK, |w| expectation.mask.write(w));
    w.nest(expectation::MASTER, |w| expectation.master.write(w));
    if expectation.zone != 0 {
        w.be16(expectation::ZONE, expectation.zone);
    }
    w.be32(expectation::FLAGS, expectation.flags);
    w.be32(expectation::CLASS, expectation.class);
    if let Some(helper) = expectation.child_helper() {
        w.string(expectation::HELP_NAME, helper);
    }
    if let Some(to) = &expectation.nat {
        w.nest(expectation::NAT, |w| {
            w.be32(expectation::NAT_DIR, to.direction);
            w.nest(expectation::NAT_TUPLE, |w| to.tuple.write(w));
        });
    }
    if let Some(function) = &expectation.function {
        w.string(expectation::FUNCTION, function);
    }
}

fn is_name(name: &str, longest: usize) -> bool {
    !name.is_empty() && name.len() <= longest && !name.contains('\0')
}

fn has_ports(tuple: &Tuple) -> bool {
    matches!(tuple.layer4, Layer4::Ports { .. })
}

fn source_port(tuple: &Tuple) -> Option<u16> {
    match tuple.layer4 {
        Layer4::Ports { src, .. } => Some(src),
        Layer4::Icmp { id, .. } => Some(id),
        Layer4::None => None,
    }
}

fn destination_port(tuple: &Tuple) -> Option<u16> {
    match tuple.layer4 {
        Layer4::Ports { dst, .. } => Some(dst),
        Layer4::Icmp { .. } | Layer4::None => None,
    }
}
