//! The handshake, from both sides.

use super::entropy::Entropy;
use super::header::{
    Challenge, Init, Knock, Response, write_challenge, write_init, write_knock, write_response,
};
use super::keys::{Key, KeyRing, mac128};
use super::refusal::Refusal;
use super::session::Session;
use super::window::Window;
use super::{ChannelConfig, Greeting};
use crate::time::Timestamp;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use std::fmt;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"twinwall ctsync 1";
/// Room for a Noise message with a greeting.
const NOISE_ROOM: usize = 512;

/// So many challenges and Diffie-Hellman calculations within a second, at most.
const CHALLENGES_A_SECOND: u32 = 500;
const HANDSHAKES_A_SECOND: u32 = 20;

/// What a handshake needs besides its own state.
pub(super) struct Context<'a> {
    pub(super) now: Timestamp,
    pub(super) config: &'a ChannelConfig,
    pub(super) greeting: &'a Greeting,
    pub(super) entropy: &'a mut Entropy,
}

/// The node that begins.
#[derive(Debug, Default)]
pub(super) struct Initiator {
    attempt: Option<Attempt>,
    last_knock: Option<Timestamp>,
    attempts: usize,
}

/// A handshake under way.
struct Attempt {
    index: u32,
    nonce: [u8; 16],
    key: Key,
    /// Once there was a challenge.
    noise: Option<HandshakeState>,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempt({:x}, {})", self.index, self.noise.is_some())
    }
}

impl Initiator {
    pub(super) fn last_knock(&self) -> Option<Timestamp> {
        self.last_knock
    }

    pub(super) fn knock(
        &mut self,
        now: Timestamp,
        config: &ChannelConfig,
        keys: &KeyRing,
        entropy: &mut Entropy,
    ) -> Vec<u8> {
        self.last_knock = Some(now);
        let Some(key) = keys.nth(self.attempts) else { return Vec::new() };
        self.attempts += 1;
        let index = entropy.number();
        let [nonce, _] = halves(entropy.bytes());
        let knock = signed(write_knock(config.node.0, index, nonce), key, &[]);
        self.attempt = Some(Attempt { index, nonce, key: key.clone(), noise: None });
        knock
    }

    pub(super) fn init(
        &mut self,
        challenge: &Challenge<'_>,
        by: &mut Context<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.index == challenge.index);
        let attempt = attempt.ok_or(Refusal::Unexpected)?;
        let signed_by = [challenge.signed.bytes, &attempt.nonce];
        if !attempt.key.verify(&signed_by, &challenge.signed.mac) {
            return Err(Refusal::Key);
        }
        if attempt.noise.is_some() {
            return Err(Refusal::Unexpected);
        }
        let mut noise = build(&attempt.key, true, by.entropy)?;
        let message = write(&mut noise, by.greeting)?;
        attempt.noise = Some(noise);
        let init = write_init(attempt.index, attempt.nonce, challenge.cookie, &message);
        Ok(signed(init, &attempt.key, &[]))
    }

    pub(super) fn finish(
        &mut self,
        now: Timestamp,
        response: &Response<'_>,
        config: &ChannelConfig,
    ) -> Result<Session, Refusal> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.index == response.index);
        let attempt = attempt.ok_or(Refusal::Unexpected)?;
        if !attempt.key.verify(&[response.signed.bytes, &attempt.nonce], &response.signed.mac) {
            return Err(Refusal::Key);
        }
        // A Noise state that has failed is of no use any more; the next knock begins anew.
        let mut noise = attempt.noise.take().ok_or(Refusal::Unexpected)?;
        let key = attempt.key.clone();
        let index = attempt.index;
        self.attempt = None;
        let greeting = read(&mut noise, response.noise, config)?;
        let session = session(noise, (index, response.own), (key, greeting), now, true)?;
        self.attempts = 0;
        Ok(session)
    }
}

/// The node that answers. Before the cookie came back it remembers nothing.
pub(super) struct Responder {
    secret: [u8; 32],
    /// Handshakes that were answered: a cookie is good for one.
    answered: u64,
    challenges: Limit,
    handshakes: Limit,
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("answered", &self.answered).finish_non_exhaustive()
    }
}

impl Responder {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            answered: 0,
            challenges: Limit::new(CHALLENGES_A_SECOND),
            handshakes: Limit::new(HANDSHAKES_A_SECOND),
        }
    }

    pub(super) fn challenge(
        &mut self,
        now: Timestamp,
        knock: &Knock<'_>,
        config: &ChannelConfig,
        keys: &KeyRing,
    ) -> Result<Vec<u8>, Refusal> {
        let key = keys.verifying(&[knock.signed.bytes], &knock.signed.mac).ok_or(Refusal::Key)?;
        if knock.node != config.peer.0 {
            return Err(Refusal::Node);
        }
        self.challenges.take(now)?;
        let cookie = self.cookie(knock.index, &knock.nonce);
        Ok(signed(write_challenge(knock.index, cookie), key, &[&knock.nonce]))
    }

    pub(super) fn respond(
        &mut self,
        init: &Init<'_>,
        keys: &KeyRing,
        by: &mut Context<'_>,
    ) -> Result<(Session, Vec<u8>), Refusal> {
        let key = keys.verifying(&[init.signed.bytes], &init.signed.mac).ok_or(Refusal::Key)?;
        if self.cookie(init.index, &init.nonce) != init.cookie {
            return Err(Refusal::Cookie);
        }
        self.handshakes.take(by.now)?;
        self.answered += 1;
        let mut noise = build(key, false, by.entropy)?;
        let greeting = read(&mut noise, init.noise, by.config)?;
        let message = write(&mut noise, by.greeting)?;
        let own = by.entropy.number();
        let response = write_response(init.index, own, &message);
        let response = signed(response, key, &[&init.nonce]);
        let session = session(noise, (own, init.index), (key.clone(), greeting), by.now, false)?;
        Ok((session, response))
    }

    fn cookie(&self, index: u32, nonce: &[u8; 16]) -> [u8; 16] {
        mac128(&self.secret, &[&self.answered.to_le_bytes(), &index.to_le_bytes(), nonce])
    }
}

/// At most so many within a second.
#[derive(Debug)]
struct Limit {
    most: u32,
    second: u64,
    taken: u32,
}

impl Limit {
    fn new(most: u32) -> Self {
        Self { most, second: 0, taken: 0 }
    }

    fn take(&mut self, now: Timestamp) -> Result<(), Refusal> {
        let second = now.since_origin().as_secs();
        if second != self.second {
            (self.second, self.taken) = (second, 0);
        }
        if self.taken >= self.most {
            return Err(Refusal::Busy);
        }
        self.taken += 1;
        Ok(())
    }
}

fn signed(mut bytes: Vec<u8>, key: &Key, also: &[&[u8]]) -> Vec<u8> {
    let parts: Vec<&[u8]> = std::iter::once(bytes.as_slice()).chain(also.iter().copied()).collect();
    let mac = key.mac(&parts);
    bytes.extend_from_slice(&mac);
    bytes
}

fn halves(bytes: [u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    for (half, part) in halves.iter_mut().zip(bytes.chunks_exact(16)) {
        half.copy_from_slice(part);
    }
    halves
}

fn build(key: &Key, initiator: bool, entropy: &mut Entropy) -> Result<HandshakeState, Refusal> {
    let failed = |_| Refusal::Handshake;
    let params = PATTERN.parse().map_err(failed)?;
    let builder = Builder::with_resolver(params, Box::new(Seeded(entropy.bytes())));
    let builder = builder.prologue(PROLOGUE).map_err(failed)?.psk(0, key.psk()).map_err(failed)?;
    if initiator { builder.build_initiator() } else { builder.build_responder() }.map_err(failed)
}

fn write(noise: &mut HandshakeState, greeting: &Greeting) -> Result<Vec<u8>, Refusal> {
    let mut message = vec![0; NOISE_ROOM];
    let len = noise.write_message(&greeting.write(), &mut message);
    message.truncate(len.map_err(|_| Refusal::Handshake)?);
    Ok(message)
}

fn read(
    noise: &mut HandshakeState,
    message: &[u8],
    config: &ChannelConfig,
) -> Result<Greeting, Refusal> {
    let mut payload = vec![0; NOISE_ROOM];
    let len = noise.read_message(message, &mut payload).map_err(|_| Refusal::Handshake)?;
    payload.truncate(len);
    let greeting = Greeting::read(&payload).map_err(|_| Refusal::Content)?;
    if greeting.node == config.peer { Ok(greeting) } else { Err(Refusal::Node) }
}

fn session(
    noise: HandshakeState,
    (index, remote): (u32, u32),
    (key, greeting): (Key, Greeting),
    now: Timestamp,
    confirmed: bool,
) -> Result<Session, Refusal> {
    let transport = noise.into_stateless_transport_mode().map_err(|_| Refusal::Handshake)?;
    Ok(Session {
        index,
        remote,
        transport,
        key,
        greeting,
        since: now,
        confirmed,
        window: Window::default(),
        sent: 0,
        until: None,
    })
}

/// The primitives of snow, with random bytes from here.
struct Seeded([u8; 32]);

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(Entropy::new(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct Drawn(Entropy);

impl Random for Drawn {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        for chunk in dest.chunks_mut(32) {
            let drawn = self.0.bytes();
            chunk.iter_mut().zip(drawn).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}
