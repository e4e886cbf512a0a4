//! Floods: of rubbish at the VRRP sockets, and of new sessions at the queue. Neither may cost more
//! than a little, nor make an advert late enough to count.

use crate::bed::{Bed, SOON};
use crate::odd_packets::{Advert, inject};
use crate::tracking::new_sessions;
use std::time::Instant;
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::pair::Side;
use twinwall_testbed::testing::eventually;
use twinwall_testbed::usage::processor_time;

/// Floods the LAN with these packets for some seconds. Returns the share of a core that the daemons
/// used meanwhile, and how many packets were sent each second.
fn flood(bed: &Bed, packets: &[Vec<u8>]) -> ([f64; 2], f64) {
    let sides = [Side::A, Side::B];
    let pids = sides.map(|side| bed.gateway(side).unwrap().pid().unwrap());
    let used = || pids.map(|pid| processor_time(pid).unwrap().as_secs_f64());
    let (before, begun) = (used(), Instant::now());
    let mut sent = 0;
    while begun.elapsed().as_secs() < 3 {
        sent += inject(bed, packets, 5_000).sent;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let used = used();
    ([0, 1].map(|side: usize| (used[side] - before[side]) / seconds), sent as f64 / seconds)
}

fn assert_harmless(test: &str, packets: &[Vec<u8>]) {
    let Some(bed) = Bed::up(test, Vrrp::default()) else { return };
    let before = [Side::A, Side::B].map(|side| bed.takeovers(side));
    // What the machine keeps from a thread that runs counts as that thread's time: when it is busy
    // with something else, another look tells.
    let mut looks = Vec::new();
    let cheap = eventually(SOON, || {
        let (shares, rate) = flood(&bed, packets);
        eprintln!("{test}: {shares:.3?} of a core at {rate:.0} packets a second");
        assert!(rate > 1_000.0, "it is a flood: {rate}");
        looks.push(shares);
        shares.iter().all(|share| *share <= 0.05).then_some(())
    });
    assert!(cheap.is_some(), "{looks:.3?} of a core");
    assert_eq!(bed.state(Side::A), "active");
    assert_eq!(bed.state(Side::B), "backup");
    assert_eq!([Side::A, Side::B].map(|side| bed.takeovers(side)), before);
}

#[test]
fn a_flood_of_foreign_adverts_is_cheap() {
    let odd = [
        Advert { first: 0x21, ..Advert::default() },
        Advert { ttl: 254, ..Advert::default() },
        Advert { vrid: 99, ..Advert::default() },
    ];
    assert_harmless("foreign adverts", &odd.map(|advert| advert.bytes()));
}

#[test]
fn a_flood_of_adverts_with_a_wrong_checksum_is_cheap() {
    let odd = Advert { checksum_off_by: 1, ..Advert::default() };
    assert_harmless("wrong checksums", &[odd.bytes()]);
}

#[test]
fn adverts_are_on_time_while_the_queue_is_flooded() {
    let Some(bed) = Bed::up("flooded queue", Vrrp::default()) else { return };
    let late = |bed: &Bed| bed.router(Side::A, "lan4").adverts.late;
    let missed = |bed: &Bed| bed.router(Side::B, "lan4").adverts.missed;
    let (count, takeovers) = (|| (late(&bed), missed(&bed)), bed.takeovers(Side::B));
    // A machine that is busy with something else makes adverts late too, but not in each round.
    let mut rounds = Vec::new();
    let calm = eventually(SOON * 2, || {
        let (before, begun) = (count(), Instant::now());
        let mut sent = 0;
        while begun.elapsed().as_secs() < 3 {
            sent += new_sessions(&bed, 100_000).sent;
        }
        assert!(sent > 20_000, "it is a flood: {sent}");
        let after = count();
        rounds.push((before, after));
        (before == after).then_some(())
    });
    assert!(calm.is_some(), "late and missed, before and after each round: {rounds:?}");
    assert_eq!(bed.takeovers(Side::B), takeovers);
    assert_eq!(bed.state(Side::A), "active");
}
