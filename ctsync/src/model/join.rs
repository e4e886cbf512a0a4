//! What two concurrent changes of the same session come to.
//!
//! Both nodes may see packets of one session within the same moment (a request through one, the
//! reply through the other). Then each has a version with the same number. [`join`] is
//! commutative, associative and idempotent, so both nodes come to the same session without asking.

use super::{Proto, Session, Status, Tcp, TcpState};
use crate::wire::coarse;
use std::cmp::Ordering;

/// The later of two versions of a session that have the same number. Status bits and TCP flags
/// are those of both; the protocol state is the one that is farther on; where nothing else tells,
/// the greater value wins, which is arbitrary but the same on both nodes.
#[must_use]
pub fn join(a: &Session, b: &Session) -> Session {
    // Incarnations of a session aren't mixed: which one it is, is decided as a whole.
    let later = match a.reply.cmp(&b.reply).then(a.master.cmp(&b.master)) {
        Ordering::Less => return b.clone(),
        Ordering::Greater => return a.clone(),
        Ordering::Equal => a,
    };
    let pair = |adjust: &Option<[super::SeqAdjust; 2]>| {
        adjust.map(|both| both.map(|one| (one.position, one.before, one.after)))
    };
    let proxy = |of: &Session| of.syn_proxy.map(|proxy| (proxy.isn, proxy.its, proxy.offset));
    let seq_from_b = pair(&b.seq_adjust) > pair(&a.seq_adjust);
    let plain = |of: &Session| {
        let expectation = of.expectation.as_deref();
        expectation.map(|e| (e.mask, e.flags, e.class, e.nat, e.function.clone()))
    };
    Session {
        original: later.original,
        reply: later.reply,
        zone: later.zone,
        master: later.master,
        status: Status(a.status.0 | b.status.0),
        proto: join_proto(a.proto, b.proto),
        timeout: coarse::rounded(a.timeout).max(coarse::rounded(b.timeout)),
        mark: a.mark.max(b.mark),
        labels: a.labels | b.labels,
        helper: a.helper.clone().max(b.helper.clone()),
        seq_adjust: if seq_from_b { b.seq_adjust } else { a.seq_adjust },
        syn_proxy: if proxy(b) > proxy(a) { b.syn_proxy } else { a.syn_proxy },
        group: a.group.max(b.group),
        expectation: if plain(b) > plain(a) {
            b.expectation.clone()
        } else {
            a.expectation.clone()
        },
    }
}

fn join_proto(a: Proto, b: Proto) -> Proto {
    match (a, b) {
        (Proto::Tcp(a), Proto::Tcp(b)) => Proto::Tcp(Tcp {
            state: if progress(b.state) > progress(a.state) { b.state } else { a.state },
            scale_original: a.scale_original.max(b.scale_original),
            scale_reply: a.scale_reply.max(b.scale_reply),
            flags_original: a.flags_original | b.flags_original,
            flags_reply: a.flags_reply | b.flags_reply,
        }),
        (a, b) => {
            if rank(b) > rank(a) {
                b
            } else {
                a
            }
        }
    }
}

fn rank(proto: Proto) -> (u8, u64, u64) {
    match proto {
        Proto::None => (0, 0, 0),
        Proto::Tcp(_) => (1, 0, 0),
        Proto::Sctp { state, tag_original, tag_reply } => {
            (2, state.into(), u64::from(tag_original) << 32 | u64::from(tag_reply))
        }
        Proto::Dccp { state, role, handshake } => {
            (3, u64::from(state) << 8 | u64::from(role), handshake)
        }
    }
}

/// How far a TCP session has come. Crossed SYNs come before an answered one.
fn progress(state: TcpState) -> (u8, u8) {
    let place = match state {
        TcpState::SYN_SENT2 => 1,
        TcpState(state) if state >= 2 => state + 1,
        TcpState(state) => state.min(1),
    };
    (place, state.0)
}
