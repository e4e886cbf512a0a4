//! Ctrl-C and its like: noted, and acted upon between steps, so that a testbed is always taken down
//! in good order. The second one ends the process at once; the testbed then ends by itself.

use crate::error::{Error, io};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait looks whether it is over.
const POLL: Duration = Duration::from_millis(20);

/// Whether somebody has asked the demo to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Starts to watch for the signals.
    pub(crate) fn watch() -> Result<Self, Error> {
        let noted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // This order: the first signal is only noted.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&noted))
                .and_then(|_| flag::register(signal, Arc::clone(&noted)))
                .map_err(io(format!("watch for signal {signal}")))?;
        }
        Ok(Self(noted))
    }

    /// An error once one of them has come.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_set() { Err(Error::Interrupted) } else { Ok(()) }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Calls `look` until it returns a value. Until then `look` says how far things are, which an
    /// error repeats.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut() -> Result<Result<T, String>, Error>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + within;
        loop {
            self.check()?;
            match look()? {
                Ok(value) => return Ok(value),
                Err(detail) if Instant::now() > deadline => {
                    return Err(Error::Late { what: what.to_owned(), within, detail });
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }
}
