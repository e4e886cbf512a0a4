//! What is watched besides adverts, and what it does to the priority.
//!
//! Goes in: the health of named things, such as interfaces, a script's exit code, or the daemon's
//! own queue. Comes out: the effective priority, whether there is a fault, and which things are to
//! blame. Not here: watching.

use crate::config::ConfigError;
use crate::time::Timestamp;
use crate::types::Priority;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU8;

/// What a tracked thing does while it is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Lowers the priority by that much, down to 1.
    Lower(NonZeroU8),
    /// Keeps the group in Initialize: it can't do its work at all.
    Fault,
}

/// How a tracked thing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Nobody has said it yet. Counts as bad, so that nothing becomes active before it is known
    /// that it can.
    #[default]
    Unknown,
    /// Well.
    Good,
    /// Not well.
    Bad,
}

/// A thing to be tracked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackConfig {
    /// Its name, by which its health is reported; also what status shows.
    pub name: String,
    /// What it does while it is not well.
    pub effect: Effect,
}

/// A tracked thing that lowers the priority now, or is a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// Its name.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// How it is; not [`Health::Good`].
    pub health: Health,
    /// Since when.
    pub since: Timestamp,
}

/// The tracked things of one group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tracks {
    base: Priority,
    things: Vec<Thing>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Thing {
    config: TrackConfig,
    health: Health,
    since: Timestamp,
}

impl Tracks {
    pub(crate) fn new(
        group: &str,
        base: Priority,
        configs: &[TrackConfig],
        now: Timestamp,
    ) -> Result<Self, ConfigError> {
        for (place, config) in configs.iter().enumerate() {
            if configs.iter().skip(place + 1).any(|other| other.name == config.name) {
                let (group, track) = (group.to_owned(), config.name.clone());
                return Err(ConfigError::DuplicateTrack { group, track });
            }
        }
        let thing = |config: &TrackConfig| Thing {
            config: config.clone(),
            health: Health::Unknown,
            since: now,
        };
        let lowers = |config: &&TrackConfig| matches!(config.effect, Effect::Lower(_));
        match configs.iter().find(lowers) {
            // Section 5.2.4: the owner's priority is 255, whatever happens.
            Some(config) if base.is_owner() => {
                let (group, track) = (group.to_owned(), config.name.clone());
                return Err(ConfigError::OwnerLowered { group, track });
            }
            _ if base.is_resign() => return Err(ConfigError::Priority { group: group.to_owned() }),
            _ => {}
        }
        Ok(Self { base, things: configs.iter().map(thing).collect() })
    }

    /// The priority while all is well.
    pub(crate) fn base(&self) -> Priority {
        self.base
    }

    pub(crate) fn set_base(&mut self, group: &str, base: Priority) -> Result<(), ConfigError> {
        if base.is_resign() {
            return Err(ConfigError::Priority { group: group.to_owned() });
        }
        if base.is_owner() != self.base.is_owner() {
            return Err(ConfigError::Ownership { group: group.to_owned() });
        }
        self.base = base;
        Ok(())
    }

    /// Takes a report in. Returns whether a thing of that name is tracked.
    pub(crate) fn report(&mut self, name: &str, health: Health, now: Timestamp) -> bool {
        let Some(thing) = self.things.iter_mut().find(|thing| thing.config.name == name) else {
            return false;
        };
        if thing.health != health {
            (thing.health, thing.since) = (health, now);
        }
        true
    }

    /// The priority that adverts are to carry.
    pub(crate) fn effective(&self) -> Priority {
        let lowered = self.bad().filter_map(|thing| match thing.config.effect {
            Effect::Lower(by) => Some(by.get()),
            Effect::Fault => None,
        });
        let priority = lowered.fold(self.base.get(), u8::saturating_sub);
        Priority::new(priority).max(Priority::LOWEST)
    }

    /// Whether something is a fault.
    pub(crate) fn faulty(&self) -> bool {
        self.bad().any(|thing| thing.config.effect == Effect::Fault)
    }

    /// What is not well.
    pub(crate) fn blame(&self) -> Vec<Blame> {
        self.bad()
            .map(|thing| Blame {
                name: thing.config.name.clone(),
                effect: thing.config.effect,
                health: thing.health,
                since: thing.since,
            })
            .collect()
    }

    fn bad(&self) -> impl Iterator<Item = &Thing> {
        self.things.iter().filter(|thing| thing.health != Health::Good)
    }
}
