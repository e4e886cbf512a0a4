//! What systemd is told: ready, stopping, and that the workers are alive.
//!
//! The watchdog is fed only while every worker either waits for packets or gets on with them. A
//! worker that is stuck holds its queue, and no packet of it would ever be decided: only a restart
//! frees it.

use crate::gate::Gate;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;

/// Tells that the daemon is ready. Nothing happens without systemd.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// Tells that it is stopping.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Feeds systemd's watchdog, if there is one, twice as often as it asks for. Runs until it is
/// cancelled, which is safe anywhere.
pub async fn feed<T>(gate: Arc<Gate<T>>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut before = gate.turns();
    let mut ticks = tokio::time::interval(interval(limit));
    loop {
        ticks.tick().await;
        let now = gate.turns();
        if Gate::<T>::is_stuck(&before, &now) {
            tracing::error!("a queue worker is stuck");
        } else {
            tell(NotifyState::Watchdog);
        }
        before = now;
    }
}

fn interval(limit: Duration) -> Duration {
    (limit / 2).max(Duration::from_millis(10))
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
