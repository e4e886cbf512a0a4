//! Watches what VRRP tracks and the VRRP thread can't see for itself: the daemon's own queue
//! workers, and scripts.
//!
//! Runs on the event loop. It holds child processes at most, which end with it.

use super::Sender;
use super::scripts;
use super::settings::{Group, Watched};
use crate::gate::Gate;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use twinwall_vrrp::track::Health;

/// How often the workers are looked at. Two looks that find the same batch make it stuck.
const LOOK: Duration = Duration::from_millis(250);
/// Packets that wait in a queue when it counts as stalled: most of what it holds.
const FULL: u64 = 60_000;

/// Watches everything that these groups track, and begins anew whenever they change. Runs until it
/// is cancelled, which is safe anywhere.
pub async fn watch<T: Send + Sync + 'static>(
    mut groups: watch::Receiver<Arc<[Group]>>,
    gate: Arc<Gate<T>>,
    waiting: impl Fn() -> u64 + Clone + Send + 'static,
    vrrp: Sender,
) {
    loop {
        let mut tasks = JoinSet::new();
        let now = Arc::clone(&groups.borrow_and_update());
        for track in now.iter().flat_map(|group| &group.tracks) {
            let (name, vrrp) = (track.name.clone(), vrrp.clone());
            match &track.what {
                Watched::Interface(_) => {}
                Watched::Queue => {
                    let (gate, waiting) = (Arc::clone(&gate), waiting.clone());
                    tasks.spawn(async move { queues(&gate, waiting, &name, &vrrp).await });
                }
                Watched::Script(script) => {
                    let script = script.clone();
                    tasks.spawn(async move { scripts::watch(&script, &name, &vrrp).await });
                }
            }
        }
        if groups.changed().await.is_err() {
            return;
        }
    }
}

async fn queues<T>(gate: &Gate<T>, waiting: impl Fn() -> u64, track: &str, vrrp: &Sender) {
    let mut before = gate.turns();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.tick().await;
    loop {
        let now = gate.turns();
        let bad = Gate::<T>::is_stuck(&before, &now) || waiting() >= FULL;
        vrrp.health(track, if bad { Health::Bad } else { Health::Good });
        before = now;
        ticks.tick().await;
    }
}
