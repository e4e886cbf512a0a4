//! Packets: what one datagram holds once it is opened.

use super::bytes::{Malformed, Reader, Writer};

/// The packet has a sequence number.
const NUMBERED: u8 = 1;

/// What has been received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// All packets up to this number.
    pub cumulative: u64,
    /// Which of those after the next one: bit 0 of the first byte is `cumulative + 2`. At most
    /// [`Ack::LONGEST`] bytes.
    pub selective: Vec<u8>,
    /// The number of the last packet that the sender itself had sent by then.
    pub last: u64,
}

impl Ack {
    /// The longest selective acknowledgement, in bytes.
    pub const LONGEST: usize = 64;

    /// The numbers that are acknowledged beyond the cumulative one, in rising order.
    pub fn selected(&self) -> impl Iterator<Item = u64> + '_ {
        let bits = self.selective.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        (2..)
            .zip(bits)
            .filter(|(_, bit)| *bit != 0)
            .map_while(|(beyond, _)| self.cumulative.checked_add(beyond))
    }
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What its sender has received.
    pub ack: Ack,
    /// Its number, from 1 up, if it has to arrive.
    pub number: Option<u64>,
    /// Its sections.
    pub sections: &'a [u8],
}

/// Writes what precedes the sections.
pub fn write_packet(ack: &Ack, number: Option<u64>, sections: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u8(if number.is_some() { NUMBERED } else { 0 });
    writer.number(ack.cumulative);
    writer.counted(ack.selective.get(..Ack::LONGEST).unwrap_or(&ack.selective));
    writer.number(ack.last);
    if let Some(number) = number {
        writer.number(number);
    }
    writer.put(sections);
    writer.finish()
}

/// Reads what precedes the sections.
///
/// # Errors
/// When it is malformed.
pub fn read_packet(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    let flags = reader.u8("a packet's flags")?;
    if flags & !NUMBERED != 0 {
        return Err(Malformed::Range("a packet's flags"));
    }
    let cumulative = reader.number("an acknowledgement")?;
    let selective = reader.counted("a selective acknowledgement")?;
    if selective.len() > Ack::LONGEST {
        return Err(Malformed::Range("a selective acknowledgement"));
    }
    let last = reader.number("an acknowledgement")?;
    let number = match flags & NUMBERED {
        0 => None,
        _ => Some(reader.number("a sequence number")?).filter(|number| *number > 0),
    };
    if flags & NUMBERED != 0 && number.is_none() {
        return Err(Malformed::Range("a sequence number"));
    }
    let ack = Ack { cumulative, selective: selective.to_vec(), last };
    Ok(Packet { ack, number, sections: reader.rest() })
}
