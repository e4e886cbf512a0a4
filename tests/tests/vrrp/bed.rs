//! A pair of gateways as the tests use it.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use twinwall_control::vrrp::{Router, Status};
use twinwall_testbed::scenario::pair::{Pair, Peer, Side};
use twinwall_testbed::testing::{eventually, need};
use twinwall_testbed::{Vrrp, host};

/// What the LAN begins with the WAN passes, and nothing else.
pub(crate) const LAN_OUT: &str = "\
version: 1
name: lan-out
defaults: { action: drop, log: false, on_change: rematch }
zones:
  wan: { interfaces: [eth0] }
  lan: { interfaces: [eth1] }
  dmz: { interfaces: [eth2] }
rules:
  - { seq: 10, name: out, from: lan, to: wan, action: accept }
";

/// For whatever has to happen soon, on however busy a machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Pairs that are up at a time: each has daemons that must be on time.
const AT_ONCE: usize = 4;

/// A pair. It goes with this value.
pub(crate) struct Bed {
    /// There until this value is dropped.
    pair: Option<Pair>,
    _turn: Turn,
}

impl Deref for Bed {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        self.pair.as_ref().unwrap()
    }
}

impl DerefMut for Bed {
    fn deref_mut(&mut self) -> &mut Pair {
        self.pair.as_mut().unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let pair = self.pair.take();
        if let Some(pair) = pair.as_ref().filter(|_| thread::panicking()) {
            for side in [Side::A, Side::B] {
                eprintln!("log of {}:\n{}", side.name(), pair.log(side));
            }
        }
    }
}

impl Bed {
    /// Twinwall on both gateways, `gw-a` active. `None` when this machine can't.
    pub(crate) fn up(test: &str, vrrp: Vrrp) -> Option<Self> {
        let mut bed = Self::build(test, [Peer::Twinwall; 2], vrrp)?;
        bed.start(Side::A).unwrap();
        bed.start(Side::B).unwrap();
        bed.wait_active(Side::A).unwrap();
        Some(bed)
    }

    /// A pair on which nothing is started yet. `None` when this machine can't.
    pub(crate) fn build(test: &str, peers: [Peer; 2], vrrp: Vrrp) -> Option<Self> {
        let turn = Turn::take();
        let pair = need(test, Pair::build(peers, vrrp, Some(binaries())))?;
        Some(Self { pair: Some(pair), _turn: turn })
    }

    /// What the daemon of a gateway says.
    pub(crate) fn said(&self, side: Side) -> Status {
        self.status(side).unwrap()
    }

    /// A virtual router of a gateway.
    pub(crate) fn router(&self, side: Side, name: &str) -> Router {
        let status = self.said(side);
        let mut routers = status.groups.into_iter().flat_map(|group| group.routers);
        routers.find(|router| router.name == name).unwrap()
    }

    /// The state of the only group of a gateway.
    pub(crate) fn state(&self, side: Side) -> String {
        self.said(side).groups[0].state.clone()
    }

    /// How often a gateway's virtual routers became active.
    pub(crate) fn takeovers(&self, side: Side) -> u64 {
        self.said(side).groups[0].routers.iter().map(|router| router.takeovers).sum()
    }

    /// Runs a shell script in a node.
    pub(crate) fn shell(&self, node: &str, script: &str) -> String {
        self.testbed().node(node).unwrap().run("sh", &["-ec", script]).unwrap()
    }

    /// Whether an echo request is answered.
    pub(crate) fn pings(&self, from: &str, to: &str) -> bool {
        let command = self.testbed().node(from).unwrap().command("ping").unwrap();
        command.args(["-n", "-c", "1", "-W", "5", to]).output().unwrap().code() == 0
    }

    /// Waits until echo requests are answered: a packet that was under way when something moved may
    /// be lost.
    #[track_caller]
    pub(crate) fn wait_reachable(&self, from: &str, to: &str) {
        let node = self.testbed().node(from).unwrap();
        self.wait(&format!("{from} reaches {to}"), || {
            let command = node.command("ping").unwrap();
            let output = command.args(["-n", "-c", "1", "-W", "1", to]).output().unwrap();
            (output.code() == 0).then_some(())
        });
    }

    /// Waits until a condition holds, and fails when it never does.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        let found = eventually(SOON + self.vrrp().interval * 8, condition);
        found.unwrap_or_else(|| panic!("{what}: not within {SOON:?}"))
    }

    /// Waits until a gateway that stands by has heard so many more adverts.
    pub(crate) fn wait_adverts(&self, side: Side, more: u64) {
        let received = || self.router(side, "lan4").adverts.received;
        let before = received();
        self.wait("adverts go on", || (received() >= before + more).then_some(()));
    }
}

/// The release binaries beside those of this test's profile, if they were built.
pub(crate) fn binaries() -> PathBuf {
    let own = host::binaries().unwrap();
    let release = own.with_file_name("release");
    let named = std::env::var_os(host::BINARIES_VARIABLE).is_some();
    if !named && release.join("twinwalld").is_file() { release } else { own }
}

/// Waits for one of the places for a pair, for a test that builds its own.
pub(crate) fn turn() -> impl Drop {
    Turn::take()
}

/// One of the places for a pair.
struct Turn;

static TURNS: (Mutex<usize>, Condvar) = (Mutex::new(AT_ONCE), Condvar::new());

impl Turn {
    fn take() -> Self {
        let (left, freed) = &TURNS;
        let left = left.lock().unwrap_or_else(PoisonError::into_inner);
        *freed.wait_while(left, |left| *left == 0).unwrap_or_else(PoisonError::into_inner) -= 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (left, freed) = &TURNS;
        *left.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        freed.notify_one();
    }
}
