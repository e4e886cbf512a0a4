//! A seat of its own for each key of a set that stays as it is: a perfect hash function.
//!
//! Keys are known by their hashes. A few of them make a group, by the upper halves, and each group
//! has a pilot: a number with which the hashes of its keys lead to seats that nobody else has. Large
//! groups are seated first, while there is most room. (Hash and displace: Fox, Chen and Heath 1992;
//! with pilots, Pibiri and Trani 2021.)
//!
//! A hash that is none of the set's leads to a seat, too: whoever sits there has to be asked.

/// Seats of a set of keys.
#[derive(Debug)]
pub(in super::super) struct Seats {
    /// One for each group, and one more: vector instructions read two at once.
    pilots: Box<[u16]>,
    count: u32,
}

/// Keys of a group on average: pilots are few enough for a core's second cache, and found soon.
const GROUP: usize = 3;
/// One seat in so many more than keys, tried one after the other.
const SPARE: [usize; 3] = [31, 15, 7];
/// Odd numbers that mix pilots into hashes.
pub(in super::super) const MIX: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];

impl Seats {
    /// Seats for these hashes, which rise. `None` if no pilots were found, as for a hash that comes
    /// twice.
    pub(in super::super) fn new(hashes: &[u64]) -> Option<Self> {
        SPARE.into_iter().find_map(|spare| Self::with(hashes, hashes.len() + hashes.len() / spare))
    }

    fn with(hashes: &[u64], count: usize) -> Option<Self> {
        let pilots = vec![0; hashes.len() / GROUP + 2].into();
        let mut seats = Self { pilots, count: u32::try_from(count).ok()?.max(1) };
        let mut taken = vec![0u64; count / 64 + 1];
        let mut groups: Vec<&[u64]> =
            hashes.chunk_by(|a, b| seats.group(*a) == seats.group(*b)).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        for group in groups {
            let pilot = (0..=u16::MAX).find(|pilot| seats.take(group, *pilot, &mut taken))?;
            let place = group.first().map_or(0, |hash| seats.group(*hash));
            if let Some(cell) = seats.pilots.get_mut(place) {
                *cell = pilot;
            }
        }
        Some(seats)
    }

    /// Takes the seats of a group's keys, if they are free and differ.
    fn take(&self, group: &[u64], pilot: u16, taken: &mut [u64]) -> bool {
        for (before, hash) in group.iter().enumerate() {
            let seat = self.seat(*hash, pilot);
            let bit = 1 << (seat % 64);
            let Some(word) = taken.get_mut(seat as usize / 64) else { return false };
            if *word & bit == 0 {
                *word |= bit;
                continue;
            }
            for hash in group.iter().take(before) {
                let seat = self.seat(*hash, pilot);
                if let Some(word) = taken.get_mut(seat as usize / 64) {
                    *word &= !(1 << (seat % 64));
                }
            }
            return false;
        }
        true
    }

    /// The pilots, and one more.
    #[cfg(target_arch = "x86_64")]
    pub(in super::super) const fn pilots(&self) -> &[u16] {
        &self.pilots
    }

    /// How many groups there are, as many as pilots.
    #[inline(always)]
    pub(in super::super) const fn groups(&self) -> u64 {
        self.pilots.len() as u64 - 1
    }

    /// How many seats there are.
    pub(in super::super) const fn len(&self) -> u32 {
        self.count
    }

    /// The seat of a hash.
    #[inline(always)]
    pub(in super::super) fn of(&self, hash: u64) -> u32 {
        self.seat(hash, self.pilots.get(self.group(hash)).copied().unwrap_or(0))
    }

    #[inline(always)]
    fn group(&self, hash: u64) -> usize {
        (((hash >> 32) * self.groups()) >> 32) as usize
    }

    #[inline(always)]
    fn seat(&self, hash: u64, pilot: u16) -> u32 {
        let [pilots, hashes] = MIX;
        let mixed = (hash ^ u64::from(pilot).wrapping_mul(pilots)).wrapping_mul(hashes);
        (((mixed >> 32) * u64::from(self.count)) >> 32) as u32
    }

    pub(in super::super) fn memory(&self) -> usize {
        size_of_val(&*self.pilots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(count: usize) -> Vec<u64> {
        let mut state = 11u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
        };
        let mut hashes: Vec<u64> = (0..count).map(|_| next()).collect();
        hashes.sort_unstable();
        hashes
    }

    #[test]
    fn each_key_has_a_seat_of_its_own() {
        for count in [0, 1, 2, 3, 10, 100, 1000, 20_000, 200_000] {
            let hashes = hashes(count);
            let seats = Seats::new(&hashes).unwrap();
            assert!(seats.len() as usize <= count + count / 31 + 1);
            let mut taken: Vec<u32> = hashes.iter().map(|hash| seats.of(*hash)).collect();
            assert!(taken.iter().all(|seat| *seat < seats.len()));
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), count);
        }
    }

    #[test]
    fn one_hash_cannot_have_two_seats() {
        let mut hashes = hashes(100);
        hashes[51] = hashes[50];
        assert!(Seats::new(&hashes).is_none());
    }
}
