//! The fields of a record: which bit stands for which, and how each is written.

use super::bytes::{Malformed, Reader, Writer};
use super::coarse;
use super::expectation;
use super::tuples::{get_tuple, put_tuple};
use crate::model::{
    GroupTag, HELPER_LEN, Proto, SeqAdjust, Session, Status, SynProxy, Tcp, TcpState,
};

/// No record is longer than this, whatever it holds.
pub const MAX_RECORD: usize = 512;

// The bits of a record's bitmap. What changes from session to session is in the first seven.
pub(super) const ADDRESSES: u64 = 1;
pub(super) const PORT_A: u64 = 1 << 1;
pub(super) const REPLY: u64 = 1 << 2;
pub(super) const MARK: u64 = 1 << 3;
pub(super) const PROTO: u64 = 1 << 4;
pub(super) const PORT_B: u64 = 1 << 5;
pub(super) const TIMEOUT: u64 = 1 << 6;
pub(super) const ENDED: u64 = 1 << 7;
pub(super) const STATUS: u64 = 1 << 8;
pub(super) const VERSION: u64 = 1 << 9;
pub(super) const KIND: u64 = 1 << 10;
pub(super) const ZONE: u64 = 1 << 11;
pub(super) const GROUP: u64 = 1 << 12;
pub(super) const LABELS: u64 = 1 << 13;
pub(super) const HELPER: u64 = 1 << 14;
pub(super) const MASTER: u64 = 1 << 15;
pub(super) const SEQ_ADJUST: u64 = 1 << 16;
pub(super) const SYN_PROXY: u64 = 1 << 17;
pub(super) const EXPECTATION: u64 = 1 << 18;
/// Bits from here on are fields of later versions. Each is preceded by its length.
pub(super) const KNOWN: u32 = 19;

fn put_proto(writer: &mut Writer, proto: Proto) {
    match proto {
        Proto::None => writer.u8(0),
        Proto::Tcp(tcp) => writer.put(&[
            1 << 4 | tcp.state.0 & 15,
            tcp.scale_original << 4 | tcp.scale_reply & 15,
            tcp.flags_original,
            tcp.flags_reply,
        ]),
        Proto::Sctp { state, tag_original, tag_reply } => {
            writer.put(&[2 << 4, state]);
            writer.put(&tag_original.to_le_bytes());
            writer.put(&tag_reply.to_le_bytes());
        }
        Proto::Dccp { state, role, handshake } => {
            writer.put(&[3 << 4, state, role]);
            writer.number(handshake);
        }
    }
}

fn get_proto(reader: &mut Reader<'_>) -> Result<Proto, Malformed> {
    const WHAT: &str = "a protocol's state";
    let tag = reader.u8(WHAT)?;
    match (tag >> 4, tag & 15) {
        (0, 0) => Ok(Proto::None),
        (1, state) => {
            let [scales, flags_original, flags_reply] = reader.array(WHAT)?;
            let (scale_original, scale_reply) = (scales >> 4, scales & 15);
            if scale_original > 14 || scale_reply > 14 {
                return Err(Malformed::Range("a window scale"));
            }
            let state = TcpState(state);
            Ok(Proto::Tcp(Tcp { state, scale_original, scale_reply, flags_original, flags_reply }))
        }
        (2, 0) => Ok(Proto::Sctp {
            state: reader.u8(WHAT)?,
            tag_original: u32::from_le_bytes(reader.array(WHAT)?),
            tag_reply: u32::from_le_bytes(reader.array(WHAT)?),
        }),
        (3, 0) => Ok(Proto::Dccp {
            state: reader.u8(WHAT)?,
            role: reader.u8(WHAT)?,
            handshake: reader.number(WHAT)?,
        }),
        _ => Err(Malformed::Range(WHAT)),
    }
}

/// Which fields besides identity, reply and version differ between two sessions.
pub(super) fn differing(session: &Session, previous: &Session) -> u64 {
    let differs = [
        (MARK, session.mark != previous.mark),
        (PROTO, session.proto != previous.proto),
        (TIMEOUT, coarse::code(session.timeout) != coarse::code(previous.timeout)),
        (STATUS, session.status != previous.status),
        (GROUP, session.group != previous.group),
        (LABELS, session.labels != previous.labels),
        (HELPER, session.helper != previous.helper),
        (MASTER, session.master != previous.master),
        (SEQ_ADJUST, session.seq_adjust != previous.seq_adjust),
        (SYN_PROXY, session.syn_proxy != previous.syn_proxy),
        (EXPECTATION, session.expectation != previous.expectation),
    ];
    differs.iter().filter(|(_, differs)| *differs).fold(0, |bits, (bit, _)| bits | bit)
}

/// Writes the fields of [`differing`], in the order of their bits.
pub(super) fn put_fields(writer: &mut Writer, bits: u64, session: &Session) {
    if bits & MARK != 0 {
        writer.number(session.mark.into());
    }
    if bits & PROTO != 0 {
        put_proto(writer, session.proto);
    }
    if bits & TIMEOUT != 0 {
        writer.u8(coarse::code(session.timeout));
    }
    if bits & STATUS != 0 {
        writer.number(session.status.0.into());
    }
    if bits & GROUP != 0 {
        writer.u8(session.group.0);
    }
    if bits & LABELS != 0 {
        writer.put(&session.labels.to_le_bytes());
    }
    if bits & HELPER != 0 {
        writer.counted(session.helper.as_deref().unwrap_or_default().as_bytes());
    }
    if bits & MASTER != 0 {
        writer.u8(session.master.is_some().into());
        session.master.iter().for_each(|master| put_tuple(writer, master));
    }
    if bits & SEQ_ADJUST != 0 {
        writer.u8(session.seq_adjust.is_some().into());
        for one in session.seq_adjust.iter().flatten() {
            for number in [one.position, one.before, one.after] {
                writer.number(number.into());
            }
        }
    }
    if bits & SYN_PROXY != 0 {
        writer.u8(session.syn_proxy.is_some().into());
        if let Some(proxy) = &session.syn_proxy {
            for number in [proxy.isn, proxy.its, proxy.offset] {
                writer.put(&number.to_le_bytes());
            }
        }
    }
    if bits & EXPECTATION != 0 {
        expectation::put(writer, session.expectation.as_deref());
    }
}

/// Reads what [`put_fields`] wrote into a session.
pub(super) fn get_fields(
    reader: &mut Reader<'_>,
    bits: u64,
    session: &mut Session,
) -> Result<(), Malformed> {
    if bits & MARK != 0 {
        session.mark = reader.number32("a mark")?;
    }
    if bits & PROTO != 0 {
        session.proto = get_proto(reader)?;
    }
    if bits & TIMEOUT != 0 {
        session.timeout = coarse::seconds(reader.u8("a timeout")?);
    }
    if bits & STATUS != 0 {
        session.status = Status(reader.number32("a status")?).replicated();
    }
    if bits & GROUP != 0 {
        session.group = GroupTag(reader.u8("a group")?);
    }
    if bits & LABELS != 0 {
        session.labels = u128::from_le_bytes(reader.array("labels")?);
    }
    if bits & HELPER != 0 {
        session.helper = get_name(reader, HELPER_LEN, "a helper")?;
    }
    if bits & MASTER != 0 {
        session.master = get_option(reader, "a master")?.then(|| get_tuple(reader)).transpose()?;
    }
    if bits & SEQ_ADJUST != 0 {
        session.seq_adjust = if get_option(reader, "a sequence adjustment")? {
            Some([get_adjust(reader)?, get_adjust(reader)?])
        } else {
            None
        };
    }
    if bits & SYN_PROXY != 0 {
        session.syn_proxy = if get_option(reader, "SYN proxy data")? {
            let mut next = || reader.array("SYN proxy data").map(u32::from_le_bytes);
            Some(SynProxy { isn: next()?, its: next()?, offset: next()? })
        } else {
            None
        };
    }
    if bits & EXPECTATION != 0 {
        session.expectation = expectation::get(reader)?.map(Box::new);
    }
    Ok(())
}

pub(super) fn get_option(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, Malformed> {
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::Range(what)),
    }
}

/// A name of printable ASCII; an empty one is none.
pub(super) fn get_name(
    reader: &mut Reader<'_>,
    longest: usize,
    what: &'static str,
) -> Result<Option<Box<str>>, Malformed> {
    let bytes = reader.counted(what)?;
    let printable = bytes.len() <= longest && bytes.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(bytes).ok().filter(|_| printable);
    let name = name.ok_or(Malformed::Range(what))?;
    Ok((!name.is_empty()).then(|| name.into()))
}

fn get_adjust(reader: &mut Reader<'_>) -> Result<SeqAdjust, Malformed> {
    let mut next = || reader.number32("a sequence adjustment");
    Ok(SeqAdjust { position: next()?, before: next()?, after: next()? })
}
