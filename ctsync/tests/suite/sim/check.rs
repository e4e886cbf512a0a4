//! What must hold: always, that memory stays bounded; after a calm, that both nodes and both
//! kernels have the same.

use super::host::{GROUPS, Host, MAX_SESSIONS, SHARED};
use super::kernel::agree;
use super::{Due, MS, Nanos, OWNED, Side, World};
use std::collections::BTreeSet;
use twinwall_ctsync::model::{Identity, Role, Session};
use twinwall_ctsync::replica::Replica;
use twinwall_recorder::{halves, replay};

/// A calm lasts so long, and by `SETTLED` of it both have to have the same.
const CALM: Nanos = 6_000 * MS;
const SETTLED: Nanos = 3_500 * MS;
/// Bytes of policies on their way that a node may take: one of 200,000 bytes, growing.
const OFFERS: usize = 1_000_000;
/// Bytes that a node may take: what 4,096 sessions may take, the leaves, two windows.
const MEMORY: usize = MAX_SESSIONS * 300 + 2_000_000;

impl World {
    /// No faults any more, and no packets: what was under way has to come to rest.
    pub(crate) fn begin_calm(&mut self) {
        if self.calm_until.is_some() {
            return;
        }
        self.trace(|| "calm".into());
        self.summary.calms += 1;
        self.calm_began = self.now;
        self.settled = None;
        self.calm_until = Some(self.now + CALM);
        (self.loss, self.repeat, self.jitter, self.refuse) = (0, 0, 20_000, 0);
        (self.cut, self.one_way) = (false, None);
        self.schedule(0, Due::Unsplit);
        for side in Side::BOTH {
            self.schedule(0, Due::Hear { side });
            if self.host(side).node.is_none() {
                self.schedule(MS, Due::Boot { side });
            }
        }
    }

    /// After each thing that happened.
    pub(crate) fn look(&mut self) -> Result<(), String> {
        if self.summary.steps.is_multiple_of(64) {
            for side in Side::BOTH {
                let Some(node) = &self.host(side).node else { continue };
                let (memory, offers) = (node.replica().memory(), node.offers().memory());
                self.summary.worst_memory = self.summary.worst_memory.max(memory);
                if memory > MEMORY || offers > OFFERS {
                    return Err(format!("{side:?} takes {memory} bytes, and {offers} for offers"));
                }
            }
        }
        if self.calm_until.is_some() && self.settled.is_none() && self.difference().is_none() {
            self.settled = Some(self.now);
            let took = (self.now - self.calm_began) / MS;
            self.summary.worst_settling = self.summary.worst_settling.max(took);
        }
        Ok(())
    }

    pub(crate) fn end_calm(&mut self) -> Result<(), String> {
        self.calm_until = None;
        self.next_act = self.now;
        self.trace(|| "the calm is over".into());
        if let Some(what) = self.difference() {
            return Err(what);
        }
        if self.settled.is_none_or(|settled| settled > self.calm_began + SETTLED) {
            return Err(format!("settled only at {:?}", self.settled));
        }
        self.nobody_is_missing()?;
        self.each_has_one_home()?;
        self.recordings_replay()?;
        // Clients whose session was lost by the faults begin anew.
        let Self { sessions, hosts, .. } = self;
        sessions.retain(|client| hosts[0].kernel.table.contains_key(&client.session.identity()));
        Ok(())
    }

    /// In what the nodes or the kernels differ.
    fn difference(&self) -> Option<String> {
        let [a, b] = &self.hosts;
        let (Some(node_a), Some(node_b)) = (&a.node, &b.node) else {
            return Some("a daemon doesn't run".into());
        };
        let (replica_a, replica_b) = (node_a.replica(), node_b.replica());
        if replica_a.digest() != replica_b.digest() {
            return Some(format!(
                "digests differ: {:?}, {:?}",
                replica_a.counts(),
                replica_b.counts()
            ));
        }
        if replica_a.counts() != replica_b.counts() || replica_a.counts().1 != 0 {
            return Some(format!("counts: {:?}, {:?}", replica_a.counts(), replica_b.counts()));
        }
        for (host, replica) in [(a, replica_a), (b, replica_b)] {
            let table = &host.kernel.table;
            if table.len() != replica.counts().0 {
                let odd = replica.sessions().find(|kept| !table.contains_key(&kept.identity()));
                let stored: BTreeSet<_> = replica.sessions().map(|kept| kept.identity()).collect();
                let ghost = table.values().find(|kept| !stored.contains(&kept.session.identity()));
                let odd = (odd, ghost);
                let (side, kernel, store) = (host.side, table.len(), replica.counts());
                return Some(format!("{side:?}: kernel {kernel}, store {store:?}: {odd:?}"));
            }
        }
        for (identity, kept) in &a.kernel.table {
            let Some(other) = b.kernel.table.get(identity) else {
                return Some(format!("only in A's kernel: {kept:?}"));
            };
            if !agree(&kept.session, &other.session, OWNED) {
                return Some(format!("kernels differ:\n{kept:?}\n{other:?}"));
            }
        }
        let place = |identity: &Identity| {
            let [a, b] = &self.hosts;
            let kept = [a, b].map(|host| host.kernel.table.get(identity));
            kept.iter().all(Option::is_some)
        };
        if let Some(what) = self.policies_differ() {
            return Some(what);
        }
        let missing = replica_a.sessions().find(|session| !place(&session.identity()));
        missing.map(|session| format!("in no kernel: {session:?}"))
    }

    /// Timeouts are those of who carries the session, and rules are the same on both sides.
    fn nobody_is_missing(&self) -> Result<(), String> {
        for group in GROUPS {
            let active: Vec<Side> = Side::BOTH
                .into_iter()
                .filter(|side| self.host(*side).roles.get(&group) == Some(&Role::Active))
                .collect();
            let [carrier] = active[..] else {
                return Err(format!("group {} is carried by {active:?}", group.0));
            };
            let standby = self.host(carrier.other());
            for kept in standby.kernel.table.values().filter(|kept| kept.session.group == group) {
                if kept.expires < self.now + 60_000 * MS {
                    let left = kept.expires.saturating_sub(self.now) / MS;
                    return Err(format!(
                        "{carrier:?} carries, the standby has {left} ms: {kept:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// A session that belongs to all groups is one node's while each is active for some: of two
    /// both would let it die by its own timeout, and neither would ever end it.
    fn each_has_one_home(&mut self) -> Result<(), String> {
        let divided = Side::BOTH.into_iter().all(|side| {
            self.host(side).roles.values().filter(|role| **role == Role::Active).count() == 1
        });
        let shared = self.host(Side::A).kernel.table.values().map(|kept| &kept.session);
        let shared: Vec<Identity> = shared
            .filter(|session| divided && session.group == SHARED)
            .map(Session::identity)
            .collect();
        let mut homes = [0; 3];
        for identity in &shared {
            let here = |host: &mut Host| {
                let place = host.node.as_mut().and_then(|node| node.place(identity));
                usize::from(place.is_some_and(|place| place.here))
            };
            homes[self.hosts.iter_mut().map(here).sum::<usize>()] += 1;
        }
        match homes {
            [0, _, 0] => Ok(()),
            [none, one, both] => Err(format!("nobody's {none}, one node's {one}, both's {both}")),
        }
    }

    /// What was recorded runs again with the same outputs.
    fn recordings_replay(&mut self) -> Result<(), String> {
        for side in Side::BOTH {
            for half in halves(&self.host(side).file.clone()) {
                if half.is_empty() {
                    continue;
                }
                let replayed =
                    replay::<Replica>(half, |_, _, _| {}).map_err(|error| error.to_string())?;
                if replayed.differs_at.is_some() {
                    let at = replayed.differs_at;
                    return Err(format!("{side:?}: other outputs at {at:?}"));
                }
                self.summary.replayed += replayed.inputs;
            }
        }
        Ok(())
    }
}
