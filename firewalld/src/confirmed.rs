//! Which policy counts: the last one that an operator has confirmed on either node of a pair.
//!
//! Goes in: a policy's files, and when they were confirmed. Comes out: the text that a peer gets,
//! its digest and its version. Not here: who confirms, and what is sent.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use twinwall_control::SourceFile;
use twinwall_ctsync::offer::{self, PolicyDigest, PolicyVersion, Verdict};

/// The most files of a policy that comes from the peer.
const MAX_FILES: usize = 1_024;

/// When a policy was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Milliseconds since 1970, later than every stamp that was known then.
    pub at: u64,
    /// Whether it came from the peer.
    pub from_peer: bool,
}

impl Stamp {
    /// A confirmation on this node, now; later than these others.
    #[must_use]
    pub fn now(known: impl IntoIterator<Item = u64>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Self { at: offer::stamp(now, known), from_peer: false }
    }
}

/// The policy that counts.
#[derive(Clone, Debug)]
pub struct Confirmed {
    /// When it was confirmed; `None` if it was only found at a start.
    pub stamp: Option<Stamp>,
    /// Its name.
    pub name: Arc<str>,
    /// Its text as a peer gets it.
    pub text: Arc<[u8]>,
    /// Of the text.
    pub digest: PolicyDigest,
}

impl Confirmed {
    /// Takes about 3 ms a megabyte.
    #[must_use]
    pub fn new(files: &[SourceFile], name: &Arc<str>, stamp: Option<Stamp>) -> Self {
        let text: Arc<[u8]> = encode(files).into();
        let digest = offer::digest(&text);
        Self { stamp, name: Arc::clone(name), text, digest }
    }

    /// Its place in the order of policies; `None` for one that nobody has confirmed.
    #[must_use]
    pub fn version(&self) -> Option<PolicyVersion> {
        Some(PolicyVersion { stamp: self.stamp?.at, digest: self.digest })
    }
}

/// A policy of the peer, and what becomes of it here.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Its version, and what became of it.
    pub verdict: Verdict,
    /// Its name.
    pub name: String,
    /// Its files, as long as they may still be taken.
    pub files: Option<Vec<SourceFile>>,
}

/// Until when a policy waits for its confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(time).unwrap_or(now))
    }

    /// What is left; zero when it is over.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// A policy's files in one piece.
pub(crate) fn encode(files: &[SourceFile]) -> Vec<u8> {
    // Strings only: that can't fail.
    serde_json::to_vec(files).unwrap_or_default()
}

/// The files again.
///
/// # Errors
/// When the bytes aren't a policy's files, or are too many of them.
pub fn decode(text: &[u8]) -> Result<Vec<SourceFile>, String> {
    let files: Vec<SourceFile> = serde_json::from_slice(text)
        .map_err(|error| format!("cannot read the policy that the peer has sent: {error}"))?;
    match files.len() {
        1..=MAX_FILES => Ok(files),
        count => Err(format!("the policy that the peer has sent has {count} files")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile { path: "policy.yaml".into(), text: text.into() }
    }

    #[test]
    fn files_come_back_as_they_were() {
        let files = [file("name: \"wän\"\n"), file("")];
        let confirmed = Confirmed::new(&files, &Arc::from("edge"), None);
        assert_eq!(decode(&confirmed.text).unwrap(), files);
        assert_eq!(confirmed.version(), None);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let many = vec![file(""); MAX_FILES + 1];
        let many = Confirmed::new(&many, &Arc::from("edge"), None);
        for text in [&b"[]"[..], b"", b"{}", b"[1]", b"[{\"path\":\"\"}]", &many.text] {
            assert!(decode(text).is_err());
        }
    }

    #[test]
    fn a_confirmation_is_later_than_every_other_that_is_known() {
        let ahead = 1 << 45;
        assert_eq!(Stamp::now([ahead]).at, ahead + 1);
        assert!(Stamp::now([5]).at > 1_700_000_000_000);
    }
}
