//! Finds the rules that may cover another: those that match one flow of it.
//!
//! Rules are kept by the prefixes around their destinations and sources. A rule that covers another
//! matches every flow of it, so it is in a bucket whose prefixes hold the addresses of whichever
//! flow one picks. Looking into those buckets takes about the same time however many rules there
//! are; a bucket with too many rules is not looked through to its end.

use super::region::{Address, Area, Probe};
use crate::matching::{PortRange, Service};
use crate::prefix::Prefix;
use ahash::AHashMap;

/// Rules that are looked at for one flow before giving up.
const LIMIT: usize = 64;

/// The rules of one address family.
pub(super) struct Index<'r, A> {
    /// By rule; `None` for rules that match nothing in this family.
    areas: Vec<Option<Area<'r, A>>>,
    /// By destination; which lengths the sources' prefixes have.
    destinations: AHashMap<Prefix<A>, Destination>,
    /// Lengths of the destinations' prefixes.
    lengths: Vec<u8>,
    /// By the number of the destination, and source.
    buckets: AHashMap<(u32, Prefix<A>), Bucket>,
}

struct Destination {
    number: u32,
    lengths: Vec<u8>,
}

/// Rules with the same prefixes, in order.
#[derive(Default)]
struct Bucket {
    /// Rules for one destination port: protocol, port, rule.
    exact: Vec<(u8, u16, u32)>,
    /// All others.
    wide: Vec<u32>,
}

impl<'r, A: Address> Index<'r, A> {
    /// Indexes rules in the order of decision.
    pub(super) fn new(areas: Vec<Option<Area<'r, A>>>) -> Self {
        let mut index = Self {
            areas: Vec::new(),
            destinations: AHashMap::with_capacity(areas.len()),
            lengths: Vec::new(),
            buckets: AHashMap::with_capacity(areas.len()),
        };
        for (rule, area) in (0_u32..).zip(&areas) {
            if let Some(area) = area {
                index.insert(rule, area);
            }
        }
        for bucket in index.buckets.values_mut() {
            bucket.exact.sort_unstable();
        }
        index.areas = areas;
        index
    }

    fn insert(&mut self, rule: u32, area: &Area<'_, A>) {
        let (Some(src), Some(dst)) = (around(area.src), around(area.dst)) else { return };
        let number = u32::try_from(self.destinations.len()).unwrap_or(u32::MAX);
        let destination = self
            .destinations
            .entry(dst)
            .or_insert_with(|| Destination { number, lengths: Vec::new() });
        if !destination.lengths.contains(&src.len) {
            destination.lengths.push(src.len);
        }
        if destination.number == number && !self.lengths.contains(&dst.len) {
            self.lengths.push(dst.len);
        }
        let bucket = self.buckets.entry((destination.number, src)).or_default();
        match area.services {
            [Service { protocol: Some(protocol), src_port: PortRange::ANY, dst_port }]
                if dst_port.low() == dst_port.high() =>
            {
                bucket.exact.push((*protocol, dst_port.low(), rule));
            }
            _ => bucket.wide.push(rule),
        }
    }

    /// What a rule matches in this family.
    pub(super) fn area(&self, rule: u32) -> Option<&Area<'r, A>> {
        self.areas.get(usize::try_from(rule).ok()?)?.as_ref()
    }

    /// Rules above `before` that match a flow, in no order, not always all of them.
    pub(super) fn matching(&self, probe: &Probe<A>, before: u32, out: &mut Vec<u32>) {
        out.clear();
        let mut room = LIMIT;
        for length in &self.lengths {
            let dst = Prefix { bits: probe.dst, len: A::BITS }.shortened(*length);
            let Some(destination) = self.destinations.get(&dst) else { continue };
            for length in &destination.lengths {
                let src = Prefix { bits: probe.src, len: A::BITS }.shortened(*length);
                if let Some(bucket) = self.buckets.get(&(destination.number, src)) {
                    self.look(bucket, probe, before, &mut room, out);
                }
                if room == 0 {
                    return;
                }
            }
        }
    }

    fn look(
        &self,
        bucket: &Bucket,
        probe: &Probe<A>,
        before: u32,
        room: &mut usize,
        out: &mut Vec<u32>,
    ) {
        let exact = probe.protocol.map(|protocol| (protocol, probe.dst_port));
        let exact = exact.map_or(&[][..], |key| {
            let from = bucket.exact.partition_point(|(p, d, _)| (*p, *d) < key);
            let rest = bucket.exact.get(from..).unwrap_or_default();
            let length = rest.iter().take_while(|(p, d, _)| (*p, *d) == key).take(LIMIT).count();
            rest.get(..length).unwrap_or_default()
        });
        let exact = exact.iter().map(|(_, _, rule)| *rule).take_while(|rule| *rule < before);
        let wide = bucket.wide.iter().copied().take_while(|rule| *rule < before);
        for rule in exact.chain(wide) {
            if *room == 0 {
                return;
            }
            *room -= 1;
            if self.area(rule).is_some_and(|area| area.contains(probe)) {
                out.push(rule);
            }
        }
    }
}

fn around<A: Address>(ranges: &[(A, A)]) -> Option<Prefix<A>> {
    Some(Prefix::around(ranges.first()?.0, ranges.last()?.1))
}
