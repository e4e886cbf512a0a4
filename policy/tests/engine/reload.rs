//! What a reload does to the keys, after an operator's usual edits and unusual ones.

use crate::rules::{DMZ, LAN, lan_to_wan, nets, policy, rule, tcp, tcp_port, zones};
use crate::steps::{
    all, allocator, drops, expect, fate, key, key_between, plan_from, reload, ssh, successors,
    view, web,
};
use std::sync::Arc;
use twinwall_policy::classify::Linear;
use twinwall_policy::diff::{Fate, Installed, PlanError, RestoreError, Sweep, plan};
use twinwall_policy::keys::{KeyAllocator, MAX_KEYS};
use twinwall_policy::matching::{PortRange, Service};
use twinwall_policy::ruleset::{OnChange, Rule};
use twinwall_policy::zone::ZoneSet;

#[test]
fn renumbering_keeps_every_key() {
    let old = policy([web(), ssh(), all()]);
    let mut new = old.clone();
    for rule in &mut new.rules {
        rule.seq = rule.seq.saturating_mul(7);
    }
    let (old, plan) = reload([old, new]);
    assert_eq!((plan.added.len(), plan.removed.len()), (0, 0));
    assert_eq!(plan.unchanged, old.table().len());
    assert!(!plan.nat_changed);
}

#[test]
fn swapping_rules_that_share_no_packet_keeps_every_key() {
    let (_, plan) = reload([policy([web(), ssh(), all()]), policy([ssh(), web(), all()])]);
    assert_eq!((plan.added.len(), plan.removed.len()), (0, 0));
}

#[test]
fn log_and_on_change_alone_change_no_key() {
    let new = Rule { log: true, on_change: OnChange::Terminate, ..web() };
    let (old, plan) = reload([policy([web()]), policy([new])]);
    assert_eq!((plan.added.len(), plan.removed.len()), (0, 0));
    let key = key(&old, "web");
    assert_eq!(plan.next.table().info(key).unwrap().on_change, OnChange::Terminate);
}

#[test]
fn changed_action_moves_all_sessions_to_the_rule_of_the_same_name() {
    let (old, plan) = reload([policy([web(), all()]), policy([drops(web()), all()])]);
    assert_eq!(successors(&old, &plan), expect(&[("web", Some("web"))]));
    assert_eq!(plan.added.len(), 1);
}

#[test]
fn renamed_rule_hands_its_sessions_on() {
    let new = Rule { name: "https".into(), ..web() };
    let (old, plan) = reload([policy([web(), all()]), policy([new, all()])]);
    assert_eq!(successors(&old, &plan), expect(&[("web", Some("https"))]));
    // Also past a rule that it overlaps.
    let before = policy([ssh(), web(), all()]);
    let new = Rule { name: "https".into(), ..web() };
    let (old, plan) = reload([before, policy([all(), ssh(), new])]);
    let wanted = expect(&[("web", Some("all")), ("ssh", Some("all"))]);
    assert_eq!(successors(&old, &plan), wanted);
}

#[test]
fn removed_rule_hands_its_sessions_to_the_rule_that_covers_it() {
    let (old, plan) = reload([policy([web(), ssh(), all()]), policy([ssh(), all()])]);
    assert_eq!(successors(&old, &plan), expect(&[("web", Some("all"))]));
    let (old, plan) = reload([policy([all()]), policy([web()])]);
    assert_eq!(successors(&old, &plan), expect(&[("all", None), ("(default)", None)]));
}

#[test]
fn rule_put_in_front_takes_keys_only_from_rules_that_it_overlaps() {
    let deny =
        drops(Rule { name: "deny".into(), ..rule("deny", tcp(PortRange::new(400, 500).unwrap())) });
    let (old, plan) = reload([policy([ssh(), web(), all()]), policy([deny, ssh(), web(), all()])]);
    let wanted = expect(&[("web", Some("deny")), ("all", None), ("(default)", None)]);
    assert_eq!(successors(&old, &plan), wanted);
    assert_eq!(key(&old, "ssh"), key(&plan.next, "ssh"));
    let lan_to_dmz = |policy: &Installed| key_between(policy, "(default)", LAN, DMZ);
    assert_eq!(lan_to_dmz(&old), lan_to_dmz(&plan.next));
}

#[test]
fn rule_above_that_grows_takes_keys_and_one_that_shrinks_does_not() {
    let with = |mut rule: Rule, net: &str| {
        rule.matches.src = nets(&[net]);
        rule
    };
    let narrow = policy([with(web(), "10.0.0.0/24"), all()]);
    let wide = policy([with(web(), "10.0.0.0/16"), all()]);
    let (old, plan) = reload([narrow.clone(), wide.clone()]);
    let wanted = expect(&[("web", Some("web")), ("all", None), ("(default)", None)]);
    assert_eq!(successors(&old, &plan), wanted);
    let (old, plan) = reload([wide, narrow]);
    assert_eq!(successors(&old, &plan), expect(&[("web", None)]));
    assert_eq!(key(&old, "all"), key(&plan.next, "all"));
}

#[test]
fn swapped_overlapping_rules_give_up_only_the_lower_ones_key() {
    let (old, plan) = reload([policy([web(), all()]), policy([all(), web()])]);
    // Sessions of `all` were not 443 and stay; those of `web` are all's now.
    assert_eq!(successors(&old, &plan), expect(&[("web", Some("all"))]));
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    let moved = fate(&old, &plan, key(&old, "web"), &flow);
    assert_eq!(moved, Fate::Remark(key(&plan.next, "all")));
}

#[test]
fn key_goes_only_for_the_zones_that_the_rule_lost() {
    let mut wider = web();
    wider.matches.to = wider.matches.to.with(DMZ);
    let (old, plan) = reload([policy([wider.clone()]), policy([web()])]);
    assert_eq!(plan.removed.len(), 1);
    assert_eq!(plan.removed[0].key, key_between(&old, "web", LAN, DMZ));
    let default = key_between(&plan.next, "(default)", LAN, DMZ);
    assert_eq!(plan.removed[0].successor, Some(default));
    assert_eq!(key(&old, "web"), key(&plan.next, "web"));
    let (old, plan) = reload([policy([web()]), policy([wider])]);
    assert_eq!(key(&old, "web"), key(&plan.next, "web"));
    // 443 from lan to dmz was the default's.
    assert_eq!(plan.added.len(), 2);
    assert_eq!(plan.removed[0].key, key_between(&old, "(default)", LAN, DMZ));
}

#[test]
fn everything_changed_stays_bounded_and_right() {
    // No addresses to tell the rules apart by, and each takes ports from its neighbours.
    let rules = |shift: u16| {
        let port = move |n: u16| PortRange::new(n * 3 + shift, n * 3 + shift + 3).unwrap();
        policy((0..12_000).map(move |n| rule(&format!("r{n}"), tcp(port(n)))))
    };
    let (old, plan) = reload([rules(0), rules(1)]);
    assert_eq!(plan.unchanged + plan.removed.len(), old.table().len());
    let classifier = Linear::new(plan.next.rules());
    let mut proved = 0;
    for gone in &plan.removed {
        let Some(successor) = gone.successor else { continue };
        proved += 1;
        let info = old.table().info(gone.key).unwrap();
        let Some(n) = info.rule.strip_prefix('r').and_then(|n| n.parse::<u16>().ok()) else {
            continue;
        };
        // Its first port is always its own.
        let flow = lan_to_wan("10.0.0.1", "192.0.2.1", n * 3 + 1);
        let decided = Sweep::new(&plan.next, Some(&old), &classifier);
        let fate = decided.fate(Some(&info), &view(gone.key, &flow));
        assert_eq!(fate, Fate::Remark(successor));
        if proved > 50 {
            break;
        }
    }
}

#[test]
fn stored_keys_come_back_with_their_policy_only() {
    let set = policy([Rule { on_change: OnChange::Keep, ..web() }, all()]);
    let (_, plan) = reload([set, policy([all()])]);
    let next = plan.next;
    let restored = Installed::restore(next.rules().clone(), next.table()).unwrap();
    assert_eq!(restored.table(), next.table());
    assert_eq!(key(&restored, "all"), key(&next, "all"));
    let error = Installed::restore(policy([ssh()]), next.table()).unwrap_err();
    assert_eq!(error, RestoreError::OtherPolicy("test".into()));
    // A reload from there is like one from the running policy.
    let mut allocator = allocator();
    let plan = plan_from(&restored, policy([all()]), &mut allocator);
    assert_eq!((plan.added.len(), plan.removed.len()), (0, 0));
}

#[test]
fn table_of_a_reload_in_the_making_holds_both_policies_keys() {
    let (old, plan) = reload([policy([web(), all()]), policy([drops(web()), all()])]);
    let both = plan.transition(&old);
    assert_eq!(both.policy(), None);
    for table in [old.table(), plan.next.table()] {
        assert!(table.iter().all(|(key, info)| both.info(key) == Some(info)));
    }
    assert!(Installed::restore(plan.next.rules().clone(), &both).is_err());
    // Started from it, a policy takes none of the keys over, but knows all sessions.
    let orphans = Installed::without_policy(both);
    let mut allocator = allocator();
    for _ in 0..100 {
        allocator.allocate(|_| false);
    }
    let next = plan_from(&orphans, policy([web(), all()]), &mut allocator);
    assert_eq!((next.unchanged, next.removed.len()), (0, orphans.table().len()));
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    assert_eq!(
        fate(&orphans, &next, key(&old, "web"), &flow),
        Fate::Remark(key(&next.next, "web"))
    );
}

#[test]
fn failed_plan_leaves_the_allocator_alone() {
    let mut small = KeyAllocator::new(0x3f).unwrap();
    let before = small;
    // lan to wan, 4 pairs from self, 25 - 1 of the default.
    let first = plan(None, policy([]), &mut small).unwrap();
    assert_eq!(first.added.len(), 5 - 1 + 24);
    let after_first = small;
    let error = plan(
        Some(&first.next),
        policy((0..40).map(|n| rule(&format!("r{n}"), tcp_port(n)))),
        &mut small,
    );
    assert_eq!(
        error.unwrap_err(),
        PlanError::KeysExhausted {
            policy: "test".into(),
            needed: 40 + 1,
            free: 63 - 28,
            mask: 0x3f
        }
    );
    assert_eq!(small, after_first);
    assert_ne!(small, before);
}

#[test]
fn too_many_keys_and_repeated_names_are_errors() {
    let mut allocator = allocator();
    let mut wide = rule("wide", Service::ANY);
    (wide.matches.from, wide.matches.to) = (ZoneSet::ALL, ZoneSet::ALL);
    let mut set = policy((0..300).map(|n| Rule { name: format!("r{n}").into(), ..wide.clone() }));
    let names: Vec<String> = (0..62).map(|n| format!("z{n}")).collect();
    set.zones = zones(&names.iter().map(|name| (name.as_str(), &[][..])).collect::<Vec<_>>());
    const { assert!(300 * 4095 > MAX_KEYS) };
    let name: Arc<str> = "test".into();
    assert_eq!(plan(None, set, &mut allocator).unwrap_err(), PlanError::TooManyKeys(name));
    let twice = plan(None, policy([web(), web()]), &mut allocator).unwrap_err();
    assert_eq!(twice, PlanError::DuplicateRule("web".into()));
}
