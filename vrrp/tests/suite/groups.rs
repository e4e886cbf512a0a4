//! Sync groups: all legs, or none.

use crate::script::Script;
use twinwall_vrrp::action::State;

const EDGE: &str = "
    group edge priority 100
    leg lan interface 1 vrid 7 primary 192.0.2.20 addresses 192.0.2.1 interval 10 repeats 50ms
    leg wan interface 2 vrid 8 primary 203.0.113.20 addresses 203.0.113.1 interval 10 repeats 50ms";

fn script(config: &str) -> Script {
    Script::new(config, false).unwrap()
}

fn states(script: &Script) -> Vec<State> {
    script.node.groups().flat_map(|(_, group)| group.legs()).map(|leg| leg.state()).collect()
}

#[test]
fn a_group_is_active_on_all_legs_or_on_none() {
    let mut script = script(EDGE);
    script.run("start\npass 360ms").unwrap();
    assert_eq!(states(&script), [State::Backup; 2]);
    script.run("pass 1ms").unwrap();
    assert_eq!(states(&script), [State::Active; 2]);
    let came = script.run("advert wan from 203.0.113.30 priority 101").unwrap();
    assert_eq!(states(&script), [State::Backup; 2]);
    // The leg that lost says nothing, the other one resigns.
    assert_eq!(came[0], "lan send 0");
    assert!(!came.contains(&"wan send 0".to_owned()));
}

#[test]
fn a_peer_that_resigns_on_one_leg_is_relieved_on_all() {
    let mut script = script(EDGE);
    let heard =
        "advert lan from 192.0.2.30 priority 150\nadvert wan from 203.0.113.30 priority 150";
    script.run(&format!("start\npass 10ms\n{heard}\npass 5ms")).unwrap();
    // The leg lan is cut: nothing comes by it any more.
    script.run("advert wan from 203.0.113.30 priority 0\npass 60ms").unwrap();
    assert_eq!(states(&script), [State::Backup; 2]);
    // Skew_Time of priority 100 and 100 ms is 60.9 ms.
    script.run("pass 1ms").unwrap();
    assert_eq!(states(&script), [State::Active; 2]);
}

#[test]
fn another_router_on_the_other_leg_is_not_taken_to_resign() {
    let mut script = script(EDGE);
    let heard =
        "advert lan from 192.0.2.30 priority 140\nadvert wan from 203.0.113.30 priority 150";
    script.run(&format!("start\npass 10ms\n{heard}\npass 5ms")).unwrap();
    script.run("advert wan from 203.0.113.30 priority 0\npass 61ms").unwrap();
    assert_eq!(states(&script), [State::Backup; 2]);
}

#[test]
fn a_peer_whose_legs_are_no_group_is_found_out_once() {
    let mut script = script(EDGE);
    let both = "advert lan from 192.0.2.30 priority 150\nadvert wan from 203.0.113.30 priority 150";
    script.run(&format!("start\npass 10ms\n{both}\npass 50ms")).unwrap();
    script.run("advert wan from 203.0.113.30 priority 0\npass 61ms").unwrap();
    assert_eq!(states(&script), [State::Active; 2]);
    // It goes on with the leg lan.
    script.run("pass 40ms\nadvert lan from 192.0.2.30 priority 150").unwrap();
    assert_eq!(states(&script), [State::Backup; 2]);
    script.run(&format!("pass 100ms\n{both}\npass 50ms")).unwrap();
    script.run("advert wan from 203.0.113.30 priority 0\npass 61ms").unwrap();
    assert_eq!(states(&script), [State::Backup; 2]);
}

#[test]
fn a_group_of_three_waits_for_the_slowest_leg() {
    let third = format!(
        "{EDGE}
         leg dmz interface 3 vrid 9 primary 198.51.100.20 addresses 198.51.100.1 interval 100"
    );
    let mut script = script(&third);
    script.run("start\npass 3600ms").unwrap();
    assert_eq!(states(&script), [State::Backup; 3]);
    let status = script.node.status(script.now);
    assert_eq!(status.groups[0].waiting.iter().map(|id| id.leg).collect::<Vec<_>>(), [0, 1]);
    script.run("pass 10ms").unwrap();
    assert_eq!(states(&script), [State::Active; 3]);
}

#[test]
fn a_leg_that_hears_a_better_router_keeps_the_others_from_flapping() {
    let mut script = script(EDGE);
    script.run("start").unwrap();
    for _ in 0..100 {
        let came = script.run("pass 100ms\nadvert wan from 203.0.113.30 priority 200").unwrap();
        assert!(!came.iter().any(|line| line.contains("->")), "{came:?}");
    }
    assert_eq!(states(&script), [State::Backup; 2]);
}

#[test]
fn a_fault_of_one_thing_is_a_fault_of_all_legs() {
    let mut script = script(&EDGE.replace("100\n", "100\n track eth0 fault\n track eth1 fault\n"));
    script.run("track eth0 good\nstart\npass 1s").unwrap();
    // Nobody has said how eth1 is.
    assert_eq!(states(&script), [State::Initialize; 2]);
    script.run("track eth1 good\npass 1s").unwrap();
    assert_eq!(states(&script), [State::Active; 2]);
    let came = script.run("track eth1 bad").unwrap();
    assert_eq!(
        came[..4],
        ["lan send 0", "wan send 0", "lan remove addresses", "wan remove addresses"]
    );
    assert_eq!(states(&script), [State::Initialize; 2]);
    let blame = &script.node.status(script.now).groups[0].blame;
    assert_eq!(blame.iter().map(|blame| blame.name.as_str()).collect::<Vec<_>>(), ["eth1"]);
}

#[test]
fn groups_are_independent_of_each_other() {
    let two = format!(
        "{EDGE}
         group guest priority 50
         track eth9 fault
         leg guest interface 3 vrid 9 primary 198.51.100.20 addresses 198.51.100.1 interval 10"
    );
    let mut script = script(&two);
    script.run("start\npass 1s\ntrack eth9 bad").unwrap();
    assert_eq!(states(&script), [State::Active, State::Active, State::Initialize]);
}

#[test]
fn a_handover_moves_all_legs_and_none_comes_back_by_itself() {
    let mut script = script(EDGE);
    script.run("start\npass 400ms\nhand-over edge 1s\npeer-ready edge").unwrap();
    assert_eq!(states(&script), [State::Active; 2]);
    script.run("advert wan from 203.0.113.30 priority 50").unwrap();
    assert_eq!(states(&script), [State::Backup; 2]);
    for _ in 0..20 {
        script
            .run(
                "pass 100ms
                 advert lan from 192.0.2.30 priority 50
                 advert wan from 203.0.113.30 priority 50",
            )
            .unwrap();
    }
    assert_eq!(states(&script), [State::Backup; 2]);
    // The peer dies: nothing keeps this node from being active.
    script.run("pass 361ms").unwrap();
    assert_eq!(states(&script), [State::Active; 2]);
}

#[test]
fn what_was_heard_long_ago_neither_counts_as_missed_nor_as_overdue() {
    let mut script = script(EDGE);
    script.run("start\npass 400ms\nadvert lan from 192.0.2.30 priority 50\npass 100s").unwrap();
    script.run("advert wan from 203.0.113.30 priority 200\npass 50ms").unwrap();
    // The LAN hasn't heard anybody since the group is in Backup.
    script.run("advert wan from 203.0.113.30 priority 200\npeer silent").unwrap();
    assert_eq!(states(&script), [State::Backup; 2]);
    let waiting = &script.node.status(script.now).groups[0].waiting;
    assert!(waiting.is_empty(), "{waiting:?}");
    script.run("advert lan from 192.0.2.30 priority 200").unwrap();
    let legs = &script.node.status(script.now).groups[0].legs;
    assert_eq!(legs[0].adverts.missed, 0);
}

#[test]
fn a_hold_reaches_a_leg_that_only_waits_for_the_others() {
    let mut script = script(EDGE);
    script.run("start").unwrap();
    for _ in 0..4 {
        // The LAN hears a lower router and is ready to preempt it, the WAN hears a higher one.
        script.run("pass 100ms\nadvert wan from 203.0.113.30 priority 200").unwrap();
        script.run("advert lan from 192.0.2.30 priority 50").unwrap();
    }
    assert_eq!(script.node.status(script.now).groups[0].waiting.len(), 1);
    script.run("hold 10s").unwrap();
    assert!(script.node.status(script.now).groups[0].waiting.is_empty());
    for _ in 0..10 {
        // The WAN falls silent. The lower router on the LAN is alive, so it stays.
        script.run("pass 100ms\nadvert lan from 192.0.2.30 priority 50").unwrap();
    }
    assert_eq!(states(&script), [State::Backup; 2]);
}

/// Two nodes of equal priority that are both active, each with the higher address on one link;
/// then the links are joined. Whatever the delay, the draw is settled once.
#[test]
fn a_draw_is_settled_at_once_and_for_good() {
    for delay_ms in [0, 1, 7, 20] {
        let other =
            EDGE.replace("192.0.2.20", "192.0.2.30").replace("203.0.113.20", "203.0.113.10");
        // The other node lists its legs the other way round.
        let mut lines: Vec<_> = other.lines().collect();
        lines.swap(2, 3);
        let mut nodes = [script(EDGE), script(&lines.join("\n"))];
        for node in &mut nodes {
            node.run("start\npass 400ms").unwrap();
            assert_eq!(states(node), [State::Active; 2]);
        }
        let mut air: Vec<(u64, usize, String)> = Vec::new();
        let mut takeovers = 0;
        for now in 400..3000_u64 {
            let arrived = air.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>();
            for (place, node) in nodes.iter_mut().enumerate() {
                let mut came = Vec::new();
                for (_, _, advert) in arrived.iter().filter(|(_, to, _)| *to == place) {
                    came.extend(node.run(advert).unwrap());
                }
                came.extend(node.run("pass 1ms").unwrap());
                for line in came {
                    takeovers += u32::from(line.ends_with("add addresses"));
                    let (leg, rest) = line.split_once(' ').unwrap();
                    if let Some(priority) = rest.strip_prefix("send ") {
                        let from = match (place, leg) {
                            (0, "lan") => "192.0.2.20",
                            (0, _) => "203.0.113.20",
                            (_, "lan") => "192.0.2.30",
                            _ => "203.0.113.10",
                        };
                        let advert = format!("advert {leg} from {from} priority {priority}");
                        air.push((now + delay_ms, 1 - place, advert));
                    }
                }
            }
        }
        let active = nodes.iter().filter(|node| states(node) == [State::Active; 2]).count();
        assert_eq!(active, 1, "delay {delay_ms} ms");
        // Once for each leg, at most.
        assert!(takeovers <= 2, "delay {delay_ms} ms: {takeovers} takeovers");
    }
}
