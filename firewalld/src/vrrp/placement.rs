//! Virtual addresses onto their interfaces and off them, all that change together in one batch.
//!
//! A thread of its own does it: the kernel has one lock for changes of interfaces, and whoever holds
//! that may take long. Meanwhile the VRRP thread hears and sends the adverts of other groups.
//!
//! Goes in: batches. Comes out: what failed. Not here: what waits for a batch ([`super::duty`]).

use super::bound::Leg;
use super::driver::REALTIME;
use crate::wake::Bell;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use twinwall_netlink::address::{Batch, BatchError, Step};
use twinwall_netlink::socket::Socket;
use twinwall_netlink::sys;

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

/// What became of a batch: what failed; the rest is done.
pub(super) type Placed = Result<(), Vec<BatchError>>;

/// The thread that does batches, one at a time. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Placer {
    batches: SyncSender<Changes>,
    done: Receiver<Placed>,
    busy: bool,
}

impl Placer {
    /// Starts it. It rings `bell` when a batch is done.
    ///
    /// # Errors
    /// When a socket or a thread can't be had.
    pub(super) fn start(bell: Bell) -> io::Result<Self> {
        let mut socket = Socket::open_route()?;
        // One is under way at a time, so nobody waits for room.
        let (batches, waiting) = sync_channel::<Changes>(1);
        let (tell, done) = sync_channel(1);
        std::thread::Builder::new().name("vrrp-place".into()).spawn(move || {
            if let Err(error) = sys::set_realtime(REALTIME) {
                tracing::debug!(%error, "virtual addresses are placed without real-time priority");
            }
            while let Ok(changes) = waiting.recv() {
                if tell.send(changes.commit(&mut socket)).is_err() {
                    return;
                }
                bell.ring();
            }
        })?;
        Ok(Self { batches, done, busy: false })
    }

    /// Whether a batch is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a batch; none may be under way.
    pub(super) fn begin(&mut self, changes: Changes) {
        // The thread ends only after this value.
        self.busy = self.batches.send(changes).is_ok();
    }

    /// What became of the batch, if it is done.
    pub(super) fn finished(&mut self) -> Option<Placed> {
        let placed = self.done.try_recv().ok()?;
        self.busy = false;
        Some(placed)
    }

    /// What became of the batch, once it is done; `None` if there is none.
    pub(super) fn wait(&mut self) -> Option<Placed> {
        if !std::mem::take(&mut self.busy) {
            return None;
        }
        self.done.recv().ok()
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
