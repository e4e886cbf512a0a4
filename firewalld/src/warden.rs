//! Has the table built again when somebody deletes it, as `nft flush ruleset` does.
//!
//! One thread, owned by [`crate::daemon`]. It ends when the engine has ended.

use crate::engine::{Sender, Unavailable};
use std::time::Duration;
use twinwall_netlink::dataplane::Guard;

/// How long to wait for news before looking whether the engine still runs.
const WAIT: Duration = Duration::from_secs(1);

/// Listens until the engine has ended.
pub fn run(mut guard: Guard, engine: &Sender) {
    while !engine.has_ended() {
        match guard.wait(WAIT) {
            Ok(false) => {}
            Ok(true) => tell(engine),
            Err(error) => {
                tracing::error!(%error, "cannot watch over the table");
                std::thread::sleep(WAIT);
            }
        }
    }
}

fn tell(engine: &Sender) {
    const AGAIN: Duration = Duration::from_millis(10);
    while engine.check_table() == Err(Unavailable::Busy) {
        std::thread::sleep(AGAIN);
    }
}
