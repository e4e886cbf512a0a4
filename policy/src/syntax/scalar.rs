//! The words of the policy language.

pub(crate) use crate::form::scalar::{
    Word, Words, decimal, name, number, one_or_more, shorten, word,
};
use crate::ruleset::{Action, OnChange, QueueFailure};

/// Words for `action`.
pub(crate) const ACTIONS: Words<Action> = Words {
    of: "an action",
    known: &[("accept", Action::Accept), ("drop", Action::Drop), ("reject", Action::Reject)],
    others: &[
        ("allow", "accept"),
        ("permit", "accept"),
        ("pass", "accept"),
        ("deny", "drop"),
        ("block", "drop"),
        ("discard", "drop"),
    ],
};
/// Words for `log`.
pub(crate) const LOG: Words<bool> = Words {
    of: "a value of `log`",
    known: &[("true", true), ("false", false), ("start", true)],
    others: &[("yes", "true"), ("on", "true"), ("no", "false"), ("off", "false")],
};
/// Words for `on_change`.
pub(crate) const ON_CHANGE: Words<OnChange> = Words {
    of: "a value of `on_change`",
    known: &[
        ("rematch", OnChange::Rematch),
        ("keep", OnChange::Keep),
        ("terminate", OnChange::Terminate),
    ],
    others: &[],
};
/// Words for `queue_failure`.
pub(crate) const QUEUE_FAILURE: Words<QueueFailure> = Words {
    of: "a value of `queue_failure`",
    known: &[("closed", QueueFailure::Closed), ("open", QueueFailure::Open)],
    others: &[("drop", "closed"), ("accept", "open"), ("bypass", "open")],
};
