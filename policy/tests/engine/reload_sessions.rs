//! What a reload does to live sessions: `on_change`, moved zones, changed translations.

use crate::rules::{DMZ, LAN, WAN, lan_to_wan, matching, nets, policy, rule, tcp_port, zones};
use crate::steps::{
    all, allocator, drops, expect, fate, key, key_between, plan_from, reload, ssh, successors,
    view, web,
};
use twinwall_policy::classify::Linear;
use twinwall_policy::diff::{Fate, Installed, SessionView, Sweep};
use twinwall_policy::matching::Service;
use twinwall_policy::ruleset::{Action, Families, NatRule, OnChange, Rule, RuleSet, Translation};
use twinwall_policy::zone::ZoneSet;

#[test]
fn refused_session_keeps_its_entry_under_the_rule_that_refuses_it() {
    let (old, plan) = reload([policy([web()]), policy([drops(web())])]);
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    let refused = fate(&old, &plan, key(&old, "web"), &flow);
    assert_eq!(refused, Fate::Refused(key(&plan.next, "web")));
}

#[test]
fn terminate_ends_sessions_that_another_rule_would_accept() {
    let terminates = Rule { on_change: OnChange::Terminate, ..web() };
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    let (old, plan) = reload([policy([terminates.clone(), all()]), policy([all()])]);
    assert_eq!(successors(&old, &plan), expect(&[("web", None)]));
    assert_eq!(fate(&old, &plan, key(&old, "web"), &flow), Fate::Delete);
    // The new setting counts, and what is refused is not ended.
    let new = policy([drops(terminates)]);
    let (old, plan) = reload([policy([web(), all()]), new]);
    assert_eq!(successors(&old, &plan)["web"], None);
    let refused = Fate::Refused(key(&plan.next, "web"));
    assert_eq!(fate(&old, &plan, key(&old, "web"), &flow), refused);
}

#[test]
fn terminate_spares_sessions_that_stay_with_their_rule() {
    let terminates = Rule { on_change: OnChange::Terminate, ..web() };
    let mut above = Rule { name: "above".into(), ..web() };
    above.matches.src = nets(&["10.0.0.0/24"]);
    let (old, plan) = reload([policy([terminates.clone()]), policy([above, terminates])]);
    let web = key(&old, "web");
    let fate = |src| fate(&old, &plan, web, &lan_to_wan(src, "192.0.2.1", 443));
    assert_eq!(fate("10.0.0.1"), Fate::Delete);
    assert_eq!(fate("10.0.1.1"), Fate::Remark(key(&plan.next, "web")));
}

#[test]
fn kept_key_lives_until_it_is_forgotten() {
    let keeps = Rule { on_change: OnChange::Keep, ..web() };
    let (old, plan) = reload([policy([keeps, all()]), policy([all()])]);
    let kept = key(&old, "web");
    assert_eq!(plan.kept, [kept]);
    assert!(plan.removed.is_empty());
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    assert_eq!(fate(&old, &plan, kept, &flow), Fate::Unchanged);
    let info = plan.next.table().info(kept).unwrap();
    assert!(info.kept && info.action.passes());

    // The next reload leaves it, although no rule of its name is there; then it is forgotten.
    let mut allocator = allocator();
    for _ in 0..100 {
        allocator.allocate(|_| false);
    }
    let mut next = plan_from(&plan.next, policy([]), &mut allocator).next;
    assert!(next.table().keeps(kept));
    let live = next.table().len();
    next.forget(&[kept, key(&next, "(default)")]);
    assert_eq!(next.table().len(), live - 1);
    assert!(!next.table().contains(kept));
}

#[test]
fn kept_key_goes_when_a_rule_of_its_name_no_longer_says_keep() {
    let keep = |rule: Rule| Rule { on_change: OnChange::Keep, ..rule };
    let changed = Rule { matches: all().matches, ..keep(web()) };
    let again = Rule { on_change: OnChange::Rematch, ..changed.clone() };
    let (old, plan) = reload([policy([keep(web())]), policy([changed.clone()])]);
    let kept = key(&old, "web");
    assert_eq!(plan.kept, [kept]);
    let (old, plan) = reload([policy([keep(web())]), policy([changed]), policy([again])]);
    assert_eq!(plan.removed.iter().map(|gone| gone.key).collect::<Vec<_>>(), [kept]);
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    assert_eq!(fate(&old, &plan, kept, &flow), Fate::Remark(key(&plan.next, "web")));
}

#[test]
fn key_that_a_new_setting_kept_stays_when_its_rule_goes() {
    let keeps = Rule { on_change: OnChange::Keep, ..drops(web()) };
    let (old, _) = reload([policy([web()]), policy([keeps.clone()])]);
    let kept = key(&old, "web");
    let (_, plan) = reload([policy([web()]), policy([keeps]), policy([])]);
    assert!(plan.next.table().keeps(kept));
}

#[test]
fn renamed_rule_leaves_its_sessions_to_the_old_setting() {
    let terminates = Rule { on_change: OnChange::Terminate, ..web() };
    let renamed = Rule { name: "https".into(), ..web() };
    let (old, plan) = reload([policy([terminates]), policy([renamed])]);
    assert_eq!(successors(&old, &plan), expect(&[("web", None)]));
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    assert_eq!(fate(&old, &plan, key(&old, "web"), &flow), Fate::Delete);
}

#[test]
fn keep_does_not_hold_for_a_rule_that_refuses() {
    let keeps = drops(Rule { on_change: OnChange::Keep, ..web() });
    let accepts = Rule { action: Action::Accept, ..keeps.clone() };
    let (old, plan) = reload([policy([keeps]), policy([accepts])]);
    assert!(plan.kept.is_empty());
    assert_eq!(successors(&old, &plan), expect(&[("web", Some("web"))]));
}

#[test]
fn old_rule_that_comes_back_gets_a_new_key_beside_the_kept_one() {
    let keeps = Rule { on_change: OnChange::Keep, ..web() };
    let first = policy([keeps.clone(), all()]);
    let (old, _) = reload([first.clone(), policy([all()])]);
    let kept = key(&old, "web");
    let (_, plan) = reload([first.clone(), policy([all()]), first]);
    assert!(plan.next.table().keeps(kept));
    assert_ne!(key(&plan.next, "web"), kept);
}

#[test]
fn moved_interface_sends_its_zones_sessions_back_to_ask() {
    let mut old = policy([web(), all()]);
    old.zones = zones(&[("lan", &["eth1", "eth3"]), ("wan", &["eth0"]), ("dmz", &["eth2"])]);
    let mut new = old.clone();
    new.zones = zones(&[("lan", &["eth1"]), ("wan", &["eth0"]), ("dmz", &["eth2", "eth3"])]);
    let (old, plan) = reload([old, new]);
    let flow = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    assert_eq!(fate(&old, &plan, key(&old, "web"), &flow), Fate::Unknown);
    assert!(successors(&old, &plan).values().all(Option::is_none));
    // Zones that have what they had keep their keys.
    let wan_to_dmz = |policy: &Installed| key_between(policy, "(default)", DMZ, WAN);
    assert_eq!(wan_to_dmz(&old), wan_to_dmz(&plan.next));
}

#[test]
fn renamed_zone_moves_its_sessions_to_the_same_rules_new_keys() {
    let old = policy([web(), all()]);
    let mut new = old.clone();
    new.zones = zones(&[("inside", &["eth1"]), ("wan", &["eth0"]), ("dmz", &["eth2"])]);
    let (old, plan) = reload([old, new]);
    assert_eq!(successors(&old, &plan)["web"].as_deref(), Some("web"));
    let info = plan.next.table().info(key(&plan.next, "web")).unwrap();
    assert_eq!(info.from.as_ref(), "inside");
}

#[test]
fn kept_key_follows_its_zone_to_a_new_name() {
    let keeps = Rule { on_change: OnChange::Keep, ..web() };
    let old = policy([keeps]);
    let mut new = policy([]);
    new.zones = zones(&[("inside", &["eth1"]), ("wan", &["eth0"]), ("dmz", &["eth2"])]);
    let (old, plan) = reload([old, new]);
    let info = plan.next.table().info(key(&old, "web")).unwrap();
    assert_eq!((info.from.as_ref(), info.to.as_ref()), ("inside", "wan"));
}

#[test]
fn changed_translation_ends_a_session_and_an_unchanged_one_does_not() {
    let nat = |name: &str, translation| NatRule {
        seq: 1,
        name: name.into(),
        from: ZoneSet::only(LAN),
        to: ZoneSet::only(WAN),
        src: nets(&["10.0.0.0/24"]),
        dst: matching().dst,
        services: vec![Service::ANY],
        families: Families { v4: true, v6: false },
        translation,
    };
    let with = |nat| RuleSet { nat: vec![nat], ..policy([web()]) };
    let fixed = Translation::Source { v4: Some("192.0.2.9".parse().unwrap()), v6: None };
    let (old, plan) =
        reload([with(nat("out", Translation::Masquerade)), with(nat("out", fixed.clone()))]);
    assert!(plan.nat_changed && plan.removed.is_empty());
    let inside = lan_to_wan("10.0.0.1", "192.0.2.1", 443);
    let other = lan_to_wan("10.1.0.1", "192.0.2.1", 443);
    let key = key(&old, "web");
    assert_eq!(fate(&old, &plan, key, &inside), Fate::Delete);
    assert_eq!(fate(&old, &plan, key, &other), Fate::Unchanged);

    // Another name is not another translation.
    let (_, plan) = reload([with(nat("out", fixed.clone())), with(nat("snat", fixed))]);
    assert!(!plan.nat_changed);
}

#[test]
fn without_the_old_policy_translations_are_read_from_conntrack() {
    let target = "10.0.2.10".parse().unwrap();
    let mut set = policy([rule("any", Service::ANY)]);
    set.nat.push(NatRule {
        seq: 1,
        name: "in".into(),
        from: ZoneSet::only(LAN),
        to: ZoneSet::ALL,
        src: matching().src,
        dst: nets(&["203.0.113.10/32"]),
        services: vec![tcp_port(80)],
        families: Families { v4: true, v6: false },
        translation: Translation::Destination { v4: Some(target), v6: None, port: Some(8080) },
    });
    let (_, plan) = reload([set]);
    let classifier = Linear::new(plan.next.rules());
    let sweep = Sweep::new(&plan.next, None, &classifier);
    let key = key(&plan.next, "any");
    let info = plan.next.table().info(key).unwrap();
    let inside = lan_to_wan("192.0.2.1", "10.0.2.10", 8080);
    let translated = SessionView {
        arriving_dst: "203.0.113.10".parse().unwrap(),
        arriving_dst_port: 80,
        ..view(key, &inside)
    };
    assert_eq!(sweep.fate(Some(&info), &translated), Fate::Unchanged);
    let elsewhere = SessionView { arriving_dst_port: 81, ..translated };
    assert_eq!(sweep.fate(Some(&info), &elsewhere), Fate::Delete);
    let masqueraded = SessionView { source_translated: true, ..translated };
    assert_eq!(sweep.fate(Some(&info), &masqueraded), Fate::Delete);
}

#[test]
fn session_without_a_known_key_has_to_ask() {
    let (old, plan) = reload([policy([web()]), policy([ssh()])]);
    let classifier = Linear::new(plan.next.rules());
    let sweep = Sweep::new(&plan.next, Some(&old), &classifier);
    let view = view(key(&old, "web"), &lan_to_wan("10.0.0.1", "192.0.2.1", 443));
    assert_eq!(sweep.fate(None, &view), Fate::Unknown);
    let info = old.table().info(key(&old, "web"));
    assert_eq!(sweep.fate(info.as_ref(), &SessionView { key: None, ..view }), Fate::Unknown);
}
