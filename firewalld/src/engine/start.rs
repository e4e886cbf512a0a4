//! From the stored state and the kernel's table to a running policy.
//!
//! A start is a reload from the state that the daemon before left: its policy is put in force
//! first, with its keys, so that every session that carries one goes on. Then the policy of now is
//! loaded like any other.

use super::reload::{compile, decision, settings_for};
use super::trial::{Standing, Trial};
use super::{Engine, sweep};
use crate::confirmed::{Confirmed, Deadline, Stamp};
use crate::gate::Gate;
use crate::options::Options;
use crate::published::Published;
use crate::snapshot::{Policy, Snapshot, Zones};
use crate::state::{self, Directory, Running};
use crate::worker::Counts;
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};
use twinwall_control::{SourceFile, source};
use twinwall_netlink::dataplane::{self, Counter, Dataplane, Decision, Peer, Present, Settings};
use twinwall_netlink::link::Link;
use twinwall_netlink::socket;
use twinwall_policy::diff::{self, Installed};
use twinwall_policy::interfaces::InterfaceZones;
use twinwall_policy::keys::KeyAllocator;

/// Why the daemon can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no policy to run.
    #[error("{0}")]
    Policy(String),
    /// The data plane can't be had.
    #[error("cannot set up the data plane: {0}")]
    Dataplane(#[from] dataplane::Error),
    /// Conntrack can't be read.
    #[error("cannot read conntrack: {0}")]
    Conntrack(#[from] socket::Error),
    /// The state can't be kept.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The owned bits can't be used.
    #[error(transparent)]
    Marks(#[from] dataplane::marks::Error),
}

/// A daemon that can take over the data plane as soon as its workers answer.
#[derive(Debug)]
pub struct Prepared {
    /// What the workers read.
    pub gate: Arc<Gate<Snapshot>>,
    /// What the observer reads.
    pub published: Arc<ArcSwap<Published>>,
    engine: Engine,
    /// Where the latest confirmation is noted that the peer has told of.
    pub heard: Arc<AtomicU64>,
    present: Option<Vec<Present>>,
    target: Option<(Arc<[SourceFile]>, Standing)>,
}

/// The policy that comes into force first, and what is to run in the end.
struct Choice {
    installed: Installed,
    allocator: KeyAllocator,
    /// The text that `installed` was made of.
    files: Arc<[SourceFile]>,
    own_files: Arc<[SourceFile]>,
    /// What is to run instead, and what that is then.
    target: Option<(Arc<[SourceFile]>, Standing)>,
    stored: Option<Running>,
}

/// Reads state, policy and the kernel's table, and changes nothing yet. `peer` are the ends of the
/// sync channel, which is not filtered.
///
/// # Errors
/// When there is no policy that could run, or the kernel lacks what is needed.
pub fn prepare(options: &Options, peer: Option<Peer>, links: Vec<Link>) -> Result<Prepared, Error> {
    let marks = options.marks()?;
    let directory = Directory::open(&options.state_dir)?;
    let mut dataplane = Dataplane::open(marks)?;
    let choice = choose(options, &directory, marks.key_mask())?;
    let present = dataplane.existing()?;
    let rules = choice.installed.rules();
    let base = Settings {
        first_queue: options.first_queue,
        queues: options.worker_count(),
        open_on_failure: false,
        nat: Vec::new(),
        peer,
    };
    let settings = settings_for(&base, rules, &links).map_err(Error::Policy)?;
    let zones = Arc::new(Zones::new(InterfaceZones::new(&rules.zones), &links));
    let generation = choice.stored.as_ref().map_or(1, |stored| stored.generation);
    let policy = Arc::new(Policy::new(generation, Arc::new(choice.installed), None));
    let name = Arc::clone(&policy.installed.rules().name);
    let before = choice.stored.as_ref().and_then(|stored| stored.before.clone());
    let stamp = choice.stored.as_ref().and_then(|stored| stored.confirmed);
    let confirmed = Arc::new(match &before {
        Some(before) => Confirmed::new(&before.files, &before.name, stamp),
        None => Confirmed::new(&choice.files, &name, stamp),
    });
    // A policy that wasn't confirmed before the daemon ended isn't any more.
    let trial = before.map(|before| Trial { deadline: Deadline::after(Duration::ZERO), before });
    let heard = Arc::new(AtomicU64::new(0));
    let now = SystemTime::now();
    let loaded = choice.stored.as_ref().map_or(now, |stored| stored.loaded);
    // Without the table that they counted in, the stored counters are only a part.
    let counting = choice.stored.filter(|_| present.is_some());
    let folded: HashMap<Arc<str>, Counter> = counting
        .iter()
        .flat_map(Running::folded)
        .map(|(rule, counter)| (Arc::from(rule), counter))
        .collect();
    let published = Published {
        epoch: 0,
        moving: false,
        switches: 0,
        generation,
        policy: Arc::clone(&policy),
        zones: Arc::clone(&zones),
        loaded,
        since: counting.as_ref().map_or(now, |stored| stored.since),
        folded: Arc::new(folded),
        confirmed: Arc::clone(&confirmed),
        trial: trial.as_ref().map(|trial| trial.deadline),
        offered: None,
    };
    let published = Arc::new(ArcSwap::from_pointee(published));
    let workers = usize::from(options.worker_count());
    let gate = Arc::new(Gate::new(Snapshot { policy, zones }, workers));
    let engine = Engine {
        dataplane,
        allocator: choice.allocator,
        directory,
        gate: Arc::clone(&gate),
        published: Arc::clone(&published),
        links,
        settings,
        files: choice.files,
        own_files: choice.own_files,
        own_path: options.policy.clone(),
        counts: Vec::new(),
        sweeper: None,
        confirmed,
        trial,
        offered: None,
        heard: Arc::clone(&heard),
    };
    Ok(Prepared { gate, published, heard, engine, present, target: choice.target })
}

impl Prepared {
    /// Puts the first policy in force and then, if that is another, the policy of now. The workers
    /// have to run already; `counts` is theirs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take_over(self, counts: Vec<Arc<Counts>>) -> Result<Engine, Error> {
        let Self { mut engine, present, target, published, .. } = self;
        engine.counts = counts;
        let installed = Arc::clone(&published.load().policy.installed);
        let wanted = elements(&installed);
        match present {
            Some(present) => engine.adopt(&wanted, &present)?,
            None => {
                // Before the first packet can meet a key: a mark that somebody else left in our
                // bits must not pass for one.
                let cleared = sweep::clear_unknown(engine.marks(), &installed)?;
                if cleared > 0 {
                    tracing::info!(sessions = cleared, "cleared marks of unknown origin");
                }
                let settings = engine.settings.clone();
                engine.dataplane.build(&settings, &wanted)?;
            }
        }
        engine.keep_state();
        if let Some((files, standing)) = target
            && let Err(text) = engine.load(files.to_vec(), standing)
        {
            tracing::error!("the policy that was running goes on\n{text}");
        }
        // Unless that was another policy.
        engine.look_at_trial();
        Ok(engine)
    }
}

/// What the verdict map holds for a policy.
fn elements(installed: &Installed) -> Vec<(u32, Decision)> {
    let elements = installed.table().iter();
    elements.map(|(key, info)| (key.mark(), decision(info.action))).collect()
}

impl Engine {
    /// Builds the table again if somebody has deleted it. Sessions carry their keys, so they go on;
    /// what the table had counted is lost.
    pub(super) fn check_table(&mut self) {
        match self.dataplane.existing() {
            Ok(Some(_)) => return,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "cannot look after the table");
                return;
            }
        }
        let wanted = elements(&self.published.load().policy.installed);
        let settings = self.settings.clone();
        match self.dataplane.build(&settings, &wanted) {
            Ok(()) => {
                tracing::error!("somebody deleted the table; built it again, its counts are lost");
                self.publish(|_| {});
            }
            Err(error) => {
                tracing::error!(%error, "somebody deleted the table; cannot build it again")
            }
        }
    }

    /// Takes a table over that was there before. Keys in it that the stored state doesn't know are
    /// removed: their sessions are classified by their next packet.
    fn adopt(
        &mut self,
        wanted: &[(u32, Decision)],
        present: &[Present],
    ) -> Result<(), dataplane::Error> {
        let wanted_set: HashSet<(u32, Decision)> = wanted.iter().copied().collect();
        let fits = |element: &Present| {
            element.decision.is_some_and(|decision| wanted_set.contains(&(element.key, decision)))
        };
        let good: HashSet<u32> = present.iter().filter(|e| fits(e)).map(|e| e.key).collect();
        let bad: Vec<u32> = present.iter().filter(|e| !fits(e)).map(|e| e.key).collect();
        let missing: Vec<_> =
            wanted.iter().filter(|(key, _)| !good.contains(key)).copied().collect();
        if !bad.is_empty() {
            self.dataplane.remove_keys(&bad)?;
        }
        self.dataplane.add_keys(&missing)?;
        let settings = self.settings.clone();
        self.dataplane.adopt(&settings)?;
        tracing::info!(
            keys = good.len(),
            removed = bad.len(),
            added = missing.len(),
            "took over the table of the daemon before"
        );
        Ok(())
    }
}

/// Finds the policy to begin with and the one to run.
///
/// The daemon's own files are what runs, unless another policy was applied since they were last
/// read: then that goes on, until the files are edited or reloaded. A policy that waited for its
/// confirmation begins, so that its sessions are swept, and the one before follows at once.
fn choose(options: &Options, directory: &Directory, mask: u32) -> Result<Choice, Error> {
    let own = source::read(&options.policy).map_err(|error| error.to_string());
    let stored = directory.running();
    let restored = stored.as_ref().and_then(|running| restore(running, mask));
    let (stored, (installed, allocator)) = match (stored, restored) {
        (Some(stored), Some(restored)) => (stored, restored),
        (stored, _) => return without_keys(own, stored, directory, mask),
    };
    let allocator = directory.allocator().filter(|next| next.mask() == mask).unwrap_or(allocator);
    let files = Arc::clone(&stored.files);
    let own_before = stored.own_files.as_ref().unwrap_or(&files);
    let own_files: Arc<[SourceFile]> = match own {
        Ok(own) => own.into(),
        Err(error) => {
            tracing::error!("{error}; the policy that was running goes on");
            Arc::clone(own_before)
        }
    };
    // What was being tried isn't confirmed by a start, even if it is in the daemon's own files.
    let tried = stored.before.is_some() && own_files == files;
    let target = (own_files != *own_before && !tried).then(|| {
        let known = stored.confirmed.map(|stamp| stamp.at);
        (Arc::clone(&own_files), Standing::Confirmed(edited(&own_files, known)))
    });
    Ok(Choice { installed, allocator, files, own_files, target, stored: Some(stored) })
}

/// The stamp of own files that were edited while the daemon was away: the time of the last edit, so
/// that they don't win over what was confirmed on the peer after that.
fn edited(files: &[SourceFile], known: Option<u64>) -> Stamp {
    let modified = |file: &SourceFile| std::fs::metadata(&file.path).ok()?.modified().ok();
    let last = files.iter().filter_map(modified).max();
    let at = last.and_then(|last| last.duration_since(SystemTime::UNIX_EPOCH).ok());
    let at = at.and_then(|at| u64::try_from(at.as_millis()).ok());
    let latest = Stamp::now(known);
    let least = known.map_or(1, |known| known.saturating_add(1));
    Stamp { at: at.unwrap_or(latest.at).min(latest.at).max(least), ..latest }
}

/// The stored policy with its keys; `None` when they don't fit together.
fn restore(running: &Running, mask: u32) -> Option<(Installed, KeyAllocator)> {
    if running.keys.allocator.mask() != mask {
        tracing::warn!("the connmark mask has changed: sessions are reclassified");
        return None;
    }
    let (rules, _) = compile(&running.files, "")
        .inspect_err(|text| tracing::warn!("the stored policy does not compile\n{text}"))
        .ok()?;
    let installed = Installed::restore(rules, &running.keys.table)
        .inspect_err(|error| tracing::warn!(%error, "cannot use the stored keys"))
        .ok()?;
    Some((installed, running.keys.allocator))
}

/// The daemon's own policy, where the keys of the one before can't be used; but not one that waited
/// for its confirmation.
fn without_keys(
    own: Result<Vec<SourceFile>, String>,
    stored: Option<Running>,
    directory: &Directory,
    mask: u32,
) -> Result<Choice, Error> {
    let own = own.map_err(Error::Policy)?;
    let tried = stored.filter(|stored| *stored.files == *own).and_then(|stored| stored.before);
    match tried {
        Some(before) => {
            let choice = first(before.files.to_vec(), directory, mask)?;
            Ok(Choice { own_files: own.into(), ..choice })
        }
        None => first(own, directory, mask),
    }
}

/// The daemon's own policy, without anything that was before.
fn first(files: Vec<SourceFile>, directory: &Directory, mask: u32) -> Result<Choice, Error> {
    let (rules, _) = compile(&files, "twinwalld does not start").map_err(Error::Policy)?;
    let mut allocator = directory
        .allocator()
        .filter(|next| next.mask() == mask)
        .or_else(|| KeyAllocator::new(mask).ok())
        .ok_or_else(|| Error::Policy(format!("no session keys in mask {mask:#x}")))?;
    let plan = diff::plan(None, rules, &mut allocator)
        .map_err(|error| Error::Policy(format!("error: {error}")))?;
    directory.keep_allocator(&allocator)?;
    let files: Arc<[SourceFile]> = files.into();
    Ok(Choice {
        installed: plan.next,
        allocator,
        files: Arc::clone(&files),
        own_files: files,
        target: None,
        stored: None,
    })
}
