//! The testbed: gateways, clients and servers in network namespaces, for tests and by hand.
//!
//! [`Testbed`] builds one in a fraction of a second, as root or as an ordinary user, and nothing of
//! it outlives it. [`topology`] says which nodes there are. Commands run in a node through
//! [`node::Node::command`]; a gateway's daemon is driven through [`gateway::Gateway`]. [`traffic`]
//! makes and counts the traffic; [`scenario`] measures what a pair does to it. The binaries `testbed` and `traffic` offer the same by hand.
//!
//! Not here: the end-to-end tests themselves.

pub mod bench;
pub mod clock;
pub mod conntrackd;
pub mod enter;
pub mod error;
pub mod gateway;
mod holder;
pub mod host;
pub mod init;
pub mod keepalived;
pub mod node;
pub mod process;
pub mod scenario;
pub mod setup;
pub mod soak;
pub mod state;
pub mod testbed;
pub mod testing;
pub mod topology;
pub mod traffic;
pub mod usage;
pub mod vrrp;

pub use error::Error;
pub use gateway::Gateway;
pub use keepalived::Keepalived;
pub use node::Node;
pub use process::{Command, Output, Process};
pub use rustix::process::Signal;
pub use testbed::{Builder, Testbed};
pub use topology::Gateways;
pub use vrrp::Vrrp;
