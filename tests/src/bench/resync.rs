//! A node that has lost everything gets all sessions again, while the other one forwards a stream.

use super::Scale;
use super::copy::{float, percentile};
use super::fault::{begin_again, empty};
use super::steps::{self, Sessions};
use crate::clock;
use crate::error::Error;
use crate::scenario::pair::{Pair, Side};
use crate::scenario::run::{self, Values};
use crate::traffic::report::{Stream, Watched};
use crate::vrrp::Family;
use std::thread;
use std::time::Duration;

/// Sessions per second that are made beforehand: no faster than either peer can copy.
const RATE: f64 = 25_000.0;

/// The stream before the node comes back, with which the time afterwards is compared.
const BEFORE: Duration = Duration::from_millis(1500);

/// Once, with so many sessions.
pub(super) fn once(pair: &mut Pair, scale: &Scale, count: u32) -> Result<Values, Error> {
    steps::wait_quiet(pair)?;
    let mark = steps::mark(pair)?;
    let sessions = Sessions { first: 0, count, rate: RATE };
    sessions.settle(pair, mark)?;
    empty(pair)?;
    let flow = run::Flow::start(pair, Family::V4)?;
    let still = clock::now();
    thread::sleep(BEFORE);
    let watch = sessions.watch(pair, Side::B)?;
    let begun = clock::now();
    begin_again(pair)?;
    let started = clock::now();
    let watched: Watched = watch.report()?;
    let ended = watched.last_ns.max(started);
    let (client, server) = flow.end()?;
    let mut values = Values::new();
    let mut put = |name: &str, value: f64| values.insert(name.to_owned(), value);
    put("seconds", clock::between(begun, ended).as_secs_f64());
    put("seconds_until_it_answers", clock::between(begun, started).as_secs_f64());
    put("missing", float(watched.missing));
    let both = [(&client, &server), (&server, &client)];
    let before = delays(both, still, begun);
    let during = delays(both, begun, ended);
    let at = |times: &[u64]| percentile(times, 0.99).map_or(f64::NAN, |ns| float(ns) / 1e6);
    put("stream_p99_ms_before", at(&before));
    put("stream_p99_ms", at(&during));
    put("stream_lost", both.iter().map(|(from, to)| lost(from, to)).sum());
    put("sessions", f64::from(count.min(scale.many)));
    Ok(values)
}

/// How long datagrams that were sent in this time were under way, sorted.
fn delays(both: [(&Stream, &Stream); 2], from: u64, to: u64) -> Vec<u64> {
    let arrivals = both.iter().flat_map(|(_, receiver)| &receiver.arrivals);
    let inside = arrivals.filter(|(_, sent, _)| (from..to).contains(sent));
    let mut times: Vec<u64> = inside.map(|(_, sent, came)| came.saturating_sub(*sent)).collect();
    times.sort_unstable();
    times
}

/// Datagrams that were sent and never came. The receiver's full buffer isn't the gateway's fault.
fn lost(sender: &Stream, receiver: &Stream) -> f64 {
    let came = receiver.arrivals.len() as u64 + receiver.overrun;
    float(sender.sent.saturating_sub(came))
}
