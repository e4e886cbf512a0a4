//! Zones: names for sets of interfaces, as small numbers and as sets of them.
//!
//! Not here: which interface belongs to which zone at run time; the daemon follows that.

use std::fmt;

/// A zone of the policy, as an index into [`crate::ruleset::RuleSet::zones`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(u8);

impl ZoneId {
    /// Interfaces that no zone of the policy names. Only rules for `any` zone match them.
    pub const OUTSIDE: Self = Self(0);
    /// The gateway itself, `self` in policy files.
    pub const SELF: Self = Self(1);
    /// The first zone that a policy can name.
    pub const FIRST_NAMED: u8 = 2;
    /// One more than the largest index: zones are kept as bits of a 64-bit word.
    pub const LIMIT: u8 = 64;

    /// The zone of an index, or `None` from [`Self::LIMIT`] on.
    #[must_use]
    pub const fn new(index: u8) -> Option<Self> {
        if index < Self::LIMIT { Some(Self(index)) } else { None }
    }

    /// The index, below [`Self::LIMIT`].
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }
}

/// A set of zones.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneSet(u64);

impl ZoneSet {
    /// No zone.
    pub const EMPTY: Self = Self(0);
    /// Every zone, the gateway itself and interfaces outside all zones included.
    pub const ALL: Self = Self(u64::MAX);

    /// The zones of the first `count` indices; all of them from [`ZoneId::LIMIT`] on.
    #[must_use]
    pub const fn first(count: usize) -> Self {
        if count < ZoneId::LIMIT as usize { Self((1 << count) - 1) } else { Self::ALL }
    }

    /// The set of one zone.
    #[must_use]
    pub const fn only(zone: ZoneId) -> Self {
        Self(1 << zone.0)
    }

    /// This set and one more zone.
    #[must_use]
    pub const fn with(self, zone: ZoneId) -> Self {
        Self(self.0 | 1 << zone.0)
    }

    /// This set without one zone.
    #[must_use]
    pub const fn without(self, zone: ZoneId) -> Self {
        Self(self.0 & !(1 << zone.0))
    }

    /// Whether the zone is in the set.
    #[must_use]
    pub const fn contains(self, zone: ZoneId) -> bool {
        self.0 & (1 << zone.0) != 0
    }

    /// Whether the sets share a zone.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether every zone of `other` is in this set.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// The zones in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set has no zone.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One bit a zone, bit n for the zone of index n.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The zones in the order of their indices.
    pub fn iter(self) -> impl Iterator<Item = ZoneId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            // 64 zeros: no zone is left.
            let zone = ZoneId::new(rest.trailing_zeros() as u8)?;
            rest &= rest - 1;
            Some(zone)
        })
    }

    /// How many zones are in the set.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// How many zones of the set have a smaller index than this one.
    #[must_use]
    pub const fn rank(self, zone: ZoneId) -> u32 {
        (self.0 & ((1 << zone.0) - 1)).count_ones()
    }
}

impl fmt::Debug for ZoneSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("ZoneSet(all)");
        }
        f.debug_set().entries(self.iter().map(ZoneId::index)).finish()
    }
}
