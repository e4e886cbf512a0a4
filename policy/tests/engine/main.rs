//! Tests of the decision engine from outside: classifiers against the oracle, keys, reloads, NAT
//! and explanations. Random cases come from fixed seeds, which every failure prints.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test is a panic")]

mod boxes;
mod classify;
mod draft;
mod explain;
mod keys;
mod nat;
mod overlaps;
mod random;
mod reload;
mod reload_random;
mod reload_sessions;
mod rules;
mod steps;
mod updates;
