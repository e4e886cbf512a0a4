//! How helpers have shifted the sequence numbers of sessions.
//!
//! Goes in: notifications of what a session has made the kernel expect, and of what has come of it.
//! Comes out: how the sequence numbers of that session are shifted now. Not here: everything that
//! the kernel tells by itself.
//!
//! When a helper rewrites an address in a session that is translated, as in a PORT command of FTP,
//! the length changes, and all later sequence numbers are shifted. The kernel sends no
//! notification of that (6.18); without it the peer, once it has taken over, would shift by what
//! was right at the first command. So the session is looked up whenever its helper has been at
//! work.

use super::convert;
use super::filter::Filter;
use crate::snapshot::Policy;
use std::time::Duration;
use twinwall_ctsync::model::{EventKind, KernelEvent, Origin};
use twinwall_ctsync::time::Timestamp;
use twinwall_netlink::conntrack::{Conntrack, Entry, Event, Kind, Tuple, TupleRef};
use twinwall_netlink::socket::Error;

/// Sessions that wait to be looked up. Beyond, all are listed instead.
const WAITING: usize = 256;
/// The kernel tells of an expectation before it rewrites the packet, so the session is looked up
/// once more after this time.
const LATER: Duration = Duration::from_millis(2);

/// Sessions whose helpers have been at work.
#[derive(Debug)]
pub(super) struct Masters {
    conntrack: Conntrack,
    now: Vec<(Tuple, u16)>,
    later: Vec<(Tuple, u16)>,
    due: Option<Timestamp>,
    full: bool,
}

impl Masters {
    /// # Errors
    /// What `socket` and `bind` fail with.
    pub(super) fn open() -> std::io::Result<Self> {
        let conntrack = Conntrack::open()?;
        Ok(Self { conntrack, now: Vec::new(), later: Vec::new(), due: None, full: false })
    }

    /// Takes note of a notification.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Expectation { kind: Kind::New, port: 0, expectation } => {
                let master = (expectation.master, expectation.zone);
                self.full |= !push(&mut self.now, master) || !push(&mut self.later, master);
            }
            Event::Session { kind: Kind::New | Kind::Update, port: 0, entry } => {
                if let Some(master) = entry.master {
                    self.full |= !push(&mut self.now, (master, entry.zone));
                }
            }
            _ => {}
        }
    }

    /// When sessions are to be looked up again.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Looks up what is due. Returns whether there were too many.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        filter: &Filter,
        policy: &Policy,
        mut take: impl FnMut(KernelEvent),
    ) -> bool {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.now.append(&mut self.later);
        } else if self.due.is_none() && !self.later.is_empty() {
            self.due = Some(now.after(LATER));
        }
        for (master, zone) in std::mem::take(&mut self.now) {
            match self.shift(&master, zone, filter, policy) {
                Ok(shift) => shift.into_iter().for_each(&mut take),
                Err(error) => tracing::debug!(%error, "cannot look a session up"),
            }
        }
        std::mem::take(&mut self.full)
    }

    fn shift(
        &mut self,
        master: &Tuple,
        zone: u16,
        filter: &Filter,
        policy: &Policy,
    ) -> Result<Option<KernelEvent>, Error> {
        let found = self.conntrack.entry(TupleRef::Original(master), zone)?;
        let shifted = found.filter(|entry| entry.seq_adjust.is_some());
        let Some(entry) = shifted.filter(|entry| filter.takes(entry, policy)) else {
            return Ok(None);
        };
        // Nothing else: notifications that are still to be read are older than what was found.
        let seq_adjust = entry.seq_adjust;
        let shift = Entry { seq_adjust, ..Entry::new(entry.original, entry.zone) };
        let delta = convert::delta(&shift);
        Ok(Some(KernelEvent { kind: EventKind::Update, origin: Origin::Traffic, delta }))
    }
}

/// Adds one that isn't there yet. `false` when there is no room.
fn push(list: &mut Vec<(Tuple, u16)>, master: (Tuple, u16)) -> bool {
    if list.contains(&master) {
        return true;
    }
    if list.len() >= WAITING {
        return false;
    }
    list.push(master);
    true
}
