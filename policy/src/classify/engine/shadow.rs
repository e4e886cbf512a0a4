//! Shadows: for each rule the classes that can hold a rule that matches some of the same headers
//! and decides before it.
//!
//! A lookup that has found a rule goes on only in the classes of its shadow. Rules that overlap are
//! found where one of the two fits the other's table, under its own key. Of pairs that fit neither
//! way nothing is known but what the words of the fields say: a bit too many costs time, never an
//! answer.

use super::buckets::PILE;
use super::family::Family;
use super::index::Index;
use super::pile::Pile;
use super::place::bounds;
use super::plan::{Shape, Table, low};
use super::publish::NO_ORDER;
use super::record::Entry;
use std::sync::atomic::Ordering::Relaxed;

/// Rules of a pile that a new rule is made known to.
const TOLD: usize = 32;

/// What is known of all rules that share a pile: the best order of each class that overlaps it.
type Overlapping = Vec<[u32; 64]>;

impl<A: Family> Index<A> {
    /// Sets the shadows of all rules. Only while nobody reads.
    pub(super) fn cast_shadows(&self, entries: &[Entry<A>]) {
        let mut piles: Overlapping = vec![[u32::MAX; 64]; self.piles.len()];
        let records = (0u32..).zip(entries);
        for (number, _) in records.clone() {
            if let Some(record) = self.records.get(number) {
                record.set_shadow(0);
            }
        }
        for (number, entry) in records {
            self.cast(number, entry, &mut piles);
        }
        for (pile, best) in (0u32..).zip(&piles) {
            for number in self.piles.get(pile).into_iter().flat_map(Pile::numbers) {
                let Some(record) = self.records.get(number) else { continue };
                let order = record.head().order();
                let classes = (0..64).zip(best).filter(|(_, best)| **best < order);
                record.add_shadow(classes.fold(0, |bits, (class, _)| bits | 1u64 << class));
            }
        }
    }

    /// Sets the shadow of a rule that comes while others read, and makes it known to the shadows of
    /// those after it, or to all lookups where they are too many to be found. `meeting` are the
    /// classes of rules that it can overlap. Writer only.
    pub(super) fn cast_new(&self, number: u32, entry: &Entry<A>, meeting: u64) {
        let Some(record) = self.records.get(number) else { return };
        let class = record.head().class();
        let Some(own) = self.plan.class_table(class) else { return };
        let meeting = meeting & !own.classes;
        // All lookups go by fresh classes whatever a shadow says: of those nobody has to be told,
        // and they needn't be looked at for the rule's own shadow.
        let fresh = self.fresh.load(Relaxed);
        let tell = if fresh >> class & 1 == 0 { meeting } else { 0 };
        record.set_shadow(self.meet(entry, class, meeting & !fresh, tell));
    }

    /// Like [`Self::cast_new`] for a rule that is there already and moves to the order of `entry`.
    /// What shadows say of its old place stays. Writer only, before the rule moves.
    pub(super) fn cast_moving(&self, number: u32, entry: &Entry<A>) {
        let Some(record) = self.records.get(number) else { return };
        let class = record.head().class();
        let Some(own) = self.plan.class_table(class) else { return };
        let fresh = self.fresh.load(Relaxed);
        if entry.order > record.head().order() {
            let learn = !own.classes & !fresh & !record.shadow();
            if learn != 0 {
                record.add_shadow(self.meet(entry, class, learn & self.meeting(entry), 0));
            }
        } else if fresh >> class & 1 == 0 {
            self.meet(entry, class, 0, self.meeting(entry) & !own.classes);
        }
    }

    /// Compares a rule with those that it can overlap. Returns which of the classes `learn` can
    /// hold one before it; makes it known to those after it in the classes `tell`, or to all
    /// lookups where they are too many to be found.
    fn meet(&self, entry: &Entry<A>, class: u8, learn: u64, mut tell: u64) -> u64 {
        let own = Shape::of(entry);
        let strange = self.plan.tables.iter().filter(|table| !table.shape().holds(own));
        let strange = strange.fold(0, |classes, table| classes | table.classes);
        let mut shadow = self.better(learn & strange, entry.order);
        let mut known = tell & strange == 0;
        let mut left = (learn | tell) & !strange;
        while left != 0 {
            if !known {
                tell = 0;
                left &= learn;
            }
            let Some(table) = self.plan.class_table(left.trailing_zeros() as u8) else { break };
            let (learn, tell) = (learn & table.classes, tell & table.classes != 0);
            left &= !table.classes;
            let hash = table.hash(entry.addresses, low(entry), &self.plan.seeds);
            self.buckets.each(hash, |number| {
                match number.checked_sub(PILE).map(|pile| self.piles.get(pile)) {
                    None => shadow |= self.compare_two(entry, class, number, learn, tell),
                    Some(pile) => {
                        shadow |= self.better(learn, entry.order);
                        known &= !tell || pile.is_some_and(|pile| self.tell(pile, entry, class));
                    }
                }
                true
            });
        }
        if !known {
            self.fresh.store(self.fresh.load(Relaxed) | 1 << class, Relaxed);
        }
        shadow
    }

    /// Makes a rule known to the shadows of those of a pile's tree that it overlaps; says no when they
    /// are too many. Those beside the tree go by no shadow.
    fn tell(&self, pile: &Pile, entry: &Entry<A>, class: u8) -> bool {
        let mut left = TOLD;
        pile.overlapping(&bounds(entry, pile.skip), NO_ORDER, &mut |number| {
            self.compare_two(entry, class, number, 0, true);
            left -= 1;
            left > 0
        });
        left > 0
    }

    /// Compares a rule with those of all tables that may overlap it.
    fn cast(&self, number: u32, entry: &Entry<A>, piles: &mut Overlapping) {
        let Some(record) = self.records.get(number) else { return };
        let class = record.head().class();
        let Some(own) = self.plan.class_table(class) else { return };
        let mut classes = self.meeting(entry) & !own.classes;
        let mut shadow = 0;
        while classes != 0 {
            let Some(table) = self.plan.class_table(classes.trailing_zeros() as u8) else { break };
            let meeting = classes & table.classes;
            classes &= !table.classes;
            if table.fits(entry) {
                shadow |= self.compare(entry, class, table, piles);
            } else if !own.shape().holds(table.shape()) {
                shadow |= self.better(meeting, entry.order);
            }
        }
        record.add_shadow(shadow);
    }

    /// The classes whose words meet a rule's fields.
    pub(super) fn meeting(&self, entry: &Entry<A>) -> u64 {
        let (mut src, mut dst) = (0, 0);
        for table in &self.plan.tables {
            src |= if table.shape().src_len <= entry.src_len { 0 } else { table.classes };
            dst |= if table.shape().dst_len <= entry.dst_len { 0 } else { table.classes };
        }
        self.words.meeting(entry, src, dst)
    }

    /// Those of the classes that ever had a rule before this order.
    fn better(&self, classes: u64, order: u32) -> u64 {
        let (mut left, mut better) = (classes, 0);
        while left != 0 {
            let class = left.trailing_zeros();
            let best = self.best.get(class as usize).map_or(u32::MAX, |best| best.load(Relaxed));
            better |= u64::from(best < order) << class;
            left &= left - 1;
        }
        better
    }

    /// Compares a rule with those of a table that it fits; returns the classes of those before it.
    fn compare(
        &self,
        entry: &Entry<A>,
        class: u8,
        table: &Table<A>,
        piles: &mut Overlapping,
    ) -> u64 {
        let mut shadow = 0;
        let hash = table.hash(entry.addresses, low(entry), &self.plan.seeds);
        self.buckets.each(hash, |number| {
            let Some(pile) = number.checked_sub(PILE) else {
                shadow |= self.compare_two(entry, class, number, u64::MAX, true);
                return true;
            };
            let Some(rules) = self.piles.get(pile) else { return true };
            rules.overlapping(&bounds(entry, rules.skip), entry.order.into(), &mut |number| {
                // One is enough: the classes of a table are asked together.
                let meets = self.compare_two(entry, class, number, u64::MAX, true) != 0;
                shadow |= if meets { table.classes } else { 0 };
                !meets
            });
            let best = piles.get_mut(pile as usize);
            if let Some(best) = best.and_then(|best| best.get_mut(usize::from(class))) {
                *best = entry.order.min(*best);
            }
            true
        });
        shadow
    }

    /// Compares two rules: the class of the other one if it is before this one and the class is one
    /// of `learn`. If it is after this one, its shadow gets this one's class, if it is to `tell`.
    fn compare_two(&self, entry: &Entry<A>, class: u8, number: u32, learn: u64, tell: bool) -> u64 {
        let Some(record) = self.records.get(number) else { return 0 };
        let head = record.head();
        let before = head.order() < entry.order;
        let news = match before {
            true => learn >> head.class() & 1 != 0,
            false => tell && record.shadow() >> class & 1 == 0,
        };
        if !news || !entry.intersects(&record.entry()) {
            return 0;
        }
        if before {
            return 1 << head.class();
        }
        record.add_shadow(1 << class);
        0
    }
}
