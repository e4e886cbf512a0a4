//! Virtual addresses onto their interfaces and off them, all that change together in one batch.

use super::bound::Leg;
use std::net::IpAddr;
use twinwall_netlink::address::{Batch, BatchError, Step};
use twinwall_netlink::socket::Socket;

/// What is to be changed.
#[derive(Debug, Default)]
pub(super) struct Changes(Batch);

impl Changes {
    /// The addresses of this virtual router are to be there.
    pub(super) fn put(&mut self, leg: &Leg) {
        if leg.has_macvlan() {
            self.0.link_up(leg.device);
        }
        for address in &leg.addresses {
            self.0.add(leg.device, *address, prefix_length(*address));
        }
    }

    /// They are not to be there. Their macvlan is switched off later ([`super::keeper`]): that takes
    /// the kernel some 16 ms, in which it does nothing else of this kind.
    pub(super) fn take(&mut self, leg: &Leg) {
        for address in &leg.addresses {
            self.0.remove(leg.device, *address, prefix_length(*address));
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.0.steps().is_empty()
    }

    /// Does it.
    ///
    /// # Errors
    /// What failed; the rest is done.
    pub(super) fn commit(self, socket: &mut Socket) -> Result<(), Vec<BatchError>> {
        self.0.commit(socket)
    }
}

/// The prefix length of virtual addresses. They bring no route to their net along, but for
/// link-local ones: without it their macvlan couldn't answer a link-local neighbour.
pub(super) const fn prefix_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(address) if address.is_unicast_link_local() => 64,
        IpAddr::V6(_) => 128,
    }
}

/// The interface that a step is about.
pub(super) const fn device(step: Step) -> u32 {
    match step {
        Step::Add { interface, .. } | Step::Remove { interface, .. } => interface,
        Step::Up(interface) | Step::Down(interface) => interface,
    }
}
