//! A short soak: one failover of each main kind, with all of its checks. `testbed soak-failover`
//! goes on for longer.

use crate::bed::{binaries, turn};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use twinwall_testbed::soak::{Failure, Plan, kind::MAIN, run};
use twinwall_testbed::testing::need;
use twinwall_testbed::{Error, Vrrp};

#[test]
fn no_long_session_is_lost_by_any_kind_of_failover() {
    let _turn = turn();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let plan = Plan {
        failovers: u32::try_from(MAIN.len()).unwrap(),
        seed,
        idle: 2_000,
        tcp: 40,
        // One that begins while the nodes change places can still be lost.
        short: false,
        main_kinds: true,
        only: None,
        // A busy machine that holds a daemon up for a while shall not add failovers of its own.
        vrrp: Vrrp { interval: Duration::from_millis(300), ..Vrrp::default() },
        binaries: Some(binaries()),
        keep: std::env::temp_dir().join(format!("twinwall-soak-test-{}", std::process::id())),
    };
    let report = match run(&plan, |step, kind| println!("seed {seed}, {step}: {kind}")) {
        Ok(report) => Ok(report),
        Err(Failure::Setup(error)) => Err(error),
        Err(Failure::Broken { step, kind, wrong, kept, report, .. }) => panic!(
            "seed {seed}, failover {step} ({kind}): {wrong:#?}\nlogs and recordings are in {}\n{}",
            kept.display(),
            report.table()
        ),
    };
    let report: Result<_, Error> = report;
    let Some(report) = need("soak", report) else { return };
    assert_eq!(report.failovers, plan.failovers);
    assert!(report.sums.ftp_complete.iter().all(|complete| *complete > 0), "{}", report.table());
}
