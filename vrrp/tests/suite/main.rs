//! The tests of the crate, from outside.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and reads its cases from files"
)]

mod codec;
mod conformance;
mod groups;
mod limits;
mod recording;
mod rules;
mod script;
mod sim;
mod simulation;
mod transitions;
