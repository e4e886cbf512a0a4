//! From the running policy to the next one, in an order in which no packet is decided or counted
//! by the old policy once it is over, and none is lost. `docs/architecture.md` has the steps.

use super::stored::keep;
use super::trial::{Standing, Trial};
use super::{Engine, nat, sweep};
use crate::moved::Tally;
use crate::published::Published;
use crate::snapshot::{Policy, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};
use twinwall_control::SourceFile;
use twinwall_control::report;
use twinwall_netlink::dataplane::{self, Counter, Decision, Settings, Switch};
use twinwall_netlink::link::Link;
use twinwall_policy::SourceText;
use twinwall_policy::diag::render::{self, Style};
use twinwall_policy::diff::{self, Installed, Plan, Removed};
use twinwall_policy::keys::SessionKey;
use twinwall_policy::ruleset::{Action, OnChange, QueueFailure, RuleSet};

/// A plan that can be carried out.
struct Ready {
    added: Vec<(SessionKey, Action)>,
    removed: Vec<Removed>,
    /// Removed keys whose sessions are to be ended even where the new policy would accept them.
    terminated: Vec<u32>,
    unchanged: usize,
    nat_changed: bool,
    settings: Settings,
    policy: Arc<Policy>,
    warnings: Vec<String>,
}

/// Sessions that went from a stale key to another one with a packet of theirs.
#[derive(Clone, Copy, Debug, Default)]
struct MovedSessions {
    remarked: u64,
    ended: u64,
}

impl Engine {
    /// Loads a policy. The error is for the operator; the running policy is untouched then.
    pub(super) fn load(
        &mut self,
        files: Vec<SourceFile>,
        standing: Standing,
    ) -> Result<report::Apply, String> {
        let began = Instant::now();
        let done = |step| tracing::debug!(step, ms = millis(began.elapsed()), "reload");
        let before = self.published.load_full();
        let ready = self.get_ready(&files, &before.policy.installed)?;
        let old_settings = self.settings.clone();
        done("compiled");
        let moved_before = self.moved_by_workers();
        self.switch_to(&before, &ready).map_err(|reason| {
            self.settings = old_settings;
            format!("error: {reason}\n{}", self.note())
        })?;
        let effective = began.elapsed();
        done("in force");
        self.stand(files.into(), standing);
        // Both take their time, and neither needs the other.
        let state = self.running();
        let directory = self.directory.clone();
        let storing = move || keep(&directory, &state);
        let sessions = std::thread::scope(|scope| {
            scope.spawn(storing);
            self.sweep(&before.policy.installed, &ready, moved_before)
        });
        done("swept and stored");
        let rules = ready.policy.installed.rules();
        let report = report::Apply {
            generation: self.published.load().generation,
            policy: rules.name.to_string(),
            rules: rule_count(rules),
            keys: report::KeyCounts {
                unchanged: ready.unchanged,
                added: ready.added.len(),
                removed: ready.removed.len(),
                kept: ready.policy.installed.table().kept().count(),
            },
            sessions,
            effective_ms: millis(effective),
            total_ms: millis(began.elapsed()),
            warnings: ready.warnings,
            confirm_within_ms: self.trial.as_ref().map(Trial::left_ms),
            digest: Some(self.digest().to_string()),
            peer: None,
        };
        tracing::info!(
            generation = report.generation,
            policy = report.policy,
            rules = report.rules,
            remarked = report.sessions.remarked,
            ended = report.sessions.ended,
            effective_ms = report.effective_ms,
            total_ms = report.total_ms,
            "policy loaded"
        );
        Ok(report)
    }

    /// Everything that can fail without the kernel: step 1.
    fn get_ready(&mut self, files: &[SourceFile], old: &Arc<Installed>) -> Result<Ready, String> {
        let note = self.note();
        let (rules, warnings) = compile(files, &note)?;
        let refused = |reason: String| format!("error: {reason}\n{note}");
        let settings = settings_for(&self.settings, &rules, &self.links).map_err(&refused)?;
        let plan = diff::plan(Some(old), rules, &mut self.allocator)
            .map_err(|error| refused(error.to_string()))?;
        let Plan { next, added, removed, unchanged, nat_changed, .. } = plan;
        let terminated = terminated(old, next.rules(), &removed);
        let generation = self.published.load().generation + 1;
        let policy = Arc::new(Policy::new(generation, Arc::new(next), Some(Arc::clone(old))));
        Ok(Ready { added, removed, terminated, unchanged, nat_changed, settings, policy, warnings })
    }

    /// Steps 2 to 5: when this returns without an error, the new policy holds.
    fn switch_to(&mut self, before: &Published, ready: &Ready) -> Result<(), String> {
        self.directory.keep_allocator(&self.allocator).map_err(|error| error.to_string())?;
        let added: Vec<_> =
            ready.added.iter().map(|(key, action)| (key.mark(), decision(*action))).collect();
        self.dataplane.add_keys(&added).map_err(|error| {
            self.take_back(&ready.added);
            error.to_string()
        })?;
        let zones = self.zones_of(ready.policy.installed.rules());
        let snapshot = Snapshot { policy: Arc::clone(&ready.policy), zones: Arc::clone(&zones) };
        let undo = |engine: &mut Self, reason: String| {
            let old =
                Snapshot { policy: Arc::clone(&before.policy), zones: Arc::clone(&before.zones) };
            let restored = engine.gate.replace(Arc::new(old));
            engine.publish(|published| {
                published.moving = false;
                published.switches += 1;
            });
            if restored.is_ok() {
                engine.take_back(&ready.added);
            }
            reason
        };
        self.publish(|published| published.switches += 1);
        if let Err(stuck) = self.gate.replace(Arc::new(snapshot)) {
            return Err(undo(self, stuck.to_string()));
        }
        self.publish(|published| published.moving = true);
        let removed: Vec<u32> = ready.removed.iter().map(|gone| gone.key.mark()).collect();
        let successors: Vec<(u32, u32)> = ready
            .removed
            .iter()
            .filter_map(|gone| Some((gone.key.mark(), gone.successor?.mark())))
            .collect();
        let nat =
            (ready.settings.nat != self.settings.nat).then_some(ready.settings.nat.as_slice());
        let open = ready.settings.open_on_failure;
        let open = (open != self.settings.open_on_failure).then_some(open);
        let counted = if removed.is_empty() && nat.is_none() && open.is_none() {
            Vec::new()
        } else {
            let switch = Switch {
                remove: &removed,
                hold: &ready.terminated,
                successors: &successors,
                nat,
                open_on_failure: open,
            };
            match self.dataplane.switch(&switch) {
                Ok(counted) => counted,
                Err(error) => return Err(undo(self, error.to_string())),
            }
        };
        self.settings = ready.settings.clone();
        let folded = fold(&before.folded, &before.policy.installed, &counted);
        self.publish(|published| {
            published.moving = false;
            published.switches += 1;
            published.generation = ready.policy.generation;
            published.policy = Arc::clone(&ready.policy);
            published.zones = zones;
            published.loaded = SystemTime::now();
            published.folded = Arc::new(folded);
        });
        Ok(())
    }

    /// Removes keys that were added for a policy that didn't come into force.
    fn take_back(&mut self, added: &[(SessionKey, Action)]) {
        let keys: Vec<u32> = added.iter().map(|(key, _)| key.mark()).collect();
        if let Err(error) = self.dataplane.remove_keys(&keys) {
            tracing::warn!(%error, "keys of the policy that was not loaded stay in the map");
        }
    }

    /// Step 6.
    fn sweep(
        &mut self,
        old: &Arc<Installed>,
        ready: &Ready,
        before: MovedSessions,
    ) -> report::SessionCounts {
        let (marks, nat_changed) = (self.marks(), ready.nat_changed);
        let sockets = self.sweeper.take().map_or_else(sweep::Sockets::open, Ok);
        let swept = sockets.and_then(|mut sockets| {
            let removed = &ready.removed;
            let swept =
                sweep::after_reload(&mut sockets, marks, old, &ready.policy, removed, nat_changed)?;
            self.sweeper = Some(sockets);
            Ok(swept)
        });
        let mut counts = swept.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot sweep conntrack; the next packet of each stale session has it classified");
            report::SessionCounts::default()
        });
        let mut moved = self.moved_by_workers();
        moved.remarked -= before.remarked;
        moved.ended -= before.ended;
        if !ready.removed.is_empty() {
            match self.moved_by_kernel(ready) {
                Ok(by_kernel) => {
                    moved.remarked += by_kernel.remarked;
                    moved.ended += by_kernel.ended;
                }
                Err(error) => tracing::warn!(%error, "the counts of moved sessions are too low"),
            }
            if let Err(error) = self.dataplane.settle() {
                tracing::error!(%error, "packets of terminated sessions are dropped until a reload that changes rules");
            }
        }
        // To the sweep they looked as if they had always been there.
        counts.unchanged = counts.unchanged.saturating_sub(moved.remarked + moved.ended);
        counts.remarked += moved.remarked;
        counts.ended += moved.ended;
        counts
    }

    /// Sessions that packets have moved, by asking a worker.
    fn moved_by_workers(&self) -> MovedSessions {
        let sum = |count: fn(&Tally) -> &AtomicU64| {
            self.counts.iter().map(|own| count(&own.moved).load(Ordering::Relaxed)).sum()
        };
        MovedSessions { remarked: sum(|own| &own.remarked), ended: sum(|own| &own.ended) }
    }

    /// Sessions that packets have moved without a question.
    fn moved_by_kernel(&mut self, ready: &Ready) -> Result<MovedSessions, dataplane::Error> {
        let table = ready.policy.installed.table();
        let passes: HashMap<u32, bool> = ready
            .removed
            .iter()
            .filter_map(|gone| {
                Some((gone.key.mark(), table.info(gone.successor?)?.action.passes()))
            })
            .collect();
        let mut moved = MovedSessions::default();
        self.dataplane.moved(|stale, sessions| match passes.get(&stale) {
            Some(true) => moved.remarked += sessions,
            Some(false) => moved.ended += sessions,
            None => {}
        })?;
        Ok(moved)
    }

    /// Drops kept keys that no session has any more.
    pub(super) fn forget_unused(&mut self) {
        let before = self.published.load_full();
        let kept: Vec<SessionKey> = before.policy.installed.table().kept().collect();
        if kept.is_empty() {
            return;
        }
        let unused = match sweep::without_sessions(self.marks(), &kept) {
            Ok(unused) if !unused.is_empty() => unused,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot look for sessions of kept keys");
                return;
            }
        };
        let marks: Vec<u32> = unused.iter().map(|key| key.mark()).collect();
        self.publish(|published| published.moving = true);
        let counted = self.dataplane.remove_keys(&marks);
        let counted = match counted {
            Ok(counted) => counted,
            Err(error) => {
                tracing::warn!(%error, "cannot remove kept keys without sessions");
                self.publish(|published| published.moving = false);
                return;
            }
        };
        let mut installed = Installed::clone(&before.policy.installed);
        installed.forget(&unused);
        let policy = Arc::new(Policy::new(before.generation, Arc::new(installed), None));
        let folded = fold(&before.folded, &before.policy.installed, &counted);
        let snapshot = Snapshot { policy: Arc::clone(&policy), zones: Arc::clone(&before.zones) };
        if let Err(stuck) = self.gate.replace(Arc::new(snapshot)) {
            tracing::warn!(%stuck, "forgetting kept keys");
        }
        self.publish(|published| {
            published.moving = false;
            published.policy = policy;
            published.folded = Arc::new(folded);
        });
        self.keep_state();
    }
}

/// The removed keys of rules that say `terminate`; the new rule of a name counts, else the old one.
fn terminated(old: &Installed, new: &RuleSet, removed: &[Removed]) -> Vec<u32> {
    let settings: HashMap<&str, OnChange> =
        new.rules.iter().map(|rule| (rule.name.as_ref(), rule.on_change)).collect();
    let ends = |gone: &&Removed| {
        old.table().info(gone.key).is_some_and(|info| {
            let setting = settings.get(info.rule.as_ref()).copied().unwrap_or(info.on_change);
            setting == OnChange::Terminate && info.action.passes()
        })
    };
    removed.iter().filter(ends).map(|gone| gone.key.mark()).collect()
}

/// Parses and compiles policy files; on an error the message for the operator.
pub(super) fn compile(files: &[SourceFile], note: &str) -> Result<(RuleSet, Vec<String>), String> {
    let sources: Vec<SourceText> = files
        .iter()
        .map(|file| SourceText { path: file.path.clone(), text: file.text.clone() })
        .collect();
    match twinwall_policy::load(&sources) {
        Ok(loaded) => {
            let text = |warning| render::text(std::slice::from_ref(warning), Style::default());
            let warnings = loaded.warnings.iter().map(text).collect();
            Ok((loaded.rules, warnings))
        }
        Err(failure) => Err(failure.text(Style { closing: Some(note), ..Style::default() })),
    }
}

/// The table's settings for a policy.
pub(super) fn settings_for(
    base: &Settings,
    rules: &RuleSet,
    links: &[Link],
) -> Result<Settings, String> {
    Ok(Settings {
        first_queue: base.first_queue,
        queues: base.queues,
        open_on_failure: rules.queue_failure == QueueFailure::Open,
        peer: base.peer,
        nat: nat::rules(rules, links).map_err(|error| error.to_string())?,
    })
}

/// What the data plane is told about an action.
pub(super) const fn decision(action: Action) -> Decision {
    match action {
        Action::Accept => Decision::Accept,
        Action::Drop => Decision::Drop,
        Action::Reject => Decision::Reject,
    }
}

/// Adds the last counts of keys to the totals of their rules.
fn fold(
    totals: &HashMap<Arc<str>, Counter>,
    old: &Installed,
    counted: &[(u32, Counter)],
) -> HashMap<Arc<str>, Counter> {
    let mut totals = totals.clone();
    for (mark, counter) in counted.iter().filter(|(_, counter)| *counter != Counter::default()) {
        let info = SessionKey::from_mark(*mark).and_then(|key| old.table().info(key));
        if let Some(info) = info {
            *totals.entry(info.rule).or_default() += *counter;
        }
    }
    totals
}

/// Rules without the built-in ones.
pub(crate) fn rule_count(rules: &RuleSet) -> usize {
    const BUILT_IN: usize = 2;
    rules.rules.len().saturating_sub(BUILT_IN)
}

fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
