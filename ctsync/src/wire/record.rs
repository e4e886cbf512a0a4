//! Records: a session or its end, as the difference from the record before it; and the form in
//! which a session is kept in memory, which depends on no other.

use super::bytes::{Malformed, Reader, Writer};
use super::fields::{
    ADDRESSES, ENDED, KIND, KNOWN, MARK, PORT_A, PORT_B, REPLY, TIMEOUT, VERSION, ZONE, differing,
    get_fields, put_fields,
};
use super::tuples::{
    ReplyDiff, address, address_len, get_zone, kind, layer4, octets, ports, put_reply, put_zone,
};
use crate::model::{Identity, Session, Tuple};
use std::net::{IpAddr, Ipv4Addr};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "written and read one at a time")]
pub enum Change {
    /// The session is this.
    Put {
        /// The session.
        session: Session,
        /// The number of this version of it.
        version: u32,
    },
    /// The session has ended.
    End {
        /// Which.
        identity: Identity,
        /// The number of its last version.
        version: u32,
        /// Whether its time had run out, as against that somebody ended it.
        ran_out: bool,
    },
}

/// What both ends remember of the record before.
#[derive(Clone, Debug)]
struct Previous {
    /// Its reply tuple is not kept.
    session: Session,
    expected: bool,
    reply: ReplyDiff,
    version: u32,
}

impl Default for Previous {
    fn default() -> Self {
        let none = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let tuple = Tuple { src: none, dst: none, protocol: 0, layer4: crate::model::Layer4::None };
        Self {
            session: Session::new(tuple, tuple),
            expected: false,
            reply: ReplyDiff::default(),
            version: 0,
        }
    }
}

/// Writes the records of a section.
#[derive(Clone, Debug, Default)]
pub struct RecordWriter(Previous);

impl RecordWriter {
    /// Writes one.
    pub fn write(&mut self, writer: &mut Writer, change: &Change) {
        let previous = &mut self.0;
        let (identity, version) = match change {
            Change::Put { session, version } => (session.identity(), *version),
            Change::End { identity, version, .. } => (*identity, *version),
        };
        let mut bits = differing_identity(&identity, previous);
        if version != previous.version {
            bits |= VERSION;
        }
        match change {
            Change::End { ran_out, .. } => {
                // Of one that has ended no timeout follows.
                writer.number(bits | ENDED | if *ran_out { TIMEOUT } else { 0 });
                put_identity(writer, bits, &identity, previous);
                if bits & VERSION != 0 {
                    writer.number(version.into());
                }
            }
            Change::Put { session, .. } => {
                let reply = ReplyDiff::of(&session.original, &session.reply);
                if reply != previous.reply {
                    bits |= REPLY;
                }
                bits |= differing(session, &previous.session);
                writer.number(bits);
                put_identity(writer, bits, &identity, previous);
                if bits & VERSION != 0 {
                    writer.number(version.into());
                }
                if bits & REPLY != 0 {
                    put_reply(writer, &session.original, &session.reply);
                }
                put_fields(writer, bits, session);
                previous.session.clone_from(session);
                previous.reply = reply;
            }
        }
        previous.session.original = identity.original;
        previous.session.zone = identity.zone;
        previous.expected = identity.expected;
        previous.version = version;
    }
}

/// Reads the records of a section.
#[derive(Clone, Debug, Default)]
pub struct RecordReader(Previous);

impl RecordReader {
    /// Reads one.
    ///
    /// # Errors
    /// When it is malformed or no session that can be. The rest of the section can't be read then.
    pub fn read(&mut self, reader: &mut Reader<'_>) -> Result<Change, Malformed> {
        let bits = reader.number("a record's bitmap")?;
        let identity = get_identity(reader, bits, &self.0)?;
        let previous = &mut self.0;
        previous.session.original = identity.original;
        previous.session.zone = identity.zone;
        previous.expected = identity.expected;
        if bits & VERSION != 0 {
            previous.version = reader.number32("a version")?;
        }
        let ended = bits & ENDED != 0;
        if !ended {
            if bits & REPLY != 0 {
                previous.reply = ReplyDiff::get(reader, identity.original.is_ipv6())?;
            }
            get_fields(reader, bits, &mut previous.session)?;
        }
        for bit in KNOWN..64 {
            if bits >> bit & 1 != 0 {
                reader.counted("a field of a later version")?;
            }
        }
        let version = previous.version;
        if ended {
            return Ok(Change::End { identity, version, ran_out: bits & TIMEOUT != 0 });
        }
        let mut session = previous.session.clone();
        session.reply = previous.reply.apply(&identity.original)?;
        let fits = session.expectation.is_some() == identity.expected;
        if !fits || !session.is_valid() {
            return Err(Malformed::Range("a session"));
        }
        Ok(Change::Put { session, version })
    }
}

/// The form in memory: identity, version, mark, reply tuple, and the fields that are not empty.
/// The bytes of the identity tell where they end, so two sessions have the same identity if one's
/// bytes begin with the identity of the other.
pub fn pack(writer: &mut Writer, session: &Session, version: u32) {
    put_whole_identity(writer, &session.identity());
    writer.number(version.into());
    writer.number(session.mark.into());
    put_reply(writer, &session.original, &session.reply);
    let bits = differing(session, &Previous::default().session) & !MARK;
    writer.number(bits);
    put_fields(writer, bits, session);
}

/// The parts of what [`pack`] wrote: identity and version, the mark, and everything else.
pub(crate) fn parts(bytes: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let (_, len) = unpack_identity(bytes).ok()?;
    let mut reader = Reader::new(bytes.get(len..)?);
    reader.number32("a version").ok()?;
    let head = bytes.get(..bytes.len() - reader.rest().len())?;
    let mark = reader.number32("a mark").ok()?;
    Some((head, mark, reader.rest()))
}

/// The bytes that [`pack`] begins with.
pub(crate) fn put_whole_identity(writer: &mut Writer, identity: &Identity) {
    put_identity(writer, KIND | ZONE, identity, &Previous::default());
    let len = address_len(identity.original.is_ipv6());
    for address in [identity.original.src, identity.original.dst] {
        writer.put(octets(address).get(..len).unwrap_or_default());
    }
    let (a, b) = ports(&identity.original);
    writer.put(&a.to_be_bytes());
    writer.put(&b.to_be_bytes());
}

/// Reads what [`pack`] wrote.
///
/// # Errors
/// When it is malformed.
pub fn unpack(bytes: &[u8]) -> Result<(Session, u32), Malformed> {
    let mut reader = Reader::new(bytes);
    let identity = get_whole_identity(&mut reader)?;
    let version = reader.number32("a version")?;
    let mark = reader.number32("a mark")?;
    let reply = ReplyDiff::get(&mut reader, identity.original.is_ipv6())?;
    let mut session = Session::new(identity.original, reply.apply(&identity.original)?);
    session.zone = identity.zone;
    session.mark = mark;
    let bits = reader.number("a bitmap")?;
    get_fields(&mut reader, bits, &mut session)?;
    reader.end("a session")?;
    if session.expectation.is_some() != identity.expected {
        return Err(Malformed::Range("a session"));
    }
    Ok((session, version))
}

/// Reads the identity of what [`pack`] wrote, and how many bytes it takes.
///
/// # Errors
/// When it is malformed.
pub fn unpack_identity(bytes: &[u8]) -> Result<(Identity, usize), Malformed> {
    let mut reader = Reader::new(bytes);
    let identity = get_whole_identity(&mut reader)?;
    Ok((identity, bytes.len() - reader.rest().len()))
}

fn get_whole_identity(reader: &mut Reader<'_>) -> Result<Identity, Malformed> {
    let kind: [u8; 2] = reader.array("a tuple")?;
    let zone = get_zone(reader)?;
    let ipv6 = kind[0] & 1 != 0;
    let mut both = [[0; 16]; 2];
    for octets in &mut both {
        let taken = reader.take(address_len(ipv6), "an address")?;
        octets.iter_mut().zip(taken).for_each(|(octet, byte)| *octet = *byte);
    }
    let a = u16::from_be_bytes(reader.array("a port")?);
    let b = u16::from_be_bytes(reader.array("a port")?);
    Ok(Identity { original: tuple(kind, both, (a, b))?, zone, expected: kind[0] & 8 != 0 })
}

fn tuple(kind: [u8; 2], [src, dst]: [[u8; 16]; 2], ports: (u16, u16)) -> Result<Tuple, Malformed> {
    let [form, protocol] = kind;
    if form & !15 != 0 {
        return Err(Malformed::Range("the kind of a tuple"));
    }
    let ipv6 = form & 1 != 0;
    Ok(Tuple {
        src: address(src, ipv6),
        dst: address(dst, ipv6),
        protocol,
        layer4: layer4(form, ports)?,
    })
}

fn differing_identity(identity: &Identity, previous: &Previous) -> u64 {
    let (now, before) = (&identity.original, &previous.session.original);
    let (a, b) = ports(now);
    let (before_a, before_b) = ports(before);
    let addresses = |tuple: &Tuple| [octets(tuple.src), octets(tuple.dst)];
    let differs = [
        (KIND, kind(now, identity.expected) != kind(before, previous.expected)),
        (ZONE, identity.zone != previous.session.zone),
        (ADDRESSES, addresses(now) != addresses(before)),
        (PORT_A, a != before_a),
        (PORT_B, b != before_b),
    ];
    differs.iter().filter(|(_, differs)| *differs).fold(0, |bits, (bit, _)| bits | bit)
}

fn put_identity(writer: &mut Writer, bits: u64, identity: &Identity, previous: &Previous) {
    let tuple = &identity.original;
    if bits & KIND != 0 {
        writer.put(&kind(tuple, identity.expected));
    }
    if bits & ZONE != 0 {
        put_zone(writer, identity.zone);
    }
    if bits & ADDRESSES != 0 {
        let len = address_len(tuple.is_ipv6());
        let before = &previous.session.original;
        let [src, dst] =
            [(tuple.src, before.src), (tuple.dst, before.dst)].map(|(address, before)| {
                let (address, before) = (octets(address), octets(before));
                let same = address.iter().zip(before).take(len.min(15));
                let same = same.take_while(|(byte, before)| **byte == *before).count();
                (same, address)
            });
        writer.u8((src.0 as u8) << 4 | dst.0 as u8);
        for (same, address) in [src, dst] {
            writer.put(address.get(same..len).unwrap_or_default());
        }
    }
    let (a, b) = ports(tuple);
    for (bit, port) in [(PORT_A, a), (PORT_B, b)] {
        if bits & bit != 0 {
            writer.put(&port.to_be_bytes());
        }
    }
}

fn get_identity(
    reader: &mut Reader<'_>,
    bits: u64,
    previous: &Previous,
) -> Result<Identity, Malformed> {
    let before = &previous.session.original;
    let mut form = kind(before, previous.expected);
    if bits & KIND != 0 {
        form = reader.array("a tuple")?;
    }
    let ipv6 = form[0] & 1 != 0;
    let len = address_len(ipv6);
    let zone = if bits & ZONE != 0 { get_zone(reader)? } else { previous.session.zone };
    let mut both = [octets(before.src), octets(before.dst)];
    if bits & ADDRESSES != 0 {
        let same = reader.u8("an address")?;
        for (octets, same) in both.iter_mut().zip([same >> 4, same & 15]) {
            let same = usize::from(same);
            let fresh = len.checked_sub(same).ok_or(Malformed::Range("an address"))?;
            let taken = reader.take(fresh, "an address")?;
            octets.iter_mut().skip(same).zip(taken).for_each(|(octet, byte)| *octet = *byte);
            octets.iter_mut().skip(len).for_each(|octet| *octet = 0);
        }
    }
    let (mut a, mut b) = ports(before);
    for (bit, port) in [(PORT_A, &mut a), (PORT_B, &mut b)] {
        if bits & bit != 0 {
            *port = u16::from_be_bytes(reader.array("a port")?);
        }
    }
    Ok(Identity { original: tuple(form, both, (a, b))?, zone, expected: form[0] & 8 != 0 })
}
