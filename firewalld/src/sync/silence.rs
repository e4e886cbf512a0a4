//! What is done about a peer that isn't heard: the log says so, and the kernel looks for it anew.
//!
//! Goes in: that it is silent, or heard. Not here: what VRRP makes of it.
//!
//! The kernel asks only once a second for a neighbour that doesn't answer. So that replication doesn't
//! begin that much later when the link is back, the kernel is made to ask with the next heartbeat.

use std::net::IpAddr;
use std::time::Duration;
use twinwall_ctsync::replica::Event;
use twinwall_ctsync::time::Timestamp;
use twinwall_netlink::neighbour;

/// On a busy machine the peer may be silent for some milliseconds again and again, which is nobody's
/// concern. This is long.
const LONG: Duration = Duration::from_secs(1);

/// Since when the peer isn't heard.
#[derive(Debug, Default)]
pub(super) struct Silence {
    since: Option<Timestamp>,
    told: bool,
}

impl Silence {
    pub(super) fn hear(&mut self, event: Event, now: Timestamp, peer: IpAddr) {
        match event {
            Event::PeerSilent => self.since = self.since.or(Some(now)),
            Event::PeerAlive => {
                self.since = None;
                if std::mem::take(&mut self.told) {
                    tracing::info!("sync: the peer is heard again");
                    look_for(peer);
                }
            }
            _ => {}
        }
    }

    /// To be called some times a second.
    pub(super) fn look(&mut self, now: Timestamp, peer: IpAddr) {
        if self.since.is_none_or(|since| now.since(since) < LONG) {
            return;
        }
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("sync: the peer has not been heard for a second");
        }
        look_for(peer);
    }
}

fn look_for(peer: IpAddr) {
    if let Err(error) = neighbour::forget_unresolved_to(peer) {
        tracing::trace!(%error, "cannot have the peer looked for anew");
    }
}
