//! The rules of RFC 9568 one by one, with their sections. The transition table and the conformance
//! cases hold the rest.

use crate::script::Script;
use std::time::Duration;
use twinwall_vrrp::action::State;
use twinwall_vrrp::time::{active_down_interval, longest_down_interval, skew_time};
use twinwall_vrrp::types::{Centiseconds, Priority};

const ONE: &str = "
    group lan priority 100
    leg lan interface 2 vrid 7 primary 192.0.2.20 addresses 192.0.2.1 repeats 500ms";

fn script(config: &str) -> Script {
    Script::new(config, false).unwrap()
}

fn state(script: &Script) -> State {
    script.node.groups().next().unwrap().1.state()
}

/// The time until something happens by itself.
fn wait(script: &Script) -> Duration {
    script.node.next_deadline().unwrap().since(script.now)
}

#[test]
fn skew_and_down_interval_are_exact_to_the_nanosecond() {
    // Section 6.1.
    for priority in 1..=255_u8 {
        for interval in (1..=4095).step_by(13).chain([4095]) {
            let nanoseconds = u128::from(interval) * 10_000_000;
            let skew = (256 - u128::from(priority)) * nanoseconds / 256;
            let (priority, interval) =
                (Priority::new(priority), Centiseconds::new(interval).unwrap());
            assert_eq!(skew_time(priority, interval).as_nanos(), skew);
            let down = active_down_interval(priority, interval);
            assert_eq!(down.as_nanos(), 3 * nanoseconds + skew);
            assert!(skew > 0 && down < longest_down_interval(interval));
        }
    }
}

#[test]
fn the_higher_priority_is_the_first_to_take_over() {
    // Section 6.1: that is what the skew is for.
    let mut last = Duration::ZERO;
    for priority in (1..=254).rev() {
        let config = ONE.replace("priority 100", &format!("priority {priority}"));
        let mut script = script(&config);
        script.run("start").unwrap();
        assert!(wait(&script) > last, "priority {priority}");
        last = wait(&script);
    }
}

#[test]
fn a_backup_follows_the_active_routers_interval() {
    // Section 6.4.2 (450): Active_Adver_Interval is that of the advert, the skew follows it.
    let mut script = script(ONE);
    script.run("start\nadvert lan from 192.0.2.30 priority 200 interval 4095").unwrap();
    let interval = Centiseconds::MAX;
    assert_eq!(wait(&script), active_down_interval(Priority::new(100), interval));
    script.run("advert lan from 192.0.2.30 priority 0 interval 4095").unwrap();
    assert_eq!(wait(&script), skew_time(Priority::new(100), interval));
}

#[test]
fn an_active_router_sends_at_its_own_interval() {
    // Section 6.4.3 (670): Advertisement_Interval, whatever interval another had before.
    let mut script = script(&ONE.replace("repeats 500ms", "repeats 1ms"));
    script.run("start\nadvert lan from 192.0.2.30 priority 200 interval 50").unwrap();
    script.run("pass 1900ms").unwrap();
    assert_eq!(state(&script), State::Active);
    let came = script.run("pass 3s").unwrap();
    assert_eq!(came.iter().filter(|line| line.contains("send 100")).count(), 3);
}

#[test]
fn without_preempt_mode_a_lower_priority_stays() {
    // Section 6.4.2 (445).
    let mut script = script(&ONE.replace("priority 100", "priority 100 no-preempt"));
    script.run("start").unwrap();
    for _ in 0..10 {
        script.run("pass 1s\nadvert lan from 192.0.2.30 priority 1").unwrap();
    }
    assert_eq!(state(&script), State::Backup);
    script.run("pass 4s").unwrap();
    assert_eq!(state(&script), State::Active);
}

#[test]
fn with_preempt_mode_a_lower_priority_is_ignored() {
    // Section 6.4.2 (465): the timer runs on, here from the start.
    let mut script = script(ONE);
    script.run("start").unwrap();
    for _ in 0..3 {
        script.run("pass 1s\nadvert lan from 192.0.2.30 priority 99").unwrap();
    }
    assert_eq!(wait(&script), Duration::from_nanos(609_375_000));
    script.run("pass 700ms").unwrap();
    assert_eq!(state(&script), State::Active);
}

#[test]
fn the_owner_preempts_without_preempt_mode_and_without_delay() {
    // Section 6.1.
    let config = ONE.replace("priority 100", "priority 255 no-preempt preempt-delay 1000s");
    let mut script = script(&config);
    script.run("hold 1000s\nstart\nadvert lan from 192.0.2.30 priority 255").unwrap();
    assert_eq!(state(&script), State::Backup);
    for _ in 0..4 {
        script.run("pass 1s\nadvert lan from 192.0.2.30 priority 254").unwrap();
    }
    assert_eq!(state(&script), State::Active);
}

#[test]
fn addresses_are_compared_as_numbers() {
    // Section 6.4.3 (725): .100 is higher than .20, though not as text.
    let mut script = script(ONE);
    script.run("start\npass 4s\nadvert lan from 192.0.2.9 priority 100").unwrap();
    assert_eq!(state(&script), State::Active);
    script.run("advert lan from 192.0.2.100 priority 100").unwrap();
    assert_eq!(state(&script), State::Backup);
}

#[test]
fn ipv4_and_ipv6_of_one_vrid_are_independent() {
    // Section 5.2.3.
    let both = format!(
        "{ONE}\ngroup six priority 100
         leg six interface 2 vrid 7 primary fe80::20 addresses fe80::1"
    );
    let mut script = script(&both);
    script.run("start\npass 3s\nadvert six from fe80::30 priority 200\npass 1s").unwrap();
    let states: Vec<_> = script.node.groups().map(|(_, group)| group.state()).collect();
    assert_eq!(states, [State::Active, State::Backup]);
}

#[test]
fn several_virtual_routers_of_an_interface_have_an_election_each() {
    // Two nodes, each active for one VRID: active-active.
    let both = format!(
        "{ONE}\ngroup other priority 50
         leg other interface 2 vrid 8 primary 192.0.2.20 addresses 192.0.2.2"
    );
    let mut script = script(&both);
    script.run("start").unwrap();
    for _ in 0..5 {
        script.run("pass 1s\nadvert other from 192.0.2.30 priority 100").unwrap();
    }
    let states: Vec<_> = script.node.groups().map(|(_, group)| group.state()).collect();
    assert_eq!(states, [State::Active, State::Backup]);
}

#[test]
fn packets_to_the_addresses_are_for_owners_and_accept_mode_only() {
    // Section 6.4.3 (645).
    let accepts = |config: String| {
        let mut script = script(&config);
        let came = script.run("start\npass 4s").unwrap();
        came.iter().any(|line| line == "lan add addresses, accept packets")
    };
    assert!(!accepts(ONE.to_owned()));
    assert!(accepts(ONE.replace("repeats", "accept repeats")));
    assert!(accepts(ONE.replace("priority 100", "priority 255")));
}

#[test]
fn announcements_follow_the_addresses() {
    // Sections 8.1.2 and 8.2.2: not before the addresses are in place.
    let mut script = script(ONE);
    let came = script.run("start\npass 4s").unwrap();
    let place = |what| came.iter().position(|line| line == what).unwrap();
    assert!(place("lan add addresses") < place("lan send 100"));
    assert!(place("lan send 100") < place("lan announce"));
}

#[test]
fn reserved_bits_are_ignored() {
    // Section 5.2.6; 0x1d91 less 0xf000, as one's complement: 0x1d90.
    let mut script = script(ONE);
    let came =
        script.run("start\npacket 2 255 192.0.2.30 224.0.0.18 3107ff01 f0641d90 c0000201").unwrap();
    assert_eq!(came, ["lan initialize -> backup: started"]);
    assert_eq!(wait(&script), active_down_interval(Priority::new(100), Centiseconds::DEFAULT));
}

#[test]
fn both_kinds_of_ipv4_checksum_are_taken_and_one_is_told() {
    // Section 5.2.8.
    let mut script = script(ONE);
    script.run("start").unwrap();
    let with = "advert lan from 192.0.2.30 priority 200 checksum pseudo";
    assert!(script.run(with).unwrap()[0].starts_with("lan pseudo-header"));
    assert!(script.run("advert lan from 192.0.2.30 priority 200").unwrap().is_empty());
    let status = script.node.status(script.now);
    assert_eq!(status.groups[0].legs[0].adverts.received, 2);
}

#[test]
fn a_second_owner_is_told_and_not_discarded() {
    // Section 8.3.2, erratum 8298.
    let mut script = script(&ONE.replace("priority 100", "priority 255"));
    let came = script.run("start\nadvert lan from 192.0.2.9 priority 255").unwrap();
    assert!(came.iter().any(|line| line.starts_with("lan second-owner")));
    assert_eq!(script.node.status(script.now).groups[0].legs[0].adverts.received, 1);
}

#[test]
fn another_interval_or_address_list_is_told_and_not_discarded() {
    // Section 7.1.
    let mut script = script(ONE);
    let came = script
        .run("start\nadvert lan from 192.0.2.30 priority 200 interval 99 addresses 192.0.2.2")
        .unwrap();
    assert!(came[1].starts_with("lan interval: ") && came[2].starts_with("lan addresses: "));
    assert_eq!(script.node.status(script.now).groups[0].legs[0].adverts.received, 1);
}

#[test]
fn a_hold_that_comes_late_still_holds() {
    // The timer runs since the start, since the lower one's adverts are ignored.
    let mut script = script(ONE);
    script.run("start").unwrap();
    for _ in 0..3 {
        script.run("pass 1s\nadvert lan from 192.0.2.30 priority 50").unwrap();
    }
    script.run("pass 500ms\nhold 10s").unwrap();
    for _ in 0..9 {
        script.run("pass 1s\nadvert lan from 192.0.2.30 priority 50").unwrap();
        assert_eq!(state(&script), State::Backup);
    }
    // The hold is over at 13.5 s, the skew of 0.6 s after that.
    script.run("pass 1700ms").unwrap();
    assert_eq!(state(&script), State::Active);
}

#[test]
fn a_hold_waits_for_adverts_as_rare_as_the_other_routers() {
    // Its adverts come every 10 s, ours would every second: that one is missing means nothing yet.
    let mut script = script(ONE);
    script.run("start\npass 2s\nadvert lan from 192.0.2.30 priority 50 interval 1000").unwrap();
    script.run("hold 1000s\npass 20s").unwrap();
    assert_eq!(state(&script), State::Backup);
    script.run("pass 20s").unwrap();
    assert_eq!(state(&script), State::Active);
}

#[test]
fn a_hold_does_not_keep_anyone_from_relieving_the_dead() {
    let mut script = script(ONE);
    script.run("hold 1000s\nstart\npass 1s\nadvert lan from 192.0.2.30 priority 50").unwrap();
    assert_eq!(wait(&script), active_down_interval(Priority::new(100), Centiseconds::DEFAULT));
    script.run("pass 1s\nadvert lan from 192.0.2.30 priority 0\npass 610ms").unwrap();
    assert_eq!(state(&script), State::Active);
}

#[test]
fn a_node_that_handed_over_preempts_again_after_it_was_active() {
    let mut script = script(ONE);
    script.run("start\npass 4s\nhand-over lan 1s\npeer-ready lan").unwrap();
    script.run("advert lan from 192.0.2.30 priority 50\npass 4s").unwrap();
    assert_eq!(state(&script), State::Active);
    script
        .run("advert lan from 192.0.2.30 priority 200\nadvert lan from 192.0.2.30 priority 50")
        .unwrap();
    for _ in 0..4 {
        script.run("pass 1s\nadvert lan from 192.0.2.30 priority 50").unwrap();
    }
    assert_eq!(state(&script), State::Active);
}

#[test]
fn the_delay_begins_anew_when_a_lower_one_comes_back() {
    let mut script = script(&ONE.replace("priority 100", "priority 100 preempt-delay 5s"));
    script.run("start\npass 1s\nadvert lan from 192.0.2.30 priority 50").unwrap();
    script.run("pass 500ms\nadvert lan from 192.0.2.30 priority 0").unwrap();
    for _ in 0..5 {
        script.run("pass 500ms\nadvert lan from 192.0.2.30 priority 50").unwrap();
        script.run("pass 500ms\nadvert lan from 192.0.2.30 priority 50").unwrap();
    }
    // 6.5 s: 5 s after the first advert of the second time are over at 7 s, the skew at 7.61 s.
    script.run("pass 1100ms").unwrap();
    assert_eq!(state(&script), State::Backup);
    script.run("pass 20ms").unwrap();
    assert_eq!(state(&script), State::Active);
}

#[test]
fn a_node_that_waits_for_sessions_spares_a_peer_that_the_sync_channel_hears_be_active() {
    // Not in the RFC. Adverts that are late on a busy machine would otherwise cost all sessions.
    let waiting = "hold 10s\nstart\npeer alive\npeer-state lan active";
    for reason in ["", "\nadvert lan from 192.0.2.30 priority 50"] {
        let mut spares = script(ONE);
        spares.run(&format!("{waiting}{reason}\npass 9s")).unwrap();
        assert_eq!(state(&spares), State::Backup);
        let mut ends = spares;
        ends.run("pass 5s").unwrap();
        assert_eq!(state(&ends), State::Active, "not for longer than it was told");
        for end in ["allow\npass 4s", "peer gone", "peer silent\npass 4s", "peer-state lan backup"]
        {
            let mut script = script(ONE);
            script.run(&format!("{waiting}{reason}\npass 5s\n{end}")).unwrap();
            assert_eq!(state(&script), State::Active, "{end}");
        }
    }
}
