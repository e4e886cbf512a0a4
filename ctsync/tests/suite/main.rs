//! The tests of the crate, from outside.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod claims;
mod codec;
mod hostile;
mod keys;
mod offers;
mod recording;
mod shared;
mod sim;
mod simulation;
mod takeover;
