//! What is free, and what is to be done when no reader can notice.

use super::family::Family;
use super::generation::Generation;
use super::index::Index;
use super::record::{EMPTY, State};
use std::collections::VecDeque;

/// Something to be done when the horizon has passed an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Later {
    pub(super) version: u64,
    pub(super) what: What,
}

/// What is to be done; the records are those of IPv4 and IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// A record's rule came before any reader began: it needs no flux any more, unless it goes.
    Settle4(u32),
    Settle6(u32),
    /// A record's rule went before any reader began; with the hash of its key.
    Clear4(u32, u64),
    Clear6(u32, u64),
    /// No reader can have seen this flux in a record.
    Flux(u32),
}

/// Free records and fluxes of a generation.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) v4: Free,
    pub(super) v6: Free,
    fluxes: Free,
    later: VecDeque<Later>,
}

/// Free numbers.
#[derive(Debug)]
pub(super) struct Free {
    back: Vec<u32>,
    next: u32,
    end: u32,
}

impl Free {
    fn new(next: usize, end: usize) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(EMPTY);
        Self { back: Vec::new(), next: number(next), end: number(end) }
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.back.pop() {
            return Some(number);
        }
        let number = self.next;
        (number < self.end).then(|| {
            self.next += 1;
            number
        })
    }
}

impl Ledger {
    /// Of a generation in which nothing came or went; its first records are in use.
    pub(super) fn of(generation: &Generation, places: &[[u32; 2]]) -> Self {
        let used = |family: usize| {
            let numbers = places.iter().filter_map(|place| place.get(family));
            numbers.filter(|number| **number != EMPTY).count()
        };
        Self {
            v4: Free::new(used(0), generation.v4.records.len()),
            v6: Free::new(used(1), generation.v6.records.len()),
            // 0 stands for none.
            fluxes: Free::new(1, generation.flux.len()),
            later: VecDeque::new(),
        }
    }

    /// A flux with these numbers, see [`Flux::set`](super::publish::Flux::set).
    pub(super) fn flux(
        &mut self,
        generation: &Generation,
        since: u64,
        before: u64,
        dies: u64,
    ) -> Option<u32> {
        let flux = self.fluxes.take()?;
        generation.flux.get(flux as usize)?.set(since, before, dies);
        Some(flux)
    }

    pub(super) fn later(&mut self, later: Later) {
        self.later.push_back(later);
    }

    /// Does up to `most` of the things that can be done; `version` is the last published update.
    pub(super) fn clean(
        &mut self,
        generation: &Generation,
        horizon: u64,
        version: u64,
        most: usize,
    ) {
        for _ in 0..most {
            let ripe = self.later.front().filter(|later| later.version <= horizon);
            let Some(Later { what, .. }) = ripe.copied() else { return };
            self.later.pop_front();
            let flux = match what {
                What::Settle4(number) => settle(generation, &generation.v4, number),
                What::Settle6(number) => settle(generation, &generation.v6, number),
                What::Clear4(number, hash) => {
                    self.v4.back.push(number);
                    clear(&generation.v4, number, hash)
                }
                What::Clear6(number, hash) => {
                    self.v6.back.push(number);
                    clear(&generation.v6, number, hash)
                }
                What::Flux(flux) => {
                    self.fluxes.back.push(flux);
                    None
                }
            };
            if let Some(flux) = flux {
                // A reader of the last update may have seen the flux in the record just now.
                self.later.push_back(Later { version: version + 1, what: What::Flux(flux) });
            }
        }
    }
}

/// Takes the flux from a record whose rule stays; returns it.
fn settle<A: Family>(generation: &Generation, index: &Index<A>, number: u32) -> Option<u32> {
    let record = index.records.get(number)?;
    let state = record.state();
    let stays = generation.flux.get(state.flux as usize)?.dies() == u64::MAX;
    (stays && state.flux != 0).then(|| {
        record.set_state(State { flux: 0, ..state });
        state.flux
    })
}

/// Takes a record apart; returns its flux.
fn clear<A: Family>(index: &Index<A>, number: u32, hash: u64) -> Option<u32> {
    let flux = index.records.get(number)?.state().flux;
    index.remove(number, hash);
    Some(flux)
}
