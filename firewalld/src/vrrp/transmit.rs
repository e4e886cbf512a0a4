//! Adverts and announcements onto the link.
//!
//! Goes in: a virtual router and where it is. Comes out: frames, or for unicast peers packets. Not
//! here: when, and what an advert says.
//!
//! Frames go past netfilter, so that neither a policy nor a full queue holds them up, and carry
//! the virtual router's own Ethernet address.

use super::bound::Leg;
use super::receivers::Receivers;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_netlink::frame::{self, Sender};
use twinwall_vrrp::router::Router;
use twinwall_vrrp::types::{HOP_LIMIT, MacAddress, PROTOCOL, Priority};
use twinwall_vrrp::wire::{gratuitous_arp, neighbour_advertisement};

const BROADCAST: [u8; 6] = [0xff; 6];
const ICMPV6: u8 = 58;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The way onto all links.
#[derive(Debug)]
pub(super) struct Transmitter {
    frames: Sender,
    advert: Vec<u8>,
    frame: Vec<u8>,
}

impl Transmitter {
    /// # Errors
    /// When the process may not have a packet socket.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { frames: Sender::open()?, advert: Vec::new(), frame: Vec::new() })
    }

    /// Sends an advert to all its destinations.
    pub(super) fn advert(
        &mut self,
        leg: &Leg,
        router: &Router,
        priority: Priority,
        receivers: &Receivers,
    ) -> io::Result<()> {
        let mut outcome = Ok(());
        for destination in router.destinations() {
            self.advert.clear();
            router
                .write_advert(priority, destination, &mut self.advert)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let sent = match frame::multicast_mac(destination) {
                Some(mac) => self.multicast(leg, router.primary(), destination, mac),
                None => {
                    let place = (leg.parent, router.config().family());
                    receivers.send(place, router.primary(), destination, &self.advert)
                }
            };
            outcome = outcome.and(sent);
        }
        outcome
    }

    fn multicast(
        &mut self,
        leg: &Leg,
        source: IpAddr,
        destination: IpAddr,
        mac: [u8; 6],
    ) -> io::Result<()> {
        let Self { frames, advert, frame } = self;
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame::ethernet(frame, mac, leg.mac, frame::IPV4, &[]);
                frame::ipv4(frame, source, destination, HOP_LIMIT, PROTOCOL, advert)?;
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame::ethernet(frame, mac, leg.mac, frame::IPV6, &[]);
                frame::ipv6(frame, source, destination, HOP_LIMIT, PROTOCOL, advert)?;
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        frames.send(leg.parent, frame)
    }

    /// Tells the link where these addresses are now.
    pub(super) fn announce<'a>(
        &mut self,
        leg: &Leg,
        addresses: impl IntoIterator<Item = &'a IpAddr>,
    ) -> io::Result<()> {
        let mut outcome = Ok(());
        for address in addresses {
            let sent = match address {
                IpAddr::V4(address) => self.gratuitous_arp(leg, *address),
                IpAddr::V6(address) => self.neighbour_advertisement(leg, *address),
            };
            outcome = outcome.and(sent);
        }
        outcome
    }

    fn gratuitous_arp(&mut self, leg: &Leg, address: Ipv4Addr) -> io::Result<()> {
        let message = gratuitous_arp(MacAddress(leg.mac), address);
        frame::ethernet(&mut self.frame, BROADCAST, leg.mac, frame::ARP, &message);
        self.frames.send(leg.parent, &self.frame)
    }

    fn neighbour_advertisement(&mut self, leg: &Leg, address: Ipv6Addr) -> io::Result<()> {
        let message = neighbour_advertisement(MacAddress(leg.mac), address);
        let mac = frame::multicast_mac(IpAddr::V6(ALL_NODES)).unwrap_or(BROADCAST);
        frame::ethernet(&mut self.frame, mac, leg.mac, frame::IPV6, &[]);
        frame::ipv6(&mut self.frame, address, ALL_NODES, HOP_LIMIT, ICMPV6, &message)?;
        self.frames.send(leg.parent, &self.frame)
    }
}
