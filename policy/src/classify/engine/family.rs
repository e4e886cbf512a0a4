//! What differs between IPv4 and IPv6: how addresses are kept, compared and hashed.
//!
//! Not here: ports, protocols and zones, which are alike in both.

use super::rule::Header;
use super::still::seat::Seat;
use super::tree::{Narrow, Node, Wide};
use crate::prefix::Word;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Source and destination address, or a mask over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub(super) struct Pair<A> {
    pub(super) src: A,
    pub(super) dst: A,
}

/// A header in one family, as numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe<A> {
    pub(super) addresses: Pair<A>,
    /// Ports and protocol, see [`rest`]; ingress zone << 40, egress zone << 48.
    pub(super) rest: u64,
    /// The ports to be held against a record's, see [`edges`].
    pub(super) edges: u64,
}

impl<A> Probe<A> {
    #[inline(always)]
    pub(super) fn new(addresses: Pair<A>, rest: u64) -> Self {
        let (src, dst) = (rest as u16, (rest >> 16) as u16);
        Self { addresses, rest, edges: edges((src, src), (dst, dst)) }
    }

    #[inline]
    pub(super) const fn protocol(&self) -> u8 {
        (self.rest >> 32) as u8
    }

    #[inline]
    pub(super) const fn from(&self) -> u8 {
        (self.rest >> 40) as u8
    }

    #[inline]
    pub(super) const fn to(&self) -> u8 {
        (self.rest >> 48) as u8
    }
}

/// A header's ports, protocol and zones, as in [`Probe::rest`].
#[inline(always)]
pub(super) fn rest_of(header: &Header) -> u64 {
    let tuple = &header.tuple;
    rest(tuple.src_port, tuple.dst_port, tuple.protocol)
        | u64::from(header.from.index()) << 40
        | u64::from(header.to.index()) << 48
}

/// Source port in bits 0 to 15, destination port in 16 to 31, protocol in 32 to 39.
pub(super) const fn rest(src_port: u16, dst_port: u16, protocol: u8) -> u64 {
    src_port as u64 | (dst_port as u64) << 16 | (protocol as u64) << 32
}

/// Four numbers of 16 bits: low source, high source, low destination, high destination port, the
/// high ones inverted. Ports are within bounds if none of their edges is below that of the bounds.
pub(super) const fn edges(src: (u16, u16), dst: (u16, u16)) -> u64 {
    src.0 as u64 | (!src.1 as u64) << 16 | (dst.0 as u64) << 32 | (!dst.1 as u64) << 48
}

/// Scatters small numbers over 32 bits: 2^32 over the golden ratio.
pub(super) const SCATTER: u32 = 0x9e37_79b1;

/// Secrets of the hash functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeds(pub(super) [u64; 4]);

/// The beginning of a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Line;

/// An address family.
pub(super) trait Family: Word + Send + Sync + 'static {
    /// A pair of addresses in memory that is read while it is written.
    type Cell: Debug + Default + Send + Sync;

    /// Something without size that begins where [`Seat`](super::still::seat::Seat)s should.
    type Line: Clone + Copy + Debug + Send + Sync;
    const LINE: Self::Line;

    /// The addresses of a header, if both are of this family.
    fn addresses(header: &Header) -> Option<Pair<Self>>;
    fn store(cell: &Self::Cell, pair: Pair<Self>);
    fn load(cell: &Self::Cell) -> Pair<Self>;
    /// A hash of the bits that the mask keeps, and of what a table adds.
    fn key(pair: Pair<Self>, mask: Pair<Self>, rest: u64, seeds: &Seeds) -> u64;
    /// Whether the first `len` bits are the same.
    fn same(a: Self, b: Self, len: u8) -> bool;
    /// Something that is 0 if the addresses are the same without their last bits, of which the
    /// lowest byte of `cuts` has the number for the source and the next for the destination.
    fn apart(a: Pair<Self>, b: Pair<Self>, cuts: u64) -> u64;
    /// Something that is equal for addresses whose first `len` bits are, `len` not 0.
    fn leading(self, len: u8) -> u64;
    /// The first `len` bits, scattered over 32.
    fn scatter(self, len: u8) -> u32;
    /// The addresses as numbers of 32 bits, if that is what they are.
    fn narrow<const N: usize>(pairs: &[Pair<Self>; N]) -> Option<&[Pair<u32>; N]>;
    /// Seats of rules for addresses of 32 bits, if that is what they are.
    fn narrow_seats(seats: &[Seat<Self>]) -> Option<&[Seat<u32>]>;
    /// Addresses in a [`Tree`](super::tree::Tree).
    type Node: Node<Number = Self> + Send + Sync;

    /// The address as a number, whatever the family.
    fn wide(self) -> u128;
    /// The other way round.
    fn narrowed(wide: u128) -> Self;
    /// The 32 bits after the first `skip`: neighbours in the order of addresses stay neighbours.
    fn window(self, skip: u8) -> u32;
}

impl Family for u32 {
    type Cell = AtomicU64;
    type Line = Line;
    const LINE: Line = Line;

    #[inline(always)]
    fn addresses(header: &Header) -> Option<Pair<Self>> {
        match (header.tuple.src, header.tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Some(Pair { src: src.to_bits(), dst: dst.to_bits() })
            }
            _ => None,
        }
    }

    fn store(cell: &Self::Cell, pair: Pair<Self>) {
        cell.store(joined(pair), Relaxed);
    }

    #[inline]
    fn load(cell: &Self::Cell) -> Pair<Self> {
        let both = cell.load(Relaxed);
        Pair { src: both as u32, dst: (both >> 32) as u32 }
    }

    #[inline]
    fn key(pair: Pair<Self>, mask: Pair<Self>, rest: u64, seeds: &Seeds) -> u64 {
        let [a, b, ..] = seeds.0;
        fold((joined(pair) & joined(mask)) ^ a, rest ^ b)
    }

    #[inline]
    fn same(a: Self, b: Self, len: u8) -> bool {
        u64::from(a ^ b) >> (32u8.wrapping_sub(len) & 63) == 0
    }

    #[inline]
    fn apart(a: Pair<Self>, b: Pair<Self>, cuts: u64) -> u64 {
        let differ = joined(a) ^ joined(b);
        (differ & 0xffff_ffff) >> (cuts & 63) | (differ >> 32) >> (cuts >> 8 & 63)
    }

    #[inline]
    fn leading(self, len: u8) -> u64 {
        u64::from(self) >> (32 - len.min(32))
    }

    #[inline]
    fn scatter(self, len: u8) -> u32 {
        (self >> (32u8.wrapping_sub(len) & 31)).wrapping_mul(SCATTER)
    }

    #[inline]
    fn narrow<const N: usize>(pairs: &[Pair<Self>; N]) -> Option<&[Pair<u32>; N]> {
        Some(pairs)
    }

    #[inline]
    fn narrow_seats(seats: &[Seat<Self>]) -> Option<&[Seat<u32>]> {
        Some(seats)
    }

    type Node = Narrow;

    fn narrowed(wide: u128) -> Self {
        wide as Self
    }

    fn wide(self) -> u128 {
        self.into()
    }

    fn window(self, skip: u8) -> u32 {
        self.checked_shl(u32::from(skip)).unwrap_or(0)
    }
}

impl Family for u128 {
    type Cell = [AtomicU64; 4];
    type Line = ();
    const LINE: () = ();

    #[inline(always)]
    fn addresses(header: &Header) -> Option<Pair<Self>> {
        match (header.tuple.src, header.tuple.dst) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Some(Pair { src: src.to_bits(), dst: dst.to_bits() })
            }
            _ => None,
        }
    }

    fn store(cell: &Self::Cell, pair: Pair<Self>) {
        let [a, b, c, d] = cell;
        a.store((pair.src >> 64) as u64, Relaxed);
        b.store(pair.src as u64, Relaxed);
        c.store((pair.dst >> 64) as u64, Relaxed);
        d.store(pair.dst as u64, Relaxed);
    }

    #[inline]
    fn load(cell: &Self::Cell) -> Pair<Self> {
        let [a, b, c, d] = cell;
        let word = |high: &AtomicU64, low: &AtomicU64| {
            u128::from(high.load(Relaxed)) << 64 | u128::from(low.load(Relaxed))
        };
        Pair { src: word(a, b), dst: word(c, d) }
    }

    #[inline]
    fn key(pair: Pair<Self>, mask: Pair<Self>, rest: u64, seeds: &Seeds) -> u64 {
        let [a, b, c, d] = seeds.0;
        let (src, dst) = (pair.src & mask.src, pair.dst & mask.dst);
        let src = fold((src >> 64) as u64 ^ a, src as u64 ^ b);
        let dst = fold((dst >> 64) as u64 ^ c, dst as u64 ^ d);
        fold(src ^ rest ^ a, dst.rotate_left(32) ^ c)
    }

    #[inline]
    fn same(a: Self, b: Self, len: u8) -> bool {
        (a ^ b) & Self::mask(len) == 0
    }

    #[inline]
    fn apart(a: Pair<Self>, b: Pair<Self>, cuts: u64) -> u64 {
        // In two halves: there is no shift by all 128 bits.
        let cut = |differ: Self, bits: u64| {
            let half = bits & 0xff;
            differ >> ((half / 2) & 127) >> ((half - half / 2) & 127)
        };
        let differ = cut(a.src ^ b.src, cuts) | cut(a.dst ^ b.dst, cuts >> 8);
        (differ >> 64) as u64 | differ as u64
    }

    #[inline]
    fn leading(self, len: u8) -> u64 {
        let bits = self & Self::mask(len);
        (bits >> 64) as u64 ^ (bits as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }

    #[inline]
    fn scatter(self, len: u8) -> u32 {
        (self.leading(len).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    #[inline]
    fn narrow<const N: usize>(_: &[Pair<Self>; N]) -> Option<&[Pair<u32>; N]> {
        None
    }

    #[inline]
    fn narrow_seats(_: &[Seat<Self>]) -> Option<&[Seat<u32>]> {
        None
    }

    type Node = Wide;

    fn narrowed(wide: u128) -> Self {
        wide
    }

    fn wide(self) -> u128 {
        self
    }

    fn window(self, skip: u8) -> u32 {
        (self.checked_shl(u32::from(skip)).unwrap_or(0) >> 96) as u32
    }
}

pub(super) const fn joined(pair: Pair<u32>) -> u64 {
    pair.src as u64 | (pair.dst as u64) << 32
}

/// Both halves of a product, mixed.
#[inline]
pub(super) const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}

impl<A: Word> Pair<A> {
    pub(super) fn mask(src_len: u8, dst_len: u8) -> Self {
        Self { src: A::mask(src_len), dst: A::mask(dst_len) }
    }

    pub(super) fn and(self, mask: Self) -> Self {
        Self { src: self.src.and(mask.src), dst: self.dst.and(mask.dst) }
    }
}
