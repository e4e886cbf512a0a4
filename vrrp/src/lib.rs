//! VRRPv3 (RFC 9568), without I/O: the wire format and the state machine that elects the active
//! gateway of a pair.
//!
//! Goes in: received adverts, the time, the state of tracked objects. Comes out: adverts to send,
//! addresses to add or remove. Not here: sockets, timers, addresses in the kernel; those are the
//! daemon's.
//!
//! Nothing is built here yet.
