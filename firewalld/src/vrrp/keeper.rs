//! Keeps the gate open for the addresses that this node owns, as long as the VRRP thread lives.
//!
//! Goes in: what this node owns, and a sign of life. Comes out: renewals of the gate's elements.
//! Without them the gate shuts by itself ([`twinwall_netlink::gate`]): whoever kills or stops the
//! daemon stops this too, so another node that takes the addresses over is soon the only one that
//! answers for them. Also switches off the interfaces that are idle, and has
//! neighbours looked for anew by those that come into use.
//!
//! A thread of its own, since all of this may have to wait for others.

use super::Error;
use super::driver::REALTIME;
use crate::clock::since_boot;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use twinwall_netlink::address::Batch;
use twinwall_netlink::gate::{self, Gate};
use twinwall_netlink::neighbour;
use twinwall_netlink::socket::Socket;
use twinwall_netlink::sys;

/// How long the gate stays open without a renewal. Less than a second, with room for what is under
/// way.
const OPEN: Duration = Duration::from_millis(900);
/// How often it is renewed. The largest transactions of the policy hold others up for half a
/// second.
const RENEW: Duration = Duration::from_millis(150);
/// How old the VRRP thread's last sign of life may be.
const ALIVE: Duration = Duration::from_millis(500);

/// What this node owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owned {
    /// Addresses that it answers for, with their Ethernet addresses.
    pub(super) alive: Vec<(IpAddr, [u8; 6])>,
    /// Addresses that it takes packets for.
    pub(super) accept: Vec<IpAddr>,
}

/// The thread's handle.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    wish: Mutex<Wish>,
    changed: Condvar,
    /// When the VRRP thread was last seen, in milliseconds of the system's clock.
    seen: AtomicU64,
}

#[derive(Debug, Default)]
struct Wish {
    guarded: Vec<IpAddr>,
    owned: Owned,
    /// Interfaces to switch off.
    idle: BTreeSet<u32>,
    /// Interfaces by which this node has just begun to forward.
    begun: BTreeSet<u32>,
    rebuild: bool,
    changed: bool,
    stop: bool,
}

impl Keeper {
    /// Shuts the gate for these addresses, and begins to keep it.
    ///
    /// # Errors
    /// When the kernel lacks what the gate needs.
    pub(super) fn start(guarded: Vec<IpAddr>) -> Result<Self, Error> {
        let gate = build(&guarded)?;
        let shared = Arc::new(Shared::default());
        shared.lock().guarded = guarded;
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || keep(&theirs, gate))
            .map_err(|source| Error::Io { attempt: "start a thread", source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The VRRP thread lives.
    pub(super) fn alive(&self) {
        self.shared.seen.store(milliseconds(), Ordering::Relaxed);
    }

    /// What this node owns from now on.
    pub(super) fn set(&self, owned: Owned) {
        let mut wish = self.shared.lock();
        if wish.owned != owned {
            wish.owned = owned;
            wish.changed = true;
            self.shared.changed.notify_one();
        }
    }

    /// These interfaces are to be switched off, one after the other, unless they are needed first.
    pub(super) fn switch_off(&self, interfaces: impl IntoIterator<Item = u32>) {
        self.shared.lock().idle.extend(interfaces);
    }

    /// This interface is needed.
    pub(super) fn needs(&self, interface: u32) {
        self.shared.lock().idle.remove(&interface);
    }

    /// This node is about to forward by this interface. Neighbours that were looked for in vain, as
    /// while its link was down, are looked for anew with the next renewal.
    pub(super) fn begins(&self, interface: u32) {
        self.shared.lock().begun.insert(interface);
    }

    /// Which addresses the gate guards from now on.
    pub(super) fn guard(&self, guarded: Vec<IpAddr>) {
        let mut wish = self.shared.lock();
        if wish.guarded != guarded {
            wish.guarded = guarded;
            (wish.rebuild, wish.changed) = (true, true);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Keeper {
    /// Ends the thread, which removes the gate.
    fn drop(&mut self) {
        {
            let mut wish = self.shared.lock();
            (wish.stop, wish.changed) = (true, true);
            self.shared.changed.notify_one();
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the gate's keeper had panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wish> {
        // Nothing in it is ever half changed.
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(guarded: &[IpAddr]) -> Result<Option<Gate>, gate::Error> {
    if guarded.is_empty() {
        return Gate::remove().map(|()| None);
    }
    Gate::build(guarded).map(Some)
}

fn keep(shared: &Shared, mut gate: Option<Gate>) {
    // Packets wait for the gate, while replication has much to do at a takeover.
    if let Err(error) = sys::set_realtime(REALTIME) {
        tracing::debug!(%error, "the gate is kept without real-time priority");
    }
    let (mut told_stuck, mut told_error) = (false, false);
    loop {
        let wish = shared.lock();
        let waited = shared.changed.wait_timeout_while(wish, RENEW, |wish| !wish.changed);
        let (mut wish, _) = waited.unwrap_or_else(PoisonError::into_inner);
        wish.changed = false;
        if wish.stop {
            break;
        }
        let owned = wish.owned.clone();
        let since = milliseconds().saturating_sub(shared.seen.load(Ordering::Relaxed));
        let stuck = Duration::from_millis(since) > ALIVE && !owned.alive.is_empty();
        if stuck {
            if !std::mem::replace(&mut told_stuck, true) {
                tracing::error!(milliseconds = since, "the VRRP thread is stuck: the gate shuts");
            }
            continue;
        }
        if std::mem::take(&mut told_stuck) {
            tracing::info!("the VRRP thread goes on: the gate opens");
        }
        let idle = wish.idle.pop_first();
        let begun: Vec<u32> = std::mem::take(&mut wish.begun).into_iter().collect();
        let guarded = std::mem::take(&mut wish.rebuild).then(|| wish.guarded.clone());
        drop(wish);
        let rebuilds = guarded.is_some();
        let outcome = match guarded {
            Some(guarded) => build(&guarded).map(|built| gate = built),
            None => Ok(()),
        };
        let outcome = outcome.and_then(|()| renew(&mut gate, &owned, shared));
        // Tried again with the next renewal; told once.
        if let Err(error) = &outcome
            && !told_error
        {
            tracing::error!(%error, "cannot renew the gate for virtual addresses");
        }
        told_error = outcome.is_err();
        shared.lock().rebuild |= rebuilds && told_error;
        if !begun.is_empty()
            && let Err(error) = neighbour::forget_unresolved(&begun)
        {
            tracing::debug!(%error, "cannot have neighbours looked for anew");
        }
        if let Some(interface) = idle {
            switch_off(interface);
        }
    }
    if let Err(error) = Gate::remove() {
        tracing::warn!(%error, "cannot remove the gate for virtual addresses");
    }
}

/// A failure is of no consequence: the gate keeps the interface silent.
fn switch_off(interface: u32) {
    let mut batch = Batch::new();
    batch.link_down(interface);
    let outcome = Socket::open_route().map(|mut socket| batch.commit(&mut socket));
    if !matches!(outcome, Ok(Ok(()))) {
        tracing::debug!(?outcome, "cannot switch a virtual router's interface off");
    }
}

fn renew(gate: &mut Option<Gate>, owned: &Owned, shared: &Shared) -> Result<(), gate::Error> {
    let Some(open) = gate else { return Ok(()) };
    match open.renew(&owned.alive, &owned.accept, OPEN) {
        Err(gate::Error::Missing(_)) => {
            tracing::error!("somebody deleted the gate's tables; building them again");
            let guarded = shared.lock().guarded.clone();
            *gate = build(&guarded)?;
            match gate {
                Some(open) => open.renew(&owned.alive, &owned.accept, OPEN),
                None => Ok(()),
            }
        }
        outcome => outcome,
    }
}

/// Of a clock that goes on while the process is stopped.
fn milliseconds() -> u64 {
    u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX)
}
