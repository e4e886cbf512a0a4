//! A tree of boxes: which of them meet a box, or hold it, lowest order first.
//!
//! A node has up to sixteen boxes, each around a rule or around all that is in the node below. A
//! search looks into the boxes with the lowest orders first, so whoever needs only the first few
//! doesn't pay for the rest.
//!
//! Goes in: boxes, each with an order, a rank and a number. Comes out: orders and numbers. What is
//! found is exact for these boxes. Not here: which boxes stand for a rule, see [`super::boxes`]; and
//! which share a node, see [`super::grow`].

use super::grow::grow;
use crate::prefix::Word;
use crate::zone::ZoneSet;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Boxes in a node.
pub(super) const LANES: usize = 16;

/// No node.
const NONE: u32 = u32::MAX;

/// A range of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds<A> {
    /// Source and destination, from the first to the last address.
    pub(crate) addresses: [(A, A); 2],
    /// Source port, destination port and protocol; see [`protocol`].
    pub(crate) rest: [(u16, u16); 3],
    /// Ingress zones.
    pub(crate) from: ZoneSet,
    /// Egress zones.
    pub(crate) to: ZoneSet,
}

/// One more than all protocols: only boxes for any protocol hold it.
pub(crate) const OTHER_PROTOCOL: u16 = 256;

/// The range of a protocol; `None` for any.
pub(crate) fn protocol(number: Option<u8>) -> (u16, u16) {
    number.map_or((0, OTHER_PROTOCOL), |number| (number.into(), number.into()))
}

/// A box of the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<A> {
    /// Its place in the order in which boxes are found.
    pub(crate) order: u32,
    /// A second number to ask for, see [`Query::rank`].
    pub(crate) rank: u32,
    /// Says whose box it is.
    pub(crate) number: u32,
    pub(crate) bounds: Bounds<A>,
}

/// What is sought.
#[derive(Clone, Debug)]
pub(crate) struct Query<'q, A> {
    /// Boxes of which one has to be met.
    pub(crate) bounds: &'q [Bounds<A>],
    /// Whether what is found has to hold one of them whole.
    pub(crate) whole: bool,
    /// The first and the last order that count; none when the first is above the last.
    pub(crate) orders: (u32, u32),
    /// The lowest rank that counts.
    pub(crate) rank: u32,
}

/// The orders below one, for [`Query::orders`].
pub(crate) fn before(order: u32) -> (u32, u32) {
    order.checked_sub(1).map_or((1, 0), |last| (0, last))
}

/// A box that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// [`Item::order`].
    pub(crate) order: u32,
    /// [`Item::number`].
    pub(crate) number: u32,
}

/// Boxes that can be searched; at most 2^27 of them, many times what a policy can have.
#[derive(Debug)]
pub(crate) struct Tree<A> {
    /// The root is the last.
    nodes: Vec<Node<A>>,
}

/// A search under way: finds in rising order.
pub(crate) struct Search<'s, A> {
    nodes: &'s [Node<A>],
    query: Query<'s, A>,
    /// The node to go on with. All in `open` come after it.
    current: Option<Cursor>,
    /// Other nodes of which boxes are left.
    open: BinaryHeap<Reverse<Cursor>>,
    steps: usize,
}

/// A node under way. Cursors are sorted by the order of their next box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    /// The lowest order in the next box.
    order: u32,
    /// The node's place.
    node: u32,
    /// The boxes that are left, as bits.
    lanes: u32,
}

impl<A: Word> Tree<A> {
    pub(crate) fn new(items: Vec<Item<A>>) -> Self {
        Self { nodes: grow(items) }
    }

    /// Begins a search.
    pub(crate) fn search<'s>(&'s self, query: Query<'s, A>) -> Search<'s, A> {
        let (nodes, open) = (self.nodes.as_slice(), BinaryHeap::new());
        let mut search = Search { nodes, query, current: None, open, steps: 0 };
        let root = nodes.len().checked_sub(1);
        if let Some(root) = root.filter(|_| search.query.orders.0 <= search.query.orders.1) {
            search.current = search.open(root as u32);
        }
        search
    }
}

impl<A: Word> Search<'_, A> {
    /// Nodes looked into, for each box asked about, and boxes found so far.
    pub(crate) const fn steps(&self) -> usize {
        self.steps
    }

    /// Begins with a node; `None` if nothing in it is wanted.
    fn open(&mut self, place: u32) -> Option<Cursor> {
        self.steps += self.query.bounds.len();
        let node = self.nodes.get(place as usize)?;
        node.cursor(place, node.wanted(&self.query))
    }

    /// Keeps a node for later.
    fn put(&mut self, cursor: Option<Cursor>) {
        let Some(cursor) = cursor else { return };
        match &mut self.current {
            Some(current) if *current <= cursor => self.open.push(Reverse(cursor)),
            Some(current) => self.open.push(Reverse(std::mem::replace(current, cursor))),
            None => match self.open.peek_mut() {
                Some(mut least) if least.0 < cursor => {
                    self.current = Some(std::mem::replace(&mut *least, Reverse(cursor)).0);
                }
                _ => self.current = Some(cursor),
            },
        }
    }
}

impl<A: Word> Iterator for Search<'_, A> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let nodes = self.nodes;
        loop {
            let cursor = self.current.take().or_else(|| Some(self.open.pop()?.0))?;
            let Cursor { order, node: place, lanes } = cursor;
            let node = nodes.get(place as usize)?;
            let below = *node.below.get(lanes.trailing_zeros() as usize)?;
            self.put(node.cursor(place, lanes & (lanes - 1)));
            if node.leaf {
                self.steps += 1;
                return Some(Found { order, number: below });
            }
            let below = self.open(below);
            self.put(below);
        }
    }
}

/// The lowest and highest value of a field in each box.
#[derive(Clone, Copy, Debug)]
struct Lanes<T> {
    low: [T; LANES],
    high: [T; LANES],
}

/// Boxes side by side, those with the lowest orders first.
#[derive(Debug)]
pub(super) struct Node<A> {
    addresses: [Lanes<A>; 2],
    rest: [Lanes<u16>; 3],
    orders: Lanes<u32>,
    /// The highest rank in a box.
    ranks: [u32; LANES],
    from: [u64; LANES],
    to: [u64; LANES],
    /// The number of a box's owner, or of the node below.
    below: [u32; LANES],
    /// Boxes in use, as bits.
    used: u32,
    leaf: bool,
}

impl<T: Copy + Ord> Lanes<T> {
    fn new(value: T) -> Self {
        Self { low: [value; LANES], high: [value; LANES] }
    }

    fn set(&mut self, lane: usize, range: (T, T)) {
        set(&mut self.low, lane, range.0);
        set(&mut self.high, lane, range.1);
    }

    /// Leaves the lanes that begin at or before `start` and end at or after `end`.
    // Inlined, it wouldn't become vector instructions.
    #[inline(never)]
    fn spanning(&self, start: T, end: T, flags: &mut Flags) {
        for ((flag, low), high) in flags.iter_mut().zip(&self.low).zip(&self.high) {
            *flag &= u8::from(*low <= start) & u8::from(end <= *high);
        }
    }

    /// Leaves the lanes that meet a range, or hold it whole.
    fn wanted(&self, (low, high): (T, T), whole: bool, flags: &mut Flags) {
        if whole { self.spanning(low, high, flags) } else { self.spanning(high, low, flags) }
    }
}

/// 1 for each lane that is meant, else 0: the compiler makes vector instructions of loops over these.
type Flags = [u8; LANES];

/// The lanes that are meant, as bits.
#[inline]
const fn bits(flags: Flags) -> u32 {
    // Multiplying brings the lowest bit of each byte into the highest byte.
    const TO_HIGHEST_BYTE: u64 = 0x0102_0408_1020_4080;
    let all = u128::from_le_bytes(flags);
    let low = (all as u64).wrapping_mul(TO_HIGHEST_BYTE) >> 56;
    let high = ((all >> 64) as u64).wrapping_mul(TO_HIGHEST_BYTE) >> 56;
    (low | high << 8) as u32
}

/// Leaves the lanes that share zones with these, or have all of them.
#[inline(never)]
fn zones_wanted(own: &[u64; LANES], zones: ZoneSet, whole: bool, flags: &mut Flags) {
    let zones = zones.bits();
    if whole {
        for (flag, own) in flags.iter_mut().zip(own) {
            *flag &= u8::from(zones & !own == 0);
        }
    } else {
        for (flag, own) in flags.iter_mut().zip(own) {
            *flag &= u8::from(zones & own != 0);
        }
    }
}

fn set<T>(row: &mut [T; LANES], lane: usize, value: T) {
    if let Some(cell) = row.get_mut(lane) {
        *cell = value;
    }
}

/// A box of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane<A> {
    /// The lowest and the highest order in it.
    pub(super) orders: (u32, u32),
    /// The highest rank in it.
    pub(super) rank: u32,
    pub(super) bounds: Bounds<A>,
    /// The number of its owner, or of the node below.
    pub(super) below: u32,
}

impl<A: Word> Node<A> {
    /// Of up to [`LANES`] boxes.
    pub(super) fn new(boxes: &mut [Lane<A>], leaf: bool) -> Self {
        boxes.sort_unstable_by_key(|lane| lane.orders);
        let mut node = Self {
            addresses: [Lanes::new(A::ZERO); 2],
            rest: [Lanes::new(0); 3],
            orders: Lanes::new(0),
            ranks: [0; LANES],
            from: [0; LANES],
            to: [0; LANES],
            below: [NONE; LANES],
            used: 0,
            leaf,
        };
        for (lane, own) in boxes.iter().take(LANES).enumerate() {
            let Lane { orders, rank, bounds, below } = own;
            for (lanes, range) in node.addresses.iter_mut().zip(bounds.addresses) {
                lanes.set(lane, range);
            }
            for (lanes, range) in node.rest.iter_mut().zip(bounds.rest) {
                lanes.set(lane, range);
            }
            node.orders.set(lane, *orders);
            set(&mut node.ranks, lane, *rank);
            set(&mut node.from, lane, bounds.from.bits());
            set(&mut node.to, lane, bounds.to.bits());
            set(&mut node.below, lane, *below);
            node.used |= 1 << lane;
        }
        node
    }

    /// Where to go on in this node, which is at `place`, with these boxes.
    fn cursor(&self, place: u32, lanes: u32) -> Option<Cursor> {
        let order = *self.orders.low.get(lanes.trailing_zeros() as usize)?;
        Some(Cursor { order, node: place, lanes })
    }

    /// The boxes that a search has to look into, as bits.
    fn wanted(&self, query: &Query<'_, A>) -> u32 {
        let mut flags = [1; LANES];
        self.orders.wanted(query.orders, false, &mut flags);
        if query.rank > 0 {
            for (flag, rank) in flags.iter_mut().zip(&self.ranks) {
                *flag &= u8::from(*rank >= query.rank);
            }
        }
        let candidates = self.used & bits(flags);
        let mut wanted = 0;
        for bounds in query.bounds {
            wanted |= self.meeting(candidates & !wanted, bounds, query.whole);
        }
        wanted
    }

    fn meeting(&self, mut lanes: u32, bounds: &Bounds<A>, whole: bool) -> u32 {
        let mut flags = [1; LANES];
        for (own, range) in self.addresses.iter().zip(bounds.addresses).rev() {
            if lanes == 0 {
                return 0;
            }
            own.wanted(range, whole, &mut flags);
            lanes &= bits(flags);
        }
        if lanes == 0 {
            return 0;
        }
        for (own, range) in self.rest.iter().zip(bounds.rest) {
            own.wanted(range, whole, &mut flags);
        }
        zones_wanted(&self.from, bounds.from, whole, &mut flags);
        zones_wanted(&self.to, bounds.to, whole, &mut flags);
        lanes & bits(flags)
    }
}
