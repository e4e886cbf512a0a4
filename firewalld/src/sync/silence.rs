//! What the log says of a peer that isn't heard.

use std::time::Duration;
use twinwall_ctsync::replica::Event;
use twinwall_ctsync::time::Timestamp;

/// Whether the log says that the peer isn't heard. On a busy machine it may be silent for some
/// milliseconds again and again, which is nobody's concern.
#[derive(Debug, Default)]
pub(super) struct Silence {
    since: Option<Timestamp>,
    told: bool,
}

impl Silence {
    pub(super) fn hear(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::PeerSilent => self.since = self.since.or(Some(now)),
            Event::PeerAlive => {
                self.since = None;
                if std::mem::take(&mut self.told) {
                    tracing::info!("sync: the peer is heard again");
                }
            }
            _ => {}
        }
    }

    pub(super) fn look(&mut self, now: Timestamp) {
        let long = self.since.is_some_and(|since| now.since(since) >= Duration::from_secs(1));
        if long && !self.told {
            self.told = true;
            tracing::warn!("sync: the peer has not been heard for a second");
        }
    }
}
