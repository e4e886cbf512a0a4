//! Tests of the decision engine from outside: classifiers against the oracle, keys, reloads, NAT
//! and explanations. Random cases come from fixed seeds, which every failure prints.

mod classify;
mod explain;
mod keys;
mod nat;
mod random;
mod reload;
mod reload_random;
mod rules;
