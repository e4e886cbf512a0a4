//! Asks both gateways again and again what they are and how many of the demo's sessions they have.
//!
//! One thread a gateway, each of which ends soon after its [`Watch`] is gone. A gateway whose daemon
//! does not answer has a gap in its line. Out: the lines of a [`super::timeline::Timeline`].

use crate::pair::bed;
use crate::pair::timeline::{NodeLine, Span, since};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};
use twinwall_control::{Request, vrrp};
use twinwall_testbed::{Gateway, clock};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(40);

/// Sessions are counted each so many questions, and whenever the state has changed: to list them
/// costs the gateway much more than to say what it is.
const SESSIONS_EVERY: u32 = 10;

/// A gateway's answers.
#[derive(Clone, Debug, Default)]
struct Answers {
    /// From when on it was what; `None` while it did not answer.
    states: Vec<(u64, Option<String>)>,
    /// How many sessions it had when it was asked.
    sessions: Vec<(u64, Option<usize>)>,
}

/// Both gateways being watched.
#[derive(Debug)]
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    nodes: Vec<(String, Arc<Mutex<Answers>>)>,
}

impl Watch {
    /// Begins.
    pub(crate) fn start(gateways: &[&Gateway]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watched = gateways.iter().map(|&gateway| {
            let answers = Arc::new(Mutex::new(Answers::default()));
            let (gateway, over, found) = (gateway.clone(), Arc::clone(&over), Arc::clone(&answers));
            let name = gateway.name().to_owned();
            // Not waited for: a daemon that hangs must not hold up the demo.
            thread::spawn(move || ask(&gateway, &over, &found));
            (name, answers)
        });
        let nodes = watched.collect();
        Self { over, nodes }
    }

    /// When a gateway last began to be active, as a reading of the clock.
    pub(crate) fn active_since(&self, gateway: &Gateway) -> Option<u64> {
        let answers = self.answers(gateway)?;
        let (since, state) = answers.states.last()?;
        (state.as_deref() == Some(bed::ACTIVE)).then_some(*since)
    }

    /// How many sessions a gateway had when it was first seen to be active after a time.
    pub(crate) fn sessions_at_takeover(&self, gateway: &Gateway, after: u64) -> Option<usize> {
        let answers = self.answers(gateway)?;
        let active = |(since, state): &&(u64, Option<String>)| {
            *since > after && state.as_deref() == Some(bed::ACTIVE)
        };
        let (since, _) = answers.states.iter().find(active)?;
        answers.sessions.iter().filter(|(at, _)| at >= since).find_map(|(_, count)| *count)
    }

    /// Ends it. Times are told from `zero` on; what came before is left out.
    pub(crate) fn finish(self, zero: u64, end: u64) -> Vec<NodeLine> {
        self.over.store(true, Ordering::Relaxed);
        let lines = self.nodes.iter().map(|(name, answers)| {
            let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            line(name, &answers, zero, end)
        });
        lines.collect()
    }

    fn answers(&self, gateway: &Gateway) -> Option<Answers> {
        let (_, answers) = self.nodes.iter().find(|(name, _)| name == gateway.name())?;
        Some(answers.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn ask(gateway: &Gateway, over: &AtomicBool, answers: &Mutex<Answers>) {
    let mut until_count = 0;
    let mut last = None;
    while !over.load(Ordering::Relaxed) {
        let asked = clock::now();
        let state = bed::state(gateway).ok();
        if last.as_ref() != Some(&state) {
            let at = state.as_deref().and_then(|state| entered(gateway, state)).unwrap_or(asked);
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            // What was seen before can't have begun later.
            let at = answers.states.last().map_or(at, |(before, _)| at.max(*before));
            answers.states.push((at, state.clone()));
            last = Some(state);
            until_count = 0;
        }
        if until_count == 0 {
            let count = bed::sessions(gateway).ok().map(|sessions| sessions.len());
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.sessions.push((clock::now(), count));
            until_count = SESSIONS_EVERY;
        }
        until_count -= 1;
        thread::sleep(PAUSE);
    }
}

/// When the gateway says that it came into this state: more exact than when it was asked.
fn entered(gateway: &Gateway, state: &str) -> Option<u64> {
    let request = Request::VrrpEvents { after: 0, wait_ms: 0 };
    let events: vrrp::Events = gateway.ask(&request).ok()?;
    let mut events = events.events.into_iter().rev();
    let event =
        events.find(|event| event.event == "state" && event.to.as_deref() == Some(state))?;
    let time = humantime::parse_rfc3339(&event.time).ok()?;
    let ago = SystemTime::now().duration_since(time).ok()?;
    clock::now().checked_sub(u64::try_from(ago.as_nanos()).ok()?)
}

fn line(name: &str, answers: &Answers, zero: u64, end: u64) -> NodeLine {
    let (from, until) = (0.0, since(zero, end));
    let next = answers.states.iter().skip(1).map(|(at, _)| since(zero, *at));
    let spans = answers.states.iter().zip(next.chain([until])).map(|((at, state), next)| Span {
        from_ms: since(zero, *at).clamp(from, until),
        until_ms: next.clamp(from, until),
        state: state.clone(),
    });
    let counted = answers.sessions.iter().filter(|(at, _)| (zero..=end).contains(at));
    NodeLine {
        name: name.to_owned(),
        spans: spans.filter(|span| span.until_ms > span.from_ms).collect(),
        sessions: counted.map(|(at, count)| (since(zero, *at), *count)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lie_end_to_end_from_the_beginning_to_the_end() {
        const MS: u64 = 1_000_000;
        let state = |name: &str| Some(name.to_owned());
        let answers = Answers {
            states: vec![
                (10 * MS, state("backup")),
                (40 * MS, state("active")),
                (150 * MS, None),
                (160 * MS, state("backup")),
            ],
            sessions: vec![(20 * MS, Some(0)), (130 * MS, Some(100)), (150 * MS, None)],
        };
        let line = line("gw-a", &answers, 100 * MS, 180 * MS);
        let span = |from_ms, until_ms, state| Span { from_ms, until_ms, state };
        let expected = [
            span(0.0, 50.0, state("active")),
            span(50.0, 60.0, None),
            span(60.0, 80.0, state("backup")),
        ];
        assert_eq!(line.spans, expected);
        assert_eq!(line.sessions, [(30.0, Some(100)), (50.0, None)]);
    }
}
