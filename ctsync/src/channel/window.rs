//! Which counters were taken: none is taken twice (RFC 6479's window, without its ring).

/// How far back is remembered, in datagrams.
const LEN: u64 = 2048;
const WORDS: usize = (LEN / 64) as usize;

/// The window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The highest counter taken, plus one.
    next: u64,
    /// A bit for each of the last counters, at its remainder.
    taken: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Self { next: 0, taken: [0; WORDS] }
    }
}

impl Window {
    /// Whether a counter can be taken.
    pub(super) fn admits(&self, counter: u64) -> bool {
        counter >= self.next
            || (self.next - counter <= LEN && self.word(counter) & 1 << (counter % 64) == 0)
    }

    /// The counter behind the highest one taken.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes it.
    pub(super) fn take(&mut self, counter: u64) {
        if counter >= self.next {
            // Bits of counters that are left behind are for new ones now.
            let passed = (counter - self.next).min(LEN);
            for old in counter - passed..counter {
                self.set(old, false);
            }
            self.next = counter + 1;
        }
        self.set(counter, true);
    }

    fn word(&self, counter: u64) -> u64 {
        self.taken.get((counter / 64) as usize % WORDS).copied().unwrap_or(u64::MAX)
    }

    fn set(&mut self, counter: u64, on: bool) {
        if let Some(word) = self.taken.get_mut((counter / 64) as usize % WORDS) {
            let bit = 1 << (counter % 64);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_counter_is_taken_once_and_none_that_is_too_old() {
        let mut window = Window::default();
        let mut taken = BTreeSet::new();
        let (mut state, mut highest) = (1u64, 0u64);
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let near = highest.saturating_sub(3000) + (state >> 33) % 3010;
            let counter = if state >> 60 == 0 { highest + (state >> 40) % 5000 } else { near };
            let fresh = !taken.contains(&counter) && counter + LEN > highest;
            assert_eq!(window.admits(counter), fresh, "{counter} of {highest}");
            if fresh {
                window.take(counter);
                taken.insert(counter);
                highest = highest.max(counter);
            }
        }
    }
}
