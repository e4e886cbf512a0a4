//! What networks are made of: addresses, protocols, interfaces.

use super::address::{self, Form, Range};
use super::scalar::{Word, decimal, shorten};
use crate::address::AddressSet;
use crate::diag::{Fault, Faults, codes, suggest};
use crate::flow::protocol;
use crate::yaml::Node;

/// Protocols by name (IANA).
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", protocol::ICMP),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("dccp", protocol::DCCP),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", protocol::ICMPV6),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", protocol::SCTP),
    ("udplite", protocol::UDPLITE),
];

/// Addresses, prefixes and ranges; `None` when one of them is none.
pub fn addresses(list: &[Node<'_>], faults: &mut Faults) -> Option<AddressSet> {
    let (mut v4, mut v6, mut good) = (Vec::new(), Vec::new(), true);
    for word in list.iter().filter_map(Word::of) {
        match address::parse(word.text, Form::Any, word.span) {
            Ok(Range::V4(low, high)) => v4.push((low, high)),
            Ok(Range::V6(low, high)) => v6.push((low, high)),
            Err(fault) => {
                faults.push(fault);
                good = false;
            }
        }
    }
    good.then(|| AddressSet::from_ranges(v4, v6))
}

/// An IP protocol by name or number (IANA).
pub fn protocol(word: Word<'_>, faults: &mut Faults) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == word.text).map(|(_, n)| *n);
    let number = named.or_else(|| decimal(word.text).and_then(|number| u8::try_from(number).ok()));
    if number.is_none() {
        let message = format!("`{}` is not a protocol", shorten(word.text));
        let fault = Fault::error(codes::BAD_PROTOCOL, message);
        let fault = fault.at(word.span, "a name such as gre, or a number from 0 to 255");
        faults.push(match suggest::nearest(word.text, PROTOCOLS.iter().map(|(name, _)| *name)) {
            Some(near) => fault.did_you_mean(near, None),
            None => fault,
        });
    }
    number
}

/// Whether a word is an interface name, or if `patterns` are possible the beginning of one and a
/// `*`.
pub fn interface(word: Word<'_>, patterns: bool, faults: &mut Faults) -> bool {
    // IFNAMSIZ is 16 with the terminating zero; the kernel allows neither of these characters.
    const LIMIT: usize = 15;
    let name = word.text.strip_suffix('*').filter(|_| patterns).unwrap_or(word.text);
    let forbidden = |b: u8| !b.is_ascii_graphic() || matches!(b, b'/' | b':' | b'*');
    let label = if name.len() > LIMIT {
        format!("has {} bytes; the kernel's limit is {LIMIT}", name.len())
    } else if name.is_empty() && word.text == "*" {
        return true;
    } else if name.is_empty() || matches!(name, "." | "..") || name.bytes().any(forbidden) {
        match patterns {
            true => "a name such as eth0, or the beginning of one and a `*`".to_owned(),
            false => "a name such as eth0".to_owned(),
        }
    } else if name == "lo" && name == word.text {
        match patterns {
            true => "the loopback interface is never filtered".to_owned(),
            false => "the loopback interface has no peer".to_owned(),
        }
    } else {
        return true;
    };
    let message = format!("`{}` can't be an interface", shorten(word.text));
    faults.push(Fault::error(codes::BAD_INTERFACE, message).at(word.span, label));
    false
}
