//! Never two owners of an address for more than a second, whatever becomes of a daemon.

use crate::bed::Bed;
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::run::{Event, once};
use twinwall_testbed::vrrp::{Family, Mac};

/// What the other node may answer at the same time, in milliseconds.
const AT_MOST: f64 = 1000.0;

fn assert_one_owner(event: Event, mac: Mac) {
    let vrrp = Vrrp { mac, ..Vrrp::default() };
    let Some(mut bed) = Bed::up(event.name(), vrrp) else { return };
    let values = once(&mut bed, event, Family::V4).unwrap();
    for family in ["arp", "nd"] {
        let both = values[&format!("two_owners_{family}_ms")];
        assert!(both <= AT_MOST, "{family}: both answer for {both} ms: {values:?}");
        assert!(values[&format!("two_owners_{family}_to_the_end")] < 0.5, "{family}: {values:?}");
    }
}

#[test]
fn a_killed_daemon_does_not_go_on_answering_for_a_virtual_mac_address() {
    assert_one_owner(Event::Kill9, Mac::Virtual);
}

#[test]
fn a_killed_daemon_does_not_go_on_answering_with_its_interface() {
    assert_one_owner(Event::Kill9, Mac::Interface);
}

#[test]
fn a_stopped_daemon_does_not_go_on_answering_for_a_virtual_mac_address() {
    assert_one_owner(Event::Stopped, Mac::Virtual);
}

#[test]
fn a_stopped_daemon_does_not_go_on_answering_with_its_interface() {
    assert_one_owner(Event::Stopped, Mac::Interface);
}
