//! Why datagrams are refused, and how often.

/// Why a datagram is refused. `Display` words it for `sync status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// It has an impossible length, or a type that there isn't.
    #[error("not a datagram of this protocol")]
    Form,
    /// It is of another version of the format.
    #[error("another version of the format")]
    Version,
    /// It says that it is of the node that it came to, or of a third one.
    #[error("not from the configured peer")]
    Node,
    /// No known key authenticates it.
    #[error("authenticated by no known key")]
    Key,
    /// It answers no challenge that was made just now.
    #[error("an old or unknown cookie")]
    Cookie,
    /// It belongs to no handshake that is under way, or is not for this node's part in it.
    #[error("belongs to no handshake")]
    Unexpected,
    /// Too many handshakes within a short time.
    #[error("too many handshakes")]
    Busy,
    /// The handshake itself failed.
    #[error("the handshake failed")]
    Handshake,
    /// There is no session of its index.
    #[error("belongs to no session")]
    Session,
    /// It was taken already, or is too old to tell.
    #[error("a repetition")]
    Repeated,
    /// It can't be opened.
    #[error("can't be opened")]
    Seal,
    /// It was opened, and what was inside can't be read.
    #[error("malformed content")]
    Content,
}

impl Refusal {
    /// All of them, in the order of the counts.
    pub const ALL: [Self; 12] = [
        Self::Form,
        Self::Version,
        Self::Node,
        Self::Key,
        Self::Cookie,
        Self::Unexpected,
        Self::Busy,
        Self::Handshake,
        Self::Session,
        Self::Repeated,
        Self::Seal,
        Self::Content,
    ];
}

/// How often what was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    counts: [u64; Refusal::ALL.len()],
}

impl Refusals {
    /// Counts one.
    pub fn count(&mut self, refusal: Refusal) {
        if let Some(count) = self.counts.get_mut(refusal as usize) {
            *count += 1;
        }
    }

    /// How often it was for this reason.
    #[must_use]
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.counts.get(refusal as usize).copied().unwrap_or_default()
    }

    /// Reasons and counts, those that never happened left out.
    pub fn rows(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }
}
