//! A link between the nodes, and what it does to packets.

use super::rng::Rng;
use super::{Nanos, Side};

/// The delay on a link that is well, at most: less than half of the shortest interval.
pub(crate) const CALM_DELAY: Nanos = 500_000;

/// A link.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// Nothing gets through from that side.
    pub(crate) cut_from_a: bool,
    pub(crate) cut_from_b: bool,
    /// In thousandths.
    pub(crate) loss: u64,
    pub(crate) repeat: u64,
    pub(crate) corrupt: u64,
    /// The longest delay.
    pub(crate) delay: Nanos,
    /// Since when it is well and nothing that was delayed before is under way any more; `None`
    /// while it is not well.
    pub(crate) flows_since: Option<Nanos>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            cut_from_a: false,
            cut_from_b: false,
            loss: 0,
            repeat: 0,
            corrupt: 0,
            delay: CALM_DELAY,
            flows_since: Some(0),
        }
    }
}

impl Wire {
    /// Nothing is wrong with it any more.
    pub(crate) fn heal(&mut self, now: Nanos) {
        if self.flows_since.is_none() {
            let under_way = self.delay;
            *self = Self { flows_since: Some(now + under_way), ..Self::default() };
        }
    }

    /// Something is wrong with it from now on.
    pub(crate) fn harm(&mut self, how: impl FnOnce(&mut Self)) {
        self.flows_since = None;
        how(self);
    }

    /// The copies of a packet that arrive, and when.
    pub(crate) fn fate(&self, from: Side, bytes: Vec<u8>, rng: &mut Rng) -> Vec<(Nanos, Vec<u8>)> {
        let cut = match from {
            Side::A => self.cut_from_a,
            Side::B => self.cut_from_b,
        };
        if cut || rng.chance(self.loss) {
            return Vec::new();
        }
        let mut copies = vec![(self.draw_delay(rng), bytes)];
        while rng.chance(self.repeat) && copies.len() < 4 {
            let delay = self.draw_delay(rng);
            copies.extend(copies.first().cloned().map(|(_, bytes)| (delay, bytes)));
        }
        if rng.chance(self.corrupt) {
            for (_, bytes) in &mut copies {
                let place = rng.below(bytes.len() as u64) as usize;
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << rng.below(8);
                }
            }
        }
        copies
    }

    fn draw_delay(&self, rng: &mut Rng) -> Nanos {
        // Mostly short, now and then as long as it gets.
        let longest = if rng.chance(700) { self.delay.min(CALM_DELAY) } else { self.delay };
        50_000 + rng.below(longest)
    }
}
