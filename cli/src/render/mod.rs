//! Reports as text for people.
//!
//! ```text
//! apply      how a reload went
//! status     the daemon at a glance
//! rules      rules, with or without hits
//! sessions   sessions, one a line
//! explain    why a packet is decided as it is
//! vrrp       virtual routers, handovers
//! sync       session replication
//! pair       which policy the nodes of a pair have
//! table      aligned columns        words   numbers, sizes, times
//! ```
//!
//! Goes in: reports, and the time of now. Comes out: text that ends with a line's end and has no
//! control characters. Not here: JSON, and where the text goes.

mod apply;
mod explain;
mod pair;
mod rules;
mod sessions;
mod status;
mod sync;
mod table;
mod vrrp;
mod words;

pub use apply::{apply, apply_warnings};
pub use explain::{Question, explain};
pub use pair::confirmed;
pub use rules::{hits, rules};
pub use sessions::sessions;
pub use status::status;
pub use sync::sync;
pub use vrrp::{handover, vrrp};
pub use words::counted;
