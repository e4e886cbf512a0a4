//! Notifications of conntrack, in the state machine's terms.

use super::convert;
use super::filter::Filter;
use crate::snapshot::Policy;
use twinwall_ctsync::model::{EventKind, KernelEvent, Origin};
use twinwall_netlink::conntrack::{Event, Kind};

/// A notification in the state machine's terms; `None` for what isn't replicated.
pub(super) fn kernel_event(event: Event, filter: &Filter, policy: &Policy) -> Option<KernelEvent> {
    let (kind, port, delta) = match event {
        Event::Session { kind, port, entry } => {
            // What has ended is known by then, or never was.
            let takes = kind == Kind::Destroy || filter.takes(&entry, policy);
            (kind, port, takes.then(|| convert::delta(&entry))?)
        }
        Event::Expectation { kind, port, expectation } => {
            let takes = kind == Kind::Destroy || filter.takes_tuple(&expectation.master);
            (kind, port, takes.then(|| convert::expected(&expectation))?)
        }
    };
    let kind = match kind {
        Kind::New => EventKind::New,
        Kind::Update => EventKind::Update,
        Kind::Destroy => EventKind::Destroy,
    };
    // Those of the writing thread are filtered out already.
    let origin = if port == 0 { Origin::Traffic } else { Origin::Local };
    Some(KernelEvent { kind, origin, delta })
}
