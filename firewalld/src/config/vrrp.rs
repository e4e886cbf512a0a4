//! The section `vrrp`: sync groups, their virtual routers, and what they watch.

use super::{named_twice, value};
use crate::vrrp::settings::{Group, Mac, Router, Script, Track, Watched};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::time::Duration;
use twinwall_policy::diag::{Fault, Faults, codes};
use twinwall_policy::form::scalar::{Words, name, number, one_or_more, word};
use twinwall_policy::form::{Keys, Record, missing, wrong_kind};
use twinwall_policy::source::Span;
use twinwall_policy::yaml::Node;
use twinwall_vrrp::addresses::VirtualAddresses;
use twinwall_vrrp::config::RouterConfig;
use twinwall_vrrp::group::{GroupConfig, Leg};
use twinwall_vrrp::node::Node as Vrrp;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::track::Effect;
use twinwall_vrrp::types::{Centiseconds, Family, InterfaceId, Priority, Vrid};
use twinwall_vrrp::wire::ChecksumKind;

const SECTION: Keys<1> = Keys { of: "`vrrp`", known: ["groups"], later: &[] };
const GROUP: Keys<7> = Keys {
    of: "a group",
    known: ["name", "priority", "preempt", "preempt-delay", "start-delay", "track", "routers"],
    later: &[],
};
const ROUTER: Keys<10> = Keys {
    of: "a virtual router",
    known: [
        "name",
        "interface",
        "vrid",
        "addresses",
        "interval",
        "mac",
        "accept",
        "checksum",
        "peers",
        "announce-again",
    ],
    later: &[],
};
const TRACK: Keys<9> = Keys {
    of: "a tracked thing",
    known: [
        "interface",
        "health",
        "script",
        "name",
        "interval",
        "timeout",
        "rise",
        "fall",
        "lower",
    ],
    later: &[],
};

const MAC: Words<Mac> = Words {
    of: "a value of `mac`",
    known: &[("virtual", Mac::Virtual), ("interface", Mac::Interface)],
    others: &[],
};
const CHECKSUM: Words<ChecksumKind> = Words {
    of: "a value of `checksum`",
    known: &[("standard", ChecksumKind::Standard), ("pseudo-header", ChecksumKind::PseudoHeader)],
    others: &[("rfc", "standard"), ("keepalived", "pseudo-header")],
};
const HEALTH: Words<()> =
    Words { of: "a part of the daemon", known: &[("queue", ())], others: &[] };

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Script runs are spaced at least so much: each is a process.
const SHORTEST_RUN: Duration = Duration::from_millis(10);
/// Most groups, and most virtual routers of a group.
const MOST: usize = 256;

/// A key and its value, if the key is there.
type Entry<'t> = Option<(&'t Node<'t>, &'t Node<'t>)>;

/// Reads the section.
pub(super) fn groups(section: &Node<'_>, faults: &mut Faults) -> Vec<Group> {
    let Some(record) = Record::read(section, &SECTION, faults) else { return Vec::new() };
    record.require(&["groups"], faults);
    let [list] = record.values;
    let mut groups: Vec<(Group, Span)> = Vec::new();
    for node in entries(list, "the groups", faults) {
        let Some(group) = group(node, faults) else { continue };
        let start = node.span.before();
        if groups.iter().any(|(other, _)| other.name == group.name) {
            faults.push(named_twice(&group.name, "groups").at(start, ""));
        }
        groups.push((group, start));
    }
    let mut names = BTreeSet::new();
    for (group, start) in &groups {
        for router in &group.routers {
            if !names.insert(router.name.as_str()) {
                faults
                    .push(named_twice(&router.name, "virtual routers").at(*start, "in this group"));
            }
        }
    }
    if !faults.has_errors() {
        try_out(&groups, faults);
    }
    groups.into_iter().map(|(group, _)| group).collect()
}

fn group(node: &Node<'_>, faults: &mut Faults) -> Option<Group> {
    let record = Record::read(node, &GROUP, faults)?;
    record.require(&["name", "routers"], faults);
    let [name_, priority, preempt, preempt_delay, start_delay, track, routers] = record.values;
    let name = name_.and_then(|(_, v)| name(v, "a group", faults)).map(|word| word.text.to_owned());
    let priority = match priority {
        Some((_, v)) => {
            number(v, 1..=255, faults).and_then(|n| u8::try_from(n).ok()).map(Priority::new)
        }
        None => Some(Priority::DEFAULT),
    };
    let preempt = preempt.map_or(Some(true), |(_, v)| word(v, &value::SWITCH, faults));
    let mut delay = |entry: Entry<'_>| {
        entry
            .map_or(Some(Duration::ZERO), |(_, v)| value::duration(v, Duration::ZERO, HOUR, faults))
    };
    let (preempt_delay, start_delay) = (delay(preempt_delay), delay(start_delay));
    let mut tracks: Vec<Track> = Vec::new();
    for node in entries(track, "what is tracked", faults) {
        let Some(track) = self::track(node, faults) else { continue };
        if tracks.iter().any(|other| other.name == track.name) {
            faults.push(named_twice(&track.name, "tracked things").at(node.span.before(), ""));
        }
        tracks.push(track);
    }
    let nodes = entries(routers, "the virtual routers", faults);
    let routers: Vec<Router> = nodes.iter().filter_map(|node| router(node, faults)).collect();
    if routers.len() != nodes.len() {
        return None;
    }
    // A virtual router that can't be reached can't be active, and its whole group neither.
    for router in &routers {
        let what = Watched::Interface(router.interface.clone());
        if !tracks.iter().any(|track| track.what == what && track.effect == Effect::Fault) {
            let name = format!("interface {} of {}", router.interface, router.name);
            tracks.push(Track { name, what, effect: Effect::Fault });
        }
    }
    Some(Group {
        name: name?,
        priority: priority?,
        preempt: preempt?,
        preempt_delay: preempt_delay?,
        start_delay: start_delay?,
        tracks,
        routers,
    })
}

fn router(node: &Node<'_>, faults: &mut Faults) -> Option<Router> {
    let record = Record::read(node, &ROUTER, faults)?;
    record.require(&["interface", "vrid", "addresses"], faults);
    let [name_, interface, vrid, addresses, interval, mac, accept, checksum, peers, again] =
        record.values;
    let interface = interface.and_then(|(_, v)| value::interface(v, faults));
    let vrid = vrid
        .and_then(|(_, v)| number(v, 1..=255, faults))
        .and_then(|n| Vrid::new(u8::try_from(n).ok()?));
    let addresses = addresses.and_then(|(_, v)| virtual_addresses(v, faults));
    let interval = match interval {
        Some((_, v)) => self::interval(v, faults),
        None => Some(Centiseconds::DEFAULT),
    };
    let mac = mac.map_or(Some(Mac::default()), |(_, v)| word(v, &MAC, faults));
    let accept = accept.map_or(Some(false), |(_, v)| word(v, &value::SWITCH, faults));
    let kind = match checksum {
        Some((_, v)) => word(v, &CHECKSUM, faults),
        None => Some(ChecksumKind::Standard),
    };
    let peers = peers.map_or(Some(Vec::new()), |(_, v)| value::addresses(v, faults));
    let again = match again {
        Some((_, v)) => announcements(v, faults),
        None => Some([100, 500, 2_000, 5_000].map(Duration::from_millis).to_vec()),
    };
    let name_ = match name_ {
        Some((_, v)) => Some(name(v, "a virtual router", faults)?.text.to_owned()),
        None => None,
    };
    let (interface, vrid, addresses) = (interface?, vrid?, addresses?);
    if let Some((key, _)) = checksum
        && addresses.family() == Family::V6
    {
        let fault = Fault::error(codes::CONFLICTING_KEYS, "`checksum` is for IPv4 only");
        faults.push(fault.at(key.span, "in IPv6 there is only one way"));
    }
    let family = match addresses.family() {
        Family::V4 => "v4",
        Family::V6 => "v6",
    };
    Some(Router {
        name: name_.unwrap_or_else(|| format!("{interface}-{vrid}-{family}")),
        interface,
        vrid,
        addresses,
        interval: interval?,
        mac: mac?,
        accept: accept?,
        checksum: kind?,
        peers: peers?,
        announce_again: again?,
    })
}

fn virtual_addresses(node: &Node<'_>, faults: &mut Faults) -> Option<VirtualAddresses> {
    let list = value::addresses(node, faults)?;
    match VirtualAddresses::new(list) {
        Ok(addresses) => Some(addresses),
        Err(error) => {
            faults.push(Fault::error(codes::BAD_ADDRESS, error.to_string()).at(node.span, ""));
            None
        }
    }
}

/// Adverts carry the interval in hundredths of a second.
fn interval(node: &Node<'_>, faults: &mut Faults) -> Option<Centiseconds> {
    let [least, most] = [Centiseconds::MIN, Centiseconds::MAX].map(Centiseconds::duration);
    let duration = value::duration(node, least, most, faults)?;
    let exact = u16::try_from(duration.as_millis() / 10)
        .ok()
        .and_then(Centiseconds::new)
        .filter(|interval| interval.duration() == duration);
    if exact.is_none() {
        let fault = Fault::error(codes::BAD_NUMBER, "an interval is a multiple of 10 ms");
        faults.push(fault.at(node.span, ""));
    }
    exact
}

fn announcements(node: &Node<'_>, faults: &mut Faults) -> Option<Vec<Duration>> {
    // None at all is a choice too.
    if node.list().is_some_and(<[Node<'_>]>::is_empty) {
        return Some(Vec::new());
    }
    let list = one_or_more(node, "a duration or a list of durations", faults)?;
    let least = Duration::from_millis(1);
    let good: Vec<_> =
        list.iter().filter_map(|entry| value::duration(entry, least, HOUR, faults)).collect();
    (good.len() == list.len()).then_some(good)
}

fn track(node: &Node<'_>, faults: &mut Faults) -> Option<Track> {
    let record = Record::read(node, &TRACK, faults)?;
    let [interface, health, script, name_, interval, timeout, rise, fall, lower] = record.values;
    let effect = match lower {
        Some((_, v)) => {
            let by = number(v, 1..=254, faults).and_then(|n| NonZeroU8::new(u8::try_from(n).ok()?));
            Effect::Lower(by?)
        }
        None => Effect::Fault,
    };
    if script.is_none()
        && let Some((key, _)) = [interval, timeout, rise, fall].into_iter().flatten().next()
    {
        let text = key.text().unwrap_or("");
        let fault = Fault::error(codes::CONFLICTING_KEYS, format!("`{text}` is for scripts only"));
        faults.push(fault.at(key.span, ""));
    }
    let (default, what) = match (interface, health, script) {
        (Some((_, v)), None, None) => {
            let interface = value::interface(v, faults)?;
            (format!("interface {interface}"), Watched::Interface(interface))
        }
        (None, Some((_, v)), None) => {
            word(v, &HEALTH, faults)?;
            ("queue".to_owned(), Watched::Queue)
        }
        (None, None, Some((_, v))) => {
            let command = value::program(v, faults)?;
            let program = command.first()?.rsplit('/').next().unwrap_or_default().to_owned();
            let script = self::script(command, [interval, timeout], [rise, fall], faults)?;
            (program, Watched::Script(script))
        }
        (None, None, None) => {
            faults.push(missing(
                "a tracked thing",
                "interface`, `health` or `script",
                record.start,
            ));
            return None;
        }
        _ => {
            let message = "`interface`, `health` and `script` exclude each other";
            faults.push(Fault::error(codes::CONFLICTING_KEYS, message).at(record.start, ""));
            return None;
        }
    };
    let name_ = match name_ {
        Some((_, v)) => name(v, "a tracked thing", faults)?.text.to_owned(),
        None => default,
    };
    Some(Track { name: name_, what, effect })
}

fn script(
    command: Vec<String>,
    [interval, timeout]: [Entry<'_>; 2],
    counts: [Entry<'_>; 2],
    faults: &mut Faults,
) -> Option<Script> {
    let mut duration = |entry: Entry<'_>, default| match entry {
        Some((_, v)) => value::duration(v, SHORTEST_RUN, HOUR, faults),
        None => Some(default),
    };
    let interval = duration(interval, SECOND)?;
    let timeout = duration(timeout, interval)?;
    let mut count = |entry: Entry<'_>| match entry {
        Some((_, v)) => NonZeroU8::new(u8::try_from(number(v, 1..=255, faults)?).ok()?),
        None => Some(NonZeroU8::MIN),
    };
    let [rise, fall] = counts;
    Some(Script { command, interval, timeout, rise: count(rise)?, fall: count(fall)? })
}

/// The entries of a list that has to have some, if its key is there.
fn entries<'t>(entry: Entry<'t>, of: &str, faults: &mut Faults) -> &'t [Node<'t>] {
    let Some((_, value)) = entry else { return &[] };
    let Some(list) = value.list() else {
        faults.push(wrong_kind(value, &format!("a list belongs here: {of}")));
        return &[];
    };
    if list.is_empty() {
        faults.push(Fault::error(codes::EMPTY, "this list is empty").at(value.span, of));
    }
    if list.len() > MOST {
        let message = format!("{} entries; the limit is {MOST}", list.len());
        faults.push(Fault::error(codes::TOO_MANY, message).at(value.span.before(), of));
        return &[];
    }
    list
}

/// Hands the settings to a state machine that is thrown away, so that what it refuses is found
/// before anything is changed. Interfaces and own addresses, which only the running system has, are
/// made up.
fn try_out(groups: &[(Group, Span)], faults: &mut Faults) {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
    let mut interfaces: BTreeMap<&str, u32> = BTreeMap::new();
    let mut vrrp = Vrrp::new();
    for (group, start) in groups {
        let mut leg = |router| {
            let router: &Router = router;
            let next = interfaces.len() as u32 + 1;
            let interface = *interfaces.entry(&router.interface).or_insert(next);
            let config: RouterConfig = router.config(InterfaceId(interface));
            let primary = if config.family() == Family::V4 { V4 } else { V6 };
            Leg { config, primary }
        };
        let config = GroupConfig {
            name: group.name.clone(),
            election: group.election(),
            legs: group.routers.iter().map(&mut leg).collect(),
        };
        if let Err(error) = vrrp.add(config, Timestamp::ZERO) {
            let fault = Fault::error(codes::CONFLICTING_KEYS, error.to_string());
            faults.push(fault.at(*start, "in this group"));
        }
    }
}

#[cfg(test)]
#[path = "vrrp_tests.rs"]
mod tests;
