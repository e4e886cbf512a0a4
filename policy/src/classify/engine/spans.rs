//! Which of some ranges of ports a port is in.
//!
//! ```text
//! port / 64 ─► block ─► + port % 64 ─► range
//! ```
//!
//! Most blocks of 64 ports are all in one range, and many are alike: each kind is kept once.

use ahash::AHashMap;

/// Ports of a block.
const BLOCK: usize = 64;
/// Blocks of all ports.
const BLOCKS: usize = (1 << 16) / BLOCK;

/// Ranges that follow one another.
#[derive(Debug)]
pub(super) struct Spans {
    /// Where in `ranges` each block's are.
    blocks: Box<[u32; BLOCKS]>,
    ranges: Box<[u16]>,
}

impl Spans {
    /// From the last ports of all ranges but the last, rising; at most 65,535 of them.
    pub(super) fn new(ends: &[u16]) -> Self {
        let (mut kinds, mut ranges) = (AHashMap::new(), Vec::new());
        let mut ends = ends.iter().peekable();
        let mut range = 0;
        let mut port = 0..=u16::MAX;
        let blocks = std::array::from_fn(|_| {
            let block: [u16; BLOCK] = std::array::from_fn(|_| {
                let own = range;
                let port = port.next().unwrap_or(u16::MAX);
                if ends.next_if(|end| **end <= port).is_some() {
                    range += 1;
                }
                own
            });
            *kinds.entry(block).or_insert_with(|| {
                ranges.extend(block);
                (ranges.len() - BLOCK) as u32
            })
        });
        Self { blocks: Box::new(blocks), ranges: ranges.into() }
    }

    /// The place of a port's range.
    #[inline(always)]
    pub(super) fn place(&self, port: u16) -> usize {
        let port = usize::from(port);
        let block = self.blocks.get(port / BLOCK).map_or(0, |start| *start as usize);
        self.ranges.get(block + port % BLOCK).map_or(0, |range| usize::from(*range))
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_in_the_range_that_ends_at_it_or_after() {
        let few = vec![0, 1, 52, 63, 64, 1023, 1024, 32_767, 65_534];
        for ends in [vec![], few, (0..u16::MAX).collect(), (0..700).map(|n| n * 93).collect()] {
            let spans = Spans::new(&ends);
            for port in 0..=u16::MAX {
                let wanted = ends.partition_point(|end| *end < port);
                assert_eq!(spans.place(port), wanted, "{port} of {} ends", ends.len());
            }
        }
    }
}
