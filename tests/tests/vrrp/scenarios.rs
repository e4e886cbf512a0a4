//! The scenarios measure what they say: shown with keepalived, whose ways are known.

use std::time::Duration;
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::Plan;
use twinwall_testbed::scenario::pair::Peer;
use twinwall_testbed::scenario::report::Report;
use twinwall_testbed::scenario::run::Event;
use twinwall_testbed::testing::need;
use twinwall_testbed::vrrp::Family;

fn run(event: Event, family: Family) -> Option<Report> {
    let plan = Plan {
        events: vec![event],
        peers: vec![Peer::Keepalived],
        vrrp: Vrrp::default(),
        runs: 1,
        family,
        binaries: Some(crate::bed::binaries()),
    };
    let reports = need(event.name(), plan.run(|_, _, _, _| (), |_, _, _| ()))?;
    reports.into_iter().next()
}

#[test]
fn the_gap_of_a_dead_node_is_the_time_until_the_other_one_misses_it() {
    let interval = Vrrp::default().interval;
    let down = Vrrp::default().down_interval(100);
    for family in [Family::V4, Family::V6] {
        let Some(report) = run(Event::NodeDeath, family) else { return };
        for direction in ["gap_ms_to_server", "gap_ms_to_client"] {
            let gap = Duration::from_secs_f64(report.summary[direction].worst / 1e3);
            assert!(gap + interval * 2 > down, "{direction}: {gap:?} of {down:?}");
            assert!(gap < down + Duration::from_secs(5), "{direction}: {gap:?} of {down:?}");
        }
    }
}

#[test]
fn keepalived_is_seen_to_leave_two_owners_behind() {
    let Some(report) = run(Event::Kill9, Family::V4) else { return };
    for name in ["two_owners_arp_to_the_end", "two_owners_nd_to_the_end"] {
        assert!(report.summary[name].worst > 0.0, "{report:#?}");
    }
    assert!(!report.holds());
}
