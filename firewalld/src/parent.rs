//! The session that another one follows: FTP data follows FTP control.
//!
//! The kernel gives an expected session its parent's connmark. When that key has gone stale and
//! the sweep hasn't come by yet, the worker asks conntrack who the parent is: the packet doesn't
//! say. That happens within milliseconds after a reload only.

use crate::conntrack::inside;
use crate::snapshot::Policy;
use twinwall_netlink::conntrack::{Conntrack, Layer4, Tuple as KernelTuple, TupleRef};
use twinwall_netlink::dataplane::Marks;
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::keys::SessionKey;

/// Looks parents up. Its socket is opened by the first question.
#[derive(Debug, Default)]
pub struct Parents {
    conntrack: Option<Conntrack>,
}

impl Parents {
    /// The flow of the session that the session of `child` follows, between the zones that its
    /// mark stands for; `None` when conntrack doesn't know, as before its first packet is through.
    pub fn of(&mut self, child: &Tuple, marks: Marks, policy: &Policy) -> Option<Flow> {
        if self.conntrack.is_none() {
            self.conntrack = Conntrack::open()
                .inspect_err(|error| tracing::warn!(%error, "cannot ask conntrack"))
                .ok();
        }
        let conntrack = self.conntrack.as_mut()?;
        let (forth, back) = directions(child);
        // With the inside addresses a session is known by its original tuple unless its
        // destination is translated, and by its reply tuple unless its source is.
        let ask = [TupleRef::Original(&forth), TupleRef::Reply(&back)];
        let found = ask.into_iter().find_map(|tuple| {
            conntrack.get(tuple, 0, |session| (session.mark, session.master)).ok().flatten()
        });
        let (mark, parent) = found?;
        let key = SessionKey::from_mark(mark & marks.key_mask())?;
        let tuple = conntrack.get(TupleRef::Original(&parent?), 0, inside).ok().flatten()?;
        let (from, to) = policy.zones_of(key)?;
        Some(Flow { tuple, from, to })
    }
}

fn directions(tuple: &Tuple) -> (KernelTuple, KernelTuple) {
    let Tuple { src, dst, protocol, src_port, dst_port } = *tuple;
    let ports = |src, dst| Layer4::Ports { src, dst };
    let forth = KernelTuple { src, dst, protocol, layer4: ports(src_port, dst_port), zone: None };
    let back = KernelTuple { src: dst, dst: src, layer4: ports(dst_port, src_port), ..forth };
    (forth, back)
}
