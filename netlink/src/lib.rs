//! Everything that speaks to the kernel, and the only `unsafe` code.
//!
//! ```text
//! nfqueue     packets of new sessions up, verdicts down        own loop over recvmmsg
//! dataplane   the table inet twinwall: its chains, maps and counters
//! nft         transactions of tables, chains, rules and sets    crates nftnl and mnl
//! conntrack   sessions: dump, look up, re-mark, end             crate mnl
//! link        interfaces and their names                        crate netlink-packet-route
//! wire        netlink messages and attributes as bytes
//! socket      netlink sockets, their buffers, requests, dumps
//! sys         the system calls that no crate above offers
//! ```
//!
//! Goes in: plain numbers and bytes. Comes out: plain numbers and bytes; unknown attributes are
//! skipped, short or odd ones are errors. Not here: policies, rules, zones, what a key means.

pub mod conntrack;
pub mod dataplane;
pub mod link;
pub mod nfqueue;
pub mod nft;
pub mod socket;
pub mod sys;
pub mod wire;
