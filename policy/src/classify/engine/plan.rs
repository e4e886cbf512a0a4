//! Which hash tables a family's rules go to: their shapes and how many classes each gets.
//!
//! Goes in: the rules. Comes out: a few tables, the one that fixes most of a rule first, see
//! [`super::choose`]. A rule fits a table if all that the table hashes is fixed by the rule; the
//! last table hashes nothing, so every rule fits it.

use super::choose::{Choice, choose};
use super::family::{Family, Pair, Probe, Seeds, fold, joined, rest};
use super::index::Search;
use super::record::Entry;
use super::still::seat::OTHERS;

/// Tables of one family, at most; each has at least one of the 64 classes.
pub(super) const TABLES: usize = 14;

/// One hash table.
#[derive(Clone, Debug)]
pub(super) struct Table<A> {
    shape: Shape,
    /// Addresses that are hashed.
    pub(super) mask: Pair<A>,
    /// The table's classes, as bits.
    pub(super) classes: u64,
    first_class: u8,
    /// How many classes it has.
    spread: u8,
    salt: u64,
}

/// How a table makes keys, and its classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<A> {
    mask: Pair<A>,
    ports: u64,
    salt: u64,
    pub(super) classes: u64,
}

/// The keys of all classes, field by field.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) masks: [u64; 64],
    /// Ports that are hashed, in the lower half; the salt is in the upper one.
    pub(super) rest: [u64; 64],
    pub(super) classes: [u64; 64],
}

impl Columns {
    /// The factors of a header's hash, see [`Family::key`].
    #[inline(always)]
    pub(super) fn factors(
        &self,
        class: usize,
        addresses: Pair<u32>,
        rest: u64,
        seeds: &Seeds,
    ) -> [u64; 2] {
        let [a, b, ..] = seeds.0;
        let mask = self.masks.get(class).copied().unwrap_or(0);
        let fixed = self.rest.get(class).copied().unwrap_or(0);
        [(joined(addresses) & mask) ^ a, ((rest | !PORTS) & fixed) ^ b]
    }
}

/// The tables of a family.
#[derive(Clone, Debug)]
pub(super) struct Plan<A> {
    /// Lengths to which tables cut source prefixes, rising, 0 first.
    pub(super) src_cuts: Vec<u8>,
    /// The same for destinations.
    pub(super) dst_cuts: Vec<u8>,
    pub(super) tables: Vec<Table<A>>,
    /// The table of a class.
    pub(super) of_class: [u8; 64],
    /// What a lookup needs of the table of each class.
    pub(super) keys: Box<[Key<A>; 64]>,
    /// The same as columns, if addresses have 32 bits.
    pub(super) columns: Option<Box<Columns>>,
    /// Rules with one key that are kept one by one; more go on a pile.
    pub(super) chain: usize,
    /// Rules with one key before another table is tried.
    pub(super) room: usize,
    pub(super) seeds: Seeds,
}

/// Rules up to which there is nothing but one pile: comparing sixteen at once is faster then than
/// computing a hash.
const FEW: usize = 64;
/// See [`Plan::chain`] and [`Plan::room`], where rules change, and where a seat has room for hints.
const CHANGING: (usize, usize) = (4, 3);
const STILL: (usize, usize) = (OTHERS + 1, OTHERS);

/// Values of a slot: the bits of an address from which the classes of its tables follow.
pub(super) const SLOTS: usize = 16;

/// Where the slot begins in a scattered address.
pub(super) const SLOT_SHIFT: u32 = 8;

/// One of a header's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Src,
    Dst,
}

impl Side {
    /// A rule's network on this side.
    pub(super) const fn of<A: Copy>(self, entry: &Entry<A>) -> (A, u8) {
        match self {
            Self::Src => (entry.addresses.src, entry.src_len),
            Self::Dst => (entry.addresses.dst, entry.dst_len),
        }
    }
}

/// All bits of the source port, as in [`rest`].
pub(super) const SRC_PORT: u64 = rest(u16::MAX, 0, 0);
/// All bits of the destination port.
pub(super) const DST_PORT: u64 = rest(0, u16::MAX, 0);

/// Where ports are in [`rest`].
pub(super) const PORTS: u64 = SRC_PORT | DST_PORT;

/// What a table hashes, or what a rule fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) src_len: u8,
    pub(super) dst_len: u8,
    /// Ports, as in [`rest`].
    pub(super) rest: u64,
}

impl Shape {
    /// Of the table that every rule fits.
    pub(super) const ALL: Self = Self { src_len: 0, dst_len: 0, rest: 0 };

    /// What a rule fixes.
    pub(super) fn of<A>(entry: &Entry<A>) -> Self {
        let exact = |low: u16, high: u16, bits: u64| if low == high { bits } else { 0 };
        Self {
            src_len: entry.src_len,
            dst_len: entry.dst_len,
            rest: exact(entry.src_port.low(), entry.src_port.high(), SRC_PORT)
                | exact(entry.dst_port.low(), entry.dst_port.high(), DST_PORT),
        }
    }

    /// The length to which an address is cut.
    pub(super) const fn len(self, side: Side) -> u8 {
        match side {
            Side::Src => self.src_len,
            Side::Dst => self.dst_len,
        }
    }

    /// The address that says more, if one says anything.
    pub(super) const fn side(self) -> Option<Side> {
        match (self.src_len, self.dst_len) {
            (0, 0) => None,
            (src, dst) if src > dst => Some(Side::Src),
            _ => Some(Side::Dst),
        }
    }

    /// How much it fixes, in bits of addresses; an exact port tells about as much as [`PORT`] of them.
    pub(super) const fn fixed(self) -> u32 {
        const PORT: u32 = 12;
        self.src_len as u32 + self.dst_len as u32 + self.rest.count_ones() * PORT / 16
    }

    /// Whether all that this fixes is fixed by the other.
    pub(super) const fn holds(self, other: Self) -> bool {
        self.src_len <= other.src_len
            && self.dst_len <= other.dst_len
            && self.rest & other.rest == self.rest
    }
}

impl<A: Family> Plan<A> {
    pub(super) fn new(entries: &[Entry<A>], seeds: Seeds, choice: Choice) -> Self {
        let few = entries.len() <= FEW;
        let shapes = if few { vec![Shape::ALL] } else { choose(entries, &seeds, choice) };
        let cuts = |len: fn(&Shape) -> u8| {
            let mut cuts: Vec<u8> = shapes.iter().map(len).collect();
            cuts.push(0);
            cuts.sort_unstable();
            cuts.dedup();
            cuts
        };
        let src_cuts = cuts(|shape| shape.src_len);
        let dst_cuts = cuts(|shape| shape.dst_len);
        let mut tables = Vec::new();
        let mut of_class = [0u8; 64];
        let mut next = 0u8;
        for ((place, shape), spread) in (0u8..).zip(&shapes).zip(spreads(entries, &shapes)) {
            for class in of_class.iter_mut().skip(usize::from(next)).take(usize::from(spread)) {
                *class = place;
            }
            tables.push(Table {
                shape: *shape,
                mask: Pair::mask(shape.src_len, shape.dst_len),
                classes: (u64::MAX >> (64 - spread)) << next,
                first_class: next,
                spread,
                salt: u64::from(place) << 40,
            });
            next += spread;
        }
        let none = Key { mask: Pair::mask(0, 0), ports: 0, salt: 0, classes: u64::MAX };
        let mut keys = Box::new([none; 64]);
        for (key, place) in keys.iter_mut().zip(of_class) {
            *key = tables.get(usize::from(place)).map_or(none, Table::key);
        }
        let columns = A::narrow(&keys.each_ref().map(|key| key.mask)).map(|masks| {
            Box::new(Columns {
                masks: masks.map(joined),
                rest: keys.each_ref().map(|key| key.ports | key.salt),
                classes: keys.each_ref().map(|key| key.classes),
            })
        });
        let (chain, room) = match choice {
            _ if few => (0, 0),
            Choice::Quick => CHANGING,
            Choice::Best => STILL,
        };
        Self { src_cuts, dst_cuts, tables, of_class, keys, columns, chain, room, seeds }
    }

    pub(super) fn class_table(&self, class: u8) -> Option<&Table<A>> {
        let place = self.of_class.get(usize::from(class))?;
        self.tables.get(usize::from(*place))
    }

    /// Chooses the next table and hashes the header for it.
    #[inline(always)]
    pub(super) fn choose(&self, probe: &Probe<A>, search: &mut Search) -> u64 {
        let class = search.classes.trailing_zeros() as usize % 64;
        let [first, ..] = &*self.keys;
        let key = self.keys.get(class).unwrap_or(first);
        search.table = key.classes;
        search.classes &= !key.classes;
        key.hash(probe.addresses, probe.rest, &self.seeds)
    }

    /// The class of a rule in a table: any would do, but rules that share an address share it, so
    /// that the words of the other fields can tell them from the rest, and a header's own address
    /// says which it is.
    pub(super) fn class(&self, table: &Table<A>, entry: &Entry<A>) -> u8 {
        let Shape { src_len, dst_len, .. } = table.shape;
        let slot = match table.shape.side() {
            Some(Side::Src) => slot(entry.addresses.src.scatter(src_len)),
            Some(Side::Dst) => slot(entry.addresses.dst.scatter(dst_len)),
            None => {
                let ports = u64::from(entry.dst_port.low()) | u64::from(entry.src_port.low()) << 16;
                (fold(ports ^ self.seeds.0[2], 0x9e37_79b9_7f4a_7c15) >> 60) as usize
            }
        };
        table.class_of(slot)
    }

    /// For each slot of an address that is cut to this length the classes of the tables that cut
    /// it so which a header with that slot can match.
    pub(super) fn picks(&self, side: Side, len: u8) -> [u64; SLOTS] {
        let tables = || self.tables.iter().filter(|table| table.shape.len(side) == len);
        let pick = |table: &Table<A>, slot: usize| match table.shape.side() == Some(side) {
            true => 1 << table.class_of(slot),
            false => table.classes,
        };
        std::array::from_fn(|place| tables().fold(0, |all, table| all | pick(table, place)))
    }
}

/// The slot of a scattered address, see [`Family::scatter`]: other bits than those of its place
/// among the words.
#[inline]
pub(super) const fn slot(scattered: u32) -> usize {
    (scattered >> SLOT_SHIFT) as usize % SLOTS
}

/// How many classes each table gets.
fn spreads<A: Family>(entries: &[Entry<A>], shapes: &[Shape]) -> Vec<u8> {
    let mut counts = vec![0u64; shapes.len()];
    for own in entries.iter().map(Shape::of) {
        let table = shapes.iter().position(|shape| shape.holds(own));
        if let Some(count) = table.and_then(|table| counts.get_mut(table)) {
            *count += 1;
        }
    }
    let mut spreads = vec![1u8; shapes.len()];
    // The next goes where it spares the most lookups a table that has nothing for them. How many
    // that are grows with the table's rules for each of its classes.
    for _ in shapes.len()..64 {
        let open = spreads.iter_mut().zip(&counts).filter(|(own, _)| usize::from(**own) < SLOTS);
        let spared = |own: u8, count: u64| (count << 16) / (u64::from(own) * u64::from(own + 1));
        if let Some((own, _)) = open.max_by_key(|(own, count)| spared(**own, **count)) {
            *own += 1;
        }
    }
    spreads
}

impl<A: Family> Table<A> {
    fn key(&self) -> Key<A> {
        let Self { shape, mask, classes, salt, .. } = *self;
        Key { mask, ports: shape.rest, salt, classes }
    }

    pub(super) const fn shape(&self) -> Shape {
        self.shape
    }

    /// The class of a slot.
    fn class_of(&self, slot: usize) -> u8 {
        self.first_class + (slot * usize::from(self.spread) / SLOTS) as u8
    }

    /// The hash of a rule's or a header's key.
    #[inline]
    pub(super) fn hash(&self, addresses: Pair<A>, ports: u64, seeds: &Seeds) -> u64 {
        A::key(addresses, self.mask, (ports & self.shape.rest) ^ self.salt, seeds)
    }

    /// Whether a rule fixes all that the table hashes.
    pub(super) fn fits(&self, entry: &Entry<A>) -> bool {
        self.shape.holds(Shape::of(entry))
    }

    /// Whether two rules that fit have the same key.
    pub(super) fn same_key(&self, a: &Entry<A>, b: &Entry<A>) -> bool {
        a.addresses.and(self.mask) == b.addresses.and(self.mask)
            && (low(a) ^ low(b)) & self.shape.rest == 0
    }
}

impl<A: Family> Key<A> {
    /// The hash of a header's key.
    #[inline]
    pub(super) fn hash(&self, addresses: Pair<A>, ports: u64, seeds: &Seeds) -> u64 {
        A::key(addresses, self.mask, (ports & self.ports) ^ self.salt, seeds)
    }
}

/// The lowest ports of a rule, as in [`rest`].
pub(super) fn low<A>(entry: &Entry<A>) -> u64 {
    rest(entry.src_port.low(), entry.dst_port.low(), entry.protocol.unwrap_or(0))
}
