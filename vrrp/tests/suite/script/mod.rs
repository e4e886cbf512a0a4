//! A small language for driving a node from text: the configuration of a node, what happens to it,
//! and what it does, line by line. `conformance/README.md` describes it.
//!
//! Goes in: lines. Comes out: lines. Not here: what they should be.

mod config;
mod words;

use std::net::IpAddr;
use std::time::Duration;
use twinwall_vrrp::action::{Action, Output, State};
use twinwall_vrrp::group::Group;
use twinwall_vrrp::node::{Node, Refused};
use twinwall_vrrp::receive::{Datagram, Discard};
use twinwall_vrrp::router::{PeerReport, Router};
use twinwall_vrrp::tally::Kind;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::types::{GroupId, InterfaceId, Priority};
use twinwall_vrrp::wire::{
    Advert, ChecksumKind, Endpoints, Ipv4Packet, gratuitous_arp, neighbour_advertisement,
};
use words::{
    Words, centiseconds, duration, from_hex, health, hex, lines, next, parse, show_error,
    show_time, virtual_addresses,
};

/// A node that is driven by text.
pub(crate) struct Script {
    pub(crate) node: Node,
    pub(crate) now: Timestamp,
    /// Adverts and announcements are shown as bytes.
    bytes: bool,
}

impl Script {
    /// A node of this configuration.
    pub(crate) fn new(config: &str, bytes: bool) -> Result<Self, String> {
        let mut script = Self { node: Node::new(), now: Timestamp::ZERO, bytes };
        for group in config::groups(config)? {
            script.node.add(group, script.now).map_err(show_error)?;
        }
        Ok(script)
    }

    /// Does what the lines say and returns what the node did.
    pub(crate) fn run(&mut self, input: &str) -> Result<Vec<String>, String> {
        let mut shown = Vec::new();
        for line in lines(input) {
            self.line(line, &mut shown).map_err(|error| format!("{line}: {error}"))?;
        }
        Ok(shown)
    }

    /// The states of all virtual routers and the next deadline.
    pub(crate) fn states(&self) -> Vec<String> {
        let name = |leg: &Router| format!("{} {}: {}", leg.config().name, leg.state(), leg.why());
        let legs = self.node.groups().flat_map(|(_, group)| group.legs()).map(name);
        let next = self.node.next_deadline().map_or("never".to_owned(), show_time);
        legs.chain([format!("next {next}")]).collect()
    }

    fn line(&mut self, line: &str, shown: &mut Vec<String>) -> Result<(), String> {
        let mut words = line.split_whitespace();
        let words = &mut words;
        let (now, mut out) = (self.now, Vec::new());
        match words.next().unwrap_or_default() {
            "at" => self.now = Timestamp::new(duration(next(words)?)?),
            "pass" => self.pass(duration(next(words)?)?, shown)?,
            "due" => {
                self.now = self.node.next_deadline().unwrap_or(self.now);
                self.node.poll(self.now, &mut out);
            }
            "start" => self.node.start(now, &mut out),
            "stop" => self.node.stop(now, &mut out),
            "poll" => self.node.poll(now, &mut out),
            "advert" => self.advert(words, &mut out, shown)?,
            "packet" => self.packet(words, &mut out, shown)?,
            "ip-packet" => self.ip_packet(words, &mut out, shown)?,
            "track" => {
                let (name, health) = (next(words)?, health(next(words)?)?);
                if !self.node.track(name, health, now, &mut out) {
                    return Err("nothing of that name is tracked".to_owned());
                }
            }
            "priority" => {
                let (id, priority) = (self.group(words)?.0, parse::<u8>(next(words)?)?);
                let set = self.node.set_priority(id, Priority::new(priority), now, &mut out);
                shown.extend(set.err().map(|error| error.to_string()));
            }
            "hold" => {
                let wait = duration(next(words)?)?;
                self.node.hold_preemption(now, now.after(wait));
            }
            "allow" => self.node.allow_preemption(now),
            "reclaim" => {
                let id = self.group(words)?.0;
                self.node.reclaim(id, now);
            }
            "hand-over" => {
                let (id, wait) = (self.group(words)?.0, duration(next(words)?)?);
                let asked = self.node.hand_over(id, now.after(wait), &mut out);
                shown.extend(asked.err().map(|error| error.to_string()));
            }
            "peer-ready" => {
                let id = self.group(words)?.0;
                self.node.peer_ready(id, now, &mut out);
            }
            "cancel" => {
                let id = self.group(words)?.0;
                self.node.cancel_hand_over(id, now, &mut out);
            }
            "peer-state" => {
                let id = self.group(words)?.0;
                let state = match next(words)? {
                    "active" => State::Active,
                    "backup" => State::Backup,
                    other => return Err(format!("unknown state {other}")),
                };
                self.node.peer_state(id, state, now, &mut out);
            }
            "peer" => {
                let report = match next(words)? {
                    "alive" => PeerReport::Alive,
                    "silent" => PeerReport::Silent,
                    "gone" => PeerReport::Gone,
                    other => return Err(format!("unknown report {other}")),
                };
                self.node.peer_report(now, report, &mut out);
            }
            other => return Err(format!("unknown verb {other}")),
        }
        self.show(&out, shown)?;
        words.next().map_or(Ok(()), |word| Err(format!("left over: {word}")))
    }

    /// Lets time pass and polls whenever that is due.
    fn pass(&mut self, wait: Duration, shown: &mut Vec<String>) -> Result<(), String> {
        let end = self.now.after(wait);
        while let Some(due) = self.node.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let mut out = Vec::new();
            self.node.poll(self.now, &mut out);
            shown.push(format!("at {}", show_time(self.now)));
            self.show(&out, shown)?;
            if self.node.next_deadline().is_some_and(|next| next <= self.now) {
                return Err("poll left a deadline that is over".to_owned());
            }
        }
        self.now = end;
        Ok(())
    }

    /// `advert LEG from IP priority N [interval CS] [addresses IP,...] [checksum pseudo]
    /// [to IP]`: a packet for that leg, otherwise as it should be.
    fn advert(
        &mut self,
        words: &mut Words<'_>,
        out: &mut Vec<Output>,
        shown: &mut Vec<String>,
    ) -> Result<(), String> {
        let name = next(words)?;
        let legs = self.node.groups().flat_map(|(_, group)| group.legs());
        let mut legs = legs.filter(|leg| leg.config().name == name);
        let config = legs.next().ok_or("no such leg")?.config().clone();
        drop(legs);
        let mut endpoints = (config.family().group(), config.family().group());
        let (mut priority, mut interval) = (Priority::DEFAULT, config.interval);
        let (mut addresses, mut checksum) = (config.addresses.clone(), ChecksumKind::Standard);
        while let Some(word) = words.next() {
            let value = next(words)?;
            match word {
                "from" => endpoints.0 = parse(value)?,
                "to" => endpoints.1 = parse(value)?,
                "priority" => priority = Priority::new(parse(value)?),
                "interval" => interval = centiseconds(value)?,
                "addresses" => addresses = virtual_addresses(value)?,
                "checksum" if value == "pseudo" => checksum = ChecksumKind::PseudoHeader,
                _ => return Err(format!("unknown: {word} {value}")),
            }
        }
        let endpoints = Endpoints::new(endpoints.0, endpoints.1).map_err(show_error)?;
        let mut payload = Vec::new();
        let advert = Advert { vrid: config.vrid, priority, interval, addresses: &addresses };
        advert.write(&endpoints, checksum, &mut payload).map_err(show_error)?;
        let datagram =
            Datagram { interface: config.interface, hop_limit: 255, endpoints, payload: &payload };
        self.deliver(&datagram, out, shown);
        Ok(())
    }

    /// `packet INTERFACE TTL FROM TO HEX`: what follows the IP header.
    fn packet(
        &mut self,
        words: &mut Words<'_>,
        out: &mut Vec<Output>,
        shown: &mut Vec<String>,
    ) -> Result<(), String> {
        let interface = InterfaceId(parse(next(words)?)?);
        let hop_limit = parse(next(words)?)?;
        let (source, destination) = (parse(next(words)?)?, parse(next(words)?)?);
        let endpoints = Endpoints::new(source, destination).map_err(show_error)?;
        let payload = from_hex(words)?;
        let datagram = Datagram { interface, hop_limit, endpoints, payload: &payload };
        self.deliver(&datagram, out, shown);
        Ok(())
    }

    /// `ip-packet INTERFACE HEX`: an IPv4 packet with its header.
    fn ip_packet(
        &mut self,
        words: &mut Words<'_>,
        out: &mut Vec<Output>,
        shown: &mut Vec<String>,
    ) -> Result<(), String> {
        let interface = InterfaceId(parse(next(words)?)?);
        let bytes = from_hex(words)?;
        match Ipv4Packet::parse(&bytes) {
            Ok(Ipv4Packet { source, destination, ttl, payload }) => {
                let endpoints = Endpoints::V4 { source, destination };
                let datagram = Datagram { interface, hop_limit: ttl, endpoints, payload };
                self.deliver(&datagram, out, shown);
            }
            Err(error) => {
                let reason = Discard::Header(error);
                shown.push(show_refused(self.node.refuse(self.now, interface, None, reason)));
            }
        }
        Ok(())
    }

    fn deliver(&mut self, datagram: &Datagram<'_>, out: &mut Vec<Output>, shown: &mut Vec<String>) {
        let refused = self.node.receive(self.now, datagram, out).err();
        shown.extend(refused.map(show_refused));
    }

    fn group(&self, words: &mut Words<'_>) -> Result<(GroupId, &Group), String> {
        let name = next(words)?;
        self.node.groups().find(|(_, group)| group.name() == name).ok_or("no such group".to_owned())
    }

    fn show(&self, out: &[Output], shown: &mut Vec<String>) -> Result<(), String> {
        for Output { router, action } in out {
            let router = self.node.router(*router).ok_or("an output of no router")?;
            let name = &router.config().name;
            match action {
                Action::SendAdvert { priority } if self.bytes => {
                    for destination in router.destinations() {
                        let mut bytes = Vec::new();
                        router
                            .write_advert(*priority, destination, &mut bytes)
                            .map_err(show_error)?;
                        shown.push(format!("{name} send to {destination}: {}", hex(&bytes)));
                    }
                }
                Action::SendAdvert { priority } => shown.push(format!("{name} send {priority}")),
                Action::AddAddresses { accept } => {
                    let accept = if *accept { ", accept packets" } else { "" };
                    shown.push(format!("{name} add addresses{accept}"));
                }
                Action::RemoveAddresses => shown.push(format!("{name} remove addresses")),
                Action::Announce if self.bytes => {
                    for address in router.config().addresses.as_slice() {
                        let bytes = match address {
                            IpAddr::V4(address) => hex(&gratuitous_arp(router.mac(), *address)),
                            IpAddr::V6(address) => {
                                hex(&neighbour_advertisement(router.mac(), *address))
                            }
                        };
                        shown.push(format!("{name} announce {address}: {bytes}"));
                    }
                }
                Action::Announce => shown.push(format!("{name} announce")),
                Action::Event(event) => shown.push(format!("{name} {event}")),
            }
        }
        Ok(())
    }
}

fn show_refused(refused: Refused) -> String {
    let kind = refused.reason.name();
    match refused.say {
        Some(0) => format!("discard {kind}: {}", refused.reason),
        Some(unsaid) => format!("discard {kind}: {} ({unsaid} more)", refused.reason),
        None => format!("discard {kind}, not said"),
    }
}
