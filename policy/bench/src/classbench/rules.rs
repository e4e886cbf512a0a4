//! Lines of a filter set, read and written.
//!
//! Goes in: text, or rules. Comes out: rules in the order of decision, or text that reads back as
//! the same rules.

use super::cursor::{Cursor, decimal, hexadecimal, shown};
use super::file::Error;
use crate::model::{Networks, Rule};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::{Prefix, Word};
use twinwall_policy::zone::{ZoneId, ZoneSet};

/// The rules of a text. `name` stands for it in messages.
///
/// # Errors
///
/// The first line that can't be understood, or that there is no rule.
pub fn parse(name: &str, text: &str) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let rule = rule(line);
        rules.push(rule.map_err(|reason| Error::Line {
            name: name.to_owned(),
            line: index + 1,
            reason,
        })?);
    }
    if rules.is_empty() {
        return Err(Error::Empty { name: name.to_owned(), what: "rules" });
    }
    Ok(rules)
}

/// The rules as text; zones only where a rule is for some of them.
#[must_use]
pub fn write(rules: &[Rule]) -> String {
    let mut text = String::with_capacity(rules.len() * 80);
    for rule in rules {
        let networks = match rule.networks {
            Networks::V4 { src, dst } => {
                let [a, b] = [src.bits, dst.bits].map(Ipv4Addr::from_bits);
                format!("@{a}/{}\t{b}/{}", src.len, dst.len)
            }
            Networks::V6 { src, dst } => {
                let [a, b] = [src.bits, dst.bits].map(Ipv6Addr::from_bits);
                format!("@{a}/{}\t{b}/{}", src.len, dst.len)
            }
        };
        let ports = |range: PortRange| format!("{} : {}", range.low(), range.high());
        let (protocol, mask) = rule.protocol.map_or((0, 0), |protocol| (protocol, 0xff));
        let (src_port, dst_port) = (ports(rule.src_port), ports(rule.dst_port));
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "{networks}\t{src_port}\t{dst_port}\t0x{protocol:02x}/0x{mask:02X}\t0x0000/0x0000"
        );
        if !rule.any_zone() {
            let (from, to) = (rule.from.bits(), rule.to.bits());
            let _ = write!(text, "\tfrom:{from:#x}\tto:{to:#x}");
        }
        text.push('\n');
    }
    text
}

fn rule(line: &str) -> Result<Rule, String> {
    let mut words = Cursor::new(line);
    let src = words.word("source network")?;
    let src = src
        .strip_prefix('@')
        .ok_or_else(|| format!("expected `@` and the source network, found `{}`", shown(src)))?;
    let dst = words.word("destination network")?;
    let networks = networks(src, dst)?;
    let src_port = words.ports("source port")?;
    let dst_port = words.ports("destination port")?;
    let protocol = protocol(words.word("protocol")?)?;
    let (mut from, mut to) = (ZoneSet::ALL, ZoneSet::ALL);
    let mut flags = false;
    while let Some(word) = words.next() {
        if let Some(zones) = word.strip_prefix("from:") {
            from = zone_set(zones)?;
        } else if let Some(zones) = word.strip_prefix("to:") {
            to = zone_set(zones)?;
        } else if !flags {
            let (value, mask) = word.split_once('/').unwrap_or((word, "0x0"));
            hexadecimal(value, "flag word")?;
            hexadecimal(mask, "mask of flags")?;
            flags = true;
        } else {
            return Err(format!("`{}` comes after the last field", shown(word)));
        }
    }
    Ok(Rule { networks, protocol, src_port, dst_port, from, to })
}

fn networks(src: &str, dst: &str) -> Result<Networks, String> {
    let (from, from_len) = network(src)?;
    let (to, to_len) = network(dst)?;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ok(Networks::V4 {
            src: prefix(from.to_bits(), from_len)?,
            dst: prefix(to.to_bits(), to_len)?,
        }),
        (IpAddr::V6(from), IpAddr::V6(to)) => Ok(Networks::V6 {
            src: prefix(from.to_bits(), from_len)?,
            dst: prefix(to.to_bits(), to_len)?,
        }),
        _ => Err(format!("`{}` and `{}` are of two families", shown(src), shown(dst))),
    }
}

fn network(word: &str) -> Result<(IpAddr, u8), String> {
    let (address, len) = word
        .split_once('/')
        .ok_or_else(|| format!("`{}` is not a network: no `/` and length", shown(word)))?;
    let parsed = address.parse().map_err(|_| format!("`{}` is not an address", shown(address)))?;
    Ok((parsed, decimal(len, "prefix length")?))
}

/// A network; bits beyond its length are cleared, as the generator of ClassBench may leave some.
fn prefix<T: Word>(bits: T, len: u8) -> Result<Prefix<T>, String> {
    if len > T::BITS {
        return Err(format!("a prefix length of {len} is above {}", T::BITS));
    }
    Ok(Prefix { bits, len }.shortened(len))
}

fn protocol(word: &str) -> Result<Option<u8>, String> {
    let (value, mask) = word
        .split_once('/')
        .ok_or_else(|| format!("`{}` is not a protocol: no `/` and mask", shown(word)))?;
    let value = hexadecimal(value, "protocol")?;
    let value = u8::try_from(value).map_err(|_| format!("protocol {value:#x} is above 0xff"))?;
    match hexadecimal(mask, "mask of protocols")? {
        0 => Ok(None),
        0xff => Ok(Some(value)),
        other => Err(format!("the mask of the protocol is {other:#x}, neither 0x00 nor 0xff")),
    }
}

fn zone_set(word: &str) -> Result<ZoneSet, String> {
    let bits = hexadecimal(word, "set of zones")?;
    let zones = (0..ZoneId::LIMIT).filter(|index| bits >> index & 1 == 1);
    Ok(zones.filter_map(ZoneId::new).fold(ZoneSet::EMPTY, ZoneSet::with))
}
