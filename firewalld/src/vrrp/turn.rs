//! What waits for changes of addresses, in the order in which it was asked for.
//!
//! Goes in: batches of changes, and what is to be done after them. Comes out: batches for the
//! thread that does them, and then what has waited. Not here: doing it ([`super::duty`]).

use super::placement::{Changes, Placer};
use std::collections::{BTreeSet, VecDeque};
use twinwall_vrrp::action::{Action, Output};
use twinwall_vrrp::types::GroupId;

/// What may wait. When that is more, the kernel is so slow that nothing goes on before it is done.
const MOST: usize = 1_024;

/// The queue. Of the same adverts and announcements one is kept.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The groups whose addresses are being changed.
    changing: BTreeSet<GroupId>,
    waiting: VecDeque<Work>,
}

#[derive(Debug)]
enum Work {
    Change(Changes, BTreeSet<GroupId>),
    Do(Output),
}

impl Turn {
    /// Whether something of a group waits, or its addresses are being changed.
    pub(super) fn concerns(&self, group: GroupId) -> bool {
        self.changing.contains(&group)
            || self.waiting.iter().any(|work| match work {
                Work::Change(_, groups) => groups.contains(&group),
                Work::Do(output) => output.router.group == group,
            })
    }

    /// Whether anything waits or is under way.
    pub(super) fn is_waiting(&self, placer: &Placer) -> bool {
        placer.is_busy() || !self.waiting.is_empty()
    }

    /// Whether so much waits that it has to be waited for.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    /// Changes of addresses of these groups are to be done.
    pub(super) fn push(&mut self, changes: Changes, groups: BTreeSet<GroupId>) {
        self.waiting.push_back(Work::Change(changes, groups));
    }

    /// This is to be done after that.
    pub(super) fn wait(&mut self, output: Output) {
        let same = |work: &Work| matches!(work, Work::Do(other) if *other == output);
        let again = matches!(output.action, Action::SendAdvert { .. } | Action::Announce);
        if !(again && self.waiting.iter().any(same)) {
            self.waiting.push_back(Work::Do(output));
        }
    }

    /// Begins the next batch, if it is its turn.
    pub(super) fn begin(&mut self, placer: &mut Placer) {
        if placer.is_busy() {
            return;
        }
        self.changing.clear();
        let change = self.waiting.pop_front_if(|work| matches!(work, Work::Change(..)));
        if let Some(Work::Change(changes, groups)) = change {
            self.changing = groups;
            placer.begin(changes);
        }
    }

    /// The next thing to be done, if no batch comes before it.
    pub(super) fn next(&mut self, placer: &Placer) -> Option<Output> {
        if placer.is_busy() {
            return None;
        }
        match self.waiting.pop_front_if(|work| matches!(work, Work::Do(_)))? {
            Work::Do(output) => Some(output),
            Work::Change(..) => None,
        }
    }

    /// A group can't be active after all: its adverts and announcements aren't sent.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.waiting.retain(|work| match work {
            Work::Do(output) => {
                output.router.group != group || matches!(output.action, Action::Event(_))
            }
            Work::Change(..) => true,
        });
    }
}
