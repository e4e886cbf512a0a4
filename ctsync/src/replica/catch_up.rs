//! A node that was relieved catches up: it may preempt again once it has what the peer did meanwhile.
//! It need not have noticed that it wasn't there: a process that stood still is relieved too.
//!
//! ```text
//!   relieved                      has taken over
//!     │ CatchUp                      │
//!     │ ───────────────────────────► │  sends the changes that wait
//!     │ ◄─────────────────────────── │  records
//!     │ ◄─────────────────────────── │  CaughtUp, once these were sent
//! ```
//!
//! All of it is in the stream, so what precedes the answer has arrived with it.

use super::{Output, Replica};
use crate::wire::Section;
use serde::{Deserialize, Serialize};

/// Questions, and their answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CatchUp {
    /// The number of this node's last question.
    asked: u32,
    /// Whether its answer is still to come.
    waits: bool,
    /// The peer's last question, and how many changes have to be sent before the answer.
    question: Option<(u32, u64)>,
}

impl CatchUp {
    /// The stream begins anew, and the nodes compare all they have.
    pub(super) fn restart(&mut self) {
        (self.waits, self.question) = (false, None);
    }

    pub(super) fn waits(&self) -> bool {
        self.waits
    }
}

impl Replica {
    /// This node forwarded and doesn't any more.
    pub(super) fn catch_up(&mut self) {
        if !self.is_populated() || self.peer.boot.is_none() {
            // They compare all they have when they meet.
            return;
        }
        self.catch_up.asked = self.catch_up.asked.wrapping_add(1);
        self.catch_up.waits = true;
        self.lack_something();
        self.tell(&Section::CatchUp(self.catch_up.asked));
    }

    pub(super) fn take_catch_up(&mut self, number: u32) {
        self.catch_up.question = Some((number, self.outbox.pushed()));
        self.answer_catch_up();
    }

    /// Answers the peer once it can be answered.
    pub(super) fn answer_catch_up(&mut self) {
        let (popped, complete) = (self.outbox.popped(), self.is_complete());
        let ready = self.catch_up.question.take_if(|(_, changes)| complete && popped >= *changes);
        if let Some((number, _)) = ready {
            self.tell(&Section::CaughtUp(number));
        }
    }

    pub(super) fn take_caught_up(&mut self, number: u32, out: &mut Vec<Output>) {
        if number == self.catch_up.asked {
            self.catch_up.waits = false;
            self.look_whether_complete(out);
        }
    }
}
