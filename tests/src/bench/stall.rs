//! The longest stall of TCP sessions while the active node dies, and when it comes back.

use super::Scale;
use super::steps::{self, Sessions};
use crate::clock;
use crate::error::Error;
use crate::process::Process;
use crate::scenario::fault::Fault;
use crate::scenario::pair::{Pair, Side};
use crate::scenario::run::{Values, urgent};
use crate::topology::OUTSIDE_V4;
use crate::traffic::report::Pulse;
use std::thread;
use std::time::Duration;

const PORT: u16 = 7001;
const CONNECTIONS: u32 = 100;

/// How long sessions run before the node dies: all are copied by then.
const BEFORE: Duration = Duration::from_millis(1500);

/// How long stalls are looked for: a stall that lasts longer counts as this long.
const AFTER: Duration = Duration::from_secs(5);

const FORGET: &str = "conntrack -F
    for link in $(ip -o link show type macvlan | sed 's/^[0-9]*: //; s/[@:].*//')
    do ip link delete \"$link\"; done";

/// Once: the node dies with all that it knew, and starts again.
pub(super) fn once(pair: &mut Pair, scale: &Scale) -> Result<Values, Error> {
    steps::wait_quiet(pair)?;
    let mark = steps::mark(pair)?;
    Sessions { first: 0, count: scale.sessions, rate: scale.rate }.settle(pair, mark)?;
    let server = pulse(pair, "server", "--listen")?;
    let client = pulse(pair, "client", "--to")?;
    thread::sleep(BEFORE);
    let died = Fault::Silent(Side::A).begin(pair.testbed())?;
    pair.freeze(Side::A, true)?;
    pair.wait_holding(Side::B)?;
    thread::sleep(AFTER.saturating_sub(clock::between(died, clock::now())));
    pair.kill9(Side::A)?;
    if pair.copying(Side::A).is_some() {
        pair.kill9_copying(Side::A)?;
    }
    // A node that starts has neither sessions nor virtual addresses.
    pair.gateway(Side::A)?.run("sh", &["-ec", FORGET])?;
    let back = Fault::Silent(Side::A).end(pair.testbed())?;
    pair.start(Side::A)?;
    pair.wait_active(Side::A)?;
    thread::sleep(AFTER);
    let ended = clock::now();
    let mut sides = Vec::new();
    for process in [client, server] {
        sides.push(process.stop_and_report::<Pulse>()?);
    }
    let mut values = Values::new();
    let mut put = |name: &str, value: f64| values.insert(name.to_owned(), value);
    for (name, from, to) in [("death", died, back), ("failback", back, ended)] {
        let found = stalls(&sides, from, to);
        let longest = found.iter().copied().max().unwrap_or(0);
        let second = u64::try_from(AFTER.as_nanos()).unwrap_or(u64::MAX) / 2;
        let dead = found.iter().filter(|stall| **stall > second).count();
        put(&format!("{name}_stall_ms"), Duration::from_nanos(longest).as_secs_f64() * 1e3);
        put(&format!("{name}_median_ms"), median(found).as_secs_f64() * 1e3);
        put(&format!("{name}_broken"), f64::from(u32::try_from(dead).unwrap_or(u32::MAX)));
    }
    put("connections", sides.iter().map(|side| f64::from(side.connections)).fold(0.0, f64::max));
    Ok(values)
}

fn pulse(pair: &Pair, node: &str, side: &str) -> Result<Process, Error> {
    let node = pair.testbed().node(node)?;
    let address = format!("{OUTSIDE_V4}:{PORT}");
    let count = CONNECTIONS.to_string();
    let mut process =
        urgent(&node, ["pulse", side, &address, "--connections", &count, "--for", "120"])?;
    process.wait_ready()?;
    Ok(process)
}

/// The longest stall of each connection that has one in this time, of either direction.
fn stalls(sides: &[Pulse], from: u64, to: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for side in sides {
        for connection in 0..side.connections {
            let gaps = side
                .gaps
                .iter()
                .filter(|(one, begun, ended)| *one == connection && *ended > from && *begun < to);
            let inside = gaps.map(|(_, begun, ended)| ended.min(&to) - begun);
            found.extend(inside.max());
        }
    }
    found
}

fn median(mut times: Vec<u64>) -> Duration {
    times.sort_unstable();
    Duration::from_nanos(times.get(times.len() / 2).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_looked_for_in_its_time() {
        let side = Pulse {
            connections: 2,
            gaps: vec![(0, 90, 120), (0, 200, 210), (1, 10, 40), (1, 150, 400)],
            ..Pulse::default()
        };
        assert_eq!(stalls(&[side], 100, 300), [30, 150]);
    }
}
