//! Traffic that is made and counted exactly: the tools of the binary `traffic`.
//!
//! Each tool has its options, a `run` that ends by itself in bounded time, and a report that is
//! printed as one JSON object. A server says `ready` on standard error once it listens. SIGTERM
//! ends a tool early, with its report. All run on plain sockets inside a node; what they may do
//! there is not their business.

pub mod address;
pub mod ftp;
pub mod ftp_get;
pub mod ftp_serve;
pub mod ftp_session;
pub mod gap;
pub mod inject;
pub mod limit;
pub mod packet;
pub mod pattern;
pub mod pulse;
pub mod reception;
pub mod report;
pub mod sessions;
pub mod socket;
pub mod solicit;
pub mod steady;
pub mod stream;
pub mod tcp_connect;
pub mod tcp_serve;
pub mod tcp_steady;
pub mod transfer;
pub mod udp_push;
pub mod udp_receive;
pub mod udp_send;
