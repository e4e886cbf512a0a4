//! Rules that change while they are looked up.

use crate::boxes::{KINDS, Kind, header, inside, rule, scan};
use crate::random::Random;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use twinwall_policy::classify::engine::{
    Engine, Header, Hit, Networks, Reader, Rule, RuleId, Writer,
};
use twinwall_policy::flow::Tuple;
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::Prefix;
use twinwall_policy::zone::{ZoneId, ZoneSet};

fn agree_while_updated(kind: Kind, seed: u64, size: u32, updates: u32) {
    let mut random = Random::new(seed);
    let start: Vec<Rule> = (0..size).map(|order| rule(&mut random, kind, order * 1000)).collect();
    let (mut writer, mut reader) = Engine::build(&start).share();
    let mut rules: BTreeMap<RuleId, Rule> =
        (0..).zip(&start).map(|(place, rule)| (RuleId::nth(place), *rule)).collect();
    let pick = |rules: &BTreeMap<RuleId, Rule>, random: &mut Random| {
        let place = random.below(rules.len().max(1) as u64) as usize;
        rules.iter().nth(place).map(|(id, rule)| (*id, *rule))
    };
    for update in 0..updates {
        let order = random.below(1 << 31) as u32;
        match (random.below(10), pick(&rules, &mut random)) {
            (0..4, Some((id, _))) => {
                assert!(writer.remove(id) && !writer.remove(id) && !writer.renumber(id, 1));
                rules.remove(&id);
            }
            (4..6, Some((id, old))) => {
                assert!(writer.renumber(id, order));
                rules.insert(id, Rule { order, ..old });
            }
            _ => {
                let new = rule(&mut random, kind, order);
                let id = writer.insert(new).unwrap();
                assert!(rules.insert(id, new).is_none(), "an id in use was given out");
            }
        }
        assert_eq!(writer.len(), rules.len());
        if random.below(4) == 0 {
            writer.maintain();
        }
        let mut headers: Vec<Header> = (0..2).map(|_| header(&mut random, kind)).collect();
        let hit = pick(&rules, &mut random);
        headers.extend(hit.map(|(_, rule)| inside(&rule, &mut random, kind)));
        for header in &headers {
            let wanted = scan(rules.values(), header);
            assert_eq!(reader.lookup(header), wanted, "{kind:?}, update {update}: {header:?}");
        }
        let mut hits = vec![None; headers.len()];
        reader.lookup_batch(&headers, &mut hits);
        for (header, hit) in headers.iter().zip(hits) {
            assert_eq!(hit, scan(rules.values(), header), "{kind:?}, update {update}");
        }
    }
}

#[test]
fn every_update_counts_at_once() {
    for (seed, kind) in (0..).zip(KINDS) {
        agree_while_updated(kind, seed, 0, 1500);
        agree_while_updated(kind, seed, 40, 1500);
        agree_while_updated(kind, seed, 700, 4000);
    }
}

#[test]
fn a_rule_that_comes_and_goes_for_ever_takes_no_more_memory() {
    let kind = KINDS[1];
    let mut random = Random::new(8);
    let rules: Vec<Rule> = (0..300).map(|order| rule(&mut random, kind, order)).collect();
    let (mut writer, _reader) = Engine::build(&rules).share();
    let one = rule(&mut random, kind, 1);
    // What is left behind is cleared away now and then, so memory goes up and down.
    let (mut early, mut late) = (0, 0);
    for round in 0..90_000 {
        let id = writer.insert(one).unwrap();
        assert!(writer.remove(id));
        if round % 100 == 0 {
            let most = if round < 45_000 { &mut early } else { &mut late };
            *most = writer.memory().max(*most);
        }
    }
    assert!(late <= early + early / 10, "{early} {late}");
}

#[test]
fn a_reader_that_was_made_early_sees_rules_grow_a_hundredfold() {
    let kind = KINDS[0];
    let mut random = Random::new(5);
    let (mut writer, mut reader) = Engine::build(&[]).share();
    let mut rules = Vec::new();
    for order in 0..20_000 {
        let new = rule(&mut random, kind, order);
        writer.insert(new).unwrap();
        rules.push(new);
    }
    for place in (0..rules.len()).step_by(97) {
        let header = inside(&rules[place], &mut random, kind);
        assert_eq!(reader.lookup(&header), scan(&rules, &header));
    }
    drop(writer);
    assert!(reader.lookup(&inside(&rules[0], &mut random, kind)).is_some());
}

/// Headers whose answers are followed, each matched by rules of its own.
const CELLS: usize = 8;
/// Rules of a cell, at most.
const SLOTS: usize = 6;

fn cell_header(cell: usize) -> Header {
    let cell = cell as u32;
    Header {
        tuple: Tuple {
            src: Ipv4Addr::from_bits(0x0a00_0101 | cell << 16).into(),
            dst: Ipv4Addr::from_bits(0x0b00_0101 | cell << 16).into(),
            protocol: 6,
            src_port: 4000 + cell as u16,
            dst_port: 80 + cell as u16,
        },
        from: ZoneId::new(2).unwrap(),
        to: ZoneId::new(3).unwrap(),
    }
}

/// A rule that matches the header of this cell and of no other.
fn cell_rule(cell: usize, order: u32, value: u64, random: &mut Random) -> Rule {
    let tuple = cell_header(cell).tuple;
    let (src, dst) = (0x0a00_0101 | (cell as u32) << 16, 0x0b00_0101 | (cell as u32) << 16);
    let len = |random: &mut Random| [0, 0, 8, 16, 24, 32][random.below(6) as usize];
    let mut lens = (len(random), len(random));
    let ports = |port: u16, random: &mut Random| match random.below(3) {
        0 => PortRange::only(port),
        1 => PortRange::new(port - random.below(60) as u16, port + 500).unwrap(),
        _ => PortRange::ANY,
    };
    let mut dst_port = ports(tuple.dst_port, random);
    match random.below(3) {
        0 => lens.0 = 16 + random.below(17) as u8,
        1 => lens.1 = 16 + random.below(17) as u8,
        _ => dst_port = PortRange::only(tuple.dst_port),
    }
    let prefix = |bits: u32, len| Prefix { bits, len: u32::BITS as u8 }.shortened(len);
    Rule {
        order,
        networks: Networks::V4 { src: prefix(src, lens.0), dst: prefix(dst, lens.1) },
        protocol: [None, Some(6)][random.below(2) as usize],
        src_port: ports(tuple.src_port, random),
        dst_port,
        from: ZoneSet::ALL,
        to: ZoneSet::ALL,
        value,
    }
}

/// What the writer tells the readers, so that they can judge their answers.
struct History {
    /// For each update, before it begins: its cell and the answer from then on, see [`packed`].
    answers: Vec<AtomicU64>,
    begun: AtomicUsize,
    done: AtomicUsize,
    over: AtomicBool,
}

/// The bits of an answer, below those of the cell.
const ANSWER: u64 = (1 << 56) - 1;

fn packed(cell: usize, answer: Option<u64>) -> u64 {
    (cell as u64) << 56 | answer.unwrap_or(0)
}

impl History {
    /// Whether at one moment between two updates all cells had these answers.
    fn had(&self, done: usize, begun: usize, answers: &[u64; CELLS]) -> bool {
        let at = |update: usize| {
            let word = self.answers[update].load(Ordering::Relaxed);
            ((word >> 56) as usize, word & ANSWER)
        };
        let mut state = [None; CELLS];
        let mut unknown = CELLS;
        for update in (0..done).rev() {
            let (cell, answer) = at(update);
            if state[cell].is_none() {
                state[cell] = Some(answer);
                unknown -= 1;
                if unknown == 0 {
                    break;
                }
            }
        }
        let mut state = state.map(|answer| answer.unwrap_or(0));
        if state == *answers {
            return true;
        }
        (done..begun).any(|update| {
            let (cell, answer) = at(update);
            state[cell] = answer;
            state == *answers
        })
    }
}

fn write(mut writer: Writer, history: &History, noise: &[Rule], seed: u64) {
    let mut random = Random::new(seed);
    let mut slots: [[Option<(RuleId, u32, u64)>; SLOTS]; CELLS] = [[None; SLOTS]; CELLS];
    let mut others: Vec<RuleId> = (0..noise.len() as u32).map(RuleId::nth).collect();
    for update in 0..history.answers.len() {
        let cell = random.below(CELLS as u64) as usize;
        let slot = random.below(SLOTS as u64) as usize;
        let order = (random.below(1 << 24) << 3) as u32 | slot as u32;
        let value = update as u64 + 1;
        let old = slots[cell][slot];
        let removed = old.is_some() && random.below(2) == 0;
        slots[cell][slot] = match old {
            Some(_) if removed => None,
            Some((id, _, value)) => Some((id, order, value)),
            None => Some((RuleId::nth(0), order, value)),
        };
        let best = slots[cell].iter().flatten().min_by_key(|(_, order, _)| *order);
        let answer = packed(cell, best.map(|(.., value)| *value));
        history.answers[update].store(answer, Ordering::Relaxed);
        history.begun.store(update + 1, Ordering::SeqCst);
        match old {
            Some((id, ..)) if removed => assert!(writer.remove(id)),
            Some((id, ..)) => assert!(writer.renumber(id, order)),
            None => {
                let id = writer.insert(cell_rule(cell, order, value, &mut random)).unwrap();
                slots[cell][slot] = Some((id, order, value));
            }
        }
        history.done.store(update + 1, Ordering::SeqCst);
        // Rules that match none of the headers come and go in between.
        if update % 8 == 0 && !others.is_empty() {
            let place = random.below(others.len() as u64) as usize;
            assert!(writer.remove(others[place]));
            others[place] =
                writer.insert(noise[random.below(noise.len() as u64) as usize]).unwrap();
        }
        if update % 64 == 0 {
            writer.maintain();
        }
    }
    history.over.store(true, Ordering::SeqCst);
}

fn read(mut reader: Reader, history: &History, seed: u64) -> (usize, usize) {
    let headers: [Header; CELLS] = std::array::from_fn(cell_header);
    let (mut rounds, mut overtaken) = (0, 0);
    let mut random = Random::new(seed);
    while !history.over.load(Ordering::SeqCst) {
        let mut hits = [None; CELLS];
        let done = history.done.load(Ordering::SeqCst);
        if random.below(2) == 0 {
            reader.lookup_batch(&headers, &mut hits);
            let begun = history.begun.load(Ordering::SeqCst);
            let answers = hits.map(|hit: Option<Hit>| hit.map_or(0, |hit| hit.value));
            assert!(history.had(done, begun, &answers), "{done} to {begun}: {answers:?}");
            overtaken += usize::from(begun > done);
        } else {
            let cell = random.below(CELLS as u64) as usize;
            let hit = reader.lookup(&headers[cell]).map_or(0, |hit| hit.value);
            let begun = history.begun.load(Ordering::SeqCst);
            let had = |update: &usize| {
                let word = history.answers[*update].load(Ordering::Relaxed);
                (word >> 56) as usize == cell && word & ANSWER == hit
            };
            let last = (0..done).rev().find(|update| {
                (history.answers[*update].load(Ordering::Relaxed) >> 56) as usize == cell
            });
            let before = last.map_or(hit == 0, |update| had(&update));
            assert!(before || (done..begun).any(|u| had(&u)), "{done} to {begun}: {hit}");
        }
        rounds += 1;
    }
    (rounds, overtaken)
}

/// Updates with three readers, among this many other rules.
fn right_at_some_moment(others: u32, updates: usize) {
    let kind = Kind { networks: 200, wild: 1, ranges: 1, zoned: 3 };
    let mut random = Random::new(77);
    let apart = |rule: &Rule| (0..CELLS).all(|cell| !rule.matches(&cell_header(cell)));
    let noise: Vec<Rule> =
        (0..others).map(|order| rule(&mut random, kind, order * 40_000)).filter(apart).collect();
    let (writer, reader) = Engine::build(&noise).share();
    let history = History {
        answers: (0..updates).map(|_| AtomicU64::new(0)).collect(),
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let (reader, history) = (reader.clone(), &history);
                scope.spawn(move || read(reader, history, seed))
            })
            .collect();
        write(writer, &history, &noise, 99);
        let rounds = readers.into_iter().map(|reader| reader.join().unwrap());
        let (rounds, overtaken) = rounds.fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
        let (least, least_overtaken) = (updates / 100, updates / 10_000);
        assert!(rounds > least && overtaken > least_overtaken, "{rounds} {overtaken}");
    });
}

#[test]
fn every_answer_during_a_million_updates_was_right_at_some_moment_of_the_lookup() {
    right_at_some_moment(3000, 1_000_000);
}

#[test]
fn the_same_holds_where_all_rules_are_on_one_pile() {
    right_at_some_moment(12, 300_000);
}

/// Rules that only their ranges of ports keep apart.
fn alike(random: &mut Random, order: u32) -> Rule {
    let mut range = || {
        let low = random.below(300) as u16 * 200;
        PortRange::new(low, low + 1 + random.below(4000) as u16).unwrap()
    };
    let any = Prefix { bits: 0, len: 0 };
    Rule {
        order,
        networks: Networks::V4 { src: any, dst: any },
        protocol: Some(17),
        src_port: range(),
        dst_port: range(),
        from: ZoneSet::ALL,
        to: ZoneSet::ALL,
        value: u64::from(order),
    }
}

#[test]
fn rules_of_one_key_that_come_move_and_go_are_found_in_their_order() {
    let mut random = Random::new(31);
    let kind = KINDS[0];
    // Enough others for tables; those of one key are a pile among them.
    let mut start: Vec<Rule> = (0..900).map(|n| rule(&mut random, kind, n << 20)).collect();
    start.extend((0..300).map(|n| alike(&mut random, (n << 20) + 5)));
    let (mut writer, mut reader) = Engine::build(&start).share();
    let others: Vec<Rule> = start.drain(..900).collect();
    let mut rules: Vec<(RuleId, Rule)> =
        (900..).zip(start).map(|(n, rule)| (RuleId::nth(n), rule)).collect();
    for update in 0..6000 {
        let place = random.below(rules.len() as u64) as usize;
        let order = random.below(1 << 30) as u32 | 5;
        match random.below(3) {
            0 if rules.len() > 200 => assert!(writer.remove(rules.swap_remove(place).0)),
            1 if rules.len() < 400 => {
                let new = alike(&mut random, order);
                rules.push((writer.insert(new).unwrap(), new));
            }
            _ => {
                let (id, rule) = &mut rules[place];
                assert!(writer.renumber(*id, order));
                rule.order = order;
            }
        }
        let near = rules[random.below(rules.len() as u64) as usize].1;
        let now = || others.iter().chain(rules.iter().map(|(_, rule)| rule));
        let headers = [inside(&near, &mut random, kind), header(&mut random, kind)];
        let mut hits = [None; 2];
        reader.lookup_batch(&headers, &mut hits);
        for (header, hit) in headers.iter().zip(hits) {
            let wanted = scan(now(), header);
            assert_eq!(hit.map(|hit| hit.order), wanted.map(|hit| hit.order), "update {update}");
            assert_eq!(reader.lookup(header).map(|hit| hit.order), wanted.map(|hit| hit.order));
        }
    }
}
