//! What can be asked of the kernel's sessions and expectations, and what becomes of it.
//!
//! Goes in: a request, and the errors that its messages met. Comes out: its messages, and its
//! outcome or the next try. Not here: sending, layouts.

use super::encode::{self, Field};
use super::entry::Entry;
use super::expectation::Expectation;
use super::session::Status;
use super::tuple::Tuple;
use crate::wire;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Make a session, with its translation, helper and master; if there is one already, change
    /// it as [`Request::Update`] does. Its master has to be there before.
    Put(&'a Entry),
    /// Change a session: what the entry says of timeout, mark, labels, protocol, sequence
    /// adjustment, SYN proxy, and of the status `SEEN_REPLY` and `ASSURED`, which are only ever
    /// set, as is `BE_LIBERAL`. Translation, helper and master stay.
    Update(&'a Entry),
    /// End a session, if there is one, and make it anew. Only for a node that doesn't forward it:
    /// a packet between the two would begin a session of its own. A TCP session that this node
    /// has carried [has windows](super::TcpInfo::has_windows), and when its packets have gone
    /// elsewhere meanwhile these are old: the kernel would take all that comes for invalid, and
    /// nothing else makes it forget them. The session's expectations end with it.
    Renew(&'a Entry),
    /// Hold a TCP session's packets against its windows (off), or not (on).
    Liberal {
        /// The session's original direction.
        original: &'a Tuple,
        /// Its conntrack zone.
        zone: u16,
        /// Whether `BE_LIBERAL` is to be set or cleared on both ends.
        on: bool,
    },
    /// Set the time that is left.
    Timeout {
        /// The session's original direction.
        original: &'a Tuple,
        /// Its conntrack zone.
        zone: u16,
        /// Seconds from now.
        seconds: u32,
    },
    /// End a session.
    Delete {
        /// The session's original direction.
        original: &'a Tuple,
        /// Its conntrack zone.
        zone: u16,
        /// Only if it has this id, which is that of this kernel.
        id: Option<u32>,
    },
    /// Make an expectation, or if there is one already, set the time that it has left. Its master
    /// has to be there before.
    Expect(&'a Expectation),
    /// End an expectation.
    Unexpect {
        /// What is expected.
        tuple: &'a Tuple,
        /// The master's conntrack zone.
        zone: u16,
        /// Only if it has this id, which is that of this kernel.
        id: Option<u32>,
    },
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session or expectation is new.
    Created,
    /// It was there and is changed.
    Updated,
    /// It is changed, but for its labels: it began while no rule of the ruleset set labels, and so
    /// has no room for them.
    NoRoomForLabels,
    /// It was there and is ended.
    Deleted,
    /// It isn't there, or it has another id.
    Missing,
    /// Its master isn't there, so it isn't made.
    NoMaster,
    /// Another session has its translated addresses and ports, so it isn't made.
    Clash,
    /// Nothing was asked of the kernel: it would have refused, or made something else of it.
    Incomplete(Field),
    /// The kernel refused with this errno. `ENOMEM`: the table is full, or memory is.
    /// `EOPNOTSUPP`: there is no such helper.
    Refused(i32),
}

/// A request of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) step: Step,
    pub(super) outcome: Option<Outcome>,
    /// The errors of the request's first and second message in this round; 0 for none.
    pub(super) errors: [i32; 2],
}

/// The next try of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// As it was asked for.
    First,
    /// A put or an update as an update, with this status.
    Change(Option<Status>),
}

/// What is to be done after a try.
pub(super) enum Verdict<'a> {
    Done(Outcome),
    Again(Step),
    /// Look the session up, and try again with what is found.
    Look(&'a Entry),
}

impl<'a> Request<'a> {
    /// Two requests with different identities can be carried out in any order, but for a master
    /// and what it expects.
    pub(super) fn identity(&self) -> (bool, &Tuple, u16) {
        match self {
            Self::Put(entry) | Self::Update(entry) | Self::Renew(entry) => {
                (false, &entry.original, entry.zone)
            }
            Self::Liberal { original, zone, .. }
            | Self::Timeout { original, zone, .. }
            | Self::Delete { original, zone, .. } => (false, original, *zone),
            Self::Expect(expectation) => (true, &expectation.tuple, expectation.zone),
            Self::Unexpect { tuple, zone, .. } => (true, tuple, *zone),
        }
    }

    pub(super) fn complete(&self) -> Result<(), Field> {
        match self {
            Self::Put(entry) | Self::Renew(entry) => entry.complete(),
            Self::Update(entry) => entry.consistent(),
            Self::Expect(expectation) => expectation.complete(),
            Self::Liberal { .. }
            | Self::Timeout { .. }
            | Self::Delete { .. }
            | Self::Unexpect { .. } => Ok(()),
        }
    }

    pub(super) fn encode(&self, step: Step, w: &mut wire::Writer, seq: &mut dyn FnMut() -> u32) {
        match (self, step) {
            (Self::Put(entry) | Self::Update(entry), Step::Change(status)) => {
                encode::update(w, entry, status, seq());
            }
            (Self::Put(entry), _) => encode::create(w, entry, seq()),
            (Self::Update(entry), _) => {
                encode::update(w, entry, encode::status_to_set(entry), seq());
            }
            (Self::Renew(entry), _) => {
                encode::delete(w, &entry.original, entry.zone, None, seq());
                encode::create(w, entry, seq());
            }
            (Self::Liberal { original, zone, on }, _) => {
                encode::liberal(w, original, *zone, *on, seq());
            }
            (Self::Timeout { original, zone, seconds }, _) => {
                encode::timeout(w, original, *zone, *seconds, seq());
            }
            (Self::Delete { original, zone, id }, _) => {
                encode::delete(w, original, *zone, *id, seq());
            }
            (Self::Expect(expectation), _) => {
                encode::expect(w, expectation, seq());
                if let Some(seconds) = expectation.timeout {
                    encode::prolong(w, expectation, seconds, seq());
                }
            }
            (Self::Unexpect { tuple, zone, id }, _) => {
                encode::unexpect(w, tuple, *zone, *id, seq());
            }
        }
    }

    pub(super) fn judge(&self, slot: &Slot) -> Verdict<'a> {
        let [first, second] = slot.errors;
        match (*self, slot.step, first) {
            (Self::Put(entry), Step::First, errno) => match errno {
                libc::EEXIST => Verdict::Again(Step::Change(encode::status_to_set(entry))),
                errno => Verdict::Done(made(errno, entry.master.is_some())),
            },
            // It ended in between, or the create met another session that has its reply
            // direction: then this goes round until there are no more rounds.
            (Self::Put(_), Step::Change(_), libc::ENOENT) => Verdict::Again(Step::First),
            (Self::Put(entry) | Self::Update(entry), _, errno) => changed(entry, slot.step, errno),
            (Self::Renew(entry), _, _) => match second {
                libc::EEXIST => Verdict::Again(Step::First),
                errno => Verdict::Done(made(errno, entry.master.is_some())),
            },
            (Self::Expect(_), _, libc::EEXIST) => match second {
                0 => Verdict::Done(Outcome::Updated),
                libc::ENOENT | libc::ETIME => Verdict::Again(Step::First),
                errno => Verdict::Done(Outcome::Refused(errno)),
            },
            (Self::Expect(_), _, errno) => Verdict::Done(made(errno, true)),
            (Self::Liberal { .. } | Self::Timeout { .. }, _, errno) => {
                Verdict::Done(found(errno, Outcome::Updated))
            }
            (Self::Delete { .. } | Self::Unexpect { .. }, _, errno) => {
                Verdict::Done(found(errno, Outcome::Deleted))
            }
        }
    }
}

fn made(errno: i32, has_master: bool) -> Outcome {
    match errno {
        0 => Outcome::Created,
        libc::ENOENT if has_master => Outcome::NoMaster,
        errno => Outcome::Refused(errno),
    }
}

fn found(errno: i32, done: Outcome) -> Outcome {
    match errno {
        0 => done,
        libc::ENOENT => Outcome::Missing,
        errno => Outcome::Refused(errno),
    }
}

fn changed(entry: &Entry, step: Step, errno: i32) -> Verdict<'_> {
    match errno {
        // The status comes before all but the timeout, so nothing else has been changed yet.
        libc::EBUSY if step != Step::Change(None) => Verdict::Look(entry),
        // The labels come last, so everything else has been changed.
        libc::ENOSPC if entry.labels == Some(0) => Verdict::Done(Outcome::Updated),
        libc::ENOSPC if entry.labels.is_some() => Verdict::Done(Outcome::NoRoomForLabels),
        errno => Verdict::Done(found(errno, Outcome::Updated)),
    }
}
