//! Nothing of VRRP is left behind by a daemon that was stopped, and what one that was killed has
//! left goes at the next start, or on request.

use crate::bed::Bed;
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::pair::Side;
use twinwall_testbed::vrrp::Mac;

/// Tables and interfaces of the daemon's VRRP on `gw-a`.
fn left(bed: &Bed) -> Vec<String> {
    let tables = bed.shell("gw-a", "nft list tables");
    let links = bed.shell("gw-a", "ip -o link show type macvlan");
    let lines = tables.lines().chain(links.lines());
    let ours =
        |line: &&str| ["twinwall-vrrp", " tw4-", " tw6-"].iter().any(|name| line.contains(name));
    lines.filter(ours).map(str::to_owned).collect()
}

#[test]
fn a_stopped_daemon_leaves_no_address_interface_or_table() {
    for mac in [Mac::Virtual, Mac::Interface] {
        let Some(mut bed) = Bed::up("stop", Vrrp { mac, ..Vrrp::default() }) else { return };
        assert!(!left(&bed).is_empty());
        bed.stop(Side::A).unwrap();
        bed.wait_active(Side::B).unwrap();
        assert_eq!(left(&bed), Vec::<String>::new());
        bed.wait_reachable("client", "198.51.100.7");
    }
}

#[test]
fn what_a_killed_daemon_left_is_removed_at_its_next_start() {
    for mac in [Mac::Virtual, Mac::Interface] {
        let vrrp = Vrrp { mac, preempt: false, ..Vrrp::default() };
        let Some(mut bed) = Bed::up("kill and start", vrrp) else { return };
        bed.kill9(Side::A).unwrap();
        bed.wait_holding(Side::B).unwrap();
        let all = bed.vrrp().addresses().len();
        assert_eq!(bed.held(Side::A).unwrap(), all, "it could not clean up");
        bed.start(Side::A).unwrap();
        bed.wait_active(Side::B).unwrap();
        assert_eq!(bed.state(Side::A), "backup");
    }
}

#[test]
fn what_a_killed_daemon_left_is_removed_on_request() {
    for mac in [Mac::Virtual, Mac::Interface] {
        let Some(mut bed) = Bed::up("release", Vrrp { mac, ..Vrrp::default() }) else { return };
        bed.kill9(Side::A).unwrap();
        bed.wait_holding(Side::B).unwrap();
        let gateway = bed.gateway(Side::A).unwrap();
        let release = || {
            let [config, state] = [gateway.config_path(), gateway.state_path()];
            let command = gateway.command("twinwalld").unwrap().arg("--release");
            let command = command.arg("--config").arg(config).arg("--state-dir").arg(state);
            command.run().unwrap()
        };
        release();
        bed.wait_active(Side::B).unwrap();
        assert_eq!(left(&bed), Vec::<String>::new());
        release();
        bed.wait_reachable("client", "198.51.100.7");
    }
}
