//! Prefixes: the values that share their first bits.
//!
//! Hash tables can look up prefixes but not ranges, and operators read networks as prefixes. Goes
//! in: a range of 16, 32 or 128-bit numbers. Comes out: the prefixes that it is made of. Not here:
//! sets of addresses, see [`crate::address`].

/// An unsigned number whose leading bits can be masked.
pub trait Word: Copy + Ord + std::hash::Hash + std::fmt::Debug {
    /// Bits of the number.
    const BITS: u8;
    /// All bits clear.
    const ZERO: Self;
    /// The number whose first `len` bits are set; all of them from [`Self::BITS`] on.
    fn mask(len: u8) -> Self;
    /// The bits set in both.
    #[must_use]
    fn and(self, other: Self) -> Self;
    /// The number with all bits after the first `len` set.
    #[must_use]
    fn filled(self, len: u8) -> Self;
    /// How many leading bits are equal in both.
    fn common_bits(self, other: Self) -> u8;
    /// The largest prefix that begins at `self` and ends at or before `high`, and what comes after
    /// it; `None` there when it ends at the last number. `self` must not be above `high`.
    fn take_prefix(self, high: Self) -> (Prefix<Self>, Option<Self>);
}

/// The numbers whose first `len` bits are those of `bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<T> {
    /// The first number: bits after `len` are clear.
    pub bits: T,
    /// Length in bits, at most [`Word::BITS`].
    pub len: u8,
}

impl<T: Word> Prefix<T> {
    /// Every number.
    pub const ANY: Self = Self { bits: T::ZERO, len: 0 };

    /// The shortest prefix, if it is one, that `low..=high` is exactly.
    #[must_use]
    pub fn exactly(low: T, high: T) -> Option<Self> {
        let mut prefixes = prefixes(low, high);
        match (prefixes.next(), prefixes.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// The longest prefix that holds `low..=high`.
    #[must_use]
    pub fn around(low: T, high: T) -> Self {
        Self { bits: low, len: low.common_bits(high) }.shortened(T::BITS)
    }

    /// The prefix of at most `len` bits that holds this one.
    #[must_use]
    pub fn shortened(self, len: u8) -> Self {
        let len = self.len.min(len);
        Self { bits: self.bits.and(T::mask(len)), len }
    }
}

/// The fewest prefixes that make up `low..=high`, in rising order; none when `low` is above
/// `high`. At most twice as many as the number has bits.
pub fn prefixes<T: Word>(low: T, high: T) -> impl Iterator<Item = Prefix<T>> {
    let mut next = Some(low);
    std::iter::from_fn(move || {
        let start = next.filter(|start| *start <= high)?;
        let (prefix, after) = start.take_prefix(high);
        next = after;
        Some(prefix)
    })
}

macro_rules! word {
    ($type:ty) => {
        impl Word for $type {
            const BITS: u8 = <$type>::BITS as u8;
            const ZERO: Self = 0;

            fn mask(len: u8) -> Self {
                let rest = <$type>::BITS.saturating_sub(u32::from(len));
                <$type>::MAX.checked_shl(rest).unwrap_or(0)
            }

            fn and(self, other: Self) -> Self {
                self & other
            }

            fn filled(self, len: u8) -> Self {
                self | !Self::mask(len)
            }

            fn common_bits(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn take_prefix(self, high: Self) -> (Prefix<Self>, Option<Self>) {
                // The block must start at a multiple of its size and fit into the range.
                let fitting = match (high - self).checked_add(1) {
                    Some(size) => size.ilog2(),
                    None => <$type>::BITS,
                };
                let free = self.trailing_zeros().min(fitting);
                let len = (<$type>::BITS - free) as u8;
                let last = self | !<$type>::mask(len);
                (Prefix { bits: self, len }, last.checked_add(1))
            }
        }
    };
}

word!(u16);
word!(u32);
word!(u128);

#[cfg(test)]
mod tests {
    use super::*;

    fn of<T: Word>(low: T, high: T) -> Vec<(T, u8)> {
        prefixes(low, high).map(|prefix| (prefix.bits, prefix.len)).collect()
    }

    #[test]
    fn whole_space_is_one_empty_prefix() {
        assert_eq!(of(0u16, u16::MAX), [(0, 0)]);
        assert_eq!(of(0u128, u128::MAX), [(0, 0)]);
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        assert_eq!(of(80u16, 80), [(80, 16)]);
        assert_eq!(of(1u16, 6), [(1, 16), (2, 15), (4, 15), (6, 16)]);
        assert_eq!(of(u32::MAX - 2, u32::MAX), [(u32::MAX - 2, 32), (u32::MAX - 1, 31)]);
        assert_eq!(of(2u16, 1), []);
        assert_eq!(of(1024u16, u16::MAX).len(), 6);
    }

    #[test]
    fn every_small_range_is_covered_exactly() {
        for low in 0u16..70 {
            for high in low..70 {
                let covered: Vec<u16> = prefixes(low, high)
                    .flat_map(|p| p.bits..=(p.bits | !u16::mask(p.len)))
                    .collect();
                assert_eq!(covered, (low..=high).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn surrounding_prefix_holds_both_ends() {
        assert_eq!(
            Prefix::around(0x0a00_0001u32, 0x0a00_00ff),
            Prefix { bits: 0x0a00_0000, len: 24 }
        );
        assert_eq!(Prefix::around(5u16, 5), Prefix { bits: 5, len: 16 });
        assert_eq!(Prefix::exactly(0x0a00_0000u32, 0x0a00_00ff).map(|p| p.len), Some(24));
        assert_eq!(Prefix::exactly(0x0a00_0001u32, 0x0a00_00ff), None);
    }
}
