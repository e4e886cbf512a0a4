//! What has happened, for `twinwall vrrp events` and the daemon's log.
//!
//! Bounded: the newest thousand events. Numbers go on, so a reader sees what it has missed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use twinwall_control::vrrp::{Event, Events};
use twinwall_vrrp::action;

/// How many events are kept.
const KEPT: usize = 1_000;

/// The newest events. Written by the VRRP thread, read by anybody.
#[derive(Debug, Default)]
pub struct Log {
    kept: Mutex<Kept>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Event>,
    newest: u64,
}

/// What happened, before it has a number and a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) group: String,
    pub(super) router: Option<String>,
    pub(super) event: &'static str,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) text: String,
}

impl Log {
    /// The events after the one of this number; waits for one if there is none yet.
    pub async fn after(&self, number: u64, wait: Duration) -> Events {
        let found = async {
            loop {
                // Listening begins before looking, so that nothing is missed in between.
                let added = self.added.notified();
                let events = self.now(number);
                if !events.events.is_empty() {
                    return events;
                }
                added.await;
            }
        };
        tokio::time::timeout(wait, found).await.unwrap_or_else(|_| self.now(number))
    }

    fn now(&self, number: u64) -> Events {
        let kept = self.lock();
        let events = kept.events.iter().filter(|event| event.number > number).cloned().collect();
        Events { events, newest: kept.newest }
    }

    /// Adds an event, here and to the daemon's log.
    pub(super) fn add(&self, entry: Entry) {
        let Entry { group, router, event, from, to, text } = entry;
        let place = router.as_deref().unwrap_or(&group);
        match event {
            "state" | "priority" | "handover" => tracing::info!("VRRP {place}: {text}"),
            _ => tracing::warn!("VRRP {place}: {text}"),
        }
        let mut kept = self.lock();
        kept.newest += 1;
        let number = kept.newest;
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        let event = event.to_owned();
        kept.events.push_back(Event { number, time, group, router, event, from, to, text });
        drop(kept);
        self.added.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing in it is ever half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// An event of the state machine.
    pub(super) fn of(group: &str, router: &str, event: &action::Event) -> Self {
        let (kind, from, to) = match event {
            action::Event::State { from, to, .. } => {
                ("state", Some(from.to_string()), Some(to.to_string()))
            }
            action::Event::Priority { from, to } => {
                ("priority", Some(from.to_string()), Some(to.to_string()))
            }
            action::Event::HandOver(_) => ("handover", None, None),
            action::Event::Warning { .. } => ("warning", None, None),
        };
        let (group, router) = (group.to_owned(), Some(router.to_owned()));
        Self { group, router, event: kind, from, to, text: event.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry { group: "main".into(), event: "state", text: text.into(), ..Entry::default() }
    }

    #[tokio::test]
    async fn a_reader_gets_what_came_after_its_last_event() {
        let log = Log::default();
        log.add(entry("one"));
        log.add(entry("two"));
        let events = log.after(1, Duration::ZERO).await;
        assert_eq!((events.events.len(), events.newest), (1, 2));
        assert_eq!(events.events[0].text, "two");
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let log = std::sync::Arc::new(Log::default());
        let reader = std::sync::Arc::clone(&log);
        let waiting = tokio::spawn(async move { reader.after(0, Duration::from_secs(20)).await });
        tokio::task::yield_now().await;
        log.add(entry("one"));
        assert_eq!(waiting.await.unwrap().newest, 1);
    }

    #[tokio::test]
    async fn only_the_newest_are_kept_and_numbers_go_on() {
        let log = Log::default();
        for _ in 0..KEPT + 5 {
            log.add(entry("again"));
        }
        let events = log.after(0, Duration::ZERO).await;
        assert_eq!((events.events.len(), events.events[0].number), (KEPT, 6));
    }
}
