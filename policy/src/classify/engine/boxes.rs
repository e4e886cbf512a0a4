//! Sixteen boxes in the space of headers, and which of them hold a point.
//!
//! Addresses are windows of 32 bits here. A box may be larger than what it stands for, never
//! smaller: what it holds has to be compared with the rule.

use super::simd;

/// Boxes in one node.
pub(super) const LANES: usize = 16;

/// A range of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Source and destination address.
    pub(super) addresses: [(u32, u32); 2],
    /// Source port, destination port and protocol.
    pub(super) rest: [(u16, u16); 3],
}

/// A header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) addresses: [u32; 2],
    pub(super) rest: [u16; 3],
}

/// The bounds of sixteen boxes, field by field. Unused lanes hold nothing.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Boxes {
    /// Lowest and highest source address, lowest and highest destination address.
    pub(super) addresses: [[u32; LANES]; 4],
    /// The same for source port, destination port and protocol.
    pub(super) rest: [[u16; LANES]; 6],
}

impl Bounds {
    /// The smallest bounds around both.
    pub(super) fn around(&self, other: &Self) -> Self {
        let [a, b] = self.addresses;
        let [c, d] = other.addresses;
        let [e, f, g] = self.rest;
        let [h, i, j] = other.rest;
        Self { addresses: [join(a, c), join(b, d)], rest: [join(e, h), join(f, i), join(g, j)] }
    }
}

fn join<T: Ord + Copy>(a: (T, T), b: (T, T)) -> (T, T) {
    (a.0.min(b.0), a.1.max(b.1))
}

impl Boxes {
    /// Of up to [`LANES`] bounds; the rest is left out.
    pub(super) fn new(bounds: impl Iterator<Item = Bounds>) -> Self {
        let mut boxes = Self { addresses: [[0; LANES]; 4], rest: [[0; LANES]; 6] };
        // Lowest above highest: nothing is in between.
        for (low, high) in [(0, 1), (2, 3)] {
            if let Ok([low, high]) = boxes.addresses.get_disjoint_mut([low, high]) {
                (*low, *high) = ([u32::MAX; LANES], [0; LANES]);
            }
        }
        for (lane, bounds) in bounds.take(LANES).enumerate() {
            let [src, dst] = bounds.addresses;
            let [a, b, c] = bounds.rest;
            let addresses = [src.0, src.1, dst.0, dst.1];
            for (row, value) in boxes.addresses.iter_mut().zip(addresses) {
                if let Some(cell) = row.get_mut(lane) {
                    *cell = value;
                }
            }
            for (row, value) in boxes.rest.iter_mut().zip([a.0, a.1, b.0, b.1, c.0, c.1]) {
                if let Some(cell) = row.get_mut(lane) {
                    *cell = value;
                }
            }
        }
        boxes
    }

    /// The lanes whose boxes meet the bounds, as bits.
    #[inline]
    pub(super) fn meeting(&self, bounds: &Bounds) -> u32 {
        let [a, b] = bounds.addresses;
        let [c, d, e] = bounds.rest;
        let highest = Point { addresses: [a.1, b.1], rest: [c.1, d.1, e.1] };
        let lowest = Point { addresses: [a.0, b.0], rest: [c.0, d.0, e.0] };
        simd::between(self, &highest, &lowest)
    }
}
