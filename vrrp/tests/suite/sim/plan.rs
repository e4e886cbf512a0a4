//! How the nodes are configured in one run.

use super::rng::Rng;
use super::{Nanos, Side};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::time::Duration;
use twinwall_vrrp::addresses::VirtualAddresses;
use twinwall_vrrp::config::{Election, RouterConfig};
use twinwall_vrrp::group::{GroupConfig, Leg};
use twinwall_vrrp::track::{Effect, TrackConfig};
use twinwall_vrrp::types::{Centiseconds, InterfaceId, Priority, Vrid};

/// What a stalled queue takes from the priority.
const STALL_COSTS: u8 = 60;

/// What is drawn once.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) legs: usize,
    /// Of the second leg: IPv6.
    pub(crate) second_is_v6: bool,
    /// Node A has the higher address on the first leg, on the second.
    pub(crate) a_is_higher: [bool; 2],
    pub(crate) interval: [Centiseconds; 2],
    pub(crate) priority: [Priority; 2],
    /// Whether they change.
    pub(crate) priority_changes: bool,
    pub(crate) preempt: [bool; 2],
    pub(crate) preempt_delay: Nanos,
    pub(crate) start_delay: Nanos,
    /// How fast the clocks run, in millionths too much.
    pub(crate) drift: [i64; 2],
    /// How late timers are at most.
    pub(crate) jitter: Nanos,
    /// Mean time between acts.
    pub(crate) act_gap: Nanos,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let centiseconds = rng.pick([1, 1, 2, 5, 10, 100, 300]).unwrap_or(1);
        // Some nodes advertise less often than their peer.
        let times = if rng.chance(700) { 1 } else { rng.pick([2, 3, 10]).unwrap_or(1) };
        let interval = |number| Centiseconds::new(number).unwrap_or(Centiseconds::MAX);
        let (mut first, mut second) = (interval(centiseconds), interval(centiseconds * times));
        if rng.chance(500) {
            std::mem::swap(&mut first, &mut second);
        }
        let low = Priority::new(rng.between(1, 254) as u8);
        let priority = match rng.below(10) {
            0..3 => [low, low],
            3 => [Priority::OWNER, low],
            _ => [low, Priority::new(rng.between(1, 254) as u8)],
        };
        let interval = first.max(second).duration().as_nanos() as Nanos;
        let two = rng.chance(500);
        Self {
            legs: if two { 2 } else { 1 },
            second_is_v6: rng.chance(500),
            a_is_higher: [rng.chance(500), rng.chance(500)],
            interval: [first, second],
            priority,
            priority_changes: rng.chance(700),
            preempt: [rng.chance(700), rng.chance(700)],
            preempt_delay: if rng.chance(300) { rng.below(interval * 8) } else { 0 },
            start_delay: if rng.chance(300) { rng.below(interval * 4) } else { 0 },
            drift: if rng.chance(300) {
                [0, 0]
            } else {
                [rng.below(20_001) as i64 - 10_000, rng.below(20_001) as i64 - 10_000]
            },
            jitter: rng.pick([0, 20_000, 1_000_000]).unwrap_or(0),
            act_gap: interval / 2,
        }
    }

    pub(crate) fn of<T: Copy>(side: Side, both: [T; 2]) -> T {
        let [a, b] = both;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// The lowest priority that a node can come to have.
    pub(crate) fn lowest_priority(&self) -> Priority {
        let [a, b] = self.priority;
        let lowest = a.min(b).get().saturating_sub(STALL_COSTS).max(1);
        if self.priority_changes { Priority::LOWEST } else { Priority::new(lowest) }
    }

    pub(crate) fn longest_interval(&self) -> Nanos {
        let [a, b] = self.interval;
        a.max(b).duration().as_nanos() as Nanos
    }

    pub(crate) fn primary(&self, side: Side, leg: usize) -> IpAddr {
        let [first, second] = self.a_is_higher;
        let a_is_higher = if leg == 0 { first } else { second };
        let host = if (side == Side::A) == a_is_higher { 3 } else { 2 };
        if leg == 1 && self.second_is_v6 {
            IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host))
        } else {
            IpAddr::V4(Ipv4Addr::new(198, 51, 100, leg as u8 * 100 + host as u8))
        }
    }

    /// The configuration of a node with its one group.
    pub(crate) fn group(&self, side: Side) -> Result<GroupConfig, String> {
        let legs = (0..self.legs).map(|leg| self.leg(side, leg)).collect::<Result<_, _>>()?;
        let priority = Self::of(side, self.priority);
        let track = |name: &str, effect| TrackConfig { name: name.to_owned(), effect };
        let mut tracks = vec![track("link", Effect::Fault)];
        if let (false, Some(by)) = (priority.is_owner(), NonZeroU8::new(STALL_COSTS)) {
            tracks.push(track("queue", Effect::Lower(by)));
        }
        let election = Election {
            priority,
            preempt: Self::of(side, self.preempt),
            preempt_delay: Duration::from_nanos(self.preempt_delay),
            start_delay: Duration::from_nanos(self.start_delay),
            tracks,
        };
        Ok(GroupConfig { name: "edge".to_owned(), election, legs })
    }

    fn leg(&self, side: Side, leg: usize) -> Result<Leg, String> {
        let primary = self.primary(side, leg);
        let virtual_address = match primary {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, leg as u8 * 100 + 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        };
        let addresses = VirtualAddresses::new([virtual_address]).map_err(|e| e.to_string())?;
        let vrid = Vrid::new(7).ok_or("7 is a VRID")?;
        let name = if leg == 0 { "lan" } else { "wan" };
        let mut config = RouterConfig::new(name, InterfaceId(leg as u32 + 1), vrid, addresses);
        config.interval = Self::of(side, self.interval);
        Ok(Leg { config, primary })
    }
}
