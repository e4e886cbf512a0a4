//! The section `sync`: where the peer is, and which sessions it gets.

use super::value;
use crate::sync::settings::{Replicate, Settings};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use twinwall_policy::diag::{Fault, Faults, codes};
use twinwall_policy::form::scalar::{Word, number, one_or_more};
use twinwall_policy::form::{Keys, Record, network};
use twinwall_policy::yaml::Node;

const SECTION: Keys<10> = Keys {
    of: "`sync`",
    known: [
        "local",
        "peer",
        "port",
        "key-file",
        "heartbeat",
        "silent-after",
        "preempt-wait",
        "policy",
        "recorder",
        "replicate",
    ],
    later: &[],
};
const REPLICATE: Keys<3> =
    Keys { of: "`replicate`", known: ["zones", "protocols", "except"], later: &[] };

/// The port unless the settings say otherwise. None is registered.
const PORT: u16 = 3780;
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Of the flight recorder's file, in MiB.
const RECORDER: u32 = 32;

/// Reads the section.
pub(super) fn settings(section: &Node<'_>, faults: &mut Faults) -> Option<Settings> {
    let record = Record::read(section, &SECTION, faults)?;
    record.require(&["local", "peer", "key-file"], faults);
    let [local, peer, port, key_file, beat, silent, wait, policy, recorder, replicate] =
        record.values;
    let port = match port {
        Some((_, v)) => number(v, 1..=65_535, faults).and_then(|n| u16::try_from(n).ok()),
        None => Some(PORT),
    };
    let local = local.and_then(|(_, v)| Some((address(v, faults)?, v.span)));
    let peer = peer.and_then(|(_, v)| Some((address(v, faults)?, v.span)));
    if let (Some((local, _)), Some((peer, span))) = (local, peer)
        && (local == peer || local.is_ipv4() != peer.is_ipv4())
    {
        let fault = Fault::error(codes::BAD_ADDRESS, "`peer` and `local` don't go together");
        faults.push(fault.at(span, "another address of the same family"));
        return None;
    }
    let key_file = key_file.and_then(|(_, v)| path(v, faults));
    let mut duration = |entry: Option<(&Node<'_>, &Node<'_>)>, least, default| match entry {
        Some((_, v)) => value::duration(v, least, MINUTE * 60, faults),
        None => Some(default),
    };
    let beat = duration(beat, MILLISECOND, MILLISECOND * 2);
    let silent_after = duration(silent, MILLISECOND * 2, MILLISECOND * 7);
    let preempt_wait = duration(wait, Duration::ZERO, MINUTE);
    let recorder = match recorder {
        Some((_, v)) => number(v, 0..=4096, faults),
        None => Some(RECORDER),
    };
    let hold = match policy {
        Some((_, v)) => hold(v, faults),
        None => Some(false),
    };
    let replicate = match replicate {
        Some((_, v)) => self::replicate(v, faults),
        None => Some(Replicate::default()),
    };
    let port = port?;
    Some(Settings {
        local: SocketAddr::new(local?.0, port),
        peer: SocketAddr::new(peer?.0, port),
        key_file: key_file?,
        beat: beat?,
        silent_after: silent_after?,
        preempt_wait: preempt_wait?,
        hold: hold?,
        recorder: (recorder? as usize) << 20,
        replicate: replicate?,
    })
}

fn replicate(node: &Node<'_>, faults: &mut Faults) -> Option<Replicate> {
    let record = Record::read(node, &REPLICATE, faults)?;
    let [zones, protocols, except] = record.values;
    let zones = match zones {
        Some((_, v)) => one_or_more(v, "a zone or a list of zones", faults)?,
        None => &[],
    };
    let protocols = match protocols {
        Some((_, v)) => one_or_more(v, "a protocol or a list of protocols", faults)?,
        None => &[],
    };
    let except = match except {
        Some((_, v)) => one_or_more(v, "an address or a list of addresses", faults)?,
        None => &[],
    };
    Some(Replicate {
        zones: zones.iter().filter_map(|zone| Some(zone.text()?.to_owned())).collect(),
        protocols: protocols
            .iter()
            .filter_map(Word::of)
            .filter_map(|word| network::protocol(word, faults))
            .collect(),
        except: network::addresses(except, faults)?,
    })
}

fn hold(node: &Node<'_>, faults: &mut Faults) -> Option<bool> {
    match node.text() {
        Some("apply") => Some(false),
        Some("hold") => Some(true),
        _ => {
            let fault = Fault::error(codes::BAD_WORD, "`policy` is `apply` or `hold`");
            faults.push(fault.at(node.span, "what becomes of policies that the peer offers"));
            None
        }
    }
}

fn address(node: &Node<'_>, faults: &mut Faults) -> Option<IpAddr> {
    match value::addresses(node, faults)?.as_slice() {
        [only] => Some(*only),
        _ => {
            let fault = Fault::error(codes::BAD_ADDRESS, "one address belongs here");
            faults.push(fault.at(node.span, ""));
            None
        }
    }
}

fn path(node: &Node<'_>, faults: &mut Faults) -> Option<PathBuf> {
    match node.text() {
        Some(text) if text.starts_with('/') => Some(PathBuf::from(text)),
        _ => {
            let fault = Fault::error(codes::BAD_WORD, "an absolute path belongs here");
            faults.push(fault.at(node.span, "such as /etc/twinwall/sync.key"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use twinwall_policy::SourceText;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(SourceText { path: "d.yaml".into(), text: text.into() }, "nothing changed")
    }

    const WHOLE: &str = "\
sync:
  local: 10.255.0.1
  peer: 10.255.0.2
  port: 4000
  key-file: /etc/twinwall/sync.key
  heartbeat: 5ms
  silent-after: 20ms
  preempt-wait: 30s
  policy: hold
  recorder: 0
  replicate: { zones: [lan, wan], protocols: [tcp, 17], except: [10.9.0.0/16, fd00::1] }
";

    #[test]
    fn every_key_is_read() {
        let sync = parse(WHOLE).unwrap().sync.unwrap();
        assert_eq!(sync.peer.to_string(), "10.255.0.2:4000");
        assert_eq!(sync.replicate.protocols, [6, 17]);
        let except = |text: &str| sync.replicate.except.contains(text.parse().unwrap());
        assert!(except("10.9.255.1") && except("fd00::1"));
        assert!(!except("10.10.0.0") && !except("fd00::2"));
        assert_eq!((sync.recorder, sync.beat.as_millis(), sync.hold), (0, 5, true));
    }

    #[test]
    fn each_fault_is_told_at_its_place() {
        let cases = [
            (WHOLE.replace("10.255.0.2", "10.255.0.1"), "don't go together"),
            (WHOLE.replace("10.255.0.2", "fe80::1"), "don't go together"),
            (WHOLE.replace("/etc/twinwall/sync.key", "sync.key"), "an absolute path"),
            (WHOLE.replace("policy: hold", "policy: keep"), "`policy` is `apply` or `hold`"),
            (WHOLE.replace("[tcp, 17]", "[tpc]"), "`tpc` is not a protocol"),
            (WHOLE.replace("10.9.0.0/16", "10.9.0.0/33"), "the length can be 0 to 32"),
            (WHOLE.replace("  local: 10.255.0.1\n", ""), "`local` is missing"),
        ];
        for (text, expected) in cases {
            let message = parse(&text).unwrap_err();
            assert!(message.contains(expected), "{expected}:\n{message}");
        }
    }
}
