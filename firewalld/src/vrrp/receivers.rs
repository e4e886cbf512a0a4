//! The sockets that adverts come in by: for each interface and family one for what looks like an
//! advert for us, and one for everything else of protocol 112.
//!
//! Goes in: which virtual routers are where. Comes out: packets. Each socket is read at a bounded
//! rate, and one that is ahead of its rate isn't waited for, so that a flood costs no more than
//! that. Not here: what a packet means.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use twinwall_netlink::raw::{self, Kind, Options, Packet, Receiver};
use twinwall_netlink::sys;
use twinwall_vrrp::types::Family;

/// How often the rates are renewed.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Odd packets that are looked at in a [`TICK`], for each socket.
const ODD: usize = 50;
/// Adverts that are looked at in a [`TICK`] for each VRID: ten routers at the shortest interval.
const STRICT: usize = 100;
/// Packets of one socket before the others get their turn.
const TURN: usize = 64;
/// Room for a second of adverts at the shortest interval, from some routers.
const STRICT_BUFFER: usize = 256 << 10;
const ODD_BUFFER: usize = 16 << 10;

/// What is to be heard on one interface and in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The interface's name.
    pub(super) name: String,
    /// The VRIDs there.
    pub(super) vrids: BTreeSet<u8>,
    /// Whether any of them uses the multicast group.
    pub(super) multicast: bool,
}

/// An interface's index and a family.
pub(super) type Place = (u32, Family);

/// All sockets.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    pairs: BTreeMap<Place, Pair>,
    /// Packets that sockets, which are closed by now, had no room or time for.
    left_out_before: u64,
}

#[derive(Debug)]
struct Pair {
    wanted: Wanted,
    strict: Ear,
    odd: Ear,
}

#[derive(Debug)]
struct Ear {
    socket: Receiver,
    /// Packets that may still be read in this tick.
    left: usize,
    /// For each tick.
    rate: usize,
}

impl Receivers {
    /// Opens and closes sockets so that they are those that are wanted. Returns the places where
    /// that failed.
    pub(super) fn set(&mut self, wanted: BTreeMap<Place, Wanted>) -> Vec<(Place, io::Error)> {
        let gone: Vec<Place> = self
            .pairs
            .iter()
            .filter(|(place, pair)| wanted.get(place) != Some(&pair.wanted))
            .map(|(place, _)| *place)
            .collect();
        for place in gone {
            if let Some(pair) = self.pairs.remove(&place) {
                self.left_out_before += pair.left_out();
            }
        }
        let mut failed = Vec::new();
        for (place, wanted) in wanted {
            if self.pairs.contains_key(&place) {
                continue;
            }
            match Pair::open(place, wanted) {
                Ok(pair) => drop(self.pairs.insert(place, pair)),
                Err(error) => failed.push((place, error)),
            }
        }
        failed
    }

    /// The descriptors to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let ears = self.pairs.values().flat_map(|pair| [&pair.strict, &pair.odd]);
        ears.filter(|ear| ear.left > 0).map(|ear| sys::borrow(&ear.socket))
    }

    /// Lets every socket be read again.
    pub(super) fn tick(&mut self) {
        for ear in self.pairs.values_mut().flat_map(|pair| [&mut pair.strict, &mut pair.odd]) {
            ear.left = ear.rate;
        }
    }

    /// Hands what has arrived to `each`; whether a socket may have more.
    pub(super) fn read(&mut self, mut each: impl FnMut(Place, Packet<'_>)) -> bool {
        let mut more = false;
        for (place, pair) in &mut self.pairs {
            for ear in [&mut pair.strict, &mut pair.odd] {
                let limit = ear.left.min(TURN);
                if limit == 0 {
                    continue;
                }
                match ear.socket.receive(limit, |packet| each(*place, packet)) {
                    Ok(count) => {
                        ear.left = ear.left.saturating_sub(count);
                        more |= count == limit && ear.left > 0;
                    }
                    Err(error) => {
                        // The interface went down or away: its news come by another way.
                        tracing::debug!(%error, interface = pair.wanted.name, "VRRP socket");
                        ear.left = ear.left.saturating_sub(1);
                    }
                }
            }
        }
        more
    }

    /// Sends a unicast advert by the socket of an interface.
    pub(super) fn send(
        &self,
        place: Place,
        source: IpAddr,
        destination: IpAddr,
        advert: &[u8],
    ) -> io::Result<()> {
        match self.pairs.get(&place) {
            Some(pair) => pair.strict.socket.send_to(destination, Some(source), advert),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Packets that no socket had room for. No advert for us is among them unless there were far
    /// too many of these.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out_before + self.pairs.values().map(Pair::left_out).sum::<u64>()
    }
}

impl Pair {
    fn open((interface, family): Place, wanted: Wanted) -> io::Result<Self> {
        let vrids: Vec<u8> = wanted.vrids.iter().copied().collect();
        let family = match family {
            Family::V4 => raw::Family::V4,
            Family::V6 => raw::Family::V6,
        };
        let ear = |kind, receive_buffer, rate| -> io::Result<Ear> {
            let Wanted { name, multicast, .. } = &wanted;
            let multicast = *multicast;
            let options = Options { interface, name, family, multicast, kind, receive_buffer };
            Ok(Ear { socket: Receiver::open(&options)?, left: rate, rate })
        };
        let strict = Kind::Strict { vrids: &vrids };
        let strict = ear(strict, STRICT_BUFFER, STRICT.saturating_mul(vrids.len()))?;
        let odd = ear(Kind::Odd { vrids: &vrids }, ODD_BUFFER, ODD)?;
        Ok(Self { wanted, strict, odd })
    }

    fn left_out(&self) -> u64 {
        let drops = |ear: &Ear| ear.socket.drops().map_or(0, u64::from);
        drops(&self.strict) + drops(&self.odd)
    }
}
