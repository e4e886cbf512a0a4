//! Sets of IPv4 and IPv6 addresses as sorted, disjoint ranges.

use std::net::IpAddr;

/// A set of addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl AddressSet {
    /// Every address of both families.
    #[must_use]
    pub fn any() -> Self {
        Self { v4: Box::new([(0, u32::MAX)]), v6: Box::new([(0, u128::MAX)]) }
    }

    /// The union of inclusive ranges, in any order, overlapping or not. A range whose first
    /// address is above its last is left out.
    #[must_use]
    pub fn from_ranges(
        v4: impl IntoIterator<Item = (u32, u32)>,
        v6: impl IntoIterator<Item = (u128, u128)>,
    ) -> Self {
        Self {
            v4: merge(v4.into_iter().collect(), |high| high.checked_add(1)),
            v6: merge(v6.into_iter().collect(), |high| high.checked_add(1)),
        }
    }

    /// Whether the address is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => holds(&self.v4, address.to_bits()),
            IpAddr::V6(address) => holds(&self.v6, address.to_bits()),
        }
    }

    /// The IPv4 ranges, sorted, disjoint and not adjacent.
    #[must_use]
    pub fn v4(&self) -> &[(u32, u32)] {
        &self.v4
    }

    /// The IPv6 ranges, sorted, disjoint and not adjacent.
    #[must_use]
    pub fn v6(&self) -> &[(u128, u128)] {
        &self.v6
    }

    /// Whether the set has no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether the sets share an IPv4 address.
    #[must_use]
    pub fn v4_intersects(&self, other: &Self) -> bool {
        intersect(&self.v4, &other.v4)
    }

    /// Whether the sets share an IPv6 address.
    #[must_use]
    pub fn v6_intersects(&self, other: &Self) -> bool {
        intersect(&self.v6, &other.v6)
    }

    /// Whether every address of `other` is in this set.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        inside(&other.v4, &self.v4) && inside(&other.v6, &self.v6)
    }
}

/// Sorts the ranges and joins those that overlap or touch.
fn merge<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.retain(|(low, high)| low <= high);
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if next(last.1).is_none_or(|after| low <= after) => {
                last.1 = last.1.max(high);
            }
            _ => merged.push((low, high)),
        }
    }
    merged.into_boxed_slice()
}

/// Whether a value is in one of the sorted ranges.
fn holds<T: Copy + Ord>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|(low, _)| *low <= value);
    after.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|(_, high)| value <= *high)
}

/// Whether two lists of sorted ranges share a value; searches in the longer one.
fn intersect<T: Copy + Ord>(a: &[(T, T)], b: &[(T, T)]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short.iter().any(|(low, high)| {
        let after = long.partition_point(|(other, _)| other <= high);
        after.checked_sub(1).and_then(|i| long.get(i)).is_some_and(|(_, other)| low <= other)
    })
}

/// Whether every range of `small` lies in one of `large`; both are merged, so one is enough.
fn inside<T: Copy + Ord>(small: &[(T, T)], large: &[(T, T)]) -> bool {
    small.iter().all(|(low, high)| {
        let after = large.partition_point(|(start, _)| start <= low);
        after.checked_sub(1).and_then(|i| large.get(i)).is_some_and(|(_, end)| high <= end)
    })
}
