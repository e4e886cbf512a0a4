//! Lines of a trace, read and written.
//!
//! Goes in: text, or headers. Comes out: headers in the order of the file, or text that reads back
//! as the same headers. Not here: the rule that a header was drawn from. It need not be the first
//! that matches, so nothing can be checked by it.

use super::cursor::{Cursor, decimal, shown};
use super::file::Error;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::zone::ZoneId;

/// The headers of a text. `name` stands for it in messages.
///
/// # Errors
///
/// The first line that can't be understood, or that there is no header.
pub fn parse(name: &str, text: &str) -> Result<Vec<Flow>, Error> {
    let mut headers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = header(line);
        headers.push(header.map_err(|reason| Error::Line {
            name: name.to_owned(),
            line: index + 1,
            reason,
        })?);
    }
    if headers.is_empty() {
        return Err(Error::Empty { name: name.to_owned(), what: "headers" });
    }
    Ok(headers)
}

/// The headers as text, without flags and rule; zones only where they aren't the first one.
#[must_use]
pub fn write(headers: &[Flow]) -> String {
    let mut text = String::with_capacity(headers.len() * 40);
    for Flow { tuple, from, to } in headers {
        let address = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_bits().to_string(),
            IpAddr::V6(address) => address.to_string(),
        };
        let Tuple { src, dst, protocol, src_port, dst_port } = *tuple;
        let (src, dst) = (address(src), address(dst));
        // Writing to a string can't fail.
        let _ = write!(text, "{src}\t{dst}\t{src_port}\t{dst_port}\t{protocol}");
        if (*from, *to) != (ZoneId::OUTSIDE, ZoneId::OUTSIDE) {
            let _ = write!(text, "\tfrom:{}\tto:{}", from.index(), to.index());
        }
        text.push('\n');
    }
    text
}

fn header(line: &str) -> Result<Flow, String> {
    let mut words = Cursor::new(line);
    let src = address(words.word("source address")?)?;
    let dst = address(words.word("destination address")?)?;
    let (src, dst) = one_family(src, dst)?;
    let src_port = words.number("source port")?;
    let dst_port = words.number("destination port")?;
    let protocol = words.number("protocol")?;
    let (mut from, mut to) = (ZoneId::OUTSIDE, ZoneId::OUTSIDE);
    // Flags and rule; traces have both, one of them, or none.
    let mut unused = 0;
    while let Some(word) = words.next() {
        if let Some(index) = word.strip_prefix("from:") {
            from = zone(index)?;
        } else if let Some(index) = word.strip_prefix("to:") {
            to = zone(index)?;
        } else if unused < 2 {
            decimal::<u64>(word, "number of flags or of a rule")?;
            unused += 1;
        } else {
            return Err(format!("`{}` comes after the last field", shown(word)));
        }
    }
    Ok(Flow { tuple: Tuple { src, dst, protocol, src_port, dst_port }, from, to })
}

/// An address as a trace has it: of a family, or a number that can be of either.
enum Address {
    Known(IpAddr),
    Number(u32),
}

fn address(word: &str) -> Result<Address, String> {
    if let Ok(number) = decimal::<u128>(word, "address") {
        let known = || Address::Known(Ipv6Addr::from_bits(number).into());
        return Ok(u32::try_from(number).map_or_else(|_| known(), Address::Number));
    }
    let parsed = word.parse().map(Address::Known);
    parsed.map_err(|_| format!("`{}` is not an address", shown(word)))
}

/// Small numbers are IPv4 unless the other address says that the header is IPv6.
fn one_family(src: Address, dst: Address) -> Result<(IpAddr, IpAddr), String> {
    let v4 = |number| IpAddr::V4(Ipv4Addr::from_bits(number));
    let like = |number: u32, other: IpAddr| match other {
        IpAddr::V4(_) => v4(number),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number.into())),
    };
    match (src, dst) {
        (Address::Number(src), Address::Number(dst)) => Ok((v4(src), v4(dst))),
        (Address::Known(src), Address::Number(dst)) => Ok((src, like(dst, src))),
        (Address::Number(src), Address::Known(dst)) => Ok((like(src, dst), dst)),
        (Address::Known(src), Address::Known(dst)) if src.is_ipv4() == dst.is_ipv4() => {
            Ok((src, dst))
        }
        (Address::Known(src), Address::Known(dst)) => {
            Err(format!("`{src}` and `{dst}` are of two families"))
        }
    }
}

fn zone(word: &str) -> Result<ZoneId, String> {
    let index = decimal(word, "zone")?;
    ZoneId::new(index).ok_or_else(|| format!("zone {index} is not below {}", ZoneId::LIMIT))
}
