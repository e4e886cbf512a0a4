//! Scenarios: a pair of gateways, a stream through it, something that happens to it, and what the
//! stream has lost.
//!
//! In: [`Plan`]. Out: a [`report::Report`] for each event. Each scenario has a testbed of its own.
//! Not here: options and printing (the binary `testbed`).

pub mod answers;
mod copying;
pub mod fault;
pub mod pair;
pub mod report;
pub mod rules;
pub mod run;

use crate::error::Error;
use crate::vrrp::{Family, Vrrp};
use pair::{Pair, Peer, Side};
use report::Report;
use run::{Event, Values};
use std::path::PathBuf;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What happens, one after the other.
    pub events: Vec<Event>,
    /// With which peers; they take turns, so that a machine whose load changes is fair to all.
    pub peers: Vec<Peer>,
    /// How VRRP is set up.
    pub vrrp: Vrrp,
    /// How often each event happens with each peer.
    pub runs: u32,
    /// The family of the stream.
    pub family: Family,
    /// Where this workspace's binaries are, if not beside this program.
    pub binaries: Option<PathBuf>,
}

impl Plan {
    /// Runs it. `progress` is told of each run. A run that fails with keepalived, which ends by itself
    /// when a busy machine keeps it from its turn for too long, is made once more with a new pair.
    ///
    /// # Errors
    /// When a testbed can't be built, or a run fails.
    pub fn run(
        &self,
        mut progress: impl FnMut(Event, Peer, u32, &Values),
        mut again: impl FnMut(Event, u32, &Error),
    ) -> Result<Vec<Report>, Error> {
        let mut reports = Vec::new();
        for &event in &self.events {
            let up = |&peer: &Peer| Pair::up(peer, self.vrrp.clone(), self.binaries.clone());
            let mut pairs = self.peers.iter().map(up).collect::<Result<Vec<_>, _>>()?;
            let mut values: Vec<Vec<Values>> = vec![Vec::new(); pairs.len()];
            for run in 1..=self.runs {
                for (pair, values) in pairs.iter_mut().zip(&mut values) {
                    let found = match run::once(pair, event, self.family) {
                        Err(error) if pair.peer(Side::A).has_keepalived() => {
                            again(event, run, &error);
                            *pair = up(&pair.peer(Side::A))?;
                            run::once(pair, event, self.family)?
                        }
                        found => found?,
                    };
                    progress(event, pair.peer(Side::A), run, &found);
                    values.push(found);
                }
            }
            let each = pairs.iter().zip(values);
            reports.extend(
                each.map(|(p, values)| Report::new(event, p.peer(Side::A), p.vrrp(), values)),
            );
        }
        Ok(reports)
    }
}
