//! The Twinwall daemon: joins policy, netlink and the control protocol.
//!
//! ```text
//! daemon     puts the parts together, keeps them running, takes them apart
//! ├─ worker      packets of new sessions to verdicts       packet, parent, snapshot, gate, journal
//! ├─ engine      start, reload, sweep                      state, published
//! ├─ observer    status, rules, sessions, explain
//! └─ control     the socket that twinwall talks to          desk
//! ```
//!
//! Not here: what a policy means (`policy`), how the kernel is spoken to (`netlink`).

pub mod daemon;
pub mod options;

mod conntrack;
mod control;
mod desk;
mod engine;
mod gate;
mod journal;
mod links;
mod lock;
mod observer;
mod packet;
mod parent;
mod published;
mod snapshot;
mod state;
mod watchdog;
mod worker;
