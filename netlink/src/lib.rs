//! Everything that speaks to the kernel, and all `unsafe` code but the classifier's vector
//! instructions.
//!
//! ```text
//! nfqueue     packets of new sessions up, verdicts down        own loop over recvmmsg
//! dataplane   the table inet twinwall: its chains, maps and counters
//! nft         transactions of tables, chains, rules and sets    crates nftnl and mnl
//! conntrack   sessions: dump, look up, re-mark, end             crate mnl
//! link        interfaces and their names; macvlans              crate netlink-packet-route
//! address     addresses of interfaces: list, news, batches      crate netlink-packet-route
//! news        hearing of changes of both
//! raw         VRRP's receive sockets, with their filters
//! frame       Ethernet frames and the socket that sends them
//! gate        the tables inet and arp twinwall-vrrp: who may answer for a virtual address
//! wire        netlink messages and attributes as bytes
//! neighbour   neighbours that are looked for in vain
//! socket      netlink sockets, their buffers, requests, dumps
//! sys         the system calls that no crate above offers
//! ```
//!
//! Goes in: plain numbers and bytes. Comes out: plain numbers and bytes; unknown attributes are
//! skipped, short or odd ones are errors. Not here: policies, rules, zones, what a key means.

pub mod address;
pub mod conntrack;
pub mod datagram;
pub mod dataplane;
pub mod frame;
pub mod gate;
pub mod link;
pub mod neighbour;
pub mod news;
pub mod nfqueue;
pub mod nft;
pub mod raw;
pub mod socket;
pub mod sys;
pub mod wire;
