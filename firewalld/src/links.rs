//! Follows the interfaces: which are there, and what they are called.
//!
//! One task, owned by the event loop. It holds a socket and a list that can be had again, so it
//! can be cancelled anywhere.

use crate::engine;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use twinwall_netlink::link::{self, Link};
use twinwall_netlink::socket::Error;

/// How long to wait before an engine that was busy is told again.
const AGAIN: Duration = Duration::from_millis(50);

/// Hears of changes.
pub struct Follower {
    watcher: link::Watcher,
}

struct Readable(RawFd);

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Follower {
    /// Begins to listen.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> io::Result<Self> {
        Ok(Self { watcher: link::Watcher::open()? })
    }

    /// The interfaces that are there now. Changes after this are not missed.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        link::list()
    }

    /// Tells the engine of every change. Runs until it is cancelled.
    pub async fn follow(mut self, engine: engine::Sender) {
        // The watcher owns the descriptor and lives as long as this function.
        let readable = Readable(self.watcher.as_raw_fd());
        let Ok(readable) = AsyncFd::with_interest(readable, Interest::READABLE) else {
            tracing::error!("cannot wait for news of the interfaces");
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = readable.readable().await else { return };
            let news = self.drain();
            ready.clear_ready();
            if news {
                tell(&engine).await;
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

async fn tell(engine: &engine::Sender) {
    let links = match link::list() {
        Ok(links) => links,
        Err(error) => {
            tracing::warn!(%error, "cannot list the interfaces");
            return;
        }
    };
    while engine.links(links.clone()).is_err_and(|reason| reason.contains("busy")) {
        tokio::time::sleep(AGAIN).await;
    }
}
