//! Faults of replication while sessions begin: in the end none is missing on the other gateway.
//!
//! The same faults as in `testbed bench-pair`, with few sessions. How soon none is missing depends
//! on how busy the machine is, so that is measured there and not here.

use crate::bed::Bed;
use std::time::Duration;
use twinwall_testbed::Vrrp;
use twinwall_testbed::bench::Scale;
use twinwall_testbed::bench::fault::{self, Fault};
use twinwall_testbed::scenario::pair::{Peer, Side};
use twinwall_testbed::scenario::rules::Rules;
use twinwall_testbed::scenario::run::Values;
use twinwall_testbed::testing::need;

const SCALE: Scale = Scale {
    sessions: 4_000,
    during_cut: 6_000,
    many: 0,
    rate: 2_000.0,
    cut: Duration::from_secs(3),
    timed: 0,
    patience: Duration::from_secs(60),
};

/// Makes a fault happen; `None` when this machine can't.
fn none_missing(fault: Fault) -> Option<Values> {
    let mut bed = Bed::build(fault.name(), [Peer::TwinwallSync; 2], Vrrp::default())?;
    bed.set_rules(Rules::Out).unwrap();
    bed.start(Side::A).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait_active(Side::A).unwrap();
    let values = need(fault.name(), fault::once(&mut bed, fault, &SCALE))?;
    let count = if fault == Fault::Cut { SCALE.during_cut } else { SCALE.sessions };
    assert_eq!(values["made"], f64::from(count), "{values:?}");
    assert_eq!(values["missing_at_the_end"], 0.0, "{values:?}");
    Some(values)
}

#[test]
fn lost_datagrams_lose_no_session() {
    let Some(values) = none_missing(Fault::Loss) else { return };
    assert!(values["resent"] > 0.0, "one in twenty was dropped: {values:?}");
}

#[test]
fn sessions_that_begin_while_the_sync_link_is_cut_come_over_afterwards() {
    none_missing(Fault::Cut);
}

#[test]
fn sessions_that_begin_while_the_daemon_is_stopped_come_over_afterwards() {
    none_missing(Fault::SenderStopped);
}

#[test]
fn sessions_that_begin_while_the_peers_daemon_is_stopped_come_over_afterwards() {
    none_missing(Fault::ReceiverStopped);
}

#[test]
fn a_peer_that_has_lost_its_sessions_gets_them_again() {
    none_missing(Fault::PeerRestarted);
}
