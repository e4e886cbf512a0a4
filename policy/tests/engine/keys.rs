//! Digests and the stored form of keys.

use crate::random::Random;
use crate::rules::{LAN, WAN, nets, policy, rule, tcp, tcp_port};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use twinwall_policy::diff::plan;
use twinwall_policy::keys::{KeyAllocator, SessionKey, State, meaning, policy_digest};
use twinwall_policy::matching::{PortRange, Service};
use twinwall_policy::ruleset::{Action, OnChange, Rule, RuleIndex, RuleSet};
use twinwall_policy::zone::{ZoneId, ZoneSet};

fn web() -> Rule {
    let mut web = rule("web", tcp_port(443));
    web.matches.src = nets(&["10.0.0.0/8", "2001:db8::/32"]);
    web
}

/// A table with kept keys in it.
fn state() -> State {
    let mut allocator = KeyAllocator::new(0xff_ffff).unwrap();
    let keeps = Rule { on_change: OnChange::Keep, ..web() };
    let first = plan(None, policy([keeps]), &mut allocator).unwrap();
    let second = policy([rule("all", Service::ANY)]);
    let second = plan(Some(&first.next), second, &mut allocator).unwrap();
    State { allocator, table: second.next.table().clone() }
}

fn read(text: &str) -> Result<State, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn meaning_is_of_addresses_services_and_action_only() {
    let same = |edit: fn(&mut Rule)| {
        let mut other = web();
        edit(&mut other);
        meaning(&other) == meaning(&web())
    };
    assert!(same(|rule| rule.name = "https".into()));
    assert!(same(|rule| rule.seq = 9));
    assert!(same(|rule| rule.matches.from = ZoneSet::ALL));
    assert!(same(|rule| rule.on_change = OnChange::Terminate));
    assert!(!same(|rule| rule.action = Action::Drop));
    assert!(!same(|rule| rule.matches.dst = rule.matches.src.clone()));
    assert!(!same(|rule| std::mem::swap(&mut rule.matches.dst, &mut rule.matches.src)));
    assert!(!same(|rule| rule.matches.services.push(tcp_port(80))));
    assert!(!same(|rule| rule.matches.services[0].protocol = None));
}

#[test]
fn meaning_is_the_documented_encoding() {
    // The bytes of the module's description, put together elsewhere, through sha256sum.
    let mut all = rule("all", tcp(PortRange::new(80, 443).unwrap()));
    all.matches.src = nets(&["10.0.0.0/8"]);
    all.matches.dst = nets(&["2001:db8::1/128"]);
    assert_eq!(format!("{:032x}", meaning(&all)), "95fa1741d08b8f3e0e8db963bdad2f95");
}

#[test]
fn policy_digest_is_of_everything_that_decides() {
    let digest = |rules: &RuleSet| policy_digest(rules, rules.rules.iter().map(meaning));
    let base = policy([web(), rule("all", Service::ANY)]);
    let differs = |edit: fn(&mut RuleSet)| {
        let mut other = base.clone();
        edit(&mut other);
        digest(&other) != digest(&base)
    };
    assert!(differs(|set| set.rules.swap(0, 1)));
    assert!(differs(|set| set.rules[0].name = "https".into()));
    assert!(differs(|set| set.rules[0].matches.to = ZoneSet::ALL));
    assert!(differs(|set| set.zones[2].interfaces[0] = "eth7".into()));
    assert!(!differs(|set| set.rules[0].seq = 11));
    assert!(!differs(|set| set.name = "other".into()));
    assert!(!differs(|set| set.rules[0].log = true));
}

#[test]
fn key_is_found_for_every_pair_of_zones_but_the_gateway_to_itself() {
    let mut allocator = KeyAllocator::new(0xff_ffff).unwrap();
    let installed = plan(None, policy([web()]), &mut allocator).unwrap().next;
    let key = |rule, from, to| installed.key(RuleIndex(rule), from, to);
    assert!(key(0, LAN, WAN).is_some());
    assert_eq!(key(0, WAN, LAN), None);
    assert!(key(1, ZoneId::SELF, ZoneId::OUTSIDE).is_some());
    assert_eq!(key(1, ZoneId::SELF, ZoneId::SELF), None);
    assert_eq!(key(2, ZoneId::SELF, ZoneId::SELF), None);
    assert!(key(2, ZoneId::OUTSIDE, ZoneId::SELF).is_some());
    // Zones and rules that don't exist.
    assert_eq!(key(2, ZoneId::new(5).unwrap(), LAN), None);
    assert_eq!(key(3, LAN, WAN), None);
}

#[test]
fn stored_state_reads_back_the_same() {
    let state = state();
    assert_eq!(state.table.kept().count(), 1);
    let text = serde_json::to_string(&state).unwrap();
    assert!(text.starts_with(r#"{"version":1,"allocator":{"next":"#), "{text}");
    let again = read(&text).unwrap();
    assert_eq!(again.allocator, state.allocator);
    assert_eq!(again.table.policy(), state.table.policy());
    let all = |state: &State| state.table.iter().collect::<Vec<_>>();
    assert_eq!(all(&again), all(&state));
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
}

#[test]
fn stored_state_is_compact() {
    let mut allocator = KeyAllocator::new(0xff_ffff).unwrap();
    let any = |n: u16| {
        let mut rule = rule(&format!("rule-{n}"), tcp_port(n));
        (rule.matches.from, rule.matches.to) = (ZoneSet::ALL.without(ZoneId::SELF), ZoneSet::ALL);
        rule
    };
    let next = plan(None, policy((0..1000).map(any)), &mut allocator).unwrap().next;
    let state = State { allocator, table: next.table().clone() };
    let text = serde_json::to_string(&state).unwrap();
    let each = text.len() as f64 / next.table().len() as f64;
    assert!(next.table().len() > 20_000 && each < 16.0, "{each}");
}

#[test]
fn wrong_state_is_refused_with_its_reason() {
    let good = r#"{"version":1,"allocator":{"next":9,"mask":15},"policy":null,"zones":["a","b"],
        "rules":[{"name":"x","meaning":"00000000000000000000000000000001","action":"accept",
        "on_change":"keep","kept":false,"keys":[[1,0,[1,0]]]}]}"#;
    let state = read(good).unwrap();
    assert!(state.table.contains(SessionKey::from_mark(2).unwrap()));
    let live = |text: &str| text.replace("null", r#""000000000000000000000000000000aa""#);
    assert!(read(&live(good)).is_ok());
    for (from, to, reason) in [
        (r#""version":1"#, r#""version":2,"more":0"#, "version 2 of the key table"),
        (r#""mask":15"#, r#""mask":14"#, "key mask 0xe does not consist of the lowest bits"),
        (r#""next":9"#, r#""next":0"#, "next key 0x0 does not fit key mask 0xf"),
        (r#""next":9"#, r#""next":16"#, "next key 0x10 does not fit key mask 0xf"),
        ("[[1,0,[1,0]]]", "[[0,0,[1]]]", "key 0x0 of rule `x` does not fit key mask 0xf"),
        ("[[1,0,[1,0]]]", "[[15,0,[1,0]]]", "key 0x10 of rule `x` does not fit key mask 0xf"),
        ("[[1,0,[1,0]]]", "[[4294967295,0,[1,0]]]", "does not fit key mask"),
        ("[[1,0,[1,0]]]", "[[1,0,[2]]]", "key 0x1 of rule `x` names zone 2"),
        ("[[1,0,[1,0]]]", "[[1,3,[1]]]", "key 0x1 of rule `x` names zone 3"),
        ("[[1,0,[1,0]]]", "[[1,0,[1]],[1,1,[1]]]", "key 0x1 is in the table twice"),
        (r#"["a","b"]"#, r#"["a","a"]"#, "zone `a` is in the table twice"),
        ("00000000000000000000000000000001", "1", "`1` is not a digest"),
        ("00000000000000000000000000000001", "+0000000000000000000000000000001", "not a digest"),
        (r#""keep""#, r#""stay""#, "unknown variant `stay`"),
        (r#""kept":false"#, r#""kept":false,"x":1"#, "unknown field `x`"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        let error = read(&text).unwrap_err();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let twice = live(good).replace("[[1,0,[1,0]]]", "[[1,0,[1]],[5,0,[1]]]");
    assert!(read(&twice).unwrap_err().contains("rule `x` has two keys for the same zones"));
}

#[test]
fn damaged_state_never_panics() {
    let text = serde_json::to_string(&state()).unwrap();
    let mut random = Random::new(3);
    let mut refused = 0;
    for _ in 0..3000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + random.below(3) {
            let place = random.index(bytes.len());
            match random.below(3) {
                0 => bytes.truncate(place.max(1)),
                1 => bytes[place] = *random.pick(b"0123456789[]{},:\"-e"),
                _ => bytes.insert(place, *random.pick(b"0123456789[]{},")),
            }
        }
        refused += usize::from(serde_json::from_slice::<State>(&bytes).is_err());
    }
    assert!(refused > 1000, "{refused}");
}

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() })]

    #[test]
    fn allocator_gives_each_free_key_once_a_round(bits in 1u32..9, used: u128) {
        let mask = (1 << bits) - 1;
        let in_use = |key: SessionKey| key.mark() < 128 && used >> key.mark() & 1 == 1;
        let mut allocator = KeyAllocator::new(mask).unwrap();
        let free: Vec<u32> = (1..=mask)
            .filter(|mark| !in_use(SessionKey::from_mark(*mark).unwrap()))
            .collect();
        for _ in 0..2 {
            let round: Vec<u32> =
                (0..free.len()).map(|_| allocator.allocate(in_use).unwrap().mark()).collect();
            prop_assert_eq!(&round, &free);
        }
        prop_assert_eq!(allocator.allocate(in_use).is_some(), !free.is_empty());
    }
}
