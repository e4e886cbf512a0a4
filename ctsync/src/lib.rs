//! Replication of sessions to the VRRP peer, without I/O: wire format, sealed channel, resend,
//! difference resync, takeover plan.
//!
//! Goes in: session events of this node, datagrams of the peer, the time. Comes out: datagrams,
//! sessions to write into the kernel. Not here: sockets, conntrack, the clock; those are the
//! daemon's.
//!
//! Nothing is built here yet.
