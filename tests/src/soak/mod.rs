//! The soak of a pair: many random failovers under load, with everything checked after each.
//!
//! In: [`Plan`]. Out: a [`Report`], or a [`Failure`] with what is needed to look into it. The seed
//! says which failovers happen in which order; when packets meet them is up to the machine. Not
//! here: options and printing (the binary `testbed`).

pub mod check;
pub mod kind;
pub mod ledger;
pub mod load;
pub mod report;
pub mod rng;
pub mod strike;

use crate::error::Error;
use crate::scenario::pair::{Pair, Peer, Side};
use crate::traffic::report::Made;
use crate::vrrp::Vrrp;
use check::{Checks, Wrong, words};
use kind::Failover;
use ledger::Ledger;
use load::{Load, Size, Sums};
use report::{Memory, Report};
use rng::Random;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many failovers.
    pub failovers: u32,
    /// The seed.
    pub seed: u64,
    /// Idle sessions besides.
    pub idle: u32,
    /// Long TCP sessions.
    pub tcp: u32,
    /// Whether short TCP sessions come and go besides.
    pub short: bool,
    /// One of each main kind in turn instead of random ones.
    pub main_kinds: bool,
    /// Only failovers whose name has this in it.
    pub only: Option<String>,
    /// How VRRP is set up.
    pub vrrp: Vrrp,
    /// Where this workspace's binaries are, if not beside this program.
    pub binaries: Option<PathBuf>,
    /// Where logs and recordings are kept after a failure.
    pub keep: PathBuf,
}

/// Why a run came to an end.
#[derive(Debug)]
pub enum Failure {
    /// The pair could not be built.
    Setup(Error),
    /// Something didn't hold.
    Broken {
        /// The seed.
        seed: u64,
        /// The failover, from 1; 0 before the first.
        step: u32,
        /// What happened.
        kind: String,
        /// What didn't hold.
        wrong: Vec<Wrong>,
        /// Where logs and recordings are.
        kept: PathBuf,
        /// What was measured up to then.
        report: Box<Report>,
    },
}

/// The streams of datagrams list every arrival, so each has a bounded number of failovers.
const ROUND: u32 = 20;
/// Sessions that get a datagram each 4 s, and the gateways' timeout for them.
const SELDOM: usize = 20;
const SELDOM_TIMEOUT: &str = "10";
/// Between two rounds nothing happens for longer than that.
const REST: Duration = Duration::from_secs(15);

/// A kernel's helper for FTP on both gateways, and a short timeout for UDP.
const PREPARE: &str = "nft 'table inet helpers { ct helper ftp { type \"ftp\" protocol tcp; }; \
    chain prerouting { type filter hook prerouting priority 0; \
    tcp dport 21 ct helper set \"ftp\"; }; }'\n\
    for name in udp_timeout udp_timeout_stream; do \
    echo TIMEOUT >/proc/sys/net/netfilter/nf_conntrack_$name; done";

/// Runs it. `progress` is told of each failover.
///
/// # Errors
/// The first thing that didn't hold.
pub fn run(plan: &Plan, mut progress: impl FnMut(u32, &str)) -> Result<Report, Failure> {
    let pair = Pair::build([Peer::TwinwallSync; 2], plan.vrrp.clone(), plan.binaries.clone());
    let mut pair = pair.map_err(Failure::Setup)?;
    let mut soak = Soak {
        ledger: Ledger::default(),
        random: Random::new(plan.seed),
        step: 0,
        kind: "the start".to_owned(),
        sums: Sums::default(),
        memory: Vec::new(),
        notes: Vec::new(),
        overruns: 0,
        begun: Instant::now(),
    };
    let mut wrong = soak.work(plan, &mut pair, &mut progress).err().unwrap_or_default();
    let report = soak.report(plan);
    if wrong.is_empty() {
        wrong = report.faults();
    }
    if wrong.is_empty() {
        return Ok(report);
    }
    if let Err(error) = keep(&pair, &plan.keep) {
        wrong.push(format!("cannot keep logs in {}: {error}", plan.keep.display()));
    }
    let Soak { step, kind, .. } = soak;
    let kept = plan.keep.clone();
    let report = Box::new(report);
    Err(Failure::Broken { seed: plan.seed, step, kind, wrong, kept, report })
}

/// A run under way.
#[derive(Debug)]
struct Soak {
    ledger: Ledger,
    random: Random,
    step: u32,
    kind: String,
    sums: Sums,
    memory: Vec<Memory>,
    notes: Vec<String>,
    overruns: u32,
    begun: Instant,
}

impl Soak {
    fn work(
        &mut self,
        plan: &Plan,
        pair: &mut Pair,
        progress: &mut impl FnMut(u32, &str),
    ) -> Result<(), Vec<Wrong>> {
        let one = |error| vec![words(error)];
        prepare(pair).map_err(one)?;
        let mut load =
            Load::start(pair.testbed(), Size { tcp: plan.tcp, short: plan.short }).map_err(one)?;
        let lasting = usize::try_from(plan.tcp).unwrap_or(0) + SELDOM + 2;
        let mut checks = Checks::begin(pair, lasting).map_err(|wrong| vec![wrong])?;
        if plan.idle > 0 {
            let mark = write_idle(pair, plan.idle).map_err(|wrong| vec![wrong])?;
            checks.with_idle(plan.idle, mark);
        }
        let mut done = checks.all(pair).map_err(|wrong| vec![wrong]);
        while done.is_ok() && self.step < plan.failovers {
            done = self.next(plan, pair, &mut load, &mut checks, progress);
        }
        self.overruns = checks.overruns;
        if let Err(wrong) = &mut done {
            wrong.extend(load.complaints());
        }
        // What was measured counts after a failure too.
        match load.finish(&mut self.ledger, std::mem::take(&mut self.sums)) {
            Ok(sums) => self.sums = sums,
            Err(error) => {
                let mut wrong = done.err().unwrap_or_default();
                wrong.push(words(error));
                done = Err(wrong);
            }
        }
        done
    }

    fn next(
        &mut self,
        plan: &Plan,
        pair: &mut Pair,
        load: &mut Load,
        checks: &mut Checks,
        progress: &mut impl FnMut(u32, &str),
    ) -> Result<(), Vec<Wrong>> {
        let one = |error| vec![words(error)];
        let failover = match plan.main_kinds {
            true => Failover::main(self.step, &mut self.random),
            false => self.draw(plan.only.as_deref()),
        };
        self.step += 1;
        self.kind = failover.kind.to_string();
        progress(self.step, &self.kind);
        let mut strike = strike::Strike {
            pair,
            checks,
            ledger: &mut self.ledger,
            step: self.step,
            notes: Vec::new(),
        };
        let struck = strike.run(failover);
        if struck.is_err() {
            strike.release();
        }
        self.notes.append(&mut strike.notes);
        struck.and_then(|()| checks.all(pair)).map_err(|wrong| vec![wrong])?;
        let complaints = load.complaints();
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let resident = [Side::A, Side::B].map(|side| check::resident(pair, side));
        self.memory.push(Memory { step: self.step, resident });
        if self.step.is_multiple_of(ROUND) && self.step < plan.failovers {
            load.end_datagrams(&mut self.ledger, &mut self.sums).map_err(one)?;
            thread::sleep(REST);
            load.begin_datagrams(pair.testbed()).map_err(one)?;
            checks.all(pair).map_err(|wrong| vec![wrong])?;
        }
        Ok(())
    }

    /// A random failover, of those that are wanted. When there is none, any.
    fn draw(&mut self, only: Option<&str>) -> Failover {
        let wanted =
            |failover: &Failover| only.is_none_or(|only| failover.kind.to_string().contains(only));
        let mut failover = Failover::draw(&mut self.random);
        for _ in 0..1_000 {
            if wanted(&failover) {
                break;
            }
            failover = Failover::draw(&mut self.random);
        }
        failover
    }

    fn report(&self, plan: &Plan) -> Report {
        Report {
            seed: plan.seed,
            failovers: self.step,
            seconds: self.begun.elapsed().as_secs(),
            idle: plan.idle,
            sums: self.sums.clone(),
            events: report::summarise(&self.ledger),
            rows: self.ledger.rows().map(|(event, toll)| (event.clone(), toll)).collect(),
            memory: self.memory.clone(),
            overruns: self.overruns,
            notes: self.notes.clone(),
        }
    }
}

/// Writes the policy, sets up the gateways and starts the daemons.
fn prepare(pair: &mut Pair) -> Result<(), Error> {
    let policy = &pair.testbed().record().policy;
    fs::write(policy, load::POLICY).map_err(|source| {
        let attempt = format!("write {}", policy.display());
        Error::Io { attempt, source }
    })?;
    let script = PREPARE.replace("TIMEOUT", SELDOM_TIMEOUT);
    for side in [Side::A, Side::B] {
        pair.gateway(side)?.run("sh", &["-ec", &script])?;
        pair.start(side)?;
    }
    pair.wait_active(Side::A).map(drop)
}

/// Writes idle sessions on the active node. Their mark is that of a session which the policy has
/// just decided.
fn write_idle(pair: &Pair, count: u32) -> Result<u32, Wrong> {
    let client = pair.testbed().node("client").map_err(words)?;
    let ask = ["udp-send", "--to", "198.51.100.7:443", "--count", "1", "--rate", "10"];
    client.traffic(ask).and_then(crate::process::Command::output).map_err(words)?;
    let found = crate::testing::eventually(Duration::from_secs(10), || {
        let sessions = check::sessions_on(pair, Side::A).ok()?;
        sessions.into_iter().find(|session| session.rule.as_deref() == Some("idle"))
    });
    let session = found.ok_or("no session of the rule for idle sessions")?;
    let gateway = pair.gateway(Side::A).map_err(words)?;
    let options =
        format!("--mixed --count {count} --mark {} --timeout 7200 --for 600", session.key);
    let written: Made = check::traffic(&gateway, &format!("sessions-make {options}"))?;
    if written.made != u64::from(count) {
        return Err(format!("idle sessions can't be written: {written:?}"));
    }
    Ok(session.key)
}

/// Copies each gateway's log, settings and flight recording.
/// What a node's kernel has for the paths of packets; `ss` for traffic that stands still.
const STATE: &str = "ip -d address; ip neigh; ip route; ip -6 route; bridge fdb show; \
    nft list tables; nft list table arp twinwall-vrrp; nft list table inet twinwall-vrrp; \
    ss -tanoi; uptime";

fn keep(pair: &Pair, to: &Path) -> io::Result<()> {
    for node in ["switch", "client", "server", "dmz", "gw-a", "gw-b"] {
        let shown = pair.testbed().node(node).and_then(|node| {
            // What one of them lacks doesn't matter.
            node.run("sh", &["-c", &format!("exec 2>&1; {STATE}; true")])
        });
        let shown = shown.unwrap_or_else(|error| error.to_string());
        fs::create_dir_all(to)?;
        fs::write(to.join(format!("{node}.txt")), shown)?;
    }
    for gateway in pair.testbed().gateways() {
        let folder = to.join(gateway.name());
        fs::create_dir_all(&folder)?;
        let recording = gateway.state_path().join("flight.rec");
        for file in [gateway.log_path(), gateway.config_path(), recording] {
            if let Some(name) = file.file_name().filter(|_| file.exists()) {
                fs::copy(&file, folder.join(name))?;
            }
        }
    }
    Ok(())
}
