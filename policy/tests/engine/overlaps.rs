//! Which rules overlap a rule: the answer of comparing it with each.

use crate::boxes::{KINDS, Kind, rule};
use crate::random::Random;
use twinwall_policy::classify::engine::{Engine, Hit, Networks, Overlaps, Rule};
use twinwall_policy::prefix::Word;

fn overlap(a: &Rule, b: &Rule) -> bool {
    fn one<T: Word>(a: (T, u8), b: (T, u8)) -> bool {
        a.0.common_bits(b.0) >= a.1.min(b.1)
    }
    let networks = match (a.networks, b.networks) {
        (Networks::Any, _) | (_, Networks::Any) => true,
        (Networks::V4 { src, dst }, Networks::V4 { src: c, dst: d }) => {
            one((src.bits, src.len), (c.bits, c.len)) && one((dst.bits, dst.len), (d.bits, d.len))
        }
        (Networks::V6 { src, dst }, Networks::V6 { src: c, dst: d }) => {
            one((src.bits, src.len), (c.bits, c.len)) && one((dst.bits, dst.len), (d.bits, d.len))
        }
        _ => false,
    };
    networks
        && (a.protocol.is_none() || b.protocol.is_none() || a.protocol == b.protocol)
        && a.src_port.intersects(b.src_port)
        && a.dst_port.intersects(b.dst_port)
        && a.from.intersects(b.from)
        && a.to.intersects(b.to)
}

#[test]
fn rules_that_overlap_are_found_above_and_below() {
    for kind in KINDS {
        let mut random = Random::new(6);
        let rules: Vec<Rule> = (0..900).map(|order| rule(&mut random, kind, order)).collect();
        let engine = Engine::build(&rules[..600]);
        let overlaps = Overlaps::new(&engine);
        let (mut found, mut strangers) = (0, 0);
        for (place, asked) in rules.iter().enumerate() {
            let all = rules[..600].iter().filter(|own| overlap(own, asked));
            let hit = |rule: &Rule| Hit { order: rule.order, value: rule.value };
            let above: Vec<Hit> =
                all.clone().filter(|own| own.order < asked.order).map(hit).collect();
            let below: Vec<Hit> = all.filter(|own| own.order > asked.order).map(hit).collect();
            assert_eq!(overlaps.above(asked), above, "{kind:?}, {asked:?}");
            assert_eq!(overlaps.below(asked), below, "{kind:?}, {asked:?}");
            found += above.len() + below.len();
            strangers += usize::from(place >= 600);
        }
        assert!(found > 100 && strangers == 300, "{kind:?}: {found}");
    }
}

/// A hundred thousand rules, each asked about: with time in the square of their number this would
/// take minutes.
#[test]
fn overlaps_of_many_rules_are_found_without_comparing_each_with_each() {
    let kind = Kind { networks: 250, wild: 0, ranges: 1, zoned: 0 };
    let mut random = Random::new(12);
    let rules: Vec<Rule> = (0..100_000)
        .map(|order| {
            let mut drawn = rule(&mut random, kind, order);
            // Rules that say much of one address at least, as nearly all do.
            if let Networks::V4 { src, dst } = &mut drawn.networks {
                (src.len, dst.len) = (src.len.max(16), dst.len.max(16));
                src.bits = src.bits.and(u32::mask(src.len)) | order << 12;
            } else {
                drawn.networks = rule(&mut random, Kind { networks: 1, ..kind }, 0).networks;
            }
            drawn
        })
        .filter(|rule| matches!(rule.networks, Networks::V4 { src, .. } if src.len >= 16))
        .collect();
    assert!(rules.len() > 60_000, "{}", rules.len());
    let engine = Engine::build(&rules);
    let overlaps = Overlaps::new(&engine);
    let above: usize = rules.iter().map(|rule| overlaps.above(rule).len()).sum();
    let below: usize = rules.iter().map(|rule| overlaps.below(rule).len()).sum();
    assert!(above > 1000 && above == below, "{above} {below}");
}
