//! Prefixes that branch as those of real filter sets do.
//!
//! A trie that exists only as a function: whether a node has one child or two, and which of them is
//! the heavier, follows from a hash of the seed and the node. A prefix is a walk from the root, so
//! prefixes of all lengths nest in each other, and any number of them can be drawn from no memory.
//!
//! Goes in: branching by level, a length. Comes out: the bits of a prefix of that length.

use super::random::{Random, mix};
use super::seeds::Branching;
use twinwall_policy::prefix::{Prefix, Word};

/// Levels below the root at which the tries of an IPv6 set branch as an IPv4 set's do, from the
/// /16 down.
const V6_START: u8 = 16;

/// A trie of IPv4 or IPv6 prefixes.
#[derive(Clone, Debug)]
pub(super) struct Trie {
    seed: u64,
    /// Chance of two children, and weight of the lighter one, in 1/10,000.
    levels: [(u32, u32); 32],
}

impl Trie {
    /// A trie that branches as in sets of `size` rules, and `widened` times as much again: each
    /// time one more level branches fully.
    pub(super) fn new(branching: &Branching, size: usize, widened: u32, seed: u64) -> Self {
        let place = (size.max(1) as f64).log10().clamp(3.0, 5.0) - 3.0;
        let [small, middle, large] = branching;
        let (below, above, part) =
            if place < 1.0 { (small, middle, place) } else { (middle, large, place - 1.0) };
        let mut levels = [(0, 0); 32];
        for (level, (below, above)) in levels.iter_mut().zip(below.iter().zip(above)) {
            let between = |below: u8, above: u8| {
                let value = f64::from(below) * (1.0 - part) + f64::from(above) * part;
                (value * 100.0) as u32
            };
            *level = (between(below.0, above.0), between(below.1, above.1));
        }
        // Beyond 100,000 rules: each doubling branches one more level.
        let doublings = (size as f64 / 100_000.0).log2().max(0.0).ceil() as u32 + widened;
        let sparse = levels.iter_mut().filter(|level| level.0 < 9_000 || level.1 < 1_000);
        for level in sparse.take(doublings as usize) {
            *level = (10_000, 9_000);
        }
        Self { seed, levels }
    }

    /// An IPv4 prefix of this length, at most 32. The first `shared` bits are those of `start`.
    pub(super) fn v4(
        &self,
        len: u8,
        start: Prefix<u32>,
        shared: u8,
        random: &mut Random,
    ) -> Prefix<u32> {
        let len = len.min(u32::BITS as u8);
        let shared = shared.min(start.len).min(len);
        let mut bits = u128::from(start.shortened(shared).bits) << 96;
        for level in shared..len {
            bits |= self.child(level, level, bits, random) << (127 - level);
        }
        Prefix { bits: (bits >> 96) as u32, len }
    }

    /// An IPv6 prefix that stands where the IPv4 prefix of length `len` would. The first `shared`
    /// bits are those of `start`.
    pub(super) fn v6(
        &self,
        len: u8,
        start: Prefix<u128>,
        shared: u8,
        random: &mut Random,
    ) -> Prefix<u128> {
        let len = v6_length(len);
        let shared = shared.min(start.len).min(len);
        let mut bits = start.shortened(shared).bits;
        for level in shared..len {
            let bit = match level {
                // 2000::/3, all that is assigned to networks.
                0 | 1 => 0,
                2 => 1,
                3..V6_START => self.only_child(level, bits),
                V6_START..48 => self.child((level - V6_START) * 3 / 4, level, bits, random),
                48..64 => self.child(24 + (level - 48) / 4, level, bits, random),
                64..112 => self.only_child(level, bits),
                _ => self.child(28 + (level - 112) / 4, level, bits, random),
            };
            bits |= bit << (127 - level);
        }
        Prefix { bits: bits.and(u128::mask(len)), len }
    }

    /// The next bit of a walk that has come to the node of these bits.
    fn child(&self, branching: u8, level: u8, bits: u128, random: &mut Random) -> u128 {
        let hash = self.hash(level, bits);
        let heavy = u128::from(hash & 1);
        let (two, light) = self.levels.get(usize::from(branching)).copied().unwrap_or_default();
        if (hash >> 1) % 10_000 >= u64::from(two) {
            return heavy;
        }
        // At least one in a thousand, or the lighter child would never be seen.
        let light = u64::from(light.max(10));
        if random.below(10_000 + light) < light { heavy ^ 1 } else { heavy }
    }

    fn only_child(&self, level: u8, bits: u128) -> u128 {
        u128::from(self.hash(level, bits) & 1)
    }

    fn hash(&self, level: u8, bits: u128) -> u64 {
        let node = mix((bits >> 64) as u64 ^ mix(bits as u64 ^ u64::from(level)));
        mix(node ^ self.seed)
    }
}

/// Where networks and hosts of IPv4 lie in IPv6: sites up to /48, subnets to /64, then hosts.
fn v6_length(len: u8) -> u8 {
    match len {
        0 => 0,
        1..=24 => V6_START + (len * 4).div_ceil(3),
        25..=28 => 48 + (len - 24) * 4,
        29 | 30 => 64,
        31 => 127,
        _ => 128,
    }
}
