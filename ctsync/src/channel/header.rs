//! Forms of the datagrams. Every form but data ends with a MAC over all that precedes it and over
//! what only the two know.

use super::FORMAT;
use super::refusal::Refusal;
use crate::wire::{Reader, Writer};

const KNOCK: u8 = 1;
const CHALLENGE: u8 = 2;
const INIT: u8 = 3;
const RESPONSE: u8 = 4;
/// The first byte of a sealed datagram; the index of its session and its counter follow,
/// little-endian, in 4 and 8 bytes.
pub const DATA: u8 = 5;
/// The first byte of the messages of a handshake; [`FORMAT`] follows.
pub const HANDSHAKES: std::ops::RangeInclusive<u8> = KNOCK..=RESPONSE;

/// What precedes the sealed bytes.
pub(super) const DATA_LEN: usize = 1 + 4 + 8;

/// Noise messages longer than this are not looked at: a key of 32 bytes, a tag, and a greeting
/// with room for later versions.
const MAX_NOISE: usize = 512;

/// A datagram, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Header<'a> {
    Knock(Knock<'a>),
    Challenge(Challenge<'a>),
    Init(Init<'a>),
    Response(Response<'a>),
    Data { index: u32, counter: u64, sealed: &'a [u8] },
}

/// Asks for a cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knock<'a> {
    pub(super) node: u32,
    pub(super) index: u32,
    pub(super) nonce: [u8; 16],
    pub(super) signed: Signed<'a>,
}

/// Gives one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Challenge<'a> {
    pub(super) index: u32,
    pub(super) cookie: [u8; 16],
    pub(super) signed: Signed<'a>,
}

/// Begins the handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Init<'a> {
    pub(super) index: u32,
    pub(super) nonce: [u8; 16],
    pub(super) cookie: [u8; 16],
    pub(super) noise: &'a [u8],
    pub(super) signed: Signed<'a>,
}

/// Ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response<'a> {
    /// The initiator's index.
    pub(super) index: u32,
    /// The responder's.
    pub(super) own: u32,
    pub(super) noise: &'a [u8],
    pub(super) signed: Signed<'a>,
}

/// What a MAC is over, and the MAC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) mac: [u8; 16],
}

impl<'a> Header<'a> {
    pub(super) fn read(datagram: &'a [u8]) -> Result<Self, Refusal> {
        match datagram.first() {
            Some(&DATA) => read_data(datagram),
            Some(&(KNOCK..=RESPONSE)) => read_handshake(datagram),
            _ => Err(Refusal::Form),
        }
    }
}

fn read_data(datagram: &[u8]) -> Result<Header<'_>, Refusal> {
    let mut reader = Reader::new(datagram);
    let mut read = || {
        reader.u8("data").ok()?;
        let index = u32::from_le_bytes(reader.array("data").ok()?);
        let counter = u64::from_le_bytes(reader.array("data").ok()?);
        (reader.rest().len() >= 16).then_some((index, counter, reader.rest()))
    };
    let (index, counter, sealed) = read().ok_or(Refusal::Form)?;
    Ok(Header::Data { index, counter, sealed })
}

fn read_handshake(datagram: &[u8]) -> Result<Header<'_>, Refusal> {
    let (bytes, mac) = datagram.split_last_chunk().ok_or(Refusal::Form)?;
    let signed = Signed { bytes, mac: *mac };
    let mut reader = Reader::new(bytes);
    let form = |_| Refusal::Form;
    let kind = reader.u8("a handshake").map_err(form)?;
    if reader.u8("a handshake").map_err(form)? != FORMAT {
        return Err(Refusal::Version);
    }
    let index = u32::from_le_bytes(reader.array("a handshake").map_err(form)?);
    let header = match kind {
        KNOCK => {
            let node = u32::from_le_bytes(reader.array("a knock").map_err(form)?);
            let nonce = reader.array("a knock").map_err(form)?;
            reader.end("a knock").map_err(form)?;
            Header::Knock(Knock { node, index, nonce, signed })
        }
        CHALLENGE => {
            let cookie = reader.array("a challenge").map_err(form)?;
            reader.end("a challenge").map_err(form)?;
            Header::Challenge(Challenge { index, cookie, signed })
        }
        INIT => {
            let nonce = reader.array("an init").map_err(form)?;
            let cookie = reader.array("an init").map_err(form)?;
            let noise = noise(&reader)?;
            Header::Init(Init { index, nonce, cookie, noise, signed })
        }
        _ => {
            let own = u32::from_le_bytes(reader.array("a response").map_err(form)?);
            Header::Response(Response { index, own, noise: noise(&reader)?, signed })
        }
    };
    Ok(header)
}

fn noise<'a>(reader: &Reader<'a>) -> Result<&'a [u8], Refusal> {
    let noise = reader.rest();
    if noise.len() <= MAX_NOISE { Ok(noise) } else { Err(Refusal::Form) }
}

pub(super) fn write_knock(node: u32, index: u32, nonce: [u8; 16]) -> Vec<u8> {
    let mut writer = begin(KNOCK, index);
    writer.put(&node.to_le_bytes());
    writer.put(&nonce);
    writer.finish()
}

pub(super) fn write_challenge(index: u32, cookie: [u8; 16]) -> Vec<u8> {
    let mut writer = begin(CHALLENGE, index);
    writer.put(&cookie);
    writer.finish()
}

pub(super) fn write_init(index: u32, nonce: [u8; 16], cookie: [u8; 16], noise: &[u8]) -> Vec<u8> {
    let mut writer = begin(INIT, index);
    writer.put(&nonce);
    writer.put(&cookie);
    writer.put(noise);
    writer.finish()
}

pub(super) fn write_response(index: u32, own: u32, noise: &[u8]) -> Vec<u8> {
    let mut writer = begin(RESPONSE, index);
    writer.put(&own.to_le_bytes());
    writer.put(noise);
    writer.finish()
}

/// The head of a data datagram, as long as [`DATA_LEN`].
pub(super) fn write_data(index: u32, counter: u64) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u8(DATA);
    writer.put(&index.to_le_bytes());
    writer.put(&counter.to_le_bytes());
    writer.finish()
}

fn begin(kind: u8, index: u32) -> Writer {
    let mut writer = Writer::default();
    writer.put(&[kind, FORMAT]);
    writer.put(&index.to_le_bytes());
    writer
}
