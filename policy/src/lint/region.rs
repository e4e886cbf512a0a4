//! What a rule matches in one address family, as sets that can be covered and cut.
//!
//! In one family a rule is a box: any of its ingress zones with any of its egress zones, sources,
//! destinations and services. That one box covers another is true for each side or not at all, and
//! a box from which another takes one whole side's worth is a box again. So what is said here to be
//! covered is proved.

use crate::address::AddressSet;
use crate::matching::{Match, PortRange, Service};
use crate::prefix::Word;
use crate::zone::{ZoneId, ZoneSet};

/// An address as a number.
pub(super) trait Address: Word + Send + Sync {
    /// The ranges of this family.
    fn ranges(set: &AddressSet) -> &[(Self, Self)];
    /// The number after this one.
    fn after(self) -> Option<Self>;
    /// The number before this one.
    fn before(self) -> Option<Self>;
}

impl Address for u32 {
    fn ranges(set: &AddressSet) -> &[(Self, Self)] {
        set.v4()
    }
    fn after(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Address for u128 {
    fn ranges(set: &AddressSet) -> &[(Self, Self)] {
        set.v6()
    }
    fn after(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

/// What a rule matches in one family; never empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area<'r, A> {
    pub(super) from: ZoneSet,
    pub(super) to: ZoneSet,
    pub(super) src: &'r [(A, A)],
    pub(super) dst: &'r [(A, A)],
    pub(super) services: &'r [Service],
}

impl<'r, A: Address> Area<'r, A> {
    /// The part of a match in this family, among the zones that exist; `None` when it has none.
    pub(super) fn of(matches: &'r Match, zones: ZoneSet) -> Option<Self> {
        let (src, dst) = (A::ranges(&matches.src), A::ranges(&matches.dst));
        let (from, to) = (matches.from.and(zones), matches.to.and(zones));
        let services = matches.services.as_slice();
        let empty = from.is_empty() || to.is_empty() || services.is_empty();
        if empty || src.is_empty() || dst.is_empty() {
            return None;
        }
        Some(Self { from, to, src, dst, services })
    }

    /// Whether every flow of `other` is in this area.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.from.covers(other.from)
            && self.to.covers(other.to)
            && serve(self.services, other.services)
            && inside(other.dst, self.dst)
            && inside(other.src, self.src)
    }

    /// A flow of the area.
    pub(super) fn probe(&self) -> Option<Probe<A>> {
        let service = self.services.first()?;
        Some(Probe {
            from: self.from.iter().next()?,
            to: self.to.iter().next()?,
            src: self.src.first()?.0,
            dst: self.dst.first()?.0,
            protocol: service.protocol,
            src_port: service.src_port.low(),
            dst_port: service.dst_port.low(),
        })
    }

    /// Whether a flow is in the area.
    pub(super) fn contains(&self, probe: &Probe<A>) -> bool {
        self.from.contains(probe.from)
            && self.to.contains(probe.to)
            && self.services.iter().any(|service| {
                (service.protocol.is_none() || service.protocol == probe.protocol)
                    && service.src_port.contains(probe.src_port)
                    && service.dst_port.contains(probe.dst_port)
            })
            && inside(&[(probe.dst, probe.dst)], self.dst)
            && inside(&[(probe.src, probe.src)], self.src)
    }
}

/// One flow of an area. Without a protocol it stands for flows of any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe<A> {
    pub(super) from: ZoneId,
    pub(super) to: ZoneId,
    pub(super) src: A,
    pub(super) dst: A,
    pub(super) protocol: Option<u8>,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
}

/// What is left of an area while others are taken from it.
#[derive(Debug)]
pub(super) struct Rest<A> {
    from: ZoneSet,
    to: ZoneSet,
    src: Vec<(A, A)>,
    dst: Vec<(A, A)>,
    services: Vec<Service>,
}

impl<A: Address> Rest<A> {
    pub(super) fn new(area: &Area<'_, A>) -> Self {
        Self {
            from: area.from,
            to: area.to,
            src: area.src.to_vec(),
            dst: area.dst.to_vec(),
            services: area.services.to_vec(),
        }
    }

    /// The rest as an area, or `None` when nothing is left.
    pub(super) fn area(&self) -> Option<Area<'_, A>> {
        let Self { from, to, .. } = *self;
        let area = Area { from, to, src: &self.src, dst: &self.dst, services: &self.services };
        let empty = from.is_empty() || to.is_empty() || self.services.is_empty();
        (!empty && !self.src.is_empty() && !self.dst.is_empty()).then_some(area)
    }

    /// Takes an area away where it covers the rest on all sides but at most one; says whether that
    /// made the rest smaller.
    pub(super) fn take(&mut self, area: &Area<'_, A>) -> bool {
        let sides = [
            area.from.covers(self.from),
            area.to.covers(self.to),
            inside(&self.src, area.src),
            inside(&self.dst, area.dst),
            serve(area.services, &self.services),
        ];
        match sides {
            [false, true, true, true, true] => zones_less(&mut self.from, area.from),
            [true, false, true, true, true] => zones_less(&mut self.to, area.to),
            [true, true, false, true, true] => ranges_less(&mut self.src, area.src),
            [true, true, true, false, true] => ranges_less(&mut self.dst, area.dst),
            [true, true, true, true, false] => services_less(&mut self.services, area.services),
            [true, true, true, true, true] => {
                self.services.clear();
                true
            }
            _ => false,
        }
    }
}

fn zones_less(zones: &mut ZoneSet, less: ZoneSet) -> bool {
    let left = less.iter().fold(*zones, ZoneSet::without);
    std::mem::replace(zones, left) != left
}

/// Takes sorted, disjoint ranges from others.
fn ranges_less<A: Address>(ranges: &mut Vec<(A, A)>, less: &[(A, A)]) -> bool {
    let mut left = Vec::with_capacity(ranges.len());
    for &(low, high) in ranges.iter() {
        let mut next = Some(low);
        let from = less.partition_point(|(_, end)| *end < low);
        for &(start, end) in less.iter().skip(from).take_while(|(start, _)| *start <= high) {
            let Some(begin) = next else { break };
            if let Some(before) = start.before().filter(|before| begin <= *before) {
                left.push((begin, before));
            }
            next = end.after().filter(|after| *after <= high);
        }
        if let Some(begin) = next {
            left.push((begin, high));
        }
    }
    let changed = left != *ranges;
    *ranges = left;
    changed
}

/// Takes destination ports (or ICMP codes) away, protocol by protocol.
fn services_less(services: &mut Vec<Service>, less: &[Service]) -> bool {
    let mut left = Vec::with_capacity(services.len());
    for service in services.iter() {
        let mut ports =
            vec![(u32::from(service.dst_port.low()), u32::from(service.dst_port.high()))];
        for other in less {
            let protocols = other.protocol.is_none() || other.protocol == service.protocol;
            if protocols && other.src_port.covers(service.src_port) {
                let cut = (u32::from(other.dst_port.low()), u32::from(other.dst_port.high()));
                ranges_less(&mut ports, &[cut]);
            }
        }
        left.extend(ports.into_iter().filter_map(|(low, high)| {
            let dst_port = PortRange::new(u16::try_from(low).ok()?, u16::try_from(high).ok()?)?;
            Some(Service { dst_port, ..*service })
        }));
    }
    let changed = left != *services;
    *services = left;
    changed
}

/// Whether each of the services `small` is one of `large`, or a part of one.
fn serve(large: &[Service], small: &[Service]) -> bool {
    small.iter().all(|service| large.iter().any(|other| other.covers(service)))
}

/// Whether every range of `small` lies in one of `large`. Both are sorted and disjoint, and no two
/// ranges of `large` touch.
fn inside<A: Address>(small: &[(A, A)], large: &[(A, A)]) -> bool {
    small.iter().all(|(low, high)| {
        let after = large.partition_point(|(start, _)| start <= low);
        after.checked_sub(1).and_then(|i| large.get(i)).is_some_and(|(_, end)| high <= end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_exactly() {
        let mut ranges = vec![(0_u32, 10), (20, u32::MAX)];
        assert!(ranges_less(&mut ranges, &[(0, 3), (5, 5), (10, 25), (u32::MAX, u32::MAX)]));
        assert_eq!(ranges, [(4, 4), (6, 9), (26, u32::MAX - 1)]);
        assert!(!ranges_less(&mut ranges, &[(5, 5), (11, 12)]));
        assert!(ranges_less(&mut ranges, &[(0, u32::MAX)]));
        assert_eq!(ranges, []);
    }

    #[test]
    fn ports_are_cut_only_where_protocols_agree() {
        let service = |protocol, low, high| Service {
            protocol,
            src_port: PortRange::ANY,
            dst_port: PortRange::new(low, high).unwrap(),
        };
        let mut services = vec![service(Some(6), 1, 100), service(Some(17), 1, 100)];
        assert!(services_less(&mut services, &[service(Some(6), 50, 200)]));
        assert_eq!(services, [service(Some(6), 1, 49), service(Some(17), 1, 100)]);
        assert!(services_less(&mut services, &[service(None, 0, 65535)]));
        assert_eq!(services, []);
        let mut any = vec![Service::ANY];
        assert!(!services_less(&mut any, &[service(Some(6), 0, 65535)]));
    }
}
