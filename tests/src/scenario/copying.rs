//! The daemon of a pair that copies sessions: `twinwalld` itself, or conntrackd beside keepalived.
//!
//! In: a pair. Out: the same verbs for either. Not here: the daemon that elects the active gateway
//! ([`super::pair`]).

use super::pair::{Pair, Peer, Side};
use crate::conntrackd::Conntrackd;
use crate::error::Error;
use rustix::process::Signal;

impl Pair {
    /// Starts what copies sessions, where it is a daemon of its own and isn't running.
    ///
    /// # Errors
    /// When it ends at once.
    pub fn start_copying(&mut self, side: Side) -> Result<(), Error> {
        let gateway = self.gateway(side)?;
        if self.peer(side) != Peer::Conntrackd {
            return if gateway.is_running() { Ok(()) } else { gateway.start() };
        }
        if self.copying(side).is_none() {
            let filter = self.rules.filter();
            gateway.command("nft")?.args(["-f", "-"]).input(filter).run()?;
            let loose = "echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose";
            gateway.run("sh", &["-ec", loose])?;
            let started = Conntrackd::start(&gateway)?;
            *self.copying_slot(side) = Some(started);
        }
        Ok(())
    }

    /// Kills the daemon that copies sessions; of Twinwall there is only one.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn kill9_copying(&mut self, side: Side) -> Result<(), Error> {
        if self.peer(side) != Peer::Conntrackd {
            return self.kill9(side);
        }
        self.copying_slot(side).take().map_or(Ok(()), |daemon| daemon.kill9())
    }

    /// Stops the daemon that copies sessions where it is (SIGSTOP), or lets it go on.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn freeze_copying(&mut self, side: Side, frozen: bool) -> Result<(), Error> {
        if self.peer(side) != Peer::Conntrackd {
            return self.freeze(side, frozen);
        }
        if let Some(daemon) = self.copying(side) {
            daemon.signal(if frozen { Signal::STOP } else { Signal::CONT });
        }
        Ok(())
    }

    /// The process that copies sessions, as seen from outside the testbed.
    #[must_use]
    pub fn copying_pid(&self, side: Side) -> Option<u32> {
        match self.peer(side) {
            Peer::Conntrackd => self.copying(side).map(Conntrackd::pid),
            Peer::Keepalived => None,
            Peer::Twinwall | Peer::TwinwallSync => self.gateway(side).ok()?.pid(),
        }
    }

    /// conntrackd on a gateway, if it is running there.
    #[must_use]
    pub const fn copying(&self, side: Side) -> Option<&Conntrackd> {
        let [a, b] = &self.conntrackd;
        match side {
            Side::A => a.as_ref(),
            Side::B => b.as_ref(),
        }
    }

    fn copying_slot(&mut self, side: Side) -> &mut Option<Conntrackd> {
        let [a, b] = &mut self.conntrackd;
        if side == Side::A { a } else { b }
    }
}
