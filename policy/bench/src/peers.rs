//! The engines that are measured beside ours.
//!
//! Goes in: a load and its answers. Comes out: engines that are ready to take their turn, checked,
//! or why one isn't. rte_acl waits in a process of its own.

use crate::compare::{Settings, wrong_answers};
use crate::measure::{Asked, Pass, Timed, sample};
use crate::model::Rule;
use crate::report;
use crate::subjects::{Linear, RteAcl, Subject, TupleSpace};
use std::path::Path;
use std::time::Instant;
use twinwall_policy::flow::Flow;

/// A plain scan over more rules would take minutes and say nothing new.
const MOST_SCANNED: usize = 200_000;

/// An engine that takes turns, and what is known of it already.
pub struct Peer {
    turn: Option<Box<dyn Timed>>,
    known: report::Peer,
}

/// Rules, and headers with the right answers.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// In the order of decision.
    pub rules: &'a [Rule],
    /// To be asked about.
    pub headers: &'a [Flow],
    /// The place of each header's rule; may go on beyond the headers.
    pub expected: &'a [u32],
}

/// The peers that the settings ask for; all of them stand in the report, fit or not.
#[must_use]
pub fn all(known: Known<'_>, settings: &Settings, cpu: usize) -> Vec<Peer> {
    let mut peers = Vec::new();
    if settings.peers {
        peers.push(match known.rules.len() {
            ..=MOST_SCANNED => in_process("linear scan", known, Linear::new),
            _ => Peer::without("linear scan", format!("more than {MOST_SCANNED} rules")),
        });
        peers.push(in_process("tuple space search", known, TupleSpace::new));
    }
    if let Some(program) = &settings.rte_acl {
        peers.push(rte_acl(program, known, cpu));
    }
    peers
}

impl Peer {
    /// What the report says of it.
    #[must_use]
    pub fn figures(self, ns: Option<f64>) -> report::Peer {
        report::Peer { ns, ..self.known }
    }

    fn without(name: &'static str, note: String) -> Self {
        let known = report::Peer { name, ns: None, build_ms: None, mismatches: None, note };
        Self { turn: None, known }
    }
}

impl Timed for Peer {
    fn turn(&mut self) -> Option<f64> {
        self.turn.as_mut()?.turn()
    }
}

/// Builds an engine and checks the answers that it gives in its turns.
fn in_process<S: Subject + Sync + 'static>(
    name: &'static str,
    Known { rules, headers, expected }: Known<'_>,
    build: impl FnOnce(&[Rule]) -> S,
) -> Peer {
    let start = Instant::now();
    let subject = build(rules);
    let build_ms = start.elapsed().as_secs_f64() * 1e3;
    let places = sample(&subject, headers);
    let headers: Vec<_> = places.iter().filter_map(|n| headers.get(*n)).copied().collect();
    let expected: Vec<_> = places.iter().filter_map(|n| expected.get(*n)).copied().collect();
    let wrong = wrong_answers(&subject, &headers, &expected, 1);
    let known = report::Peer {
        name,
        ns: None,
        build_ms: Some(build_ms),
        mismatches: Some(wrong as u64),
        note: String::new(),
    };
    Peer { turn: Some(Box::new(Asked::new(subject, Pass::Scalar, headers))), known }
}

fn rte_acl(program: &Path, known: Known<'_>, cpu: usize) -> Peer {
    const NAME: &str = "rte_acl";
    match RteAcl::start(program, known.rules, known.headers, known.expected, cpu) {
        Ok(peer) => {
            let known = report::Peer {
                name: NAME,
                ns: None,
                build_ms: Some(peer.build_ms),
                mismatches: Some(peer.mismatches),
                note: peer.method.clone(),
            };
            Peer { turn: Some(Box::new(peer)), known }
        }
        Err(error) => Peer::without(NAME, error.to_string()),
    }
}
