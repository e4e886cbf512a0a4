//! What takes long and so isn't done by the sync thread: writing sessions, listing them, and
//! digesting key tables. A thread each for writes and for the rest.
//!
//! Goes in: jobs. Comes out: results, in the order of the jobs, over bounded channels. Both
//! threads end when the driver does.

use super::convert;
use super::filter::Filter;
use super::pen::{Pen, Written};
use super::rules::{self, Rules};
use super::windows::{self, Sessions};
use crate::snapshot::Policy;
use crate::wake::Bell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use twinwall_ctsync::model::Delta;
use twinwall_ctsync::replica::{Config, Write, WriteOp};
use twinwall_netlink::conntrack::{Conntrack, Select, Writer};
use twinwall_netlink::socket::Error;
use twinwall_netlink::sys;

/// Jobs and results that may wait.
const WAITING: usize = 64;
/// Sessions of one result of a dump.
const CHUNK: usize = 256;

/// The real-time priority of the thread that writes, while this node stands by.
const REALTIME: i32 = 1;

/// One of the times that this node stands by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Which one.
    pub(super) time: u64,
    /// Whether windows are forgotten for the second time in it.
    pub(super) again: bool,
}

/// Something to be done besides writing.
#[derive(Debug)]
pub(super) enum Job {
    /// List all sessions that are replicated, then all expectations.
    Dump(Arc<Policy>),
    /// Digest the key table of a policy, after so many switches of policies.
    Rules(Arc<Policy>, u64),
    /// This node stands by: have the kernel forget windows.
    Forget(Arc<Policy>, Sessions, Standing),
    /// The peer may have forwarded sessions of this node: have the kernel hold no packet against
    /// windows.
    Loosen(Arc<Policy>, Sessions),
    /// This node is active: have the kernel believe the windows that it has learnt.
    Believe(Arc<Policy>, Sessions),
}

/// What came of jobs.
#[derive(Debug)]
pub(super) enum Found {
    /// Sessions of a dump.
    Sessions(Vec<Delta>),
    /// A dump is over.
    End {
        /// Whether it went through.
        complete: bool,
    },
    /// A key table, and which job it was.
    Rules(Rules, u64),
    /// All windows are forgotten.
    Forgotten(Standing),
    /// So many sessions have no windows yet, or it isn't known how many.
    Windowless(Option<u64>),
}

/// The driver's ends.
#[derive(Debug)]
pub(super) struct Hands {
    pub(super) jobs: SyncSender<Job>,
    pub(super) found: Receiver<Found>,
    pub(super) writes: SyncSender<(u64, Vec<Write>)>,
    pub(super) written: Receiver<Written>,
    /// The ports of the writing sockets, by which their changes are known.
    pub(super) ports: [u32; 2],
    /// Whether this node forwards no replicated session.
    pub(super) standby: Arc<AtomicBool>,
}

/// Starts both threads. `config` says how long sessions are held that this node doesn't carry.
///
/// # Errors
/// When a socket or a thread can't be had.
pub(super) fn start(filter: Filter, config: Config, bell: &Bell) -> std::io::Result<Hands> {
    let pen = Pen::open()?;
    let second = Writer::open()?;
    let ports = [pen.port(), second.port()];
    let (writes, to_write) = sync_channel(WAITING);
    let (tell, written) = sync_channel(WAITING);
    let standby = Arc::new(AtomicBool::new(false));
    let (theirs, role) = (bell.clone(), Arc::clone(&standby));
    std::thread::Builder::new()
        .name("sync-write".into())
        .spawn(move || write_all(pen, &to_write, &tell, &theirs, &role))?;
    let (jobs, to_do) = sync_channel(WAITING);
    let (tell, found) = sync_channel(WAITING);
    let (theirs, known) = (bell.clone(), Arc::clone(&standby));
    let lister = Lister { filter, writer: second, standby: known, config };
    std::thread::Builder::new()
        .name("sync-list".into())
        .spawn(move || work(lister, &to_do, &tell, &theirs))?;
    Ok(Hands { jobs, found, writes, written, ports, standby })
}

fn write_all(
    mut pen: Pen,
    writes: &Receiver<(u64, Vec<Write>)>,
    tell: &SyncSender<Written>,
    bell: &Bell,
    standby: &AtomicBool,
) {
    let mut urgent = false;
    while let Ok((batch, writes)) = writes.recv() {
        let matters = writes.iter().any(|write| write.op != WriteOp::Timeout);
        let now = matters && standby.load(Ordering::Acquire);
        if now != std::mem::replace(&mut urgent, now) {
            hurry(now);
        }
        if tell.send(pen.write(batch, &writes)).is_err() {
            return;
        }
        bell.ring();
    }
}

/// On a node that stands by, nothing is more urgent than to have what the other one has. On one
/// that forwards, packets are. Forgetting windows isn't urgent, nor are the timeouts of a standby
/// node: at a fail-back they would keep the processor from packets, and whoever takes over waits for
/// it.
fn hurry(urgent: bool) {
    let set = if urgent { sys::set_realtime(REALTIME) } else { sys::set_normal() };
    if let Err(error) = set {
        tracing::debug!(%error, "sync: a thread that writes keeps its priority");
    }
}

/// What the listing thread works with.
struct Lister {
    filter: Filter,
    writer: Writer,
    standby: Arc<AtomicBool>,
    config: Config,
}

fn work(lister: Lister, jobs: &Receiver<Job>, tell: &SyncSender<Found>, bell: &Bell) {
    let Lister { filter, mut writer, standby, config } = lister;
    while let Ok(job) = jobs.recv() {
        let found = match job {
            Job::Forget(policy, sessions, standing) => {
                let mut forget = || {
                    windows::loosen(&mut writer, &filter, &policy, &sessions)?;
                    let how = (&*standby, &config);
                    windows::forget(&mut writer, &filter, &policy, &sessions, how)
                };
                match forget() {
                    Ok(true) => Found::Forgotten(standing),
                    Ok(false) => continue,
                    Err(error) => {
                        tracing::warn!(%error, "cannot list sessions");
                        continue;
                    }
                }
            }
            Job::Loosen(policy, sessions) => {
                if let Err(error) = windows::loosen(&mut writer, &filter, &policy, &sessions) {
                    tracing::warn!(%error, "cannot list sessions");
                }
                continue;
            }
            Job::Believe(policy, sessions) => {
                let left = windows::believe(&mut writer, &filter, &policy, &sessions, &standby);
                Found::Windowless(left.ok())
            }
            Job::Rules(policy, switches) => Found::Rules(rules::of(&policy.installed), switches),
            Job::Dump(policy) => {
                let complete = dump(&filter, &policy, tell, bell).unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot list sessions");
                    false
                });
                Found::End { complete }
            }
        };
        if tell.send(found).is_err() {
            return;
        }
        bell.ring();
    }
}

fn dump(
    filter: &Filter,
    policy: &Policy,
    tell: &SyncSender<Found>,
    bell: &Bell,
) -> Result<bool, Error> {
    let mut conntrack = Conntrack::open()?;
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut heard = true;
    let mut add = |delta: Option<Delta>| {
        chunk.extend(delta);
        if chunk.len() >= CHUNK {
            heard &= tell.send(Found::Sessions(std::mem::take(&mut chunk))).is_ok();
            bell.ring();
        }
    };
    conntrack.entries(Select::default(), |entry| {
        add(filter.takes(&entry, policy).then(|| convert::delta(&entry)));
    })?;
    conntrack.expectations(|expectation| {
        let takes = filter.takes_tuple(&expectation.master);
        add(takes.then(|| convert::expected(&expectation)));
    })?;
    let rest = Found::Sessions(chunk);
    Ok(tell.send(rest).is_ok() && heard)
}
