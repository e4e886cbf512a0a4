//! The answer to `twinwall sync status`.

use std::time::Duration;
use twinwall_control::sync::{Refused, Resync, Status};
use twinwall_ctsync::node::Node;
use twinwall_ctsync::replica::Liveness;
use twinwall_ctsync::time::Timestamp;

/// The state of replication.
pub(super) fn status(node: &Node, overruns: u64, now: Timestamp) -> Status {
    let status = node.status(now);
    let refused =
        node.refusals().rows().map(|(reason, count)| Refused { reason: reason.to_string(), count });
    let peer = match status.liveness {
        Liveness::Alive => "alive",
        Liveness::Silent => "silent",
        Liveness::Gone => "gone",
        Liveness::Unknown => "unknown",
    };
    let resync = status.resync_reason.map(|reason| Resync {
        reason: reason.to_string(),
        ago_ms: milliseconds(now.since(status.resync_began)),
        differed: status.resync_leaves,
        running: status.resyncing,
    });
    let stats = &status.stats;
    Status {
        peer: peer.to_owned(),
        heard_ms: milliseconds(now.since(status.heard)),
        policy: format!("{:032x}", status.keyspace),
        peer_policy: status.peer_keyspace.map(|digest| format!("{digest:032x}")),
        sessions: status.sessions,
        peer_sessions: status.peer_sessions,
        differing: status.differing,
        equal: status.equal,
        complete: status.has_everything,
        peer_complete: status.peer_complete,
        lag_us: u64::try_from(status.lag.as_micros()).unwrap_or(u64::MAX),
        waiting: status.waiting,
        writes_waiting: status.writes_waiting,
        sent: stats.records,
        received: stats.received,
        resent: status.resent,
        written: stats.writes,
        write_refused: stats.write_refused,
        no_room: stats.full,
        overruns,
        refused: refused.collect(),
        resyncs: status.resyncs,
        resync,
        memory: status.memory,
        policies: None,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
