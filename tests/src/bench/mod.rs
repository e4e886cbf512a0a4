//! The pair's table: what replication does with many sessions, on Twinwall and on keepalived with
//! conntrackd, with the same traffic.
//!
//! In: [`Plan`]. Out: [`report::Table`]. Each run of a row has a pair of its own, and the peers take
//! turns. Sessions are written into the active node's connection tracking
//! ([`crate::traffic::sessions`]), the same for both. Not here: options and files (the binary
//! `testbed`), and what only a stream shows ([`crate::scenario`]).

mod copy;
pub mod fault;
mod gauge;
mod limits;
pub mod report;
mod resync;
pub mod row;
mod stall;
mod steps;

use crate::error::Error;
use crate::scenario::pair::{Pair, Peer};
use crate::scenario::rules::Rules;
use crate::scenario::run::{self, Values};
use crate::vrrp::{Family, Vrrp};
use limits::Raised;
use report::Table;
use row::Row;
use std::path::PathBuf;
use std::time::Duration;

/// Who is compared.
pub const PEERS: [Peer; 2] = [Peer::TwinwallSync, Peer::Conntrackd];

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which rows.
    pub rows: Vec<Row>,
    /// With which peers, in turn.
    pub peers: Vec<Peer>,
    /// How often each.
    pub runs: u32,
    /// How many sessions.
    pub scale: Scale,
    /// Where this workspace's binaries are, if not beside this program.
    pub binaries: Option<PathBuf>,
}

/// How many sessions, and how fast they come.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Those that are counted in most rows.
    pub sessions: u32,
    /// Those that begin while the sync link is cut.
    pub during_cut: u32,
    /// Those of the large resync.
    pub many: u32,
    /// New sessions per second where the rate is not what is measured.
    pub rate: f64,
    /// How long the sync link is cut.
    pub cut: Duration,
    /// Sessions that are timed one at a time.
    pub timed: u32,
    /// How long to wait for sessions that are still missing after the first look.
    pub patience: Duration,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            sessions: 100_000,
            during_cut: 200_000,
            many: 1_000_000,
            rate: 20_000.0,
            cut: Duration::from_secs(10),
            timed: 1_000,
            patience: Duration::from_secs(20),
        }
    }
}

/// Adverts and priorities where a gap is measured: as short as either peer can.
#[must_use]
pub fn fast() -> Vrrp {
    Vrrp { interval: Duration::from_millis(10), priorities: [254, 250], ..Vrrp::default() }
}

impl Plan {
    /// Runs it. `progress` is told of each run and of each that failed, and `row_done` gets what is
    /// known so far.
    ///
    /// # Errors
    /// When a pair can't be built at all; a run that fails is made once more, and then reported as
    /// not measured.
    pub fn run(
        &self,
        mut progress: impl FnMut(Row, Peer, u32, Result<&Values, &Error>),
        mut row_done: impl FnMut(&Table) -> Result<(), Error>,
    ) -> Result<Table, Error> {
        let mut table = Table::begin(self.runs);
        // All rows once, then all of them again: a load that changes is shared by all.
        for run in 1..=self.runs {
            for &row in self.rows.iter().filter(|row| run <= row.runs(self.runs)) {
                let raised = match row {
                    Row::ResyncMany => Raised::to(self.scale.many / 10 * 11),
                    _ => Ok(None),
                };
                if let Err(reason) = &raised {
                    table.not_measured(row, reason);
                    continue;
                }
                for &peer in &self.peers {
                    if let Some(values) = self.twice(row, peer, run, &mut progress)? {
                        table.add(row, peer, values);
                    }
                }
                row_done(&table)?;
            }
        }
        Ok(table)
    }

    /// One run, and another one if it fails: a busy machine may keep keepalived from its turn, which
    /// ends it.
    fn twice(
        &self,
        row: Row,
        peer: Peer,
        run: u32,
        progress: &mut impl FnMut(Row, Peer, u32, Result<&Values, &Error>),
    ) -> Result<Option<Values>, Error> {
        for _ in 0..2 {
            let found = self.once(row, peer);
            progress(row, peer, run, found.as_ref());
            match found {
                Ok(values) => return Ok(Some(values)),
                Err(error @ Error::Unavailable(_)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// One run of a row, with a pair of its own.
    ///
    /// # Errors
    /// When a step fails.
    pub fn once(&self, row: Row, peer: Peer) -> Result<Values, Error> {
        let (vrrp, rules) = match row {
            Row::Gap(_) => (fast(), Rules::Both),
            Row::Stall => (fast(), Rules::Shared),
            _ => (Vrrp::default(), Rules::Out),
        };
        let mut pair = Pair::up_with(peer, vrrp, rules, self.binaries.clone())?;
        let (pair, scale) = (&mut pair, &self.scale);
        match row {
            Row::Gap(event) => run::once(pair, event, Family::V4),
            Row::Stall => stall::once(pair, scale),
            Row::Copy => copy::many(pair, scale),
            Row::One => copy::one(pair, scale),
            Row::Fault(fault) => fault::once(pair, fault, scale),
            Row::Resync => resync::once(pair, scale, scale.sessions),
            Row::ResyncMany => resync::once(pair, scale, scale.many),
        }
    }
}
