//! What a header must have to match a rule, beyond the key of the rule's table, in six bits.
//!
//! They stand beside a rule's number in its bucket, so that of the rules that share a key most that
//! don't match needn't be looked up. One thing of each rule: the first of these that is one value
//! and not a part of the key already.
//!
//! ```text
//! 0         nothing
//! 1 to 31   destination port
//! 32 to 47  source port
//! 48 to 63  protocol
//! ```

use super::plan::{DST_PORT, SRC_PORT, Shape};
use super::record::Entry;

/// Bits of a hint.
pub(super) const BITS: u32 = 6;

/// The hints of the rules that a header can match, beside 0.
pub(super) type Hints = [u32; 3];

/// The hint of a rule in a table of this shape.
pub(super) fn of_rule<A>(entry: &Entry<A>, table: Shape) -> u32 {
    let own = Shape::of(entry).rest & !table.rest;
    match entry.protocol {
        _ if own & DST_PORT != 0 => dst_port(entry.dst_port.low()),
        _ if own & SRC_PORT != 0 => src_port(entry.src_port.low()),
        Some(number) => protocol(number),
        None => 0,
    }
}

/// The hints of a header, from [`Probe::rest`](super::family::Probe::rest).
#[inline(always)]
pub(super) fn of_header(rest: u64) -> Hints {
    let ports = (rest as u16, (rest >> 16) as u16);
    [dst_port(ports.1), src_port(ports.0), protocol((rest >> 32) as u8)]
}

/// Whether a rule with a hint can match a header with these.
#[inline]
pub(super) fn allows(hints: Hints, hint: u32) -> bool {
    hint == 0 || hints.contains(&hint)
}

/// Some bits of a port, scattered: neighbours and even ports are frequent.
#[inline(always)]
const fn scatter(port: u16) -> u32 {
    (port as u32).wrapping_mul(0x9e37_79b1)
}

#[inline(always)]
const fn dst_port(port: u16) -> u32 {
    let bits = scatter(port) >> 27;
    if bits == 0 { 1 } else { bits }
}

#[inline(always)]
const fn src_port(port: u16) -> u32 {
    32 | scatter(port) >> 28
}

#[inline(always)]
const fn protocol(number: u8) -> u32 {
    48 | (number ^ number >> 4) as u32 & 15
}

#[cfg(test)]
mod tests {
    use super::super::family::{Pair, rest};
    use super::super::record::ALL_ZONES;
    use super::*;
    use crate::matching::PortRange;

    #[test]
    fn a_header_has_the_hints_of_all_rules_that_it_matches() {
        let protocols = [None, Some(1), Some(6), Some(17), Some(255)];
        let ports = [PortRange::ANY, PortRange::only(0), PortRange::only(53), PortRange::only(443)];
        let shapes = [0, SRC_PORT, DST_PORT, SRC_PORT | DST_PORT];
        let shapes = shapes.map(|rest| Shape { rest, ..Shape::ALL });
        let (mut told, mut seen) = (0, 0);
        for protocol in protocols {
            for (src_port, dst_port) in ports.iter().flat_map(|a| ports.map(|b| (*a, b))) {
                let entry = Entry::<u32> {
                    order: 0,
                    src_len: 0,
                    dst_len: 0,
                    addresses: Pair { src: 0, dst: 0 },
                    protocol,
                    src_port,
                    dst_port,
                    zones: ALL_ZONES,
                    coarse: false,
                    value: 0,
                };
                for shape in shapes.iter().filter(|shape| shape.holds(Shape::of(&entry))) {
                    let hint = of_rule(&entry, *shape);
                    assert!(hint >> BITS == 0);
                    for number in 0..=u8::MAX {
                        for (src, dst) in [(0, 53), (53, 443), (443, 0), (53, 53), (9, 9)] {
                            let matches = protocol.is_none_or(|own| own == number)
                                && src_port.contains(src)
                                && dst_port.contains(dst);
                            let allowed = allows(of_header(rest(src, dst, number)), hint);
                            assert!(
                                allowed || !matches,
                                "{entry:?} {shape:?} {src} {dst} {number}"
                            );
                            told += usize::from(!allowed);
                            seen += 1;
                        }
                    }
                }
            }
        }
        assert!(told * 2 > seen, "{told} of {seen}");
    }
}
