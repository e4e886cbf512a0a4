//! How many of some numbers are below a value.
//!
//! The numbers are in nodes of what fits into one or two vectors. Each level has the last numbers
//! of the nodes of the next, and the first level is one node: so three levels serve for thousands
//! of numbers, and a search takes the same steps whatever it finds.

use super::batch::WIDTH;
use super::simd::Vectors;
use std::fmt::Debug;

/// The places of the headers of a block.
type Places = [u16; WIDTH];

/// Numbers of 32 bits in one node.
pub(super) const NARROW: usize = 16;
/// Numbers of 128 bits in one node.
pub(super) const WIDE: usize = 8;

/// Some numbers in rising order.
pub(super) trait Node: Clone + Debug {
    /// A number.
    type Number: Copy + Ord + Debug;
    /// How many there are in a node.
    const FAN: usize;
    /// More than any number that is looked for.
    const MOST: Self::Number;

    fn new(number: impl FnMut() -> Self::Number) -> Self;
    fn last(&self) -> Self::Number;
    fn below<V: Vectors>(&self, value: Self::Number, vectors: V) -> usize;
}

/// Numbers of 32 bits.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Narrow(pub(super) [u32; NARROW]);

/// Numbers of 128 bits: the upper halves, then the lower ones.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Wide(pub(super) [[u64; WIDE]; 2]);

/// Numbers in rising order.
#[derive(Debug)]
pub(super) struct Tree<N> {
    nodes: Box<[N]>,
    /// Where the levels begin.
    levels: Box<[usize]>,
}

impl<N: Node> Tree<N> {
    /// Of numbers in rising order, all below the type's largest.
    pub(super) fn new(numbers: impl Iterator<Item = N::Number>) -> Self {
        let mut levels = vec![nodes::<N>(numbers)];
        while let Some(last) = levels.last().filter(|level| level.len() > 1) {
            // Not the last: what is above all others is in it.
            let ends = last.iter().take(last.len() - 1).map(N::last);
            let level = nodes(ends);
            levels.push(level);
        }
        levels.reverse();
        let mut end = 0;
        let starts = levels.iter().map(|level| {
            end += level.len();
            end - level.len()
        });
        Self { levels: starts.collect(), nodes: levels.concat().into() }
    }

    /// How many of the numbers are below a value.
    #[inline(always)]
    pub(super) fn place<V: Vectors>(&self, value: N::Number, vectors: V) -> usize {
        // Mostly three levels or fewer, and no loop to go round for each.
        match *self.levels {
            [a] => self.descend([a], value, vectors),
            [a, b] => self.descend([a, b], value, vectors),
            [a, b, c] => self.descend([a, b, c], value, vectors),
            _ => self.descend(self.levels.iter().copied(), value, vectors),
        }
    }

    #[inline(always)]
    fn descend<V: Vectors>(
        &self,
        levels: impl IntoIterator<Item = usize>,
        value: N::Number,
        vectors: V,
    ) -> usize {
        let mut place = 0;
        for start in levels {
            let Some(node) = self.nodes.get(start + place) else { return 0 };
            place = place * N::FAN + node.below(value, vectors);
        }
        place
    }

    /// The places of the numbers of a block's headers.
    #[inline(always)]
    pub(super) fn places<V: Vectors>(
        &self,
        count: usize,
        value: impl Fn(usize) -> N::Number,
        vectors: V,
    ) -> Places {
        match *self.levels {
            [a] => self.descend_all([a], count, value, vectors),
            [a, b] => self.descend_all([a, b], count, value, vectors),
            [a, b, c] => self.descend_all([a, b, c], count, value, vectors),
            _ => self.descend_all(self.levels.iter().copied(), count, value, vectors),
        }
    }

    #[inline(always)]
    fn descend_all<V: Vectors>(
        &self,
        levels: impl IntoIterator<Item = usize> + Clone,
        count: usize,
        value: impl Fn(usize) -> N::Number,
        vectors: V,
    ) -> Places {
        let mut places = [0; WIDTH];
        for header in 0..count {
            if let Some(place) = places.get_mut(header) {
                *place = self.descend(levels.clone(), value(header), vectors) as u16;
            }
        }
        places
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.nodes)
    }
}

/// Nodes of these numbers, the last filled up with the largest.
fn nodes<N: Node>(numbers: impl Iterator<Item = N::Number>) -> Vec<N> {
    let mut numbers = numbers.peekable();
    let mut nodes = Vec::new();
    loop {
        let node = N::new(|| numbers.next().unwrap_or(N::MOST));
        let full = node.last() < N::MOST;
        nodes.push(node);
        // A full last node is followed by an empty one, for values above all of it.
        if !full {
            return nodes;
        }
    }
}

impl Node for Narrow {
    type Number = u32;
    const FAN: usize = NARROW;
    const MOST: u32 = u32::MAX;

    fn new(mut number: impl FnMut() -> u32) -> Self {
        Self(std::array::from_fn(|_| number()))
    }

    fn last(&self) -> u32 {
        let Self([.., last]) = *self;
        last
    }

    #[inline(always)]
    fn below<V: Vectors>(&self, value: u32, vectors: V) -> usize {
        vectors.below(self, value)
    }
}

impl Node for Wide {
    type Number = u128;
    const FAN: usize = WIDE;
    const MOST: u128 = u128::MAX;

    fn new(mut number: impl FnMut() -> u128) -> Self {
        let numbers: [u128; WIDE] = std::array::from_fn(|_| number());
        Self([numbers.map(|number| (number >> 64) as u64), numbers.map(|number| number as u64)])
    }

    fn last(&self) -> u128 {
        let Self([[.., high], [.., low]]) = *self;
        u128::from(high) << 64 | u128::from(low)
    }

    #[inline(always)]
    fn below<V: Vectors>(&self, value: u128, vectors: V) -> usize {
        vectors.below_wide(self, value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Work, work};
    use super::*;

    struct Place<'a, N: Node>(&'a Tree<N>, N::Number);

    impl<N: Node> Work for Place<'_, N> {
        type Output = usize;

        fn run<V: Vectors>(self, vectors: V) -> usize {
            self.0.place(self.1, vectors)
        }
    }

    #[test]
    fn places_are_those_of_a_sorted_list() {
        let mut state = 5u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 20
        };
        for count in [0, 1, 7, 8, 15, 16, 17, 63, 64, 255, 256, 257, 2047] {
            let mut numbers: Vec<u64> = (0..count).map(|_| next() % 100_000).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let narrow = Tree::<Narrow>::new(numbers.iter().map(|n| *n as u32));
            // Numbers that differ in the upper half only, in the lower half only, and in both.
            let widened = |n: u64| u128::from(n / 300) << 64 | u128::from(n % 300) << 40;
            let wide = Tree::<Wide>::new(numbers.iter().map(|n| widened(*n)));
            let near = numbers.iter().flat_map(|n| [n.saturating_sub(1), *n, n + 1]);
            for value in near.chain([0, u64::from(u32::MAX)]) {
                let wanted = numbers.partition_point(|n| *n < value);
                assert_eq!(work(Place(&narrow, value as u32)), wanted);
                let plain = Place(&narrow, value as u32).run(super::super::simd::Plain);
                assert_eq!(plain, wanted);
                let value = widened(value);
                let wanted = numbers.partition_point(|n| widened(*n) < value);
                assert_eq!(work(Place(&wide, value)), wanted);
                assert_eq!(Place(&wide, value).run(super::super::simd::Plain), wanted);
            }
        }
    }
}
