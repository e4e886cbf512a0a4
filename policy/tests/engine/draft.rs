//! Random policies as their authors see them, zones by name, and random edits of them.

use crate::random::{Random, Spread, action, addresses, services};
use crate::rules::{built_in, zones};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use twinwall_policy::matching::{Match, Service};
use twinwall_policy::ruleset::{
    Families, NatRule, OnChange, QueueFailure, Rule, RuleSet, Translation,
};
use twinwall_policy::zone::{ZoneId, ZoneSet};

/// Interfaces that sessions use.
pub(crate) const INTERFACES: [&str; 8] =
    ["eth0", "eth1", "eth2", "eth3", "vlan10", "vlan15", "vlan2", "ppp0"];
const PATTERNS: [&str; 9] =
    ["eth0", "eth1", "eth2", "eth*", "vlan*", "vlan1*", "vlan15", "ppp*", "*"];

/// A policy as its author sees it: zones by name.
#[derive(Clone)]
pub(crate) struct Draft {
    zones: Vec<(String, Vec<&'static str>)>,
    rules: Vec<DraftRule>,
    nat: Vec<(BTreeSet<String>, NatRule)>,
    names: u32,
    spread: Spread,
}

#[derive(Clone)]
struct DraftRule {
    rule: Rule,
    /// `None` for any.
    from: Option<BTreeSet<String>>,
    to: Option<BTreeSet<String>>,
}

impl Draft {
    pub(crate) fn new(random: &mut Random, rules: usize, spread: Spread) -> Self {
        let mut draft = Self { zones: vec![], rules: vec![], nat: vec![], names: 0, spread };
        for _ in 0..4 {
            draft.add_zone(random);
        }
        for _ in 0..rules {
            draft.add_rule(random);
        }
        draft
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    fn add_zone(&mut self, random: &mut Random) {
        let name = self.name("z");
        let interfaces = (0..1 + random.below(2)).map(|_| *random.pick(&PATTERNS)).collect();
        self.zones.push((name, interfaces));
    }

    fn some_zones(&self, random: &mut Random) -> Option<BTreeSet<String>> {
        let mut names: Vec<String> = self.zones.iter().map(|(name, _)| name.clone()).collect();
        names.push("self".into());
        let few = (0..1 + random.below(2)).map(|_| random.pick(&names).clone()).collect();
        (!random.one_in(3)).then_some(few)
    }

    fn add_rule(&mut self, random: &mut Random) {
        let rule = Rule {
            seq: 0,
            name: self.name("r").into(),
            matches: Match {
                from: ZoneSet::EMPTY,
                to: ZoneSet::EMPTY,
                src: addresses(random, self.spread),
                dst: addresses(random, self.spread),
                services: services(random, self.spread),
            },
            action: action(random),
            log: false,
            on_change: *random.pick(&[
                OnChange::Rematch,
                OnChange::Rematch,
                OnChange::Keep,
                OnChange::Terminate,
            ]),
        };
        let (from, to) = (self.some_zones(random), self.some_zones(random));
        let place = random.index(self.rules.len() + 1);
        self.rules.insert(place, DraftRule { rule, from, to });
    }

    fn add_nat(&mut self, random: &mut Random) {
        let v4 = Ipv4Addr::from_bits(0x0a00_0000 | random.below(4) as u32);
        let v6 = Ipv6Addr::from_bits(0x2001_0db8_0010u128 << 80 | u128::from(random.below(4)));
        let translation = match random.below(3) {
            0 => Translation::Masquerade,
            1 => Translation::Source { v4: Some(v4), v6: None },
            _ => Translation::Destination { v4: Some(v4), v6: Some(v6), port: Some(3) },
        };
        let rule = NatRule {
            seq: 0,
            name: self.name("n").into(),
            from: ZoneSet::EMPTY,
            to: ZoneSet::ALL,
            src: addresses(random, self.spread),
            dst: addresses(random, self.spread),
            services: vec![Service::ANY],
            families: Families { v4: true, v6: true },
            translation,
        };
        let from = self.some_zones(random).unwrap_or_default();
        self.nat.push((from, rule));
    }

    /// One change that an operator could make.
    pub(crate) fn edit(&mut self, random: &mut Random) {
        if self.rules.is_empty() {
            return self.add_rule(random);
        }
        let place = random.index(self.rules.len());
        let other = random.index(self.rules.len());
        match random.below(24) {
            0..3 => self.add_rule(random),
            3..5 => drop(self.rules.remove(place)),
            5..8 => self.rules.swap(place, other),
            8..10 => {
                let moved = self.rules.remove(place);
                self.rules.insert(other.min(self.rules.len()), moved);
            }
            10 => self.rules[place].rule.action = action(random),
            11 => self.rules[place].rule.matches.src = addresses(random, self.spread),
            12 => self.rules[place].rule.matches.dst = addresses(random, self.spread),
            13 => self.rules[place].rule.matches.services = services(random, self.spread),
            14 => self.rules[place].from = self.some_zones(random),
            15 => self.rules[place].to = self.some_zones(random),
            16 => {
                let setting = *random.pick(&[OnChange::Rematch, OnChange::Keep]);
                self.rules[place].rule.on_change = setting;
            }
            17 => self.rules[place].rule.name = self.name("r").into(),
            // Seldom among so many edits that every zone would be another one.
            18 if self.spread.address_bits < 8 || random.one_in(1000) => self.edit_zones(random),
            19 if self.nat.len() < 4 => self.add_nat(random),
            19 => drop(self.nat.remove(0)),
            // A rule becomes two, each for a part of it.
            20 => {
                let mut half = self.rules[place].clone();
                half.rule.name = self.name("r").into();
                half.rule.matches.services.truncate(1);
                self.rules.insert(place, half);
            }
            // Narrower.
            21 => self.rules[place].rule.matches.services.truncate(1),
            _ => {}
        }
    }

    fn edit_zones(&mut self, random: &mut Random) {
        let place = random.index(self.zones.len());
        let other = random.index(self.zones.len());
        match random.below(5) {
            0 if self.zones.len() < 8 => self.add_zone(random),
            1 if self.zones.len() > 2 => drop(self.zones.remove(place)),
            2 => self.zones.swap(place, other),
            3 => self.zones[place].0 = self.name("z"),
            _ => {
                if let Some(interface) = self.zones[place].1.pop() {
                    self.zones[other].1.push(interface);
                }
            }
        }
    }

    pub(crate) fn compile(&self) -> RuleSet {
        let named: Vec<_> =
            self.zones.iter().map(|(name, list)| (name.as_str(), list.as_slice())).collect();
        let zones = zones(&named);
        let set = |names: &BTreeSet<String>| {
            let places = names.iter().filter_map(|name| {
                let place = zones.iter().position(|zone| zone.name.as_ref() == name)?;
                ZoneId::new(place as u8)
            });
            places.fold(ZoneSet::EMPTY, ZoneSet::with)
        };
        let mut rules: Vec<Rule> = self
            .rules
            .iter()
            .map(|draft| {
                let mut rule = draft.rule.clone();
                let any = ZoneSet::ALL.without(ZoneId::SELF);
                rule.matches.from = draft.from.as_ref().map_or(any, set);
                rule.matches.to = draft.to.as_ref().map_or(ZoneSet::ALL, set);
                rule
            })
            .collect();
        rules.extend(built_in());
        let nat = self.nat.iter().map(|(from, rule)| NatRule { from: set(from), ..rule.clone() });
        let nat = nat.collect();
        RuleSet { name: "random".into(), zones, rules, nat, queue_failure: QueueFailure::Closed }
    }
}
