//! Replication of sessions to the VRRP peer, without I/O.
//!
//! ```text
//!                 ┌───────────────────────── Node ─────────────────────────┐
//!                 │ channel: handshake, seal        replica                │
//!  datagrams ───► │ ─────────────► plaintext ─────► link ─► inbox ─┐       │
//!                 │                                                ▼       │ ──► Write, Dump,
//!  notifications ─┼─► kernel ──────────────────────────────────► store     │     Classify
//!  dump, results ─┼─► kernel, writes ◄─────────────────────────────┤       │
//!  VRRP, policy ──┼─► roles, policy                                ▼       │ ──► Event
//!  datagrams ◄─── │ ◄───────────── plaintext ◄───── link ◄─ outbox, resync │
//!                 └────────────────────────────────────────────────────────┘
//! ```
//!
//! [`node::Node`] is what a driver drives. Both nodes come to hold the same sessions, each with
//! the number of its version, and each has all of them in its kernel. The node that is active for
//! a session's VRRP group carries it: its kernel's word counts, and there the session has its
//! normal timeout. On the other node the kernel holds it with a long one.
//!
//! | room | is |
//! |---|---|
//! | [`model`] | what is replicated of a session, and what a notification says of it |
//! | [`wire`] | the format of what the nodes say to each other |
//! | [`channel`] | the sealed channel: Noise with a pre-shared key over datagrams |
//! | `store` | the sessions, in about 65 bytes each, with digests by buckets |
//! | [`replica`] | the state machine: stream, resync, kernel, liveness, roles, keys |
//! | [`offer`] | the policy: versions, and its text on the way to the node that has an older one |
//! | `recorder` | the replica as a machine for crate twinwall-recorder |
//! | [`node`] | channel and replica together |
//!
//! Goes in: datagrams, notifications, dumps and results of the kernel, roles, key tables, the
//! time, 32 random bytes. Comes out: [`replica::Output`]. Not here: sockets, conntrack, files, the
//! clock; those are the driver's.
//!
//! # What the driver does
//!
//! **Turns of its loop.** Feed in everything that waits, then call [`node::Node::poll`] if
//! [`node::Node::next_deadline`] is reached; carry out the outputs of each call in their order. A
//! deadline that is past means: once everything that waits is fed in. So changes that come
//! together go out together, and one that comes alone goes out at once. No call takes longer than
//! about a millisecond, except with a million sessions: a peer that has started, a first resync
//! that ends, a dump that begins and a healed split pass over all entries once.
//!
//! **Start.** Draw [`replica::Config::boot`], `digest_key` and the seed at random, subscribe to
//! conntrack's notifications, feed in policy and roles, call [`node::Node::start`]. It asks for a
//! dump; the peer is spoken to once that is over.
//!
//! **Notifications** (groups new, update, destroy; expectations too) become
//! [`model::KernelEvent`]s:
//!
//! - in the order of the socket; fields that the message doesn't have are `None`; of the TCP flags
//!   no masks are kept;
//! - [`model::Origin`] by the header's `nlmsg_pid`: 0 is `Traffic`, the port of the socket that
//!   carries out writes is `Replication`, any other is `Local`. So nothing echoes;
//! - [`model::Delta::group`] by the driver's own knowledge (the zones of the session's key); the
//!   same on both nodes; 0 if there is one group. A group that VRRP doesn't have stands for all:
//!   [`replica`] says whose its sessions are;
//! - what is not to be replicated (local and loopback traffic, filtered zones, protocols and
//!   addresses, unconfirmed sessions) is left out, here as in dumps, by the same filter;
//! - with `NETLINK_NO_ENOBUFS` off; after `ENOBUFS` call [`node::Node::overrun`].
//!
//! **Dumps** go on a socket of their own: each session to [`node::Node::dumped`] with all its
//! fields, then [`node::Node::dump_end`], with `false` if it was interrupted
//! (`NLM_F_DUMP_INTR`) or failed. Notifications go on being fed in meanwhile. Expectations are
//! dumped with it.
//!
//! **Writes** go on one socket in the order given, up to `batch` to a send, each with an
//! acknowledgement; then [`node::Node::written`] with a result for each. [`replica::WriteOp`]
//! says how each is done; the notification that an answer [`replica::WriteResult::Busy`] asks for
//! is fed in before the results. Marks are written whole, timeouts are in seconds; TCP flags with mask
//! 0xff; of status bits leave out [`model::Status::LOCAL`]. Keep `nf_conntrack_events` on: entries
//! made without never tell anything later.
//!
//! **Events.** [`replica::Event`] names the VRRP verb where there is one: `PeerAlive`,
//! `PeerSilent`, `PeerGone` go to `peer_report`; `PeerRole` to `peer_state`. At the start and at
//! `PeerStarted`: `hold_preemption`; at `HaveEverything`: `allow_preemption`. For a handover in
//! good order: [`node::Node::barrier`], then `PeerReady` to `peer_ready`.
//!
//! **Roles.** [`node::Node::set_roles`] after each change of a VRRP group's state, before the
//! addresses are announced. Timeouts are then set right in the background; nothing has to be
//! waited for.
//!
//! **Policy.** [`node::Node::set_policy`] at the moment the new policy holds, before the sweep.
//! The sweep's own writes come back as `Local` notifications.
//!
//! **Offers.** [`node::Node::set_local_policy`] after each policy that was confirmed, and when one
//! is tried; [`node::Node::take_offer`] after each turn, and [`node::Node::offer_decided`] for what
//! came of it. Before preemption is allowed, [`node::Node::is_policy_settled`]. Offers are not
//! recorded: a text would leave no room for anything else.
//!
//! **Stop.** [`node::Node::stop`] after the last role is given up; send what comes out.
//!
//! # Bounds
//!
//! | what | bound | beyond |
//! |---|---|---|
//! | sessions | `max_sessions` | not kept, `Event::Full`, counted |
//! | ended sessions that the peer doesn't know of | `max_ended` | their leaves are listed whole |
//! | unacknowledged packets, early packets | `window` each | changes wait as a flag on their session |
//! | changes, writes that wait | one index a session | |
//! | answers to the peer | 64 | not given, counted |
//! | sealed sessions | 3 | the oldest goes |
//! | keys of the peer that are remembered | 2^20 | asked again |
//! | a policy on its way | `longest`, one at a time | refused; the next waits |

pub mod channel;
pub mod model;
pub mod node;
pub mod offer;
mod recorder;
pub mod replica;
mod store;
pub mod time;
pub mod wire;

pub use store::DigestKey;
pub use wire::RuleIdentity;
