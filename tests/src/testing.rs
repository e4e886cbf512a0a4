//! For tests: waits with deadlines, and tests that can't run on this machine.

use crate::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// How long [`eventually`] waits between two looks: as long as a look takes, in these bounds.
const LEAST: Duration = Duration::from_millis(2);
const MOST: Duration = Duration::from_secs(1);

/// Names a file that gets a line for each skipped test.
pub const SKIPPED_VARIABLE: &str = "TWINWALL_SKIPPED";

/// Unwraps what a test needs. `None` when this machine can't provide it: then the test has to
/// return at once. That is said on standard error, past the test harness's capture, and in the
/// file that [`SKIPPED_VARIABLE`] names.
///
/// # Panics
/// On every other error; and with `CI=true` on this one too.
#[track_caller]
pub fn need<T>(test: &str, result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error @ Error::Unavailable(_)) if env::var_os("CI").is_none_or(|ci| ci != "true") => {
            let line = format!("SKIPPED {test}: {error}\n");
            let _ = io::stderr().write_all(line.as_bytes());
            if let Some(path) = env::var_os(SKIPPED_VARIABLE) {
                let file = fs::File::options().create(true).append(true).open(path);
                let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
            }
            None
        }
        Err(error) => {
            #[expect(clippy::panic, reason = "only tests call this, and this test has failed")]
            {
                panic!("{test}: {error}")
            }
        }
    }
}

/// Calls `condition` until it returns a value. `None` after the deadline.
pub fn eventually<T>(within: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        let begun = Instant::now();
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() > deadline {
            return None;
        }
        // A look that takes long isn't to keep what is waited for from the processor.
        thread::sleep(begun.elapsed().clamp(LEAST, MOST));
    }
}
