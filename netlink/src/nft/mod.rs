//! nf_tables transactions: tables, chains and rules through the crate nftnl; maps, sets,
//! their elements and counters, which nftnl 0.9.4 doesn't have, as messages of our own in its batch.
//!
//! Not here: what the rules are for; see [`crate::dataplane`].

pub mod expr;
mod ffi;
pub mod outcome;
pub mod sets;
pub mod timed;
pub mod transaction;
mod uapi;
