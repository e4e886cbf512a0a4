//! The sweep: sessions under keys that are gone are classified anew from conntrack and moved or
//! ended.
//!
//! The new policy holds already when a sweep begins. Packets of stale sessions are being
//! classified one by one as they come; the sweep sees to those that are quiet.

use crate::conntrack::view;
use crate::snapshot::Policy;
use std::collections::{HashMap, HashSet};
use twinwall_control::report::SessionCounts;
use twinwall_netlink::conntrack::{
    Conntrack, MarkFilter, Session, SessionRef, Status, Tuple, TupleRef, Updater,
};
use twinwall_netlink::dataplane::Marks;
use twinwall_netlink::socket::Error;
use twinwall_policy::classify::TupleHash;
use twinwall_policy::diff::{Fate, Installed, Removed, SessionView, Sweep};
use twinwall_policy::keys::{KeyInfo, SessionKey};

/// The sockets of sweeps. Kept, as to close one can wait some 20 ms for what the reload has deleted to
/// be freed.
#[derive(Debug)]
pub(super) struct Sockets {
    conntrack: Conntrack,
    updater: Updater,
}

impl Sockets {
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self { conntrack: Conntrack::open()?, updater: Updater::open()? })
    }
}

/// Moves and ends the sessions of the old policy. After an error the sockets may have answers left.
pub(super) fn after_reload(
    sockets: &mut Sockets,
    marks: Marks,
    old: &Installed,
    policy: &Policy,
    removed: &[Removed],
    nat_changed: bool,
) -> Result<SessionCounts, Error> {
    let Sockets { conntrack, updater } = sockets;
    if removed.is_empty() && !nat_changed {
        let unchanged = u64::from(conntrack.count()?);
        return Ok(SessionCounts { unchanged, ..SessionCounts::default() });
    }
    let only = |mark| Some(MarkFilter { mark, mask: marks.key_mask() });
    let filter = match removed {
        [gone] if !nat_changed => only(gone.key.mark()),
        _ => None,
    };
    let mut run = Run {
        sweep: Sweep::new(&policy.installed, Some(old), &policy.classifier),
        mask: marks.key_mask(),
        table: policy,
        old: Memo { installed: old, infos: HashMap::default() },
        updater,
        followers: Vec::new(),
        counts: SessionCounts::default(),
        failed: None,
    };
    conntrack.dump(filter, |session| run.look_at(session))?;
    run.look_at_followers(conntrack);
    if filter.is_some() {
        let touched = run.counts.remarked + run.counts.ended;
        run.counts.unchanged = u64::from(conntrack.count()?).saturating_sub(touched);
    }
    run.finish()
}

/// Clears the owned bits of sessions whose key the table doesn't know; returns how many.
pub(super) fn clear_unknown(marks: Marks, installed: &Installed) -> Result<u64, Error> {
    let mask = marks.key_mask();
    let mut updater = Updater::open()?;
    let mut failed = None;
    let mut cleared = 0;
    Conntrack::open()?.dump(None, |session| {
        let key = SessionKey::from_mark(session.mark & mask);
        if key.is_some_and(|key| !installed.table().contains(key)) {
            cleared += 1;
            if let Err(error) = updater.remark(session.reference(), 0, mask) {
                failed.get_or_insert(error);
            }
        }
    })?;
    updater.flush()?;
    failed.map_or(Ok(cleared), Err)
}

/// Those of the keys that no session has.
pub(super) fn without_sessions(
    marks: Marks,
    keys: &[SessionKey],
) -> Result<Vec<SessionKey>, Error> {
    let mut unused: HashSet<SessionKey> = keys.iter().copied().collect();
    Conntrack::open()?.dump(None, |session| {
        if let Some(key) = SessionKey::from_mark(session.mark & marks.key_mask()) {
            unused.remove(&key);
        }
    })?;
    Ok(unused.into_iter().collect())
}

/// One sweep.
struct Run<'a> {
    sweep: Sweep<'a, TupleHash>,
    mask: u32,
    table: &'a Policy,
    old: Memo<'a>,
    updater: &'a mut Updater,
    followers: Vec<Follower>,
    counts: SessionCounts,
    failed: Option<Error>,
}

/// A session that follows another one. Its parent is looked up when the dump is over: the socket
/// can't do both at once.
struct Follower {
    parent: Tuple,
    key: SessionKey,
    family: u8,
    original: Box<[u8]>,
    zone: u16,
    id: u32,
}

impl Run<'_> {
    fn look_at(&mut self, session: &Session<'_>) {
        let Some(key) = SessionKey::from_mark(session.mark & self.mask) else {
            self.counts.unchanged += 1;
            return;
        };
        match session.master {
            Some(parent) if session.status.has(Status::EXPECTED) => self.followers.push(Follower {
                parent,
                key,
                family: session.original.family(),
                original: session.original_bytes.into(),
                zone: session.zone,
                id: session.id,
            }),
            _ => self.decide(key, &view(session, Some(key)), session.reference(), session.id),
        }
    }

    fn look_at_followers(&mut self, conntrack: &mut Conntrack) {
        for follower in std::mem::take(&mut self.followers) {
            let Follower { parent, key, family, original, zone, id } = follower;
            let found = conntrack
                .get(TupleRef::Original(&parent), zone, |session| view(session, Some(key)));
            let reference = SessionRef { family, original: &original, zone };
            match found {
                Ok(Some(parent)) => self.decide(key, &parent, reference, id),
                // The parent has ended; nothing is left to follow. The next packet asks.
                Ok(None) if !self.table.installed.table().contains(key) => {
                    self.carry_out(Fate::Unknown, reference, id);
                }
                Ok(None) => self.counts.unchanged += 1,
                Err(error) => {
                    self.counts.left += 1;
                    self.failed.get_or_insert(error);
                }
            }
        }
    }

    fn decide(&mut self, key: SessionKey, view: &SessionView, session: SessionRef<'_>, id: u32) {
        let fate = self.sweep.fate(self.old.info(key, self.table), view);
        self.carry_out(fate, session, id);
    }

    fn carry_out(&mut self, fate: Fate, session: SessionRef<'_>, id: u32) {
        let sent = match fate {
            Fate::Unchanged => {
                self.counts.unchanged += 1;
                Ok(())
            }
            Fate::Remark(to) => {
                self.counts.remarked += 1;
                self.updater.remark(session, to.mark(), self.mask)
            }
            Fate::Refused(to) => {
                self.counts.ended += 1;
                self.updater.remark(session, to.mark(), self.mask)
            }
            Fate::Delete => {
                self.counts.ended += 1;
                self.updater.delete(session, id)
            }
            Fate::Unknown => {
                self.counts.remarked += 1;
                self.updater.remark(session, 0, self.mask)
            }
        };
        if let Err(error) = sent {
            self.failed.get_or_insert(error);
        }
    }

    fn finish(mut self) -> Result<SessionCounts, Error> {
        let tally = self.updater.flush()?;
        self.counts.left += tally.refused;
        if let Some(reason) = tally.reason {
            tracing::warn!(refused = tally.refused, %reason, "sessions that could not be changed");
        }
        self.failed.map_or(Ok(self.counts), Err)
    }
}

/// What keys stand for in the old policy, or else in the new one, each looked up once.
struct Memo<'a> {
    installed: &'a Installed,
    infos: HashMap<SessionKey, Option<KeyInfo>>,
}

impl Memo<'_> {
    fn info(&mut self, key: SessionKey, next: &Policy) -> Option<&KeyInfo> {
        let look_up =
            || self.installed.table().info(key).or_else(|| next.installed.table().info(key));
        self.infos.entry(key).or_insert_with(look_up).as_ref()
    }
}
