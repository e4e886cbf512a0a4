//! What a header must have to match a rule, beyond the key of the rule's table, in one byte.
//!
//! Of rules that share a key, hints say which needn't be compared. The hint of a rule is one thing
//! that it asks for, see [`super::hinting`]; a header has one of each kind.
//!
//! ```text
//! 0            nothing
//! 1 to 63      destination port
//! 64 to 127    source port
//! 128 to 191   protocol
//! 192 to 254   the part of an address that the key's view shows
//! ```

use super::super::family::{Family, Pair, Probe, rest};
use super::super::plan::Side;
use super::super::record::Entry;
use crate::matching::PortRange;
use std::hint::select_unpredictable;

/// The hint of a rule that nothing is known of.
pub(in super::super) const NONE: u8 = 0;
/// What no rule has, nor a header.
pub(in super::super) const NOBODY: u8 = 255;

/// The hints of the rules that a header can match, beside [`NONE`].
pub(in super::super) type Hints = [u8; 4];

/// The part of addresses that hints of a key's rules are made of: the first bits of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct View(u8);

const DST: u8 = 128;

impl View {
    /// Of so many bits, up to 128 and not 0.
    pub(in super::super) const fn new(side: Side, len: u8) -> Self {
        let side = match side {
            Side::Src => 0,
            Side::Dst => DST,
        };
        Self(len.saturating_sub(1) & !DST | side)
    }

    pub(in super::super) const fn byte(self) -> u8 {
        self.0
    }

    pub(in super::super) const fn side(self) -> Side {
        if self.0 & DST == 0 { Side::Src } else { Side::Dst }
    }

    pub(in super::super) const fn len(self) -> u8 {
        (self.0 & !DST) + 1
    }

    /// The hint of a rule, or [`NONE`] if it says less of the address than the view shows.
    pub(in super::super) fn of_rule<A: Family>(self, rule: &Entry<A>) -> u8 {
        if self.side().of(rule).1 >= self.len() { self.of(rule.addresses) } else { NONE }
    }

    /// The hint of a header with these addresses.
    #[inline(always)]
    pub(in super::super) fn of<A: Family>(self, addresses: Pair<A>) -> u8 {
        let Pair { src, dst } = addresses;
        let address = select_unpredictable(self.0 & DST == 0, src, dst);
        let bits = (address.scatter(self.len()) >> 26) as u8;
        192 + bits.min(62)
    }
}

/// The hints of a header under a view.
#[inline(always)]
pub(in super::super) fn of_header<A: Family>(probe: &Probe<A>, view: View) -> Hints {
    let (src, dst) = (probe.rest as u16, (probe.rest >> 16) as u16);
    [dst_port(dst), src_port(src), protocol(probe.protocol()), view.of(probe.addresses)]
}

/// The hints of a rule's ports and protocol, or [`NONE`].
pub(in super::super) fn of_fields<A: Family>(rule: &Entry<A>) -> [u8; 3] {
    let of = |ports: PortRange, hint: fn(u16) -> u8| {
        if ports.low() == ports.high() { hint(ports.low()) } else { NONE }
    };
    let protocol = rule.protocol.map_or(NONE, protocol);
    [of(rule.dst_port, dst_port), of(rule.src_port, src_port), protocol]
}

/// A header that a rule matches.
pub(in super::super) fn like<A: Family>(rule: &Entry<A>) -> Probe<A> {
    let ports = (rule.src_port.low(), rule.dst_port.low());
    Probe::new(rule.addresses, rest(ports.0, ports.1, rule.protocol.unwrap_or(0)))
}

/// Six bits of a port, scattered: neighbours and even ports are frequent.
#[inline(always)]
const fn scatter(port: u16) -> u8 {
    ((port as u32).wrapping_mul(0x9e37_79b1) >> 26) as u8
}

#[inline(always)]
const fn dst_port(port: u16) -> u8 {
    let bits = scatter(port);
    if bits == 0 { 1 } else { bits }
}

#[inline(always)]
const fn src_port(port: u16) -> u8 {
    64 | scatter(port)
}

#[inline(always)]
const fn protocol(number: u8) -> u8 {
    128 | (number ^ number >> 6) & 63
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::Shape;
    use super::super::super::record::ALL_ZONES;
    use super::super::hinting::Hinting;
    use super::*;

    /// Rules of all kinds, for addresses up to 8.
    fn rules() -> Vec<Entry<u32>> {
        let protocols = [None, Some(1), Some(6), Some(255)];
        let ports = [PortRange::ANY, PortRange::only(0), PortRange::only(53)];
        let networks = [(0, 0), (8, 32), (4, 30), (0, 31)];
        let mut rules = Vec::new();
        for protocol in protocols {
            for (src_port, dst_port) in ports.iter().flat_map(|a| ports.map(|b| (*a, b))) {
                for (src, dst) in networks.iter().flat_map(|a| networks.map(|b| (*a, b))) {
                    rules.push(Entry {
                        order: 0,
                        src_len: src.1,
                        dst_len: dst.1,
                        addresses: Pair { src: src.0, dst: dst.0 },
                        protocol,
                        src_port,
                        dst_port,
                        zones: ALL_ZONES,
                        coarse: false,
                        value: 0,
                    });
                }
            }
        }
        rules
    }

    fn matches(rule: &Entry<u32>, probe: &Probe<u32>) -> bool {
        let (src, dst) = (probe.rest as u16, (probe.rest >> 16) as u16);
        rule.protocol.is_none_or(|own| own == probe.protocol())
            && (rule.src_port.contains(src) && rule.dst_port.contains(dst))
            && u32::same(rule.addresses.src, probe.addresses.src, rule.src_len)
            && u32::same(rule.addresses.dst, probe.addresses.dst, rule.dst_len)
    }

    #[test]
    fn a_header_has_the_hints_of_all_rules_that_it_matches() {
        let rules = rules();
        let ports = [(0, 53), (53, 443), (53, 53)];
        let (mut left, mut seen) = (0, 0);
        for some in rules.chunks(7) {
            let Hinting { view, hints } = Hinting::new(some, Shape::ALL);
            assert_eq!(hints.len(), some.len());
            for (src, dst) in (0..10).flat_map(|src| (0..10).map(move |dst| (src, dst))) {
                for (ports, protocol) in ports.iter().flat_map(|p| [1, 6, 17].map(|n| (p, n))) {
                    let probe = Probe::new(Pair { src, dst }, rest(ports.0, ports.1, protocol));
                    let own = of_header(&probe, view);
                    for (rule, hint) in some.iter().zip(&hints) {
                        let allowed = *hint == NONE || own.contains(hint);
                        assert!(allowed || !matches(rule, &probe), "{rule:?} {view:?} {probe:?}");
                        left += usize::from(allowed);
                        seen += 1;
                    }
                }
            }
        }
        assert!(left * 2 < seen, "{left} of {seen}");
    }

    #[test]
    fn a_view_keeps_its_side_and_its_length() {
        for len in 1..=128 {
            for side in [Side::Src, Side::Dst] {
                let view = View::new(side, len);
                assert_eq!((view.side(), view.len()), (side, len));
            }
        }
    }
}
