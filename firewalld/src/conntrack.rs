//! Conntrack's sessions in the policy's terms.

use twinwall_netlink::conntrack::{Layer4, Session, Tuple as KernelTuple};
use twinwall_policy::diff::SessionView;
use twinwall_policy::flow::Tuple;
use twinwall_policy::keys::SessionKey;

/// A tuple as its packets have it.
#[must_use]
pub fn plain(tuple: &KernelTuple) -> Tuple {
    let (src_port, dst_port) = tuple.fields();
    Tuple { src: tuple.src, dst: tuple.dst, protocol: tuple.protocol, src_port, dst_port }
}

/// The tuple that a session is classified by: its original direction with the inside addresses,
/// which are the source before and the destination after any translation.
#[must_use]
pub fn inside(session: &Session<'_>) -> Tuple {
    inside_of(&session.original, &session.reply)
}

/// The same for a session of which only its tuples are at hand.
#[must_use]
pub fn inside_of(original: &KernelTuple, reply: &KernelTuple) -> Tuple {
    let arriving = plain(original);
    let dst_port = match original.layer4 {
        Layer4::Ports { .. } => reply.fields().0,
        // The reply direction of ICMP has another type and the same code.
        Layer4::Icmp { .. } | Layer4::None => arriving.dst_port,
    };
    Tuple { dst: reply.src, dst_port, ..arriving }
}

/// Whether the session's source is translated.
#[must_use]
pub fn source_translated(session: &Session<'_>) -> bool {
    let port = match (session.original.layer4, session.reply.layer4) {
        (Layer4::Ports { src, .. }, Layer4::Ports { dst, .. }) => src != dst,
        _ => false,
    };
    port || session.reply.dst != session.original.src
}

/// A session as the policy's sweep wants it.
#[must_use]
pub fn view(session: &Session<'_>, key: Option<SessionKey>) -> SessionView {
    let arriving = plain(&session.original);
    SessionView {
        key,
        tuple: inside(session),
        arriving_dst: arriving.dst,
        arriving_dst_port: arriving.dst_port,
        source_translated: source_translated(session),
    }
}
