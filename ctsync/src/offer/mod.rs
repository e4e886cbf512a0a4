//! The policy of the pair: each node tells which policy was confirmed last on it, and the one that
//! has an older one fetches the text of the other's.
//!
//! ```text
//!   confirmed here ──► have ───────────────► newer than ours? ──► fetch ──► Delivery
//!                      ◄── ask, 32 parts ◄──                        │ digest
//!                      ──► parts ─────────►                         ▼
//!   verdict of the peer ◄────────────────── have ◄───────────── decided
//! ```
//!
//! - The order is that of [`PolicyVersion`]: the later confirmation wins. A node never offers what
//!   it took as something newer, so nothing goes back and forth.
//! - Who lacks something asks for it, so cuts and restarts need nothing of their own: a fetch goes
//!   on where it was as long as the peer has the same version. Lost questions are repeated.
//! - One offer at a time: the next one is fetched when the last one is decided.
//! - What a node has is repeated until the peer says that it has heard it.
//!
//! Goes in: this node's policy, verdicts, messages of the peer, the time. Comes out: packets to be
//! sealed, a [`Delivery`]. Not here: what a policy says, and whether it is loaded.

mod fetch;

pub use crate::wire::{LATEST, Outcome, PolicyDigest, PolicyVersion, Verdict};

use crate::model::BootId;
use crate::time::Timestamp;
use crate::wire::{Have, OfferMessage, PART, PARTS, shortened};
use blake2::{Blake2s256, Digest};
use fetch::{Fetch, Finished};
use std::sync::Arc;
use std::time::Duration;

/// What a node has is told again after this time, doubled with each attempt.
const TELL_AFTER: Duration = Duration::from_millis(50);
const TELL_DOUBLINGS: u32 = 3;
/// A peer that says nothing of its policy for so long has none to offer.
const SAYS_NOTHING: Duration = Duration::from_secs(2);

/// How offers behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferConfig {
    /// The longest text that is sent or taken, in bytes.
    pub longest: u64,
    /// Parts of 1,024 bytes that are asked for in a second; at most twice as many are sent.
    pub rate: u32,
}

impl Default for OfferConfig {
    /// 64 MiB, and 10 MB a second.
    fn default() -> Self {
        Self { longest: 64 << 20, rate: 10_000 }
    }
}

/// What this node has.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// The last policy that was confirmed; `None` if none ever was.
    pub version: Option<PolicyVersion>,
    /// Its text. [`digest`] of this is the version's.
    pub text: Arc<[u8]>,
    /// This node's count of policies that it has loaded.
    pub generation: u64,
    /// The policy's name.
    pub name: String,
    /// Whether another policy runs here, which isn't confirmed yet.
    pub trial: bool,
    /// The digest of the policy while it has no version.
    pub digest: Option<PolicyDigest>,
}

impl Local {
    /// Texts of the same version are the same.
    fn says_the_same(&self, other: &Self) -> bool {
        let said = |local: &Self| {
            let Self { version, text, generation, trial, digest, .. } = local;
            (*version, *digest, *generation, *trial, text.len())
        };
        said(self) == said(other) && self.name == other.name
    }
}

/// A policy of the peer that is newer than this node's. It has to be answered by
/// [`Offers::decided`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which one.
    pub version: PolicyVersion,
    /// Its name.
    pub name: String,
    /// Its text; `None` if it is the one that this node has, confirmed later.
    pub text: Option<Vec<u8>>,
}

/// What an operator is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferStatus {
    /// Whether the peer has said what it has.
    pub known: bool,
    /// The peer's version.
    pub version: Option<PolicyVersion>,
    /// The digest of its policy, whether anybody has confirmed that or not.
    pub digest: Option<PolicyDigest>,
    /// The peer's generation.
    pub generation: u64,
    /// The name of its policy.
    pub name: String,
    /// Whether it runs another one, which isn't confirmed yet.
    pub trial: bool,
    /// What became of the peer's policy here.
    pub ours: Option<Verdict>,
    /// What became of this node's policy there.
    pub theirs: Option<Verdict>,
    /// Bytes that are here, and how many there are, of the text that is being fetched.
    pub fetching: Option<(u64, u64)>,
    /// Messages of the peer that made no sense.
    pub odd: u64,
}

/// The state machine.
#[derive(Debug, Default)]
pub struct Offers {
    config: OfferConfig,
    local: Local,
    /// Which state of this node the peer was told last, whether it knows, and when it is told
    /// again.
    number: u64,
    heard: bool,
    tell_at: Timestamp,
    attempts: u32,
    boot: Option<BootId>,
    met: Timestamp,
    peer: Option<Have>,
    verdict: Option<Verdict>,
    fetch: Option<Fetch>,
    delivery: Option<Delivery>,
    /// What was handed out and isn't decided.
    undecided: Option<PolicyVersion>,
    slice: u64,
    sent: u32,
    odd: u64,
}

/// The digest of a text.
#[must_use]
pub fn digest(text: &[u8]) -> PolicyDigest {
    PolicyDigest(Blake2s256::digest(text).into())
}

/// The stamp of a policy that is confirmed at `now`, in milliseconds since 1970, by a node that
/// knows these others: later than all of them.
#[must_use]
pub fn stamp(now: u64, known: impl IntoIterator<Item = u64>) -> u64 {
    let next = known.into_iter().map(|stamp| stamp.saturating_add(1)).max().unwrap_or(0);
    next.max(now).clamp(1, LATEST)
}

impl Offers {
    /// One that knows of no policy yet.
    #[must_use]
    pub fn new(config: OfferConfig) -> Self {
        Self { config, number: 1, ..Self::default() }
    }

    /// The channel is up with this run of the peer's daemon.
    pub fn met(&mut self, now: Timestamp, boot: BootId) {
        if self.boot == Some(boot) {
            return;
        }
        (self.boot, self.met, self.peer) = (Some(boot), now, None);
        self.tell_soon(now);
    }

    /// This node has another policy, or says something else of it.
    pub fn set_local(&mut self, now: Timestamp, local: Local) {
        if self.local.says_the_same(&local) {
            return;
        }
        self.local = local;
        self.say_anew(now);
        self.consider(now);
    }

    /// What became of a [`Delivery`], or of the same offer later on.
    pub fn decided(&mut self, now: Timestamp, verdict: Verdict) {
        if self.undecided == Some(verdict.version) {
            self.undecided = None;
        }
        if self.verdict.as_ref() != Some(&verdict) {
            self.verdict = Some(verdict);
            self.say_anew(now);
        }
        self.consider(now);
    }

    /// The policy that has to be decided about, once.
    pub fn take(&mut self) -> Option<Delivery> {
        self.delivery.take()
    }

    /// Takes a plaintext in if it is about the policy; returns whether it is. What is to be sent
    /// is put into `out`.
    pub fn receive(
        &mut self,
        now: Timestamp,
        boot: BootId,
        plaintext: &[u8],
        out: &mut Vec<Vec<u8>>,
    ) -> bool {
        let message = match OfferMessage::read(plaintext) {
            Ok(None) => return false,
            Ok(Some(message)) if self.boot == Some(boot) => message,
            Ok(Some(_)) => return true,
            Err(_) => {
                self.odd = self.odd.saturating_add(1);
                return true;
            }
        };
        match message {
            OfferMessage::Have(have) => self.take_have(now, have, out),
            OfferMessage::Ask { digest, offset, wanted } => {
                self.answer(now, digest, offset, wanted, out);
            }
            OfferMessage::Part { digest, offset, bytes } => {
                self.take_part(now, digest, offset, bytes);
            }
        }
        true
    }

    /// When [`Self::poll`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.boot?;
        let tell = (!self.heard).then_some(self.tell_at);
        let ask = self.fetch.as_ref().map(Fetch::due);
        [tell, ask].into_iter().flatten().min()
    }

    /// Sends what is due.
    pub fn poll(&mut self, now: Timestamp, out: &mut Vec<Vec<u8>>) {
        if self.boot.is_none() {
            return;
        }
        if !self.heard && self.tell_at <= now {
            self.tell_at = now.after(TELL_AFTER * (1 << self.attempts.min(TELL_DOUBLINGS)));
            self.attempts = self.attempts.saturating_add(1);
            self.tell(out);
        }
        if let Some(fetch) = &mut self.fetch {
            out.extend(fetch.ask(now, self.config.rate).map(|ask| ask.to_packet()));
        }
    }

    /// Whether it is known that the peer has no newer policy, or what becomes of it.
    #[must_use]
    pub fn is_settled(&self, now: Timestamp) -> bool {
        let known = self.peer.is_some() || now.since(self.met) >= SAYS_NOTHING;
        let busy = self.fetch.is_some() || self.delivery.is_some() || self.undecided.is_some();
        self.boot.is_some() && known && !busy
    }

    /// The latest stamp that this node knows of.
    #[must_use]
    pub fn latest(&self) -> u64 {
        let theirs = self.peer.as_ref().and_then(|have| have.version);
        let verdict = self.verdict.as_ref().map(|verdict| verdict.version);
        let versions = [self.local.version, theirs, verdict];
        versions.into_iter().flatten().map(|version| version.stamp).max().unwrap_or(0)
    }

    /// What an operator is shown.
    #[must_use]
    pub fn status(&self) -> OfferStatus {
        let about = |verdict: &Option<Verdict>, version: Option<PolicyVersion>| {
            verdict.clone().filter(|verdict| Some(verdict.version) == version)
        };
        let fetching = self.fetch.as_ref().map(Fetch::progress);
        let Some(peer) = &self.peer else {
            return OfferStatus { fetching, odd: self.odd, ..OfferStatus::default() };
        };
        OfferStatus {
            known: true,
            version: peer.version,
            digest: peer.version.map(|version| version.digest).or(peer.digest),
            generation: peer.generation,
            name: peer.name.clone(),
            trial: peer.trial,
            ours: about(&self.verdict, peer.version),
            theirs: about(&peer.verdict, self.local.version),
            fetching,
            odd: self.odd,
        }
    }

    /// Bytes that a text on its way takes; this node's own isn't counted.
    #[must_use]
    pub fn memory(&self) -> usize {
        let delivery = self.delivery.as_ref().and_then(|delivery| delivery.text.as_ref());
        self.fetch.as_ref().map_or(0, Fetch::memory) + delivery.map_or(0, Vec::capacity)
    }

    fn take_have(&mut self, now: Timestamp, have: Have, out: &mut Vec<Vec<u8>>) {
        if self.peer.as_ref().is_some_and(|known| known.number > have.number) {
            return;
        }
        let (ask, heard) = (have.ask, have.heard);
        self.peer = Some(have);
        self.heard = heard == self.number;
        if ask {
            self.tell(out);
        }
        self.consider(now);
    }

    /// Says what this node has. The peer answers unless this node knows already that it knows.
    fn tell(&self, out: &mut Vec<Vec<u8>>) {
        let Local { version, text, generation, name, trial, digest } = &self.local;
        let size = text.len() as u64;
        let have = Have {
            ask: !self.heard,
            number: self.number,
            heard: self.peer.as_ref().map_or(0, |have| have.number),
            version: *version,
            size: if size <= self.config.longest { size } else { 0 },
            generation: *generation,
            name: shortened(name, crate::wire::LONGEST_NAME).to_owned(),
            verdict: self.verdict.clone(),
            trial: *trial,
            digest: digest.filter(|_| version.is_none()),
        };
        out.push(OfferMessage::Have(have).to_packet());
    }

    fn say_anew(&mut self, now: Timestamp) {
        self.number += 1;
        self.tell_soon(now);
    }

    fn tell_soon(&mut self, now: Timestamp) {
        (self.heard, self.attempts, self.tell_at) = (false, 0, now);
    }

    /// Fetches the peer's policy if it is newer and nothing is known against it.
    fn consider(&mut self, now: Timestamp) {
        let Some(peer) = &self.peer else { return };
        let newer = peer.version.filter(|theirs| Some(*theirs) > self.local.version);
        let known = |version: &PolicyVersion| {
            self.verdict.as_ref().is_some_and(|verdict| verdict.version == *version)
        };
        let wanted = newer.filter(|theirs| !known(theirs));
        if self.fetch.as_ref().is_some_and(|fetch| Some(fetch.version()) != wanted) {
            self.fetch = None;
        }
        // What was handed out is decided first.
        let (Some(version), None, None) = (wanted, &self.undecided, &self.fetch) else { return };
        if self.local.version.is_some_and(|ours| ours.digest == version.digest) {
            let name = peer.name.clone();
            return self.deliver(Delivery { version, name, text: None });
        }
        if peer.size == 0 || peer.size > self.config.longest {
            let reason = match peer.size {
                0 => "the peer cannot send its text: it is too long".to_owned(),
                size => format!("its text of {size} bytes is too long"),
            };
            let verdict = Verdict { version, outcome: Outcome::Refused, reason };
            return self.decided(now, verdict);
        }
        self.fetch = Some(Fetch::new(now, version, peer.size));
    }

    fn deliver(&mut self, delivery: Delivery) {
        self.undecided = Some(delivery.version);
        self.delivery = Some(delivery);
    }

    fn take_part(&mut self, now: Timestamp, digest: PolicyDigest, offset: u64, bytes: &[u8]) {
        let expected = self.fetch.as_ref().is_some_and(|fetch| fetch.version().digest == digest);
        let Some(fetch) = self.fetch.as_mut().filter(|_| expected) else { return };
        if !fetch.take(now, offset, bytes) {
            self.odd = self.odd.saturating_add(1);
        }
        if !fetch.is_whole() {
            return;
        }
        let Some(fetch) = self.fetch.take() else { return };
        let version = fetch.version();
        match fetch.finish(now) {
            Finished::Whole(text) => {
                let name = self.peer.as_ref().map_or_else(String::new, |have| have.name.clone());
                self.deliver(Delivery { version, name, text: Some(text) });
            }
            Finished::Again(again) => self.fetch = Some(*again),
            Finished::Hopeless => {
                let reason = "its text is not the one that was announced".to_owned();
                self.decided(now, Verdict { version, outcome: Outcome::Refused, reason });
            }
        }
    }

    /// Sends parts of this node's text, as many as its share of the link allows.
    fn answer(
        &mut self,
        now: Timestamp,
        digest: PolicyDigest,
        offset: u64,
        wanted: u32,
        out: &mut Vec<Vec<u8>>,
    ) {
        if self.local.version.is_none_or(|version| version.digest != digest) {
            return;
        }
        let slice = (now.since_origin().as_millis() / 10) as u64;
        if slice != self.slice {
            (self.slice, self.sent) = (slice, 0);
        }
        let most = (self.config.rate / 50).max(PARTS as u32);
        for part in (0..PARTS as u64).filter(|part| wanted >> part & 1 != 0) {
            let from = offset.saturating_add(part * PART as u64);
            let rest = usize::try_from(from).ok().and_then(|from| self.local.text.get(from..));
            let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { return };
            if self.sent >= most {
                return;
            }
            self.sent += 1;
            let bytes = rest.get(..PART).unwrap_or(rest);
            out.push(OfferMessage::Part { digest, offset: from, bytes }.to_packet());
        }
    }
}
