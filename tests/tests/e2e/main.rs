//! End to end: gateways, clients and servers in network namespaces, real packets through the
//! kernel and the daemon.
//!
//! Every test has a testbed of its own, so they run side by side; only those that measure under
//! load wait for each other ([`load::alone`]). Not here: what single crates promise.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do, by panicking"
)]

mod bad_policies;
mod bed;
mod craft;
mod denied;
mod foreign;
mod ftp;
mod icmp_errors;
mod load;
mod many_rules;
mod nat;
mod odd_packets;
mod on_change;
mod operator;
mod reject;
mod reload_load;
mod restart;
mod rules;
mod user;
mod zones;
