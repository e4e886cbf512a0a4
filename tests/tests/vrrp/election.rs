//! Two `twinwalld`: who is active, and what makes the other one take over.

use crate::bed::Bed;
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::fault::Fault;
use twinwall_testbed::scenario::pair::Side;
use twinwall_testbed::vrrp::Mac;

#[test]
fn the_higher_priority_is_active_on_every_leg_and_the_other_stands_by() {
    for mac in [Mac::Virtual, Mac::Interface] {
        let Some(bed) = Bed::up("election", Vrrp { mac, ..Vrrp::default() }) else { return };
        let b = bed.wait("the other one hears each leg", || {
            let b = bed.said(Side::B);
            b.groups[0].routers.iter().all(|router| router.peer.is_some()).then_some(b)
        });
        let a = bed.said(Side::A);
        assert_eq!((a.groups[0].priority, b.groups[0].priority), (150, 100));
        for router in &a.groups[0].routers {
            assert_eq!(router.state, "active", "{router:?}");
            assert!(router.addresses.iter().all(|address| address.present), "{router:?}");
        }
        for router in &b.groups[0].routers {
            assert_eq!(router.state, "backup", "{router:?}");
            assert!(router.addresses.iter().all(|address| !address.present), "{router:?}");
            let peer = router.peer.as_ref().unwrap();
            assert_eq!(peer.priority, 150);
        }
        for to in ["10.0.0.1", "2001:db8:10::1", "198.51.100.7", "2001:db8:40::7"] {
            bed.wait_reachable("client", to);
        }
        for to in ["203.0.113.10", "2001:db8:30::1"] {
            bed.wait_reachable("server", to);
        }
    }
}

#[test]
fn hosts_see_the_virtual_mac_address() {
    let Some(bed) = Bed::up("virtual MAC", Vrrp::default()) else { return };
    for router in bed.vrrp().routers().iter().filter(|router| router.name.starts_with("lan")) {
        let address = router.addresses.last().unwrap();
        assert!(bed.pings("client", &address.to_string()));
        let known = bed.shell("client", &format!("ip neighbour show {address}"));
        assert!(known.contains(&router.mac()), "{known}");
    }
}

#[test]
fn a_node_that_falls_silent_is_replaced_and_takes_over_again() {
    let Some(mut bed) = Bed::up("silence", Vrrp::default()) else { return };
    Fault::Silent(Side::A).begin(bed.testbed()).unwrap();
    bed.freeze(Side::A, true).unwrap();
    bed.wait_holding(Side::B).unwrap();
    bed.wait_reachable("client", "198.51.100.7");
    bed.wait_reachable("client", "2001:db8:40::7");
    bed.freeze(Side::A, false).unwrap();
    Fault::Silent(Side::A).end(bed.testbed()).unwrap();
    bed.wait_active(Side::A).unwrap();
    bed.wait_reachable("client", "198.51.100.7");
}

#[test]
fn a_node_that_loses_one_leg_gives_up_all_of_them() {
    let Some(bed) = Bed::up("leg down", Vrrp::default()) else { return };
    Fault::LanDown(Side::A).begin(bed.testbed()).unwrap();
    bed.wait_active(Side::B).unwrap();
    bed.wait_reachable("client", "198.51.100.7");
    let group = bed.said(Side::A).groups[0].clone();
    assert_ne!(group.state, "active");
    let blamed = group.blame.iter().any(|blame| blame.name.contains("eth1"));
    assert!(blamed, "{:?}", group.blame);
    Fault::LanDown(Side::A).end(bed.testbed()).unwrap();
    bed.wait_active(Side::A).unwrap();
    assert_eq!(bed.said(Side::A).groups[0].blame, []);
}

#[test]
fn without_preemption_a_node_that_comes_back_stands_by() {
    let vrrp = Vrrp { preempt: false, ..Vrrp::default() };
    let Some(mut bed) = Bed::up("no preemption", vrrp) else { return };
    bed.stop(Side::A).unwrap();
    bed.wait_active(Side::B).unwrap();
    bed.start(Side::A).unwrap();
    bed.wait("it hears the other one", || {
        (bed.router(Side::A, "lan4").adverts.received >= 10).then_some(())
    });
    assert_eq!((bed.state(Side::A).as_str(), bed.state(Side::B).as_str()), ("backup", "active"));
    bed.stop(Side::B).unwrap();
    bed.wait_active(Side::A).unwrap();
}

#[test]
fn after_a_split_there_is_one_active_node_again() {
    let Some(bed) = Bed::up("split", Vrrp::default()) else { return };
    Fault::Apart.begin(bed.testbed()).unwrap();
    bed.wait_holding(Side::B).unwrap();
    assert_eq!(bed.state(Side::A), "active", "neither hears the other");
    Fault::Apart.end(bed.testbed()).unwrap();
    bed.wait_active(Side::A).unwrap();
    bed.wait("the other one stands by", || (bed.state(Side::B) == "backup").then_some(()));
    bed.wait_reachable("client", "198.51.100.7");
}
