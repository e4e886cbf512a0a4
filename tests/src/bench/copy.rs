//! New sessions: how fast they get into the peer's kernel, and what that costs.

use super::Scale;
use super::gauge::Gauge;
use super::steps::{self, Sessions};
use crate::error::Error;
use crate::scenario::pair::{Pair, Side};
use crate::scenario::run::Values;
use crate::traffic::report::{Heard, Made};
use std::thread;
use std::time::{Duration, Instant};

/// How long both are watched while nothing happens: what they use then isn't for sessions.
const IDLE: Duration = Duration::from_secs(2);

/// Sessions that are there before memory is measured, so that what is set up once doesn't count.
const WARM: u32 = 2_000;

/// Timed sessions per second.
const TIMED: f64 = 500.0;

/// Many at once, as fast as they can be made.
pub(super) fn many(pair: &mut Pair, scale: &Scale) -> Result<Values, Error> {
    steps::wait_quiet(pair)?;
    let mark = steps::mark(pair)?;
    Sessions { first: scale.sessions, count: WARM, rate: 0.0 }.settle(pair, mark)?;
    let read = |pair: &Pair| -> Result<[Gauge; 2], Error> {
        let of = |side| Gauge::read(pair.copying_pid(side).unwrap_or(0));
        Ok([of(Side::A)?, of(Side::B)?])
    };
    let (still, begun) = (read(pair)?, Instant::now());
    thread::sleep(IDLE);
    let (before, idled) = (read(pair)?, begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let sessions = Sessions { first: 0, count: scale.sessions, rate: 0.0 };
    let (made, watched) = sessions.settle(pair, mark)?;
    // Acknowledgements, and the statistics of what was written.
    thread::sleep(Duration::from_millis(50));
    let (after, took) = (read(pair)?, begun.elapsed().as_secs_f64());
    let hundred_thousands = f64::from(scale.sessions) / 1e5;
    let mut values = Values::new();
    let mut put = |name: &str, value: f64| values.insert(name.to_owned(), value);
    let seconds = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from)).as_secs_f64();
    let present = f64::from(scale.sessions) - float(watched.missing);
    put("per_second", present / seconds(made.begun_ns, watched.last_ns).max(1e-9));
    put("made_per_second", float(made.made) / seconds(made.begun_ns, made.ended_ns).max(1e-9));
    put("missing", float(watched.missing));
    for (((name, still), before), after) in
        ["sender", "receiver"].into_iter().zip(still).zip(before).zip(after)
    {
        let (idle, busy) = (before.since(still), after.since(before));
        let spent = busy.cpu - idle.cpu / idled * took;
        if spent <= 0.0 {
            return Err(Error::NotMeasured(format!(
                "the {name} used {:.2} s of processor time in {took:.2} s with sessions, and {:.2} \
                 in {idled:.2} s without any",
                busy.cpu, idle.cpu
            )));
        }
        put(&format!("{name}_idle_cpu"), idle.cpu / idled);
        put(&format!("{name}_cpu_s"), spent / hundred_thousands);
        put(&format!("{name}_memory"), busy.resident / f64::from(scale.sessions));
        let name = if name == "sender" { "bytes" } else { "bytes_back" };
        put(name, (busy.sent - idle.sent / idled * took) / f64::from(scale.sessions));
    }
    Ok(values)
}

/// One at a time: from the system call that makes it to its notification on the other node.
pub(super) fn one(pair: &mut Pair, scale: &Scale) -> Result<Values, Error> {
    steps::wait_quiet(pair)?;
    let mark = steps::mark(pair)?;
    let limit = f64::from(scale.timed) / TIMED + 10.0;
    let count = format!("--count={}", scale.timed);
    let options = ["sessions-hear".to_owned(), count.clone(), format!("--for={limit}")];
    let mut hear = pair.gateway(Side::B)?.traffic(options)?.spawn()?;
    hear.wait_ready()?;
    let options = [
        "sessions-make".to_owned(),
        count,
        format!("--rate={TIMED}"),
        format!("--mark={mark}"),
        "--batch=1".to_owned(),
        "--stamps".to_owned(),
    ];
    let made: Made = pair.gateway(Side::A)?.traffic(options)?.json()?;
    let heard: Heard = hear.report()?;
    let pairs = made.stamps_ns.iter().zip(&heard.stamps_ns);
    let mut times: Vec<u64> = pairs
        .filter(|(_, came)| **came > 0)
        .map(|(sent, came)| came.saturating_sub(*sent))
        .collect();
    times.sort_unstable();
    let at = |part: f64| percentile(&times, part).map_or(f64::NAN, |ns| float(ns) / 1e3);
    let missing = made.stamps_ns.len().saturating_sub(times.len());
    Ok([("median_us", at(0.5)), ("p99_us", at(0.99)), ("missing", float(missing as u64))]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// The value below which this part of them is.
pub(super) fn percentile(sorted: &[u64], part: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index between 0 and the length of a list of a run"
    )]
    let place = ((sorted.len() as f64) * part) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
