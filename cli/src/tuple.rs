//! A flow in words: `tcp 10.0.0.5:40000 198.51.100.7:443`, or the same as options.
//!
//! Goes in: the arguments of `explain`. Comes out: the question for the daemon or the policy, valid
//! in itself: one address family, ports only where the protocol has them. Not here: whether the
//! zones exist.

use crate::options::Explain;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_control::FlowQuery;
use twinwall_policy::flow::protocol;

/// The type of a ping, for IPv4 and IPv6.
const ECHO_REQUEST: (u16, u16) = (8, 128);

/// Protocols by name (IANA), the name that is shown first.
const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("icmp", protocol::ICMP),
    ("icmpv6", protocol::ICMPV6),
    ("icmp6", protocol::ICMPV6),
    ("ipv6-icmp", protocol::ICMPV6),
    ("sctp", protocol::SCTP),
    ("dccp", protocol::DCCP),
    ("udplite", protocol::UDPLITE),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
];

/// Reads the flow that `explain` is asked about. A source port that isn't given is 0, which stands
/// for any.
///
/// # Errors
/// What is missing, given twice, or doesn't go together.
pub fn query(explain: &Explain) -> Result<FlowQuery, String> {
    let [proto_word, src_word, dst_word] = words(&explain.flow)?;
    let proto = one(proto_word, explain.proto.as_deref(), "the protocol", "--proto")?;
    let source = endpoint(one(src_word, explain.src.as_deref(), "the source", "--src")?)?;
    let destination = endpoint(one(dst_word, explain.dst.as_deref(), "the destination", "--dst")?)?;
    let protocol = number(proto)?;
    let sport = port(source.port, explain.sport, "the source port", "--sport")?;
    let dport = port(destination.port, explain.dport, "the destination port", "--dport")?;
    let icmp = (explain.icmp_type.map(u16::from), explain.icmp_code.map(u16::from));
    if source.address.is_ipv4() != destination.address.is_ipv4() {
        return Err(format!(
            "{} and {} are of different address families",
            source.address, destination.address
        ));
    }
    let (src_port, dst_port) = match protocol {
        protocol::ICMP | protocol::ICMPV6 => {
            if sport.or(dport).is_some() {
                return Err(format!("{} has no ports; it has --type and --code", name(protocol)));
            }
            if source.address.is_ipv4() != (protocol == protocol::ICMP) {
                return Err("icmp goes with IPv4, icmpv6 with IPv6".into());
            }
            let (v4, v6) = ECHO_REQUEST;
            let ping = if protocol == protocol::ICMP { v4 } else { v6 };
            (icmp.0.unwrap_or(ping), icmp.1.unwrap_or(0))
        }
        _ if icmp != (None, None) => {
            return Err(format!(
                "--type and --code go with icmp and icmpv6, not {}",
                name(protocol)
            ));
        }
        _ if has_ports(protocol) => {
            let missing = || {
                let address = Endpoint { port: Some(443), ..destination };
                format!(
                    "{} needs a destination port, such as {address} or --dport 443",
                    name(protocol)
                )
            };
            (sport.unwrap_or(0), dport.ok_or_else(missing)?)
        }
        _ if sport.or(dport).is_some() => {
            return Err(format!("{} has no ports", name(protocol)));
        }
        _ => (0, 0),
    };
    Ok(FlowQuery {
        from: explain.from.clone(),
        to: explain.to.clone(),
        src: source.address,
        dst: destination.address,
        protocol,
        src_port,
        dst_port,
    })
}

/// A flow as [`query`] reads it, with what isn't known or of no use left out.
#[must_use]
pub fn in_words(protocol: &str, src: (IpAddr, u16), dst: (IpAddr, u16)) -> String {
    let number = number(protocol).unwrap_or_default();
    match number {
        protocol::ICMP | protocol::ICMPV6 => {
            let code = if dst.1 == 0 { String::new() } else { format!(" --code {}", dst.1) };
            format!("{protocol} {} {} --type {}{code}", src.0, dst.0, src.1)
        }
        _ => {
            let ported = has_ports(number) || (src.1, dst.1) != (0, 0);
            let endpoint = |(address, port): (IpAddr, u16)| Endpoint {
                address,
                port: (ported && port != 0).then_some(port),
            };
            format!("{protocol} {} {}", endpoint(src), endpoint(dst))
        }
    }
}

/// The name of a protocol, or its number.
#[must_use]
pub fn name(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// An address and perhaps a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint {
    address: IpAddr,
    port: Option<u16>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (address, None) => write!(f, "{address}"),
            (IpAddr::V4(address), Some(port)) => write!(f, "{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
        }
    }
}

/// The three words, or none of them.
fn words(flow: &[String]) -> Result<[Option<&str>; 3], String> {
    match flow {
        [] => Ok([None; 3]),
        [proto, src, dst] => Ok([Some(proto), Some(src), Some(dst)]),
        _ => Err("a flow is PROTO SRC[:PORT] DST[:PORT]".into()),
    }
}

/// What is given as a word or as an option, but not as both.
fn one<'a>(
    word: Option<&'a str>,
    option: Option<&'a str>,
    what: &str,
    flag: &str,
) -> Result<&'a str, String> {
    match (word, option) {
        (Some(_), Some(_)) => Err(format!("{what} is given twice: in the flow and by {flag}")),
        (None, None) => {
            Err(format!("{what} is missing: give PROTO SRC[:PORT] DST[:PORT] or {flag}"))
        }
        (Some(one), None) | (None, Some(one)) => Ok(one),
    }
}

fn port(
    word: Option<u16>,
    option: Option<u16>,
    what: &str,
    flag: &str,
) -> Result<Option<u16>, String> {
    match (word, option) {
        (Some(_), Some(_)) => Err(format!("{what} is given twice: at the address and by {flag}")),
        (_, Some(0)) => Err(format!("{what} can be 1 to 65535")),
        (word, option) => Ok(word.or(option)),
    }
}

/// `10.0.0.5`, `10.0.0.5:443`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443`.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    let bad = || {
        format!("`{}` is not an address such as 10.0.0.5:443 or [2001:db8::5]:443", shorten(text))
    };
    let with = |address: IpAddr, port: &str| {
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
            format!("`{}` is not a port from 1 to 65535, in `{}`", shorten(port), shorten(text))
        })?;
        Ok(Endpoint { address, port: Some(port) })
    };
    if let Ok(address) = text.parse() {
        return Ok(Endpoint { address, port: None });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(bad)?;
        let address: Ipv6Addr = address.parse().map_err(|_| bad())?;
        return match rest.strip_prefix(':') {
            Some(port) => with(address.into(), port),
            None if rest.is_empty() => Ok(Endpoint { address: address.into(), port: None }),
            None => Err(bad()),
        };
    }
    let (address, port) = text.split_once(':').ok_or_else(bad)?;
    let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
    with(address.into(), port)
}

fn number(text: &str) -> Result<u8, String> {
    let named = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    match named {
        Some((_, number)) => Ok(*number),
        None => text.parse().map_err(|_| {
            format!("`{}` is not a protocol: a name such as tcp, or 0 to 255", shorten(text))
        }),
    }
}

fn has_ports(number: u8) -> bool {
    matches!(
        number,
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP | protocol::UDPLITE
    )
}

/// A text for a message: the beginning, if it is long; nothing that moves the cursor.
fn shorten(text: &str) -> String {
    const LIMIT: usize = 64;
    let printable = |char: char| if char.is_control() { '\u{FFFD}' } else { char };
    let mut short: String = text.chars().take(LIMIT).map(printable).collect();
    if text.chars().nth(LIMIT).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[path = "tuple_tests.rs"]
mod tests;
