//! The table `inet twinwall`: its chains, maps and counters.
//!
//! ```text
//! marks    which bits of connmark and packet mark are ours, and what they say
//! layout   names and sizes of everything in the table
//! chains   the rules, chain by chain: how a packet finds its decision
//! edges    before the decision, and where nobody has decided
//! local    what passes to the gateway itself whatever the policy says
//! denied   flows that were denied, known again without asking
//! nat      the rules of the policy's NAT section
//! probe    which form of the queue expression this kernel has
//! guard    notice when somebody deletes the table
//! table    build, adopt and read the table
//! switch   from one policy's keys to the next's
//! ```
//!
//! Goes in: keys and their verdicts, NAT rules, settings. Comes out: transactions; counters. The
//! table is the only one that is ever written. `docs/architecture.md` shows the chains at a
//! glance. Not here: which key stands for what.

mod chains;
mod denied;
mod edges;
mod guard;
pub mod layout;
mod local;
pub mod marks;
pub mod nat;
mod probe;
mod switch;
mod table;

pub use crate::nft::sets::Counter;
pub use chains::QueueForm;
pub use guard::Guard;
pub use local::Peer;
pub use marks::Marks;
pub use switch::Switch;
pub use table::{Dataplane, Error, Present, Settings};

/// What the packets of a session key get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// They pass.
    Accept,
    /// They are discarded.
    Drop,
    /// They are discarded, and the sender is told.
    Reject,
}
