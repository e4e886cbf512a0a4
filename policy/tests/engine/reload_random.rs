//! Random policies, edited again and again under live sessions: whatever a plan says about a key
//! must be true of each of its sessions.
//!
//! A session here is a pair of interfaces and a tuple. The oracle looks its zones up by interface
//! and asks the linear classifier; it knows nothing of keys.

use crate::draft::{Draft, INTERFACES};
use crate::random::{NARROW, Random, Spread, hit, tuple};
use std::collections::{BTreeMap, BTreeSet};
use twinwall_policy::classify::{Classifier, Linear};
use twinwall_policy::diff::{Fate, Installed, Plan, SessionView, Sweep, plan};
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::interfaces::InterfaceZones;
use twinwall_policy::keys::{KeyAllocator, SessionKey, meaning};
use twinwall_policy::nat;
use twinwall_policy::ruleset::{Action, OnChange, RuleIndex, RuleSet};
use twinwall_policy::zone::{ZoneId, ZoneSet};

/// A live session.
#[derive(Clone, Debug)]
struct Session {
    from: Option<&'static str>,
    to: Option<&'static str>,
    arriving: Tuple,
    inside: Tuple,
    key: SessionKey,
}

impl Session {
    fn flow(&self, zones: &InterfaceZones, tuple: Tuple) -> Flow {
        let zone =
            |interface: Option<&str>| interface.map_or(ZoneId::SELF, |name| zones.zone(name));
        Flow { tuple, from: zone(self.from), to: zone(self.to) }
    }

    fn view(&self, then: &RuleSet, zones: &InterfaceZones) -> SessionView {
        let translations = nat::translate(then, &self.flow(zones, self.arriving));
        SessionView {
            key: Some(self.key),
            tuple: self.inside,
            arriving_dst: self.arriving.dst,
            arriving_dst_port: self.arriving.dst_port,
            source_translated: translations.source.is_some(),
        }
    }
}

/// The gateway with its policy and sessions.
struct World {
    draft: Draft,
    installed: Installed,
    allocator: KeyAllocator,
    sessions: Vec<Session>,
    spread: Spread,
    seen: BTreeMap<&'static str, usize>,
}

impl World {
    fn new(random: &mut Random, rules: usize, spread: Spread, mask: u32) -> Self {
        let draft = Draft::new(random, rules, spread);
        let mut allocator = KeyAllocator::new(mask).unwrap();
        let installed = plan(None, draft.compile(), &mut allocator).unwrap().next;
        Self { draft, installed, allocator, sessions: vec![], spread, seen: BTreeMap::new() }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn begin_sessions(&mut self, random: &mut Random, until: usize) {
        let rules = self.installed.rules().clone();
        let oracle = Linear::new(&rules);
        let zones = InterfaceZones::new(&rules.zones);
        while self.sessions.len() < until {
            let mut interface = || (!random.one_in(8)).then(|| *random.pick(&INTERFACES));
            let (from, to) = (interface(), interface());
            if from.is_none() && to.is_none() {
                continue;
            }
            // With few addresses any flow will do, otherwise one that some rule is for.
            let matches = &random.pick(&rules.rules).matches;
            let arriving = match hit(matches, rules.zones.len() as u8, random) {
                Some(hit) if self.spread.address_bits > 8 => hit.tuple,
                _ => tuple(random, self.spread),
            };
            let key = SessionKey::from_mark(1).unwrap();
            let mut session = Session { from, to, arriving, inside: arriving, key };
            let flow = session.flow(&zones, arriving);
            session.inside = nat::translate(&rules, &flow).inside;
            let flow = session.flow(&zones, session.inside);
            let rule = oracle.classify(&flow).unwrap();
            session.key = self.installed.key(rule, flow.from, flow.to).unwrap();
            self.sessions.push(session);
        }
    }

    fn reload(&mut self, random: &mut Random) {
        let (old, new) = (self.installed.clone(), self.draft.compile());
        let plan = plan(Some(&old), new, &mut self.allocator).unwrap();
        check_keys(&old, &plan);
        let oracle = Linear::new(plan.next.rules());
        let sweep = Sweep::new(&plan.next, Some(&old), &oracle);
        let sessions = std::mem::take(&mut self.sessions);
        for session in sessions {
            if let Some(session) = self.follow(session, &plan, &oracle, &sweep) {
                self.sessions.push(session);
            }
        }
        self.installed = plan.next;
        if random.one_in(4) {
            self.forget();
        }
    }

    /// Holds what the plan and the sweep say about a session against what the oracle says.
    fn follow(
        &mut self,
        mut session: Session,
        plan: &Plan,
        oracle: &Linear,
        sweep: &Sweep<'_, Linear>,
    ) -> Option<Session> {
        let installed = self.installed.clone();
        let (old, new) = (installed.rules(), plan.next.rules());
        let (old_zones, new_zones) =
            (InterfaceZones::new(&old.zones), InterfaceZones::new(&new.zones));
        let was = installed.table().info(session.key).unwrap();
        let flow = session.flow(&new_zones, session.inside);
        let index = oracle.classify(&flow).unwrap();
        let rule = &new.rules[index.0 as usize];
        let wanted = plan.next.key(index, flow.from, flow.to).unwrap();

        if plan.next.table().keeps(session.key) {
            assert_eq!(was.action, Action::Accept, "{session:?}");
            self.count("kept");
            assert_eq!(sweep.fate(Some(&was), &session.view(old, &old_zones)), Fate::Unchanged);
            return Some(session);
        }
        let gone = plan.removed.iter().find(|gone| gone.key == session.key);
        let view = session.view(old, &old_zones);
        let before = nat::translate(old, &session.flow(&old_zones, session.arriving)).effect();
        let after = nat::translate(new, &session.flow(&new_zones, session.arriving)).effect();
        if let Some(successor) = gone.and_then(|gone| gone.successor) {
            assert_eq!(successor, wanted, "successor of {was:?} for {session:?}");
            self.count("successor");
        }
        if gone.is_none() {
            assert_eq!(session.key, wanted, "{was:?} lost {session:?} to {}", rule.name);
            self.count("unchanged");
        }
        let named = new.rules.iter().find(|rule| rule.name == was.rule);
        let terminates = named.map_or(was.on_change, |rule| rule.on_change) == OnChange::Terminate;
        assert!(!terminates || gone.is_none_or(|gone| gone.successor.is_none()));
        match sweep.fate(Some(&was), &view) {
            Fate::Unchanged => {
                assert!(gone.is_none());
                assert!(before == after || !rule.action.passes() || was.kept, "{session:?}");
            }
            Fate::Remark(key) => {
                assert_eq!(key, wanted);
                assert!(gone.is_some() && rule.action.passes() && before == after, "{session:?}");
                self.count("remarked");
            }
            Fate::Refused(key) => {
                assert_eq!(key, wanted);
                assert!(gone.is_some() && !rule.action.passes());
                self.count("refused");
            }
            Fate::Delete => {
                let by_nat = before != after;
                assert!(rule.action.passes() && (by_nat || (gone.is_some() && terminates)));
                self.count(if by_nat { "translated differently" } else { "terminated" });
                return None;
            }
            Fate::Unknown => {
                let place = |name: &str| plan.next.zone_of(name);
                assert!(place(&was.from).is_none() || place(&was.to).is_none());
                assert_eq!(gone.and_then(|gone| gone.successor), None);
                self.count("unknown");
            }
        }
        session.key = wanted;
        Some(session)
    }

    /// Forgets the kept keys that no session has.
    fn forget(&mut self) {
        let used: BTreeSet<_> = self.sessions.iter().map(|session| session.key).collect();
        let kept: Vec<_> = self.installed.table().kept().collect();
        let unused: Vec<_> = kept.iter().copied().filter(|key| !used.contains(key)).collect();
        self.installed.forget(&unused);
        assert_eq!(self.installed.table().kept().count(), kept.len() - unused.len());
    }
}

/// Every pair of zones of every rule has a key of its own that says the right thing, and no old
/// key got lost or means something else.
fn check_keys(old: &Installed, plan: &Plan) {
    let (rules, table) = (plan.next.rules(), plan.next.table());
    let mut live = BTreeSet::new();
    let all = ZoneSet::first(rules.zones.len());
    for (index, rule) in (0..).map(RuleIndex).zip(&rules.rules) {
        for (from, to) in all.iter().flat_map(|from| all.iter().map(move |to| (from, to))) {
            let matches = rule.matches.from.contains(from) && rule.matches.to.contains(to);
            let needed = matches && (from, to) != (ZoneId::SELF, ZoneId::SELF);
            let key = plan.next.key(index, from, to);
            assert_eq!(key.is_some(), needed, "{} {from:?} {to:?}", rule.name);
            let Some(key) = key else { continue };
            let info = table.info(key).unwrap();
            assert!(live.insert(key), "{key:?} is used twice");
            assert_eq!((&info.rule, info.action, info.kept), (&rule.name, rule.action, false));
            assert_eq!(info.on_change, rule.on_change);
            assert_eq!(info.meaning, meaning(rule));
            assert_eq!(info.from, rules.zones[usize::from(from.index())].name);
            assert_eq!(info.to, rules.zones[usize::from(to.index())].name);
        }
    }
    let kept: BTreeSet<_> = table.kept().collect();
    let added: BTreeSet<_> = plan.added.iter().map(|(key, _)| *key).collect();
    let removed: BTreeSet<_> = plan.removed.iter().map(|gone| gone.key).collect();
    assert_eq!(added.len(), plan.added.len());
    assert_eq!(table.len(), live.len() + kept.len());
    assert_eq!(live.len(), added.len() + plan.unchanged);
    assert!(added.is_subset(&live) && live.is_disjoint(&kept));
    assert!(plan.kept.iter().all(|key| kept.contains(key) && !old.table().keeps(*key)));
    for (key, was) in old.table().iter() {
        assert!(!added.contains(&key), "{key:?} was handed out while in use");
        match table.info(key) {
            Some(now) if now.kept => assert_eq!((now.rule, now.action), (was.rule, was.action)),
            Some(now) => assert_eq!(
                (now.rule, now.meaning, now.from, now.to),
                (was.rule, was.meaning, was.from, was.to)
            ),
            None => assert!(removed.contains(&key)),
        }
    }
    assert_eq!(removed.len() + plan.unchanged + kept.len(), old.table().len());
}

fn live_through(seed: u64, rules: usize, edits: u64, reloads: usize, mask: u32) -> World {
    let mut random = Random::new(seed);
    let world = World::new(&mut random, rules, NARROW, mask);
    edited(world, random, edits, reloads)
}

fn edited(mut world: World, mut random: Random, edits: u64, reloads: usize) -> World {
    for _ in 0..reloads {
        let sessions = if world.spread.address_bits < 8 { 150 } else { 1000 };
        world.begin_sessions(&mut random, sessions);
        for _ in 0..random.below(edits) {
            world.draft.edit(&mut random);
        }
        world.reload(&mut random);
    }
    world
}

fn total(worlds: &[World]) -> BTreeMap<&'static str, usize> {
    let mut total = BTreeMap::new();
    for (what, count) in worlds.iter().flat_map(|world| &world.seen) {
        *total.entry(*what).or_default() += count;
    }
    total
}

#[test]
fn no_reload_decides_a_session_by_the_wrong_key() {
    let worlds: Vec<_> = (0..60)
        .map(|seed| {
            println!("seed {seed}");
            live_through(seed, 1 + seed as usize % 25, 4, 25, 0xff_ffff)
        })
        .collect();
    let seen = total(&worlds);
    println!("{seen:?}");
    for what in [
        "unchanged",
        "successor",
        "remarked",
        "refused",
        "kept",
        "terminated",
        "unknown",
        "translated differently",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count >= 30), "{what}: {seen:?}");
    }
}

#[test]
fn no_large_edit_decides_a_session_by_the_wrong_key() {
    for seed in 1000..1010 {
        println!("seed {seed}");
        live_through(seed, 120, 150, 8, 0xff_ffff);
    }
}

#[test]
fn no_large_edit_of_many_rules_decides_a_session_by_the_wrong_key() {
    // So many that rules are looked for by address.
    let spread = Spread { address_bits: 22, port_bits: 4 };
    let worlds: Vec<_> = (3000..3003)
        .map(|seed| {
            println!("seed {seed}");
            let mut random = Random::new(seed);
            let world = World::new(&mut random, 4000, spread, 0xff_ffff);
            edited(world, random, 1500, 3)
        })
        .collect();
    let seen = total(&worlds);
    assert!(["unchanged", "successor"].iter().all(|what| seen[what] > 30), "{seen:?}");
}

#[test]
fn keys_are_not_reused_while_in_use_when_numbers_wrap_round() {
    for seed in 2000..2010 {
        println!("seed {seed}");
        // About 150 keys in use, thousands handed out.
        let world = live_through(seed, 4, 6, 60, 0x3ff);
        let used = world.installed.table().len();
        assert!(used < 1023, "{used}");
    }
}
