//! The same world without fate: a test says what happens, and the time passes in between.

use super::host::{GROUPS, time};
use super::{MS, Nanos, Side, World, acts};
use std::cmp::Reverse;
use std::time::Duration;
use twinwall_ctsync::model::{Identity, Origin, Session};
use twinwall_ctsync::replica::{Event, Status};

impl World {
    /// Two nodes that have met; A carries group 1, B group 2.
    pub(crate) fn scene() -> Self {
        let mut world = Self::new(1, None);
        world.listens = true;
        // As it is configured: what a scene is about must not wait for the next check.
        world.hosts.iter_mut().for_each(|host| host.check_every = Duration::from_secs(300));
        world.pass(500);
        world
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.pass_for(ms * MS);
    }

    /// The same for a time in nanoseconds.
    pub(crate) fn pass_for(&mut self, time: Nanos) {
        let until = self.now + time;
        self.next_act = Nanos::MAX;
        self.schedule(time, super::Due::Heal);
        while self.now < until || self.queue.peek().is_some_and(|Reverse((at, _))| *at <= until) {
            self.advance().unwrap();
        }
    }

    /// So many packets begin sessions of group 1 (even numbers) or 2 on the host that carries it.
    pub(crate) fn open_sessions(&mut self, numbers: impl Iterator<Item = u32>) -> Vec<Session> {
        let now = self.now;
        let mut opened = Vec::new();
        for number in numbers {
            let group = GROUPS[(number % 2) as usize];
            let mut session = acts::draw(number, 0x0003_0008);
            session.group = group;
            session.timeout = 100;
            let side = self.carrier(group, number).unwrap();
            session.mark = self.host(side).policy.decide(&session);
            self.host_mut(side).kernel.open(now, &session);
            self.notify(side);
            opened.push(session);
        }
        opened
    }

    pub(crate) fn end(&mut self, side: Side, identity: &Identity, origin: Origin) {
        assert!(self.host_mut(side).kernel.destroy(identity, origin));
        self.notify(side);
    }

    /// Seconds that a session has left in a kernel; `None` if it isn't there.
    pub(crate) fn left(&self, side: Side, identity: &Identity) -> Option<u64> {
        let kept = self.host(side).kernel.table.get(identity)?;
        Some((kept.expires - self.now) / (1000 * MS))
    }

    pub(crate) fn status(&self, side: Side) -> Status {
        self.host(side).node.as_ref().unwrap().status(time(self.now))
    }

    pub(crate) fn was_told(&self, side: Side, event: Event) -> bool {
        self.told.contains(&(side, event))
    }
}
