//! A model of connection tracking: sessions with timeouts, notifications that are deltas, a dump
//! that walks while sessions change, and the rules by which it takes and refuses writes.

use super::Nanos;
use std::collections::{BTreeMap, VecDeque};
use twinwall_ctsync::model::{Delta, EventKind, Identity, KernelEvent, Origin, Proto, Session};
use twinwall_ctsync::replica::{Write, WriteOp, WriteResult};

/// EOPNOTSUPP, EINVAL and ENOMEM.
const NOT_SUPPORTED: i32 = 95;
const INVALID: i32 = 22;
const NO_MEMORY: i32 = 12;
/// The bits of a status that a write can set.
const SETTABLE: u32 = 1 << 1 | 1 << 2 | 1 << 10;
/// What packets set besides: that translation, even if it is none, is settled.
const NAT_DONE: u32 = 1 << 7 | 1 << 8;

/// A session and when it ends.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) session: Session,
    pub(crate) expires: Nanos,
}

impl Kept {
    /// The session with the time that it has left.
    pub(crate) fn left(&self, now: Nanos) -> Session {
        let left = u32::try_from(self.expires.saturating_sub(now) / 1_000_000_000);
        Session { timeout: left.unwrap_or(u32::MAX), ..self.session.clone() }
    }
}

/// The table of a host.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) table: BTreeMap<Identity, Kept>,
    pub(crate) events: VecDeque<KernelEvent>,
    /// Notifications were lost and the reader doesn't know yet.
    pub(crate) overrun: bool,
    /// Notifications are being lost.
    pub(crate) deaf: bool,
}

impl Kernel {
    fn tell(&mut self, kind: EventKind, origin: Origin, delta: Delta) {
        if self.deaf {
            self.overrun = true;
        } else {
            self.events.push_back(KernelEvent { kind, origin, delta });
        }
    }

    /// A packet begins a session.
    pub(crate) fn open(&mut self, now: Nanos, session: &Session) {
        let expires = now + seconds(session.timeout);
        let mut session = session.clone();
        session.status.0 |= NAT_DONE;
        self.tell(EventKind::New, Origin::Traffic, Delta::whole(&session));
        self.table.insert(session.identity(), Kept { session, expires });
    }

    /// A packet changes a session. What is told is only what has changed.
    pub(crate) fn traffic(&mut self, now: Nanos, delta: Delta) -> bool {
        let Some(kept) = self.table.get_mut(&delta.identity()) else { return false };
        delta.merge_into(&mut kept.session);
        kept.expires = now + seconds(kept.session.timeout);
        self.tell(EventKind::Update, Origin::Traffic, delta);
        true
    }

    /// A packet that changes nothing.
    pub(crate) fn refresh(&mut self, now: Nanos, identity: &Identity, timeout: u32) -> bool {
        let Some(kept) = self.table.get_mut(identity) else { return false };
        kept.expires = now + seconds(timeout);
        true
    }

    /// The daemon's sweep or an operator changes a mark.
    pub(crate) fn remark(&mut self, identity: &Identity, mark: u32) {
        let Some(kept) = self.table.get_mut(identity) else { return };
        kept.session.mark = mark;
        let mut delta = Delta::new(identity.original);
        delta.group = kept.session.group;
        delta.zone = identity.zone;
        delta.mark = Some(mark);
        self.tell(EventKind::Update, Origin::Local, delta);
    }

    /// A session ends.
    pub(crate) fn destroy(&mut self, identity: &Identity, origin: Origin) -> bool {
        let Some(kept) = self.table.remove(identity) else { return false };
        let mut delta = Delta::new(identity.original);
        delta.zone = identity.zone;
        delta.group = kept.session.group;
        delta.expectation = kept.session.expectation;
        self.tell(EventKind::Destroy, origin, delta);
        true
    }

    pub(crate) fn expire(&mut self, now: Nanos) {
        let over = self.table.iter().filter(|(_, kept)| kept.expires <= now);
        for identity in over.map(|(identity, _)| *identity).collect::<Vec<_>>() {
            self.destroy(&identity, Origin::Traffic);
        }
    }

    /// Takes a write, or refuses it as the kernel does.
    pub(crate) fn write(&mut self, now: Nanos, write: &Write, refuse: bool) -> WriteResult {
        if refuse {
            return WriteResult::Refused(NO_MEMORY);
        }
        let session = &write.session;
        let identity = session.identity();
        match write.op {
            WriteOp::Create => self.create(now, session),
            WriteOp::Replace => {
                self.destroy(&identity, Origin::Replication);
                self.create(now, session)
            }
            WriteOp::Delete => {
                if self.destroy(&identity, Origin::Replication) {
                    WriteResult::Done
                } else {
                    WriteResult::Missing
                }
            }
            WriteOp::DeleteIdle => match self.table.get(&identity) {
                Some(kept) if kept.expires < now + seconds(session.timeout) => WriteResult::Busy,
                Some(_) => {
                    self.destroy(&identity, Origin::Replication);
                    WriteResult::Done
                }
                None => WriteResult::Missing,
            },
            WriteOp::Timeout => {
                let Some(kept) = self.table.get_mut(&identity) else {
                    return WriteResult::Missing;
                };
                kept.expires = now + seconds(session.timeout);
                WriteResult::Done
            }
            WriteOp::Update => {
                let Some(kept) = self.table.get_mut(&identity) else {
                    return WriteResult::Missing;
                };
                if kept.session.reply != session.reply {
                    return WriteResult::Refused(NOT_SUPPORTED);
                }
                let before = kept.session.status;
                let (helper, master) = (kept.session.helper.clone(), kept.session.master);
                kept.session = session.clone();
                (kept.session.helper, kept.session.master) = (helper, master);
                let unsettable = before.0 & !SETTABLE | before.sticky().0;
                kept.session.status.0 = unsettable | session.status.0 & SETTABLE;
                kept.expires = now + seconds(session.timeout);
                let delta = Delta::whole(&kept.session);
                self.tell(EventKind::Update, Origin::Replication, delta);
                WriteResult::Done
            }
        }
    }

    fn create(&mut self, now: Nanos, session: &Session) -> WriteResult {
        if self.table.contains_key(&session.identity()) {
            return WriteResult::Exists;
        }
        let stateful = matches!(session.original.protocol, 6 | 132);
        let lacking = match session.expectation {
            Some(_) => session.master.is_none(),
            None => stateful && session.proto == Proto::None,
        };
        if lacking {
            return WriteResult::Refused(INVALID);
        }
        if let Some(master) = session.master {
            let master = Identity { original: master, zone: session.zone, expected: false };
            if !self.table.contains_key(&master) {
                return WriteResult::Missing;
            }
        }
        let expires = now + seconds(session.timeout);
        let mut session = session.clone();
        session.status.0 &= SETTABLE;
        self.tell(EventKind::New, Origin::Replication, Delta::whole(&session));
        self.table.insert(session.identity(), Kept { session, expires });
        WriteResult::Done
    }
}

fn seconds(seconds: u32) -> Nanos {
    Nanos::from(seconds) * 1_000_000_000
}

/// Whether two kernels agree on a session, as far as both have to: not in what is left of the
/// timeout, and not in the key, which each has its own number for.
pub(crate) fn agree(a: &Session, b: &Session, owned: u32) -> bool {
    let plain = |session: &Session| {
        let mut plain = session.clone();
        plain.timeout = 0;
        plain.mark &= !owned;
        plain.status = plain.status.replicated();
        // A master that had ended is no longer named when a session is written.
        plain.master = None;
        plain
    };
    plain(a) == plain(b)
}
