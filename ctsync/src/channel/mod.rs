//! The sealed channel: datagrams that only the peer can have written, each taken once.
//!
//! ```text
//!   lower node id                                 higher node id
//!        │ Knock      index, nonce, MAC                 │
//!        │ ───────────────────────────────────────────► │  hash only, nothing is kept
//!        │ Challenge  cookie, MAC                       │
//!        │ ◄─────────────────────────────────────────── │
//!        │ Init       cookie, Noise message 1, MAC      │
//!        │ ───────────────────────────────────────────► │  Diffie-Hellman, once a cookie
//!        │ Response   Noise message 2, MAC              │
//!        │ ◄─────────────────────────────────────────── │
//!        │ Data       index, counter, sealed            │
//!        │ ◄──────────────────────────────────────────► │
//! ```
//!
//! The handshake is `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s` (by the crate snow): both nodes prove
//! that they know the pre-shared key, and what was recorded can't be opened with it later.
//! Its messages carry a [`Greeting`] each.
//!
//! What wrong bytes cost: length and type first, then a keyed hash; a Diffie-Hellman calculation
//! only for who knows the key and answers a challenge that was made just now. Data is looked at
//! only under the index of a living session and with a counter that wasn't taken yet.
//!
//! Keys are renewed by a new handshake beside the old session, after a time and a number of
//! datagrams, and when the pre-shared key changes. The old session is still listened to for a
//! while, so nothing is lost.
//!
//! Goes in: datagrams, plaintext, the time, pre-shared keys, 32 random bytes at the start. Comes
//! out: datagrams, plaintext, greetings. Not here: what the plaintext means.

mod entropy;
mod handshake;
mod header;
mod keys;
mod refusal;
mod session;
mod window;

pub use header::{DATA, HANDSHAKES};
pub use keys::{Key, KeyRing, KeyRingError};
pub use refusal::{Refusal, Refusals};

use crate::model::{BootId, NodeId};
use crate::store::DigestKey;
use crate::time::Timestamp;
use crate::wire::{Malformed, Reader, Writer};
use entropy::Entropy;
use handshake::{Initiator, Responder};
use header::Header;
use serde::{Deserialize, Serialize};
use session::{Session, Sessions};
use std::time::Duration;

/// What a datagram takes besides its plaintext.
pub const OVERHEAD: usize = header::DATA_LEN + 16;

/// The longest plaintext that is sealed or opened.
pub const MAX_PLAINTEXT: usize = 8 * 1024;

/// The version of the handshake and of the wire format. Nodes of different versions don't talk;
/// within a version, unknown sections and fields are skipped.
pub const FORMAT: u8 = 1;

/// How the channel behaves.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// This node.
    pub node: NodeId,
    /// The other one.
    pub peer: NodeId,
    /// Keys are renewed after this time.
    pub renew_after: Duration,
    /// Keys are renewed after so many datagrams.
    pub renew_after_datagrams: u64,
    /// An old session is listened to for so long.
    pub retire_after: Duration,
    /// A handshake is begun, and begun again, when nothing was heard for so long.
    pub knock_every: Duration,
}

impl ChannelConfig {
    /// Keys are renewed after 2 minutes or 2^32 datagrams, old ones live on for 10 s, and the peer
    /// is knocked at 40 times a second.
    #[must_use]
    pub const fn new(node: NodeId, peer: NodeId) -> Self {
        Self {
            node,
            peer,
            renew_after: Duration::from_secs(120),
            renew_after_datagrams: 1 << 32,
            retire_after: Duration::from_secs(10),
            knock_every: Duration::from_millis(25),
        }
    }
}

/// What each node says of itself in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The node.
    pub node: NodeId,
    /// This run of its daemon.
    pub boot: BootId,
    /// Whether it has more than what its kernel had at its start.
    pub met: bool,
    /// The key that it hashes sessions with.
    pub digest_key: DigestKey,
    /// The digest of its key table.
    pub keyspace: u128,
}

/// What the channel wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelOutput {
    /// Send this datagram.
    Send(Vec<u8>),
    /// There is a session with new keys, and this was said in its handshake.
    Up(Greeting),
}

/// Plaintext of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The run of the peer's daemon that wrote it.
    pub boot: BootId,
    /// The plaintext.
    pub plaintext: Vec<u8>,
}

/// A channel to the peer.
#[derive(Debug)]
pub struct Channel {
    config: ChannelConfig,
    keys: KeyRing,
    greeting: Greeting,
    entropy: Entropy,
    sessions: Sessions,
    side: Side,
    heard: Option<Timestamp>,
    refusals: Refusals,
}

/// Who begins handshakes is fixed, so that two never cross.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a channel")]
enum Side {
    Initiator(Initiator),
    Responder(Responder),
}

impl Channel {
    /// A channel that isn't open yet. `seed` has to be random and used only once.
    #[must_use]
    pub fn new(config: ChannelConfig, keys: KeyRing, greeting: Greeting, seed: [u8; 32]) -> Self {
        let mut entropy = Entropy::new(seed);
        let side = if config.node < config.peer {
            Side::Initiator(Initiator::default())
        } else {
            Side::Responder(Responder::new(entropy.bytes()))
        };
        Self {
            config,
            keys,
            greeting,
            entropy,
            sessions: Sessions::default(),
            side,
            heard: None,
            refusals: Refusals::default(),
        }
    }

    /// Whether there is a session to seal with.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.sessions.current().is_some()
    }

    /// What was refused, by reason.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What this node says of itself in handshakes from now on.
    pub fn set_greeting(&mut self, greeting: Greeting) {
        self.greeting = greeting;
    }

    /// Other pre-shared keys. The session goes on; if its key isn't the first any more, a new
    /// handshake follows.
    pub fn set_keys(&mut self, keys: KeyRing) {
        self.keys = keys;
    }

    /// Seals plaintext; `None` if there is no session, or it is too long.
    pub fn seal(&mut self, plaintext: &[u8]) -> Option<Vec<u8>> {
        if plaintext.len() > MAX_PLAINTEXT {
            return None;
        }
        self.sessions.current_mut()?.seal(plaintext)
    }

    /// Takes a datagram in.
    ///
    /// # Errors
    /// When it is refused; it is counted already.
    pub fn receive(
        &mut self,
        now: Timestamp,
        datagram: &[u8],
        out: &mut Vec<ChannelOutput>,
    ) -> Result<Option<Opened>, Refusal> {
        let taken = self.take(now, datagram, out);
        if let Err(refusal) = &taken {
            self.refusals.count(*refusal);
        }
        taken
    }

    /// The sessions whose datagrams are opened: the index that these name, and the counter behind
    /// the highest one that was taken. At most 3.
    pub fn living(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.sessions.living()
    }

    /// When [`Self::poll`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let Side::Initiator(initiator) = &self.side else { return None };
        let knock =
            initiator.last_knock().map_or(Timestamp::ZERO, |at| at.after(self.config.knock_every));
        Some(match (self.sessions.current(), self.heard) {
            (Some(session), Some(heard)) => {
                let silent = heard.after(self.config.knock_every);
                let due = silent.min(session.since().after(self.config.renew_after));
                if self.is_stale(session) { knock } else { due.max(knock) }
            }
            _ => knock,
        })
    }

    /// Does what the time asks for. To call it early does nothing.
    pub fn poll(&mut self, now: Timestamp, out: &mut Vec<ChannelOutput>) {
        self.sessions.retire(now);
        let due = self.next_deadline().is_some_and(|due| due <= now);
        let Side::Initiator(initiator) = &mut self.side else { return };
        if due {
            let knock = initiator.knock(now, &self.config, &self.keys, &mut self.entropy);
            out.push(ChannelOutput::Send(knock));
        }
    }

    fn is_stale(&self, session: &Session) -> bool {
        session.sent() >= self.config.renew_after_datagrams || !self.keys.is_first(session.key())
    }

    fn take(
        &mut self,
        now: Timestamp,
        datagram: &[u8],
        out: &mut Vec<ChannelOutput>,
    ) -> Result<Option<Opened>, Refusal> {
        let header = Header::read(datagram)?;
        match (&mut self.side, header) {
            (_, Header::Data { index, counter, sealed }) => {
                let (opened, confirmed) =
                    self.sessions.open(now, index, counter, sealed, self.config.retire_after)?;
                self.heard = Some(now);
                out.extend(confirmed.map(ChannelOutput::Up));
                Ok(Some(opened))
            }
            (Side::Responder(responder), Header::Knock(knock)) => {
                let answer = responder.challenge(now, &knock, &self.config, &self.keys)?;
                out.push(ChannelOutput::Send(answer));
                Ok(None)
            }
            (Side::Responder(responder), Header::Init(init)) => {
                let mut by = handshake::Context {
                    now,
                    config: &self.config,
                    greeting: &self.greeting,
                    entropy: &mut self.entropy,
                };
                let (session, answer) = responder.respond(&init, &self.keys, &mut by)?;
                self.sessions.add(session, now, self.config.retire_after);
                out.push(ChannelOutput::Send(answer));
                Ok(None)
            }
            (Side::Initiator(initiator), Header::Challenge(challenge)) => {
                let mut by = handshake::Context {
                    now,
                    config: &self.config,
                    greeting: &self.greeting,
                    entropy: &mut self.entropy,
                };
                let init = initiator.init(&challenge, &mut by)?;
                out.push(ChannelOutput::Send(init));
                Ok(None)
            }
            (Side::Initiator(initiator), Header::Response(response)) => {
                let session = initiator.finish(now, &response, &self.config)?;
                self.heard = Some(now);
                out.push(ChannelOutput::Up(*session.greeting()));
                self.sessions.add(session, now, self.config.retire_after);
                Ok(None)
            }
            _ => Err(Refusal::Unexpected),
        }
    }
}

impl Greeting {
    fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.put(&self.node.0.to_le_bytes());
        writer.put(&self.boot.0.to_le_bytes());
        writer.u8(self.met.into());
        self.digest_key.iter().for_each(|half| writer.put(&half.to_le_bytes()));
        writer.put(&self.keyspace.to_le_bytes());
        writer.finish()
    }

    /// What follows is of a later version, and skipped.
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut half = || reader.array("a greeting");
        let node = {
            let bytes: [u8; 4] = half()?;
            NodeId(u32::from_le_bytes(bytes))
        };
        let boot = BootId(u64::from_le_bytes(reader.array("a greeting")?));
        let met = reader.u8("a greeting")? & 1 != 0;
        let digest_key = [
            u64::from_le_bytes(reader.array("a greeting")?),
            u64::from_le_bytes(reader.array("a greeting")?),
        ];
        let keyspace = u128::from_le_bytes(reader.array("a greeting")?);
        Ok(Self { node, boot, met, digest_key, keyspace })
    }
}

#[cfg(test)]
mod tests;
