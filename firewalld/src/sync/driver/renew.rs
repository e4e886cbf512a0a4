//! Other settings while the thread runs.
//!
//! Keys, `preempt-wait` and `policy` hold at once, `recorder` from the next start on. For the others the state machine begins anew, as
//! at a start of the daemon: the sessions are in the kernel, and what differs from the peer is
//! found by digests. Whatever can fail is done before anything is replaced.

use super::super::filter::Filter;
use super::super::identity::{identity, random};
use super::super::kernel;
use super::super::settings::Settings;
use super::super::silence::Silence;
use super::super::socket::Datagrams;
use super::super::windows::Sessions;
use super::super::{Error, keys};
use super::{Driver, Timestamp};
use std::sync::atomic::Ordering;
use twinwall_ctsync::node::Node;
use twinwall_vrrp::router::PeerReport;

impl Driver {
    /// Goes by other settings from now on. The keys are read again in any case.
    ///
    /// # Errors
    /// When keys, a socket or threads can't be had; everything is as before then.
    pub(super) fn configure(&mut self, settings: Settings, now: Timestamp) -> Result<(), Error> {
        let ring = keys::read(&settings.key_file)?;
        let light = Settings {
            key_file: self.settings.key_file.clone(),
            preempt_wait: self.settings.preempt_wait,
            hold: self.settings.hold,
            recorder: self.settings.recorder,
            ..settings.clone()
        };
        if light == self.settings {
            self.node.set_keys(ring);
        } else {
            self.begin_anew(&settings, ring, now)?;
            tracing::info!("sync: begins anew with other settings");
        }
        if settings.recorder != self.settings.recorder {
            tracing::warn!(
                "sync: another size of the flight recorder holds from the next start on"
            );
        }
        self.exchange.hold = settings.hold;
        self.settings = Settings { recorder: self.settings.recorder, ..settings };
        Ok(())
    }

    fn begin_anew(
        &mut self,
        settings: &Settings,
        ring: twinwall_ctsync::channel::KeyRing,
        now: Timestamp,
    ) -> Result<(), Error> {
        let io = |attempt| move |source| Error::Io { attempt, source };
        // The socket of an address can't be had twice.
        let datagrams = match settings.local == self.settings.local {
            true => None,
            false => Some(
                Datagrams::open(settings.local, settings.peer)
                    .map_err(io("open the sync socket"))?,
            ),
        };
        let mask = self.surroundings.mask;
        let filter = Filter::new(settings.replicate.clone(), mask);
        let random = random().map_err(io("get random numbers"))?;
        let (channel, config) = identity(settings, random, mask);
        let hands = kernel::start(filter.clone(), config.clone(), &self.inbox.bell)
            .map_err(io("start the threads that write and list sessions"))?;
        self.hear(&hands).map_err(io("filter conntrack's notifications"))?;
        match datagrams {
            Some(datagrams) => self.datagrams = datagrams,
            None => self.datagrams.redirect(settings.peer),
        }
        hands.standby.store(self.hands.standby.load(Ordering::Acquire), Ordering::Release);
        (self.filter, self.hands) = (filter, hands);
        self.to_write.clear();
        self.handed_on = 0;
        self.jobs.clear();
        // What the thread before was at went with it.
        if !self.has_forgotten() {
            self.forget(Sessions::Listed, false);
        }
        self.forget_later(now);
        self.out.clear();
        self.exchange.begin_anew();
        (self.table, self.table_changes) = (None, false);
        self.silence = Silence::default();
        let recorder = self.node.stop_recording();
        self.node = Node::new(channel, config, ring, random.seed);
        if let Some(mut recorder) = recorder {
            // Goes on with the whole state.
            recorder.lose(0);
            self.node.record(recorder);
        }
        // What was known of the peer isn't any more; its adverts tell whether it lives.
        self.surroundings.vrrp.peer(PeerReport::Silent);
        self.node.set_roles(now, self.roles.clone(), &mut self.out);
        self.hold(now);
        self.node.start(now, &mut self.out);
        Ok(())
    }
}
