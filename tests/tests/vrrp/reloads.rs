//! Policies are loaded at random on both nodes while these fail over, with TCP in both directions:
//! no session is lost, each node decides each session by the rule that its own policy gives it, and
//! in the end both have the same.
//!
//! `TWINWALL_POLICY_SEED` repeats a run's choices, `TWINWALL_POLICY_SECONDS` has it go on for
//! longer (`make soak-policy`).

use crate::bed::Bed;
use crate::policy::{files, policies, wait_met};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};
use twinwall_control::pair::Confirmed;
use twinwall_control::{FlowQuery, Request, SessionFilter, report, sync};
use twinwall_testbed::scenario::pair::{Peer, Side};
use twinwall_testbed::traffic::report::{Outcome, Tcp};
use twinwall_testbed::{Process, Vrrp};

const BOTH: [Side; 2] = [Side::A, Side::B];
/// From the LAN to the server, with source NAT and over IPv6; and from the server to the DMZ.
const OUT: [u16; 6] = [7000, 7001, 7002, 7003, 7004, 7005];
const IN: [u16; 3] = [7100, 7101, 7102];
/// Connections of each port.
const CONNECTIONS: u64 = 3;
/// Sessions that are held to `explain` on each node after each step.
const SAMPLE: usize = 12;
/// How long it goes on unless the environment says otherwise.
const SECONDS: u64 = 15;

/// xorshift64*, by Vigna: repeatable by its seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn side(&mut self) -> Side {
        BOTH[self.below(2) as usize]
    }

    /// Some ports in a row.
    fn ports(&mut self, of: &[u16]) -> (u16, u16) {
        let first = self.below(of.len() as u64);
        let last = first + self.below(of.len() as u64 - first);
        (of[first as usize], of[last as usize])
    }
}

/// A policy that lets everything pass by rules of random names, places and meanings.
fn random_policy(rng: &mut Rng, number: u32) -> String {
    let mut text = format!(
        "\
version: 1
name: random-{number}
defaults: {{ action: drop, log: false, on_change: rematch }}
zones:
  wan: {{ interfaces: [eth0] }}
  lan: {{ interfaces: [eth1] }}
  dmz: {{ interfaces: [eth2] }}
nat:
  - {{ seq: 10, name: shared, from: lan, to: wan, snat: 203.0.113.1, family: ipv4 }}
rules:
  - {{ seq: 900, name: rest-out, from: lan, to: wan, action: accept }}
  - {{ seq: 901, name: rest-in, from: wan, to: dmz, action: accept }}
"
    );
    let mut places = BTreeSet::new();
    let mut names = BTreeSet::new();
    for _ in 0..3 + rng.below(12) {
        let place = 1 + rng.below(800);
        let name = format!("r{}", rng.below(12));
        if !places.insert(place) || !names.insert(name.clone()) {
            continue;
        }
        let inward = rng.below(3) == 0;
        let zones = if inward { "from: wan, to: dmz" } else { "from: lan, to: wan" };
        let (first, last) = rng.ports(if inward { &IN } else { &OUT });
        let src = match rng.below(3) {
            0 if !inward => ", src: 10.0.0.0/16",
            1 if !inward => ", src: \"2001:db8:10::/48\"",
            _ => "",
        };
        // Writing to a String never fails.
        let _ = writeln!(
            text,
            "  - {{ seq: {place}, name: {name}, {zones}{src}, service: {{ tcp: [{first}-{last}] }}, \
             action: accept }}"
        );
    }
    text
}

fn status(bed: &Bed, side: Side) -> sync::Status {
    bed.gateway(side).unwrap().ask(&Request::Sync).unwrap()
}

fn sessions(bed: &Bed, side: Side) -> Vec<report::Session> {
    let listed: report::Sessions =
        bed.gateway(side).unwrap().ask(&Request::Sessions(SessionFilter::default())).unwrap();
    let ours = |session: &report::Session| {
        session.protocol == "tcp" && (7000..7200).contains(&session.dst_port)
    };
    listed.sessions.into_iter().filter(ours).collect()
}

#[track_caller]
fn wait_equal(bed: &Bed, least: u64) {
    bed.wait("both have the same sessions", || {
        let both = BOTH.map(|side| status(bed, side));
        let equal = |status: &sync::Status| {
            let settled = status.equal && status.differing == 0 && status.writes_waiting == 0;
            status.peer == "alive" && settled && status.complete && status.sessions >= least
        };
        (both.iter().all(equal) && both[0].sessions == both[1].sessions).then_some(())
    });
}

/// A run.
struct Run {
    bed: Bed,
    rng: Rng,
    seed: u64,
    policies: u32,
    done: BTreeMap<&'static str, u32>,
    checked: u64,
}

impl Run {
    fn next_policy(&mut self) -> String {
        self.policies += 1;
        random_policy(&mut self.rng, self.policies)
    }

    fn load(&self, side: Side, request: &Request) {
        let loaded: Result<report::Apply, _> = self.bed.gateway(side).unwrap().ask(request);
        let report = loaded.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        assert_eq!((report.sessions.ended, report.sessions.left), (0, 0), "seed {}", self.seed);
    }

    fn apply(&mut self) {
        let (side, text) = (self.rng.side(), self.next_policy());
        self.load(side, &Request::Apply { files: files(&text) });
    }

    /// Both at once: one of them wins on both.
    fn apply_both(&mut self) {
        let texts = BOTH.map(|side| (side, self.next_policy()));
        std::thread::scope(|scope| {
            for (side, text) in &texts {
                scope.spawn(|| self.load(*side, &Request::Apply { files: files(text) }));
            }
        });
    }

    fn try_and(&mut self) {
        let (side, text) = (self.rng.side(), self.next_policy());
        self.load(side, &Request::Try { files: Some(files(&text)), confirm_ms: 1_000 });
        if self.rng.below(2) == 0 {
            // It may have been over already.
            let confirmed = self.bed.gateway(side).unwrap().ask::<Confirmed>(&Request::Confirm);
            let _ = confirmed;
        }
    }

    fn fail_over(&mut self) {
        let active = if self.bed.held(Side::A).unwrap() > 0 { Side::A } else { Side::B };
        match self.rng.below(3) {
            0 => {
                let _ = self.bed.hand_over(active);
            }
            1 => {
                let _ = self.bed.hand_back(active.other());
            }
            _ => {
                // Whoever dies has to have been one of two that have everything.
                wait_equal(&self.bed, 0);
                self.bed.kill9(active).unwrap();
                if self.rng.below(2) == 0 {
                    let text = self.next_policy();
                    self.load(active.other(), &Request::Apply { files: files(&text) });
                }
                self.bed.wait_holding(active.other()).unwrap();
                self.bed.start(active).unwrap();
                wait_equal(&self.bed, 0);
            }
        }
    }

    fn step(&mut self) {
        let drawn = self.rng.below(100);
        let (what, act): (_, fn(&mut Self)) = match drawn {
            0..40 => ("apply", Self::apply),
            40..55 => ("apply on both", Self::apply_both),
            55..70 => ("try", Self::try_and),
            _ => ("failover", Self::fail_over),
        };
        *self.done.entry(what).or_default() += 1;
        act(self);
        for side in BOTH {
            self.check_rules(side);
        }
    }

    /// Each session that a node has a rule for is under the one that its policy gives it, as long
    /// as that policy is the running one throughout.
    fn check_rules(&mut self, side: Side) {
        let gateway = self.bed.gateway(side).unwrap();
        let Ok(before) = gateway.status() else { return };
        let mut wrong = Vec::new();
        let mut sample = sessions(&self.bed, side);
        while sample.len() > SAMPLE {
            let one = self.rng.below(sample.len() as u64);
            sample.swap_remove(one as usize);
        }
        for session in sample {
            let (Some(rule), Some(from), Some(to)) = (&session.rule, &session.from, &session.to)
            else {
                continue;
            };
            let query = FlowQuery {
                from: from.clone(),
                to: to.clone(),
                src: session.src,
                dst: session.dst,
                protocol: 6,
                src_port: session.src_port,
                dst_port: session.dst_port,
            };
            let told: report::Explain = gateway.ask(&Request::Explain(query)).unwrap();
            self.checked += 1;
            if told.rule != *rule {
                wrong.push(format!("{session:?}: {} decides", told.rule));
            }
        }
        let same = gateway.status().is_ok_and(|after| after.generation == before.generation);
        assert!(!same || wrong.is_empty(), "seed {}, {}: {wrong:#?}", self.seed, side.name());
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn spawn(bed: &Bed, node: &str, arguments: &str) -> Process {
    let node = bed.testbed().node(node).unwrap();
    node.traffic(arguments.split_whitespace()).unwrap().spawn().unwrap()
}

#[test]
fn random_reloads_on_both_nodes_during_failovers_lose_and_misdecide_no_session() {
    let seed = number("TWINWALL_POLICY_SEED").unwrap_or(20_260_131);
    let seconds = number("TWINWALL_POLICY_SECONDS").unwrap_or(SECONDS);
    println!("TWINWALL_POLICY_SEED={seed} TWINWALL_POLICY_SECONDS={seconds}");
    let mut rng = Rng(seed.max(1));
    let test = "policy: random";
    let Some(mut bed) = Bed::build(test, [Peer::TwinwallSync; 2], Vrrp::default()) else { return };
    fs::write(&bed.testbed().record().policy, random_policy(&mut rng, 0)).unwrap();
    for side in BOTH {
        bed.start(side).unwrap();
    }
    bed.wait_active(Side::A).unwrap();
    wait_met(&bed);
    let out = OUT.iter().enumerate().map(|(at, port)| match at % 2 {
        0 => ("server", "client", format!("198.51.100.7:{port}")),
        _ => ("server", "client", format!("[2001:db8:40::7]:{port}")),
    });
    let inward = IN.iter().map(|port| ("dmz", "server", format!("10.20.0.10:{port}")));
    let lanes: Vec<_> = out.chain(inward).collect();
    // Longer than the test may take: it ends them.
    let lasting = seconds * 4 + 240;
    let servers = lanes.iter().map(|(server, _, to)| {
        let mut server = spawn(&bed, server, &format!("tcp-serve --listen {to} --for {lasting}"));
        server.wait_ready().unwrap();
        server
    });
    let servers: Vec<Process> = servers.collect();
    let options = format!("--connections {CONNECTIONS} --bytes 0 --rate 4000 --chunk 100");
    let clients = lanes.iter().map(|(_, client, to)| {
        spawn(&bed, client, &format!("tcp-connect --to {to} {options} --for {lasting}"))
    });
    let clients: Vec<Process> = clients.collect();
    let all = CONNECTIONS * lanes.len() as u64;
    wait_equal(&bed, all);

    let mut run = Run { bed, rng, seed, policies: 0, done: BTreeMap::new(), checked: 0 };
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        run.step();
    }

    let bed = &run.bed;
    bed.wait("nothing is tried any more", || {
        BOTH.iter().all(|side| policies(bed, *side).trial.is_none()).then_some(())
    });
    bed.wait("both have the same policy", || {
        let both = BOTH.map(|side| policies(bed, side));
        let same = both.iter().all(|one| one.same == Some(true));
        (same && both[0].here.confirmed == both[1].here.confirmed).then_some(())
    });
    wait_equal(bed, all);
    println!("seed {seed}: {:?}, {} rules held to explain", run.done, run.checked);
    for side in BOTH {
        run.check_rules(side);
    }
    for client in clients {
        let tcp: Tcp = client.stop_and_report().unwrap();
        let kept = tcp.count(Outcome::Completed);
        assert_eq!((kept as u64, tcp.corrupt), (CONNECTIONS, 0), "seed {seed}: {tcp:?}");
        assert!(tcp.received > CONNECTIONS * 4_000, "seed {seed}: they went on: {tcp:?}");
    }
    drop(servers);
}
