//! The Twinwall daemon: joins policy, netlink and the control protocol.
//!
//! ```text
//! daemon     puts the parts together, keeps them running, takes them apart
//! ├─ worker      packets of new sessions to verdicts       packet, parent, snapshot, gate, delay,
//! │                                                      pulse, journal
//! ├─ engine      start, reload, sweep                      state, published, confirmed
//! ├─ observer    status, rules, sessions, explain
//! ├─ links, warden    what happens to interfaces and to the table
//! ├─ vrrp        which node of a pair is active            macvlan
//! ├─ sync        sessions of a pair, copied
//! ├─ config      the daemon's own settings
//! └─ control     the socket that twinwall talks to          desk, reply
//! ```
//!
//! `clock` and `wake` are what the threads that wait for descriptors have in common.
//!
//! Not here: what a policy means (`policy`), how the kernel is spoken to (`netlink`), who is to be
//! active (`vrrp`), what is sent to the peer (`ctsync`).

pub mod daemon;
pub mod options;

mod clock;
pub mod config;
pub mod confirmed;
pub mod conntrack;
pub mod control;
pub mod delay;
pub mod desk;
pub mod engine;
pub mod gate;
pub mod journal;
pub mod links;
pub mod lock;
mod macvlan;
pub mod moved;
pub mod observer;
pub mod packet;
pub mod parent;
pub mod published;
pub mod pulse;
mod recording;
pub mod reply;
pub mod snapshot;
pub mod state;
pub mod sync;
pub mod vrrp;
mod wake;
pub mod warden;
pub mod watchdog;
pub mod worker;
