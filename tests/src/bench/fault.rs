//! Faults of the sync link and of the daemons while sessions begin: how many are missing afterwards.

use super::Scale;
use super::copy::float;
use super::steps::{self, Sessions};
use crate::clock;
use crate::error::Error;
use crate::scenario::pair::{Pair, Side};
use crate::scenario::run::Values;
use crate::topology::Segment;
use crate::traffic::report::Made;
use std::thread;
use std::time::Duration;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One in twenty datagrams on the sync link is lost, in both directions.
    Loss,
    /// Nothing gets through the sync link for a while.
    Cut,
    /// The daemon of the node on which sessions begin is stopped (SIGSTOP) for a second.
    SenderStopped,
    /// The other node's is.
    ReceiverStopped,
    /// The other node's daemon is killed, its sessions are gone, and the daemon is started again.
    PeerRestarted,
}

/// How long a daemon is stopped.
const STOPPED: Duration = Duration::from_secs(1);

/// When sessions are looked for after a fault.
const AFTER: Duration = Duration::from_secs(2);

/// Sessions that are there before a fault.
const BEFORE: u32 = 1_000;

impl Fault {
    /// Its name in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "pair-loss",
            Self::Cut => "pair-cut",
            Self::SenderStopped => "pair-stop-sender",
            Self::ReceiverStopped => "pair-stop-receiver",
            Self::PeerRestarted => "pair-restart",
        }
    }
}

/// Makes it happen once: `missing_after_2s`, `missing_at_the_end` of the observation, and if none
/// are then, `seconds_until_none`, 0 if none were at the fault's end.
///
/// # Errors
/// When a step fails.
pub fn once(pair: &mut Pair, fault: Fault, scale: &Scale) -> Result<Values, Error> {
    steps::wait_quiet(pair)?;
    let mark = steps::mark(pair)?;
    let count = if fault == Fault::Cut { scale.during_cut } else { scale.sessions };
    Sessions { first: count, count: BEFORE, rate: 0.0 }.settle(pair, mark)?;
    let sessions = Sessions { first: 0, count, rate: scale.rate };
    let (made, over) = match fault {
        Fault::Loss => {
            drop_sync(pair, "numgen random mod 100 < 5 drop;")
                .map_err(|error| Error::Unavailable(format!("no random drops: {error}")))?;
            let made: Made = sessions.make(pair, Side::A, mark)?.report()?;
            let over = undrop_sync(pair)?;
            (made, over)
        }
        Fault::Cut => {
            drop_sync(pair, "drop;")?;
            let begun = clock::now();
            let fast = f64::from(count) / (scale.cut.as_secs_f64() / 2.0);
            let made = Sessions { rate: fast, ..sessions }.make(pair, Side::A, mark)?.report()?;
            thread::sleep(scale.cut.saturating_sub(clock::between(begun, clock::now())));
            let over = undrop_sync(pair)?;
            (made, over)
        }
        Fault::SenderStopped | Fault::ReceiverStopped => {
            let side = if fault == Fault::SenderStopped { Side::A } else { Side::B };
            let making = sessions.make(pair, Side::A, mark)?;
            thread::sleep(STOPPED / 4);
            pair.freeze_copying(side, true)?;
            thread::sleep(STOPPED);
            pair.freeze_copying(side, false)?;
            let thawed = clock::now();
            let made: Made = making.report()?;
            // Those that began after the stop have to be copied too.
            let over = thawed.max(made.ended_ns);
            (made, over)
        }
        Fault::PeerRestarted => {
            let (made, _) = Sessions { rate: 0.0, ..sessions }.settle(pair, mark)?;
            restart_empty(pair)?;
            (made, clock::now())
        }
    };
    thread::sleep(AFTER.saturating_sub(clock::between(over, clock::now())));
    let first = sessions.wait(pair, Side::B, Duration::ZERO)?;
    let last = match first.missing {
        0 => first.clone(),
        _ => sessions.wait(pair, Side::B, scale.patience)?,
    };
    let mut values = Values::new();
    let mut put = |name: &str, value: f64| values.insert(name.to_owned(), value);
    put("made", float(made.made));
    put("missing_after_2s", float(first.missing));
    put("missing_at_the_end", float(last.missing));
    if first.missing > 0 && last.missing == 0 {
        put("seconds_until_none", clock::between(over, last.last_ns).as_secs_f64());
    }
    if let Some(status) = steps::status(pair, Side::A) {
        put("overruns", float(status.overruns));
        put("resyncs", float(status.resyncs));
        put("resent", float(status.resent));
    }
    Ok(values)
}

/// Kills what copies sessions on `gw-b`, empties its connection tracking, and starts it again.
pub(super) fn restart_empty(pair: &mut Pair) -> Result<(), Error> {
    empty(pair)?;
    begin_again(pair)
}

pub(super) fn empty(pair: &mut Pair) -> Result<(), Error> {
    pair.kill9_copying(Side::B)?;
    pair.gateway(Side::B)?.run("conntrack", &["-F"]).map(drop)
}

pub(super) fn begin_again(pair: &mut Pair) -> Result<(), Error> {
    pair.start_copying(Side::B)?;
    // What keepalived's script has it do in a node that comes up.
    pair.copying(Side::B).map_or(Ok(()), |daemon| daemon.tell("-n"))
}

/// Drops what comes in by the sync link on both nodes.
fn drop_sync(pair: &Pair, which: &str) -> Result<(), Error> {
    let device = Segment::Sync.gateway_interface();
    let rules = format!(
        "table netdev bench {{ chain in {{ type filter hook ingress device \"{device}\" priority 0; {which} }}; }}"
    );
    for side in [Side::A, Side::B] {
        pair.gateway(side)?.run("nft", &[&rules])?;
    }
    Ok(())
}

/// Returns the time just before the last step.
fn undrop_sync(pair: &Pair) -> Result<u64, Error> {
    let mut now = clock::now();
    for side in [Side::A, Side::B] {
        now = clock::now();
        pair.gateway(side)?.run("nft", &["delete table netdev bench"])?;
    }
    Ok(now)
}
