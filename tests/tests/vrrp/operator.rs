//! What an operator does and sees: hand-over, events, and another tool that removes an address.

use crate::bed::Bed;
use serde_json::Value;
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::pair::Side;
use twinwall_testbed::vrrp::Mac;

#[test]
fn failover_now_moves_everything_until_it_is_taken_back() {
    let Some(bed) = Bed::up("failover now", Vrrp::default()) else { return };
    let gateway = bed.gateway(Side::A).unwrap();
    gateway.twinwall(&["failover", "now"]).unwrap().success().unwrap();
    bed.wait_active(Side::B).unwrap();
    bed.wait_adverts(Side::A, 10);
    assert_eq!((bed.state(Side::A).as_str(), bed.state(Side::B).as_str()), ("backup", "active"));
    bed.wait_reachable("client", "198.51.100.7");
    gateway.twinwall(&["failover", "back"]).unwrap().success().unwrap();
    bed.wait_active(Side::A).unwrap();
    bed.wait_reachable("client", "198.51.100.7");
}

#[test]
fn failover_now_on_the_node_that_stands_by_is_refused() {
    let Some(bed) = Bed::up("failover on a backup", Vrrp::default()) else { return };
    let gateway = bed.gateway(Side::B).unwrap();
    let output = gateway.twinwall(&["failover", "now"]).unwrap();
    assert_ne!(output.code(), 0, "{output:?}");
    assert_eq!(bed.state(Side::A), "active");
}

#[test]
fn an_address_that_another_tool_removes_comes_back_or_the_node_gives_up() {
    for mac in [Mac::Virtual, Mac::Interface] {
        let Some(bed) = Bed::up("removed address", Vrrp { mac, ..Vrrp::default() }) else { return };
        for (family, address) in [("-4", "10.0.0.1/32"), ("-6", "2001:db8:10::1/128")] {
            let list = bed.shell("gw-a", "ip -o address show");
            let line = list.lines().find(|line| line.contains(&format!(" {address} "))).unwrap();
            let device = line.split_whitespace().nth(1).unwrap();
            bed.shell("gw-a", &format!("ip {family} address del {address} dev {device}"));
            bed.wait("one node has all addresses", || {
                let held = [Side::A, Side::B].map(|side| bed.held(side).unwrap());
                let all = bed.vrrp().addresses().len();
                (held == [all, 0] || held == [0, all]).then_some(())
            });
            bed.wait_active(Side::A).unwrap();
        }
    }
}

#[test]
fn status_and_events_are_json_that_names_every_router() {
    let Some(mut bed) = Bed::up("JSON", Vrrp::default()) else { return };
    bed.stop(Side::A).unwrap();
    bed.wait_active(Side::B).unwrap();
    let gateway = bed.gateway(Side::B).unwrap();
    let status: Value =
        gateway.twinwall(&["vrrp", "status", "--json"]).unwrap().success().unwrap().json().unwrap();
    let routers = status["groups"][0]["routers"].as_array().unwrap();
    let names: Vec<_> = routers.iter().map(|router| router["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["wan4", "wan6", "lan4", "lan6", "dmz4", "dmz6"]);
    let text = gateway.twinwall(&["vrrp", "events"]).unwrap().success().unwrap().stdout;
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for name in names {
        let became = |event: &&Value| event["router"] == name && event["to"] == "active";
        assert!(events.iter().any(|event| became(&event)), "{name}: {text}");
    }
    let said = gateway.twinwall(&["vrrp", "status"]).unwrap().success().unwrap().stdout;
    assert!(said.contains("10.0.0.1") && said.contains("203.0.113.10"), "{said}");
}
