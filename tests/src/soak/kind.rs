//! The kinds of failover, and how one is drawn.

use super::rng::Random;
use crate::topology::Segment;
use std::fmt;
use std::time::Duration;

/// What happens to the active node, but for [`Kind::StandbyRestart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It falls silent on all links, and its daemon is killed. `rebooted`: its sessions and tables
    /// are gone too when it comes back.
    NodeDeath {
        /// Whether it comes back empty.
        rebooted: bool,
    },
    /// Its daemon alone is killed.
    Kill,
    /// Its daemon is stopped in good order.
    Stop,
    /// `failover now`, and later `failover back`.
    HandOver,
    /// One of its legs loses its carrier.
    LegDown(Segment),
    /// Its daemon is stopped with SIGSTOP for a second.
    Freeze,
    /// The daemon of the node that stands by ends and starts again; nothing moves.
    StandbyRestart {
        /// Whether it is killed.
        killed: bool,
    },
    /// One after the other, before the first one's resync is through: the node that has just
    /// come back has to take over again.
    Twice(Blow, Blow),
}

/// What may happen twice in quick succession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The daemon is killed.
    Kill,
    /// The daemon is stopped in good order.
    Stop,
    /// The LAN leg loses its carrier for a while.
    LegDown,
}

/// One failover of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// What happens.
    pub kind: Kind,
    /// How long it stays so, once the other node carries the sessions.
    pub pause: Duration,
}

/// One of each of the main kinds.
pub const MAIN: [Kind; 8] = [
    Kind::NodeDeath { rebooted: true },
    Kind::Kill,
    Kind::HandOver,
    Kind::LegDown(Segment::Lan),
    Kind::Stop,
    Kind::Freeze,
    Kind::Twice(Blow::Kill, Blow::Stop),
    Kind::StandbyRestart { killed: true },
];

const BLOWS: [Blow; 3] = [Blow::Kill, Blow::Stop, Blow::LegDown];

impl Failover {
    /// Draws one.
    pub fn draw(random: &mut Random) -> Self {
        let segment = random.pick(&Segment::BRIDGED).unwrap_or(Segment::Lan);
        let coin = random.below(2) == 0;
        let mut blow = || random.pick(&BLOWS).unwrap_or(Blow::Kill);
        let (first, second) = (blow(), blow());
        let kind = match random.below(8) {
            0 => Kind::NodeDeath { rebooted: coin },
            1 => Kind::Kill,
            2 => Kind::Stop,
            3 => Kind::HandOver,
            4 => Kind::LegDown(segment),
            5 => Kind::Freeze,
            6 => Kind::StandbyRestart { killed: coin },
            _ => Kind::Twice(first, second),
        };
        Self { kind, pause: Self::pause(random) }
    }

    /// A main kind, by number.
    pub fn main(number: u32, random: &mut Random) -> Self {
        let place = usize::try_from(number).unwrap_or(0) % MAIN.len();
        let kind = MAIN.get(place).copied().unwrap_or(Kind::Kill);
        Self { kind, pause: Self::pause(random) }
    }

    fn pause(random: &mut Random) -> Duration {
        Duration::from_millis(random.below(1_000))
    }
}

impl Kind {
    /// Its name in tables: without what tells its variants apart.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NodeDeath { .. } => "node death",
            Self::Kill => "kill -9",
            Self::Stop => "stop",
            Self::HandOver => "failover now",
            Self::LegDown(_) => "leg down",
            Self::Freeze => "frozen 1 s",
            Self::StandbyRestart { .. } => "standby restart",
            Self::Twice(..) => "twice",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::NodeDeath { rebooted: true } => f.write_str(" and reboot"),
            Self::LegDown(segment) => write!(f, " on {}", segment.name()),
            Self::StandbyRestart { killed: true } => f.write_str(" after kill -9"),
            Self::Twice(first, second) => write!(f, ": {first:?}, then {second:?}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_is_drawn() {
        let mut random = Random::new(1);
        let drawn: BTreeSet<_> =
            (0..400).map(|_| Failover::draw(&mut random).kind.to_string()).collect();
        assert_eq!(drawn.len(), 2 + 4 + 3 + 2 + 9, "{drawn:?}");
    }
}
