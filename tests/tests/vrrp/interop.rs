//! `twinwalld` and keepalived as a pair, each in either role.
//!
//! Every two of these values meet in at least one case: which of them has the higher priority, an
//! interval of 1 s, 100 ms and 10 ms, preemption or none, virtual MAC address or the interface's
//! own. Each case has virtual routers of both families on three legs.

use crate::bed::Bed;
use std::time::Duration;
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::fault::Fault;
use twinwall_testbed::scenario::pair::{Peer, Side};
use twinwall_testbed::vrrp::{Checksum, Mac};

/// What keepalived says of adverts that it doesn't like. It says of a lower priority that it is
/// discarding it, which is as it should be.
const OBJECTIONS: [&str; 10] = [
    "checksum",
    "nvalid",
    "mismatch",
    "not present",
    "TTL",
    "hop limit",
    "ignoring received",
    "dropped",
    "incompatible",
    "rror",
];

struct Case {
    bed: Bed,
    ours: Side,
}

impl Case {
    fn up(test: &str, ours: Side, vrrp: Vrrp) -> Option<Self> {
        let peers = match ours {
            Side::A => [Peer::Twinwall, Peer::Keepalived],
            Side::B => [Peer::Keepalived, Peer::Twinwall],
        };
        // The only one that keepalived 2.2.7 knows.
        let vrrp = Vrrp { checksum: Checksum::PseudoHeader, ..vrrp };
        let mut bed = Bed::build(test, peers, vrrp)?;
        bed.start(Side::A).unwrap();
        bed.start(Side::B).unwrap();
        bed.wait_active(Side::A).unwrap();
        Some(Self { bed, ours })
    }

    /// Takeover, and what happens when the higher priority comes back: after a stop, and after the
    /// node fell silent.
    fn run(&mut self) {
        let bed = &mut self.bed;
        bed.stop(Side::A).unwrap();
        bed.wait_active(Side::B).unwrap();
        bed.wait_reachable("client", "198.51.100.7");
        bed.wait_reachable("client", "2001:db8:40::7");
        bed.start(Side::A).unwrap();
        if bed.vrrp().preempt {
            bed.wait_active(Side::A).unwrap();
        } else {
            self.stays_with_b();
            self.bed.stop(Side::B).unwrap();
            self.bed.wait_active(Side::A).unwrap();
            self.bed.start(Side::B).unwrap();
        }
        let bed = &mut self.bed;
        Fault::Silent(Side::A).begin(bed.testbed()).unwrap();
        bed.freeze(Side::A, true).unwrap();
        bed.wait_holding(Side::B).unwrap();
        bed.wait_reachable("client", "198.51.100.7");
        bed.freeze(Side::A, false).unwrap();
        Fault::Silent(Side::A).end(bed.testbed()).unwrap();
        if bed.vrrp().preempt {
            bed.wait_active(Side::A).unwrap();
        } else {
            // Either the higher priority wins, or it has noticed that it was away.
            bed.wait_one_active().unwrap();
        }
        bed.wait_reachable("client", "2001:db8:40::7");
        self.assert_no_objection();
    }

    /// The node that came back hears the other one and leaves it active.
    fn stays_with_b(&self) {
        let bed = &self.bed;
        if self.ours == Side::A {
            bed.wait("it hears the other one", || {
                (bed.router(Side::A, "lan4").adverts.received >= 10).then_some(())
            });
        } else {
            let started = bed.log(Side::A).matches("Entering BACKUP STATE").count();
            assert!(started > 0, "{}", bed.log(Side::A));
            let sent = bed.router(Side::B, "lan4").adverts.sent;
            bed.wait("adverts go on", || {
                (bed.router(Side::B, "lan4").adverts.sent >= sent + 10).then_some(())
            });
        }
        bed.wait_active(Side::B).unwrap();
    }

    fn assert_no_objection(&self) {
        let theirs = self.bed.log(self.ours.other());
        for line in theirs.lines() {
            let objects = OBJECTIONS.iter().any(|words| line.contains(words));
            assert!(!objects, "keepalived says: {line}\n{theirs}");
        }
        let status = self.bed.said(self.ours);
        assert!(status.discarded.iter().all(|row| row.reasons.is_empty()), "{status:#?}");
        for router in status.groups.iter().flat_map(|group| &group.routers) {
            let odd = ["interval", "addresses", "second-owner", "trailing-bytes"];
            let found = router.warnings.iter().find(|row| odd.contains(&row.kind.as_str()));
            assert_eq!(found, None, "{router:#?}");
        }
    }
}

fn vrrp(milliseconds: u64, preempt: bool, mac: Mac) -> Vrrp {
    Vrrp { interval: Duration::from_millis(milliseconds), preempt, mac, ..Vrrp::default() }
}

#[test]
fn we_lead_each_second_and_preempt_with_virtual_mac() {
    let Some(mut case) = Case::up("tw 1s", Side::A, vrrp(1000, true, Mac::Virtual)) else { return };
    case.run();
}

#[test]
fn we_lead_each_100_ms_and_do_not_preempt_with_own_mac() {
    let vrrp = vrrp(100, false, Mac::Interface);
    let Some(mut case) = Case::up("tw 100ms", Side::A, vrrp) else { return };
    case.run();
}

#[test]
fn we_lead_each_10_ms_and_preempt_with_own_mac() {
    let Some(mut case) = Case::up("tw 10ms", Side::A, vrrp(10, true, Mac::Interface)) else {
        return;
    };
    case.run();
}

#[test]
fn we_follow_each_second_and_keepalived_does_not_preempt_with_own_mac() {
    let vrrp = vrrp(1000, false, Mac::Interface);
    let Some(mut case) = Case::up("ka 1s", Side::B, vrrp) else { return };
    case.run();
}

#[test]
fn we_follow_each_100_ms_and_keepalived_preempts_with_virtual_mac() {
    let Some(mut case) = Case::up("ka 100ms", Side::B, vrrp(100, true, Mac::Virtual)) else {
        return;
    };
    case.run();
}

#[test]
fn we_follow_each_10_ms_and_keepalived_does_not_preempt_with_virtual_mac() {
    let vrrp = vrrp(10, false, Mac::Virtual);
    let Some(mut case) = Case::up("ka 10ms", Side::B, vrrp) else { return };
    case.run();
}
