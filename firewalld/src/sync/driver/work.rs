//! Work for the other threads, and what came of it. A few sessions are written here and now.

use super::super::kernel::{Found, Hands, Job};
use super::super::notification::kernel_event;
use super::super::pen::{Pen, Written};
use super::{Driver, SETTLED, TURN, Timestamp, now};
use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;
use twinwall_ctsync::replica::{Write, WriteOp};
use twinwall_netlink::conntrack::{self, Kind};

/// So many are written by this thread itself, some 5 us each: waking another one takes longer.
const FEW: usize = 4;

/// The ports of all sockets that write, by which their changes are known.
pub(super) fn ports(hands: &Hands, pen: &Pen) -> [u32; 3] {
    let [writing, listing] = hands.ports;
    [writing, listing, pen.port()]
}

impl Driver {
    /// Hands work to the other threads, as far as they have room.
    pub(super) fn hand_on(&mut self) {
        self.hand_on_writes();
        while let Some(job) = self.jobs.pop_front() {
            if let Err(TrySendError::Full(job)) = self.hands.jobs.try_send(job) {
                self.jobs.push_front(job);
                break;
            }
        }
    }

    /// Has the listing thread do something before all else that waits.
    pub(super) fn ask_first(&mut self, job: Job) {
        let same = |other: &Job| std::mem::discriminant(other) == std::mem::discriminant(&job);
        self.jobs.retain(|other| !same(other));
        self.jobs.push_front(job);
    }

    /// Has the listing thread do something, unless that waits already.
    pub(super) fn ask(&mut self, job: Job) {
        let same = |other: &Job| std::mem::discriminant(other) == std::mem::discriminant(&job);
        if !self.jobs.iter().any(same) {
            self.jobs.push_back(job);
        }
    }

    pub(super) fn read_results(&mut self, now: Timestamp) {
        while let Ok(written) = self.hands.written.try_recv() {
            self.handed_on = self.handed_on.saturating_sub(1);
            self.take_written(written, now);
        }
        for found in self.hands.found.try_iter().take(TURN) {
            match found {
                Found::Sessions(sessions) => {
                    for delta in sessions {
                        self.node.dumped(now, delta, &mut self.out);
                    }
                }
                Found::End { complete } => self.node.dump_end(now, complete, &mut self.out),
                Found::Forgotten(standing) => self.forgotten = Some(standing),
                Found::Windowless(left) => {
                    let standby = self.hands.standby.load(Ordering::Acquire);
                    let again = !standby && left.is_none_or(|left| left > 0);
                    self.believe_at = again.then(|| now.after(SETTLED * 6));
                }
                Found::Rules(table, switches) if Some(switches) == self.table => {
                    self.table_changes = false;
                    self.node.set_policy(now, table.keyspace, table.rules, &mut self.out);
                }
                // There is a later one already.
                Found::Rules(..) => {}
            }
        }
    }

    /// Writes, or has the other thread write.
    pub(super) fn write(&mut self, batch: u64, writes: Vec<Write>) {
        if !self.writes_itself(&writes) {
            self.to_write.push_back((batch, writes));
            return;
        }
        let written = self.pen.write(batch, &writes);
        self.take_written(written, now());
    }

    /// Only where nothing is overtaken, and on a node that stands by: the kernel may be busy for
    /// longer, and nobody waits for the heartbeats of such a node.
    fn writes_itself(&self, writes: &[Write]) -> bool {
        let idle = self.handed_on == 0 && self.to_write.is_empty();
        let looks = writes.iter().any(|write| write.op == WriteOp::DeleteIdle);
        let standby = self.hands.standby.load(Ordering::Acquire);
        idle && writes.len() <= FEW && !looks && standby
    }

    /// Takes in what became of a batch.
    pub(super) fn take_written(&mut self, written: Written, now: Timestamp) {
        let policy = self.surroundings.published.load();
        for entry in written.alive {
            // As if a notification had told of the packets that it has.
            let event = conntrack::Event::Session { kind: Kind::Update, port: 0, entry };
            if let Some(event) = kernel_event(event, &self.filter, &policy.policy) {
                self.node.kernel_event(now, event, &mut self.out);
            }
        }
        self.node.written(now, written.batch, written.results, &mut self.out);
    }

    /// Hands on what the other thread has room for.
    fn hand_on_writes(&mut self) {
        while let Some(writes) = self.to_write.pop_front() {
            match self.hands.writes.try_send(writes) {
                Ok(()) => self.handed_on += 1,
                Err(TrySendError::Full(writes)) => {
                    self.to_write.push_front(writes);
                    return;
                }
                // That thread has ended, and with it everything here soon.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }
}
