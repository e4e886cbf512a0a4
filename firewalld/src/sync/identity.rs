//! What a run of the daemon is to the state machine: numbers, keys, and how it behaves.

use super::settings::Settings;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use twinwall_ctsync::channel::ChannelConfig;
use twinwall_ctsync::model::{BootId, NodeId};
use twinwall_ctsync::replica::Config;

/// What a run of the daemon draws.
#[derive(Clone, Copy)]
pub(super) struct Random {
    pub(super) seed: [u8; 32],
    boot: u64,
    digest_key: [u64; 2],
}

pub(super) fn random() -> io::Result<Random> {
    let mut bytes = [0; 56];
    getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    let (seed, rest) = bytes.split_at(32);
    let words: Vec<u64> = rest
        .chunks(8)
        .map(|word| word.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
        .collect();
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    Ok(Random {
        seed: seed.first_chunk().copied().unwrap_or_default(),
        boot: word(0),
        digest_key: [word(1), word(2)],
    })
}

/// The nodes are numbered by their addresses, which both know.
pub(super) fn identity(settings: &Settings, random: Random, mask: u32) -> (ChannelConfig, Config) {
    let (node, peer) = match settings.local < settings.peer {
        true => (NodeId(1), NodeId(2)),
        false => (NodeId(2), NodeId(1)),
    };
    let mut config = Config::new(node, peer, BootId(random.boot), random.digest_key);
    config.owned = mask;
    config.beat_every = settings.beat;
    config.silent_after = settings.silent_after;
    (ChannelConfig::new(node, peer), config)
}
