//! The configuration of a node as text.

use super::words::{Words, centiseconds, duration, lines, next, parse, virtual_addresses};
use std::num::NonZeroU8;
use twinwall_vrrp::config::{Election, RouterConfig, Transport};
use twinwall_vrrp::group::{GroupConfig, Leg};
use twinwall_vrrp::track::{Effect, TrackConfig};
use twinwall_vrrp::types::{InterfaceId, Priority, Vrid};
use twinwall_vrrp::wire::ChecksumKind;

/// The groups of a configuration.
pub(super) fn groups(config: &str) -> Result<Vec<GroupConfig>, String> {
    let mut groups: Vec<GroupConfig> = Vec::new();
    for line in lines(config) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("group") => groups.push(group(&mut words)?),
            Some("track") => last(&mut groups)?.election.tracks.push(track(&mut words)?),
            Some("leg") => last(&mut groups)?.legs.push(leg(&mut words)?),
            _ => return Err(format!("neither group, track nor leg: {line}")),
        }
    }
    Ok(groups)
}

/// `group NAME priority N [no-preempt] [preempt-delay D] [start-delay D]`
fn group(words: &mut Words<'_>) -> Result<GroupConfig, String> {
    let name = next(words)?.to_owned();
    let mut election = Election::default();
    while let Some(word) = words.next() {
        match word {
            "priority" => election.priority = Priority::new(parse(next(words)?)?),
            "no-preempt" => election.preempt = false,
            "preempt-delay" => election.preempt_delay = duration(next(words)?)?,
            "start-delay" => election.start_delay = duration(next(words)?)?,
            other => return Err(format!("unknown word {other}")),
        }
    }
    Ok(GroupConfig { name, election, legs: Vec::new() })
}

/// `track NAME fault`, `track NAME lower N`
fn track(words: &mut Words<'_>) -> Result<TrackConfig, String> {
    let name = next(words)?.to_owned();
    let effect = match next(words)? {
        "fault" => Effect::Fault,
        "lower" => Effect::Lower(NonZeroU8::new(parse(next(words)?)?).ok_or("zero")?),
        other => return Err(format!("unknown effect {other}")),
    };
    Ok(TrackConfig { name, effect })
}

/// `leg NAME interface N vrid N primary IP addresses IP,... [interval CS] [accept]
/// [unicast IP,...] [checksum pseudo] [repeats D,...]`
fn leg(words: &mut Words<'_>) -> Result<Leg, String> {
    let name = next(words)?.to_owned();
    let (mut interface, mut vrid, mut primary, mut addresses) = (None, None, None, None);
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "accept" => options.push((word, "")),
            "interface" => interface = Some(InterfaceId(parse(next(words)?)?)),
            "vrid" => vrid = Vrid::new(parse(next(words)?)?),
            "primary" => primary = Some(parse(next(words)?)?),
            "addresses" => addresses = Some(virtual_addresses(next(words)?)?),
            _ => options.push((word, next(words)?)),
        }
    }
    let (Some(interface), Some(vrid), Some(primary), Some(addresses)) =
        (interface, vrid, primary, addresses)
    else {
        return Err("a leg needs interface, vrid, primary and addresses".to_owned());
    };
    let mut config = RouterConfig::new(name, interface, vrid, addresses);
    for (word, value) in options {
        match word {
            "interval" => config.interval = centiseconds(value)?,
            "accept" => config.accept = true,
            "unicast" => {
                let peers = value.split(',').map(parse).collect::<Result<_, _>>()?;
                config.transport = Transport::Unicast(peers);
            }
            "checksum" if value == "pseudo" => config.checksum = ChecksumKind::PseudoHeader,
            "repeats" => {
                config.repeats = value.split(',').map(duration).collect::<Result<_, _>>()?;
            }
            _ => return Err(format!("unknown: {word} {value}")),
        }
    }
    Ok(Leg { config, primary })
}

fn last(groups: &mut [GroupConfig]) -> Result<&mut GroupConfig, String> {
    groups.last_mut().ok_or("a group comes first".to_owned())
}
