//! A host of the simulation: a kernel, and a daemon that runs, is down, or is being started.

use super::kernel::Kernel;
use super::policy::Policy;
use super::rng::Rng;
use super::{Nanos, Side};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use twinwall_ctsync::channel::{ChannelConfig, Key, KeyRing, Refusal};
use twinwall_ctsync::model::{BootId, GroupTag, NodeId, Role};
use twinwall_ctsync::node::Node;
use twinwall_ctsync::replica::{Config, Event, Output};
use twinwall_ctsync::time::Timestamp;
use twinwall_recorder::Recorder;

/// The groups of the pair: each host is the preferred one of one.
pub(crate) const GROUPS: [GroupTag; 2] = [GroupTag(1), GroupTag(2)];
/// What sessions have that belong to all groups.
pub(crate) const SHARED: GroupTag = GroupTag::SHARED;
/// Bits of the mark that are the key's.
pub(crate) const OWNED: u32 = 0x00ff_ffff;
/// Seconds that a standby holds a session.
pub(crate) const HOLD: u32 = 400;
/// Sessions at most.
pub(crate) const MAX_SESSIONS: usize = 4096;
/// Ended ones that are remembered: few, so that there are too many now and then.
const MAX_ENDED: usize = 40;
/// Unacknowledged packets: few, so that the window is shut now and then.
const WINDOW: usize = 24;
/// Rules of a policy.
pub(crate) const RULES: u32 = 16;

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) side: Side,
    pub(crate) kernel: Kernel,
    pub(crate) node: Option<Node>,
    pub(crate) roles: BTreeMap<GroupTag, Role>,
    pub(crate) policy: Policy,
    pub(crate) dumping: Option<VecDeque<twinwall_ctsync::model::Identity>>,
    /// Takes its own group back once it has everything: it has started, or the peer has.
    pub(crate) preempts: bool,
    pub(crate) rings: Vec<u8>,
    pub(crate) starts: u32,
    /// The daemon is busy or doesn't get a processor until then.
    pub(crate) busy_until: Nanos,
    /// Of the daemon's configuration.
    pub(crate) check_every: Duration,
    pub(crate) disk: super::offers::Disk,
    /// The latest recording.
    pub(crate) file: Vec<u8>,
}

pub(crate) fn time(now: Nanos) -> Timestamp {
    Timestamp::new(Duration::from_nanos(now))
}

pub(crate) fn key(byte: u8) -> Key {
    let mut psk = [byte; 32];
    psk[31] = 0x5a;
    Key::new(psk)
}

impl Host {
    pub(crate) fn new(side: Side) -> Self {
        let mut host = Self {
            side,
            kernel: Kernel::default(),
            node: None,
            roles: BTreeMap::new(),
            policy: Policy::default(),
            dumping: None,
            preempts: false,
            rings: vec![1],
            starts: 0,
            busy_until: 0,
            check_every: Duration::from_millis(1200),
            disk: super::offers::Disk::new(side),
            file: Vec::new(),
        };
        host.number_rules(1);
        host
    }

    pub(crate) fn ring(&self) -> KeyRing {
        KeyRing::new(self.rings.iter().map(|byte| key(*byte)).collect()).unwrap()
    }

    /// Starts the daemon.
    pub(crate) fn boot(&mut self, now: Nanos, rng: &mut Rng, record: bool) -> Vec<Output> {
        let (node, peer) = match self.side {
            Side::A => (NodeId(1), NodeId(2)),
            Side::B => (NodeId(2), NodeId(1)),
        };
        let mut config = Config::new(node, peer, BootId(rng.next()), [rng.next(), rng.next()]);
        config.owned = OWNED;
        config.hold = HOLD;
        config.window = WINDOW;
        config.max_ended = MAX_ENDED;
        config.max_sessions = MAX_SESSIONS;
        config.check_every = self.check_every;
        config.abandon_after = Duration::from_millis(800);
        let mut seed = [0; 32];
        seed.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next().to_le_bytes()));
        let mut channel = ChannelConfig::new(node, peer);
        channel.renew_after = Duration::from_secs(3);
        channel.retire_after = Duration::from_millis(500);
        let mut node = Node::new(channel, config, self.ring(), seed);
        self.starts += 1;
        if record {
            self.file = vec![0; 512 * 1024];
            node.record(Recorder::new(self.file.len(), u64::from(self.starts) * 1000));
        }
        self.dumping = None;
        self.preempts = true;
        self.kernel.events.clear();
        self.kernel.overrun = false;
        let mut out = Vec::new();
        node.start(time(now), &mut out);
        self.node = Some(node);
        self.tell_disk(now);
        out.extend(self.tell_policy(now));
        out.extend(self.tell_roles(now));
        out
    }

    pub(crate) fn tell_roles(&mut self, now: Nanos) -> Vec<Output> {
        let roles = self.roles.iter().map(|(group, role)| (*group, *role)).collect();
        self.verb(|node, out| node.set_roles(time(now), roles, out))
    }

    pub(crate) fn verb(&mut self, verb: impl FnOnce(&mut Node, &mut Vec<Output>)) -> Vec<Output> {
        let mut out = Vec::new();
        if let Some(node) = &mut self.node {
            verb(node, &mut out);
            if let Some(recorder) = node.recorder() {
                for chunk in recorder.take() {
                    let from = usize::try_from(chunk.offset).unwrap();
                    self.file[from..from + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                }
            }
        }
        self.preempts |= out.contains(&Output::Event(Event::PeerStarted));
        out
    }

    pub(crate) fn receive(&mut self, now: Nanos, bytes: &[u8]) -> (Vec<Output>, Option<Refusal>) {
        let mut refused = None;
        let out = self.verb(|node, out| refused = node.receive(time(now), bytes, out).err());
        (out, refused)
    }

    pub(crate) fn deadline(&self, now: Nanos) -> Option<Nanos> {
        let deadline = self.node.as_ref()?.next_deadline(time(now))?;
        u64::try_from(deadline.since_origin().as_nanos()).ok()
    }
}
