//! Pairs of gateways end to end: who is active, what becomes of addresses and streams, and whether
//! another implementation agrees.
//!
//! Every test has a testbed of its own, so they run side by side. Not here: what the state machine
//! promises by itself (crate twinwall-vrrp), and what is measured (`testbed scenario`).

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do, by panicking"
)]

mod active_active;
mod bed;
mod captures;
mod election;
mod faults;
mod floods;
mod interop;
mod leftovers;
mod odd_packets;
mod operator;
mod owners;
mod policy;
mod recording;
mod reloads;
mod replication;
mod scenarios;
mod siege;
mod soak;
mod tracking;
mod zones;
