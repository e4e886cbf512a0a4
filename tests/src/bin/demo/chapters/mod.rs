//! The chapters, in the order in which they are told, and what several of them need.

mod appliance;
mod operator;
mod pair;
mod twinwall;

use crate::chapter::{Chapter, Scene};
use crate::error::Error;
use crate::flows::{Flow, Traffic};
use crate::page::number;
use crate::phases::{self, START};
use crate::system::{self, NFT, PING};
use crate::witness::{self, Direction, Reading};
use std::path::Path;
use std::time::Duration;
use twinwall_testbed::{Gateway, Node, Testbed};

/// All of them.
pub(crate) const ALL: [Chapter; 4] =
    [appliance::CHAPTER, twinwall::CHAPTER, operator::CHAPTER, pair::CHAPTER];

/// How many packets of each flow make a step: about a second of traffic.
const STREAM_PACKETS: u64 = 500;
const PING_REQUESTS: u64 = 50;

/// How long they may take, on however busy a machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Their names, for the command line.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.each_ref().map(|chapter| chapter.name)
}

/// Waits until enough packets of both flows have come to the gateway since a reading, whether or
/// not they passed. Returns the reading that says so.
fn settle(
    scene: &Scene<'_>,
    gateway: &Node,
    traffic: &mut Traffic,
    since: &Reading,
) -> Result<Reading, Error> {
    let what = "the traffic of one step";
    scene.wait(what, PATIENCE, || {
        traffic.check()?;
        let now = witness::read(gateway)?;
        let come = now.since(since);
        let stream = come.arrived(Flow::Stream, Direction::Reply);
        let ping = come.arrived(Flow::Ping, Direction::Original);
        if stream >= STREAM_PACKETS && ping >= PING_REQUESTS {
            return Ok(Ok(now));
        }
        let (stream, ping) = (number(stream), number(ping));
        Ok(Err(format!(
            "{stream} of {STREAM_PACKETS} packets of the stream and {ping} of {PING_REQUESTS} \
             pings have come to the gateway"
        )))
    })
}

/// A testbed whose gateway runs Twinwall with the first policy. The other policies can be written
/// into the same folder.
fn twinwall_testbed(scene: &Scene<'_>) -> Result<(Testbed, Gateway), Error> {
    let testbed = scene.testbed()?;
    let gateway = testbed.gateway("gw-a")?;
    system::require(&gateway, &[PING, NFT])?;
    let folder: &Path = &testbed.record().folder;
    if scene.settings.rules > 0 {
        phases::write_padding(folder, scene.settings.rules)?;
    }
    // The testbed's daemons are started with the policy of this name.
    phases::write_policy(folder, "policy", START.policy, scene.settings.rules)?;
    gateway.start()?;
    Ok((testbed, gateway))
}
