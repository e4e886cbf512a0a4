//! Follows the interfaces: which are there, and what they are called.
//!
//! One thread, owned by [`crate::daemon`]. It ends when the engine has ended; it holds a socket and
//! a list that can be had again.

use crate::engine;
use std::io;
use std::time::Duration;
use twinwall_netlink::link::{self, Link, Watcher};
use twinwall_netlink::socket::Error;

/// How long to wait for news before looking whether the engine still runs.
const WAIT: Duration = Duration::from_secs(1);
/// How long to wait before an engine that was busy is told again.
const AGAIN: Duration = Duration::from_millis(50);

/// Hears of changes.
#[derive(Debug)]
pub struct Follower {
    watcher: Watcher,
}

impl Follower {
    /// Begins to listen.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> io::Result<Self> {
        Ok(Self { watcher: Watcher::open()? })
    }

    /// The interfaces that are there now. Changes after this are not missed.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        link::list()
    }

    /// Tells the engine of every change, until it has ended.
    pub fn run(mut self, engine: &engine::Sender) {
        let mut news = false;
        loop {
            match self.watcher.wait(if news { AGAIN } else { WAIT }) {
                Ok(true) => news |= self.drain(),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot wait for news of the interfaces");
                    std::thread::sleep(WAIT);
                }
            }
            if news {
                match link::list().map(|links| engine.links(links)) {
                    Ok(Ok(())) => news = false,
                    Ok(Err(engine::Unavailable::Busy)) => {}
                    Ok(Err(engine::Unavailable::Stopping)) => return,
                    Err(error) => tracing::warn!(%error, "cannot list the interfaces"),
                }
            } else if engine.has_ended() {
                return;
            }
        }
    }

    /// Reads what has come; whether there was anything.
    fn drain(&mut self) -> bool {
        let mut news = false;
        loop {
            match self.watcher.read_events() {
                Ok(events) if events.is_empty() => return news,
                // Lost or unreadable news are news: the list is made anew.
                Ok(_) | Err(Error::Overrun) => news = true,
                Err(error) => {
                    tracing::warn!(%error, "cannot read news of the interfaces");
                    return true;
                }
            }
        }
    }
}
