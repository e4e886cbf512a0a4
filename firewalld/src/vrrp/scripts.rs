//! Runs a script again and again, and tells by its exit code how something is.

use super::Sender;
use super::settings::Script;
use std::process::Stdio;
use tokio::process::Command;
use tokio::time::{MissedTickBehavior, interval, timeout};
use twinwall_vrrp::track::Health;

/// Runs until it is cancelled; a script that runs then is killed.
pub(super) async fn watch(script: &Script, track: &str, vrrp: &Sender) {
    let mut verdict = Verdict::new(script);
    let mut ticks = interval(script.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        ticks.tick().await;
        let outcome = run(script).await;
        if told.as_ref() != Some(&outcome) {
            match &outcome {
                Ok(()) => tracing::info!("script {track}: good"),
                Err(reason) => tracing::warn!("script {track}: {reason}"),
            }
        }
        if let Some(health) = verdict.count(outcome.is_ok()) {
            vrrp.health(track, health);
        }
        told = Some(outcome);
    }
}

/// One run.
///
/// # Errors
/// Why it counts as failed.
async fn run(script: &Script) -> Result<(), String> {
    let Some((program, arguments)) = script.command.split_first() else {
        return Err("there is no program".to_owned());
    };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| format!("cannot run {program}: {error}"))?;
    match timeout(script.timeout, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{program} ended with {status}")),
        Ok(Err(error)) => Err(format!("cannot wait for {program}: {error}")),
        Err(_) => Err(format!("{program} took longer than {:?}", script.timeout)),
    }
}

/// Successes and failures in a row.
#[derive(Debug)]
struct Verdict {
    rise: u8,
    fall: u8,
    health: Health,
    in_a_row: u8,
    last: bool,
}

impl Verdict {
    fn new(script: &Script) -> Self {
        let (rise, fall) = (script.rise.get(), script.fall.get());
        Self { rise, fall, health: Health::Unknown, in_a_row: 0, last: false }
    }

    /// Counts a run; what is known after it, if anything is.
    fn count(&mut self, good: bool) -> Option<Health> {
        self.in_a_row = if good == self.last { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = good;
        let (needed, health) =
            if good { (self.rise, Health::Good) } else { (self.fall, Health::Bad) };
        // The first run says how things are; what counts in a row is a change.
        if self.health == Health::Unknown || self.in_a_row >= needed {
            self.health = health;
        }
        Some(self.health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU8;
    use std::time::Duration;

    fn script(rise: u8, fall: u8) -> Script {
        let interval = Duration::from_secs(1);
        let [rise, fall] = [rise, fall].map(|n| NonZeroU8::new(n).unwrap());
        Script { command: vec!["/bin/true".into()], interval, timeout: interval, rise, fall }
    }

    #[test]
    fn the_first_run_counts_at_once_and_changes_need_a_row() {
        let mut verdict = Verdict::new(&script(2, 3));
        let mut count = |good| verdict.count(good).unwrap() == Health::Good;
        let runs = [true, false, false, true, false, false, false, true, true];
        let expected = [true, true, true, true, true, true, false, false, true];
        assert_eq!(runs.map(&mut count), expected);
    }

    #[tokio::test]
    async fn exit_codes_and_time_count() {
        let with = |command: &[&str]| Script {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ..script(1, 1)
        };
        assert_eq!(run(&with(&["/bin/true"])).await, Ok(()));
        assert!(run(&with(&["/bin/false"])).await.unwrap_err().contains("exit status: 1"));
        let missing = run(&with(&["/nonexistent/check"])).await.unwrap_err();
        assert!(missing.contains("cannot run /nonexistent/check"), "{missing}");
        let slow = Script { timeout: Duration::from_millis(20), ..with(&["/bin/sleep", "60"]) };
        assert!(run(&slow).await.unwrap_err().contains("took longer"));
    }
}
