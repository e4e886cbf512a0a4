//! Counts packets in the gateway, apart from the firewall that is being watched.
//!
//! A table of nftables counts before every other (what arrives) and after every other (what
//! passes), by protocol, direction and connection mark. It decides nothing and knows nothing of
//! rules: which rule a mark stands for is the caller's business.

use crate::error::Error;
use crate::flows::Flow;
use serde_json::Value;
use std::collections::BTreeMap;
use twinwall_testbed::{Command, Node};

/// The table. Its name is in [`PRINT`] too.
const TABLE: &str = "table ip witness {
    set arrived { typeof ip protocol . ct direction; size 64; flags dynamic; counter; }
    set passed { typeof ip protocol . ct direction . ct mark; size 1024; flags dynamic; counter; }
    chain arrived {
        type filter hook forward priority -300
        update @arrived { ip protocol . ct direction }
    }
    chain passed {
        type filter hook forward priority 300
        update @passed { ip protocol . ct direction . ct mark }
    }
}
";

/// Shell command that prints the table, for [`Reading::parse`].
pub(crate) const PRINT: &str = "nft --json list table ip witness";

/// A packet's direction within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// As the session's first packet.
    Original,
    /// The other way.
    Reply,
}

/// Packets so far, or in between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    arrived: BTreeMap<(String, Direction), u64>,
    passed: BTreeMap<(String, Direction, u32), u64>,
}

/// Starts to count in a gateway.
pub(crate) fn install(gateway: &Node) -> Result<(), Error> {
    let output = gateway.command("nft")?.args(["-f", "-"]).input(TABLE).output()?;
    match output.code() {
        0 => Ok(()),
        _ => Err(Error::Missing(format!(
            "nftables can't count packets by connection mark: {}",
            output.stderr.trim()
        ))),
    }
}

/// Reads the counts.
pub(crate) fn read(gateway: &Node) -> Result<Reading, Error> {
    Reading::parse(&print(gateway)?.json()?)
}

fn print(gateway: &Node) -> Result<Command, Error> {
    Ok(gateway.command("sh")?.args(["-c", PRINT]))
}

impl Reading {
    /// Reads what [`PRINT`] has printed.
    pub(crate) fn parse(listing: &Value) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Output { command: PRINT.to_owned(), reason };
        let sets = listing
            .get("nftables")
            .and_then(Value::as_array)
            .ok_or_else(|| wrong("it has no list `nftables`".to_owned()))?
            .iter()
            .filter_map(|object| object.get("set"));
        let mut reading = Self::default();
        for set in sets {
            let elements = set.get("elem").and_then(Value::as_array);
            for element in elements.into_iter().flatten() {
                let known = match set.get("name").and_then(Value::as_str) {
                    Some("arrived") => reading.add_arrived(element),
                    Some("passed") => reading.add_passed(element),
                    _ => None,
                };
                known.ok_or_else(|| wrong(format!("unexpected element {element}")))?;
            }
        }
        Ok(reading)
    }

    fn add_arrived(&mut self, element: &Value) -> Option<()> {
        let (key, packets) = parts(element)?;
        let [protocol, direction] = key.as_slice() else { return None };
        *self.arrived.entry((text(protocol)?, direction_of(direction)?)).or_default() += packets;
        Some(())
    }

    fn add_passed(&mut self, element: &Value) -> Option<()> {
        let (key, packets) = parts(element)?;
        let [protocol, direction, mark] = key.as_slice() else { return None };
        let mark = u32::try_from(mark.as_u64()?).ok()?;
        *self.passed.entry((text(protocol)?, direction_of(direction)?, mark)).or_default() +=
            packets;
        Some(())
    }

    /// What has come since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            arrived: difference(&self.arrived, &earlier.arrived),
            passed: difference(&self.passed, &earlier.passed),
        }
    }

    /// Packets of a flow that came to the gateway in one direction.
    pub(crate) fn arrived(&self, flow: Flow, direction: Direction) -> u64 {
        self.arrived.get(&(flow.protocol().to_owned(), direction)).copied().unwrap_or(0)
    }

    /// Packets of a flow that came to the gateway.
    pub(crate) fn arrived_both_ways(&self, flow: Flow) -> u64 {
        [Direction::Original, Direction::Reply].map(|way| self.arrived(flow, way)).iter().sum()
    }

    /// Packets of a flow that left the gateway in one direction.
    pub(crate) fn passed(&self, flow: Flow, direction: Direction) -> u64 {
        self.passed
            .iter()
            .filter(|((protocol, way, _), _)| protocol == flow.protocol() && *way == direction)
            .map(|(_, packets)| packets)
            .sum()
    }

    /// Packets of a flow that left the gateway, by connection mark; only marks with packets.
    pub(crate) fn marks(&self, flow: Flow) -> BTreeMap<u32, u64> {
        let mut marks = BTreeMap::new();
        for ((protocol, _, mark), &packets) in &self.passed {
            if protocol == flow.protocol() && packets > 0 {
                *marks.entry(*mark).or_default() += packets;
            }
        }
        marks
    }
}

fn difference<K: Ord + Clone>(
    later: &BTreeMap<K, u64>,
    earlier: &BTreeMap<K, u64>,
) -> BTreeMap<K, u64> {
    let before = |key| earlier.get(key).copied().unwrap_or(0);
    later.iter().map(|(key, packets)| (key.clone(), packets.saturating_sub(before(key)))).collect()
}

/// The key and the packets of a set's element.
fn parts(element: &Value) -> Option<(Vec<Value>, u64)> {
    let element = element.get("elem")?;
    let key = element.get("val")?.get("concat")?.as_array()?.clone();
    Some((key, element.get("counter")?.get("packets")?.as_u64()?))
}

/// A protocol: by name, or as a number where nft knows no name.
fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()))
}

fn direction_of(value: &Value) -> Option<Direction> {
    match value.as_str()? {
        "original" => Some(Direction::Original),
        "reply" => Some(Direction::Reply),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As nft 1.0.6 prints it, without the objects that are not read.
    fn listing(replies: u64) -> Value {
        let element = |key: Value, packets: u64| json!({"elem": {"val": {"concat": key}, "counter": {"packets": packets, "bytes": 1}}});
        json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"set": {"name": "arrived", "elem": [element(json!(["udp", "reply"]), replies)]}},
            {"set": {"name": "passed", "elem": [
                element(json!(["udp", "reply", 30]), 3),
                element(json!(["udp", "reply", 31]), replies - 3),
            ]}},
            {"set": {"name": "empty"}},
        ]})
    }

    #[test]
    fn packets_are_told_apart_by_mark_and_time() {
        let before = Reading::parse(&listing(5)).unwrap();
        let after = Reading::parse(&listing(9)).unwrap();
        assert_eq!(after.marks(Flow::Stream), [(30, 3), (31, 6)].into());
        let between = after.since(&before);
        assert_eq!(between.arrived(Flow::Stream, Direction::Reply), 4);
        assert_eq!(between.arrived_both_ways(Flow::Ping), 0);
        assert_eq!(between.marks(Flow::Stream), [(31, 4)].into());
        assert_eq!(between.passed(Flow::Stream, Direction::Original), 0);
    }

    #[test]
    fn what_nft_does_not_print_is_an_error() {
        assert!(Reading::parse(&json!({})).is_err());
        let odd = json!({"nftables": [{"set": {"name": "passed", "elem": [{"elem": 1}]}}]});
        assert!(Reading::parse(&odd).is_err());
    }
}
