//! Policies between the nodes: tells the state machine what is confirmed here, and the engine what
//! the peer offers.
//!
//! Goes in: what the engine has published, offers of the peer. Comes out: what the peer is told,
//! commands for the engine. Not here: what is sent when (crate twinwall-ctsync), and whether a
//! policy is any good (the engine).

use crate::confirmed::Offered;
use crate::engine;
use crate::published::Published;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use twinwall_ctsync::node::Node;
use twinwall_ctsync::offer::{Delivery, Local};
use twinwall_ctsync::time::Timestamp;

/// What stands between both.
#[derive(Debug)]
pub(super) struct Exchange {
    engine: engine::Sender,
    heard: Arc<AtomicU64>,
    /// Whether offers are kept until an operator takes them.
    pub(super) hold: bool,
    /// What the state machine was told of.
    epoch: Option<u64>,
    offered: Option<Arc<Offered>>,
    /// An offer that the engine was too busy for.
    waits: Option<Delivery>,
}

impl Exchange {
    pub(super) fn new(engine: engine::Sender, heard: Arc<AtomicU64>, hold: bool) -> Self {
        Self { engine, heard, hold, epoch: None, offered: None, waits: None }
    }

    /// There is another state machine, which knows nothing yet.
    pub(super) fn begin_anew(&mut self) {
        (self.epoch, self.offered, self.waits) = (None, None, None);
    }

    /// Carries to and fro what is new.
    pub(super) fn look(&mut self, now: Timestamp, published: &Published, node: &mut Node) {
        if self.epoch != Some(published.epoch) {
            self.epoch = Some(published.epoch);
            node.set_local_policy(now, local(published));
            if let Some(offered) = &published.offered
                && !self.offered.as_ref().is_some_and(|told| Arc::ptr_eq(told, offered))
            {
                self.offered = Some(Arc::clone(offered));
                node.offer_decided(now, offered.verdict.clone());
            }
        }
        self.heard.fetch_max(node.latest_stamp(), Ordering::Relaxed);
        let Some(offer) = self.waits.take().or_else(|| node.take_offer()) else { return };
        self.waits = self.engine.offer(offer, self.hold).err();
    }
}

fn local(published: &Published) -> Local {
    let confirmed = &published.confirmed;
    Local {
        version: confirmed.version(),
        text: Arc::clone(&confirmed.text),
        generation: published.generation,
        name: confirmed.name.to_string(),
        trial: published.trial.is_some(),
        digest: Some(confirmed.digest),
    }
}
