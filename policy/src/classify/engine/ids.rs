//! The ids of rules: which records a rule has, and which ids are free.
//!
//! A new rule gets the number of its record as its id where that is free. Most rules keep it, so
//! that whoever has an id can ask for the record's memory before the id's own place is read.

use super::record::EMPTY;

/// The records of a rule in both families, or [`EMPTY`].
pub(super) type Place = [u32; 2];

const FREE: Place = [EMPTY; 2];

/// Ids that there can be.
pub(super) const LIMIT: usize = 1 << 31;

#[derive(Debug)]
pub(super) struct Ids {
    places: Vec<Place>,
    /// Ids that may be free: all that are, and some that were given out again.
    back: Vec<u32>,
    /// A bit for each id that is among those.
    listed: Vec<u64>,
    used: usize,
}

impl Ids {
    /// Of rules by their places; ids are given out from 0 on.
    pub(super) fn new(places: Vec<Place>) -> Self {
        let used = places.len();
        Self { places, back: Vec::new(), listed: Vec::new(), used }
    }

    /// How many are in use.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    pub(super) const fn is_full(&self) -> bool {
        self.used >= LIMIT
    }

    /// The records of a rule; `None` when there is no rule of this id.
    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<Place> {
        self.places.get(id as usize).copied().filter(|place| *place != FREE)
    }

    /// The records of all ids.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The records of all rules.
    pub(super) fn used_places(&mut self) -> impl Iterator<Item = &mut Place> {
        self.places.iter_mut().filter(|place| **place != FREE)
    }

    /// Gives a rule that is there other records; returns those that it had.
    pub(super) fn replace(&mut self, id: u32, place: Place) -> Option<Place> {
        let cell = self.places.get_mut(id as usize)?;
        Some(std::mem::replace(cell, place))
    }

    /// An id for a rule with these records; `None` when all are in use.
    pub(super) fn add(&mut self, place: Place) -> Option<u32> {
        let [v4, v6] = place;
        let alike = if v4 == EMPTY { v6 } else { v4 };
        let id = if self.is_free(alike) { alike } else { self.next()? };
        *self.places.get_mut(id as usize)? = place;
        self.used += 1;
        Some(id)
    }

    /// Frees an id; says which records its rule had.
    pub(super) fn remove(&mut self, id: u32) -> Option<Place> {
        let cell = self.places.get_mut(id as usize).filter(|place| **place != FREE)?;
        let place = std::mem::replace(cell, FREE);
        self.used -= 1;
        if self.list(id, true) {
            self.back.push(id);
        }
        Some(place)
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(self.places.as_slice())
            + size_of_val(self.back.as_slice())
            + size_of_val(self.listed.as_slice())
    }

    fn is_free(&self, id: u32) -> bool {
        self.places.get(id as usize).is_some_and(|place| *place == FREE)
    }

    fn next(&mut self) -> Option<u32> {
        while let Some(id) = self.back.pop() {
            self.list(id, false);
            if self.is_free(id) {
                return Some(id);
            }
        }
        let id = u32::try_from(self.places.len()).ok().filter(|id| (*id as usize) < LIMIT)?;
        self.places.push(FREE);
        Some(id)
    }

    /// Notes whether an id is listed; says whether that is news.
    fn list(&mut self, id: u32, listed: bool) -> bool {
        let (word, bit) = (id as usize / 64, 1 << (id % 64));
        if word >= self.listed.len() {
            self.listed.resize(self.places.len() / 64 + 1, 0);
        }
        let Some(word) = self.listed.get_mut(word) else { return false };
        let old = *word;
        *word = if listed { old | bit } else { old & !bit };
        *word != old
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_id_is_given_out_once_and_no_more_ids_are_made_than_rules_were_there_at_once() {
        let mut state = 9u64;
        let mut below = move |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        let mut ids = Ids::new((0..50).map(|n| [n, EMPTY]).collect());
        let mut model: BTreeMap<u32, Place> = (0..50).map(|n| (n, [n, EMPTY])).collect();
        let mut most = 50;
        for round in 0..100_000 {
            let id = below(most as u64 + 3) as u32;
            assert_eq!(ids.get(id), model.get(&id).copied());
            // Rules are many at some times and few at others.
            if below(5) < 2 + u64::from(round % 1000 < 500) {
                assert_eq!(ids.remove(id), model.remove(&id));
            } else {
                let number = below(300) as u32;
                let place = [[number, EMPTY], [EMPTY, number], [number, 7]][below(3) as usize];
                let id = ids.add(place).unwrap();
                assert!(model.insert(id, place).is_none(), "id {id} was in use");
            }
            most = most.max(model.len());
            assert_eq!(ids.used(), model.len());
            assert!(ids.places.len() <= most && ids.back.len() <= most);
        }
        assert_eq!(ids.used_places().map(|place| *place).collect::<Vec<_>>().len(), model.len());
    }
}
