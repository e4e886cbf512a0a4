//! What lints and the reload difference take where rules overlap: milliseconds, and what they find.
//!
//! `cargo run --release -p twinwall-policy --example overlap_figures [RULES] [SHAPE | FILE.rules ...]`
//!
//! Makes policies of RULES rules (10,000 unless given) of several shapes, or only of those named,
//! reads ClassBench rule files (unpacked; source ports and flags are left out), and prints for each
//! the time of the lints and of plans for usual and unusual edits: mean processor time of one
//! thread.
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock and arguments")]

use std::fmt::Write;
use std::time::Instant;
use twinwall_policy::address::AddressSet;
use twinwall_policy::diff::{Installed, PlanError, plan};
use twinwall_policy::keys::KeyAllocator;
use twinwall_policy::ruleset::{Action, Rule, RuleSet};
use twinwall_policy::{Options, SourceText, load_with};

/// What a rule of this place, of so many, matches.
type Shape = fn(usize, usize) -> String;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(10_000), |n| n.parse())?;
    let shapes: [(&str, Shape); 6] = [
        ("networks", networks),
        ("wildcards", wildcards),
        ("staircase", staircase),
        ("ports", ports),
        ("lists", lists),
        ("shadowed", shadowed),
    ];
    let wanted: Vec<String> = arguments.collect();
    for (name, shape) in shapes {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let rules = (0..count).map(|n| shape(n, count));
        let groups = if name == "lists" { GROUPS } else { 0 };
        figures(name, &policy(groups, rules))?;
    }
    for path in wanted.into_iter().filter(|name| name.ends_with(".rules")) {
        let text = std::fs::read_to_string(&path)?;
        let name = path.rsplit('/').next().unwrap_or(&path);
        figures(name, &policy(0, text.lines().filter_map(classbench)))?;
    }
    Ok(())
}

/// A policy of these rules, each the text between its name and its action, and so many groups.
fn policy(groups: usize, rules: impl Iterator<Item = String>) -> String {
    let mut text = String::from(
        "version: 1\nname: figures\nzones:\n  lan: { interfaces: [eth1] }\n  \
         wan: { interfaces: [eth0] }\nobjects:\n  none: { host: 192.0.2.255 }\n",
    );
    for n in 0..groups {
        let _ = writeln!(text, "  g{n}: {{ net: [{}] }}", group(n));
    }
    text.push_str("rules:\n");
    for (n, rule) in rules.enumerate() {
        let action = if n % 7 == 0 { "drop" } else { "accept" };
        let _ = writeln!(
            text,
            "  - {{ seq: {n}, name: r{n}, from: lan, to: wan, {rule}, action: {action} }}"
        );
    }
    text
}

/// Multiplies and shifts: numbers that look drawn, the same in each run.
fn mixed(n: usize) -> usize {
    let n = (n as u64 ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((n ^ n >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 24) as usize
}

fn host(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)
}

/// Networks for hosts and hosts for networks of both families, a few wildcards, usual ports.
fn networks(n: usize, _: usize) -> String {
    let (a, b) = (mixed(n), mixed(n + 1_000_000));
    let net = |n: usize| match n % 8 {
        0..4 => format!("[\"{}/24\", \"2001:db8:{:x}::/48\"]", host(n & !255), n >> 8 & 0xffff),
        4 => format!("{}/20", host(n & !4095)),
        _ => host(n),
    };
    let port = [22, 25, 53, 80, 123, 443, 3306, 8080].get(a >> 40 & 7).copied().unwrap_or(80);
    let ports = if b % 3 == 0 { format!("[{port}, {}]", 9000 + b % 50) } else { port.to_string() };
    let dst = if b % 50 == 0 { "any".to_owned() } else { net(b) };
    format!("src: {}, dst: {dst}, service: {{ tcp: {ports} }}", net(a))
}

/// Half for a network to anywhere, half for anywhere to a network: each of one half overlaps each
/// of the other.
fn wildcards(n: usize, _: usize) -> String {
    let net = host(n / 2 * 4);
    if n.is_multiple_of(2) {
        format!("src: {net}/30, dst: any")
    } else {
        format!("src: any, dst: {net}/30")
    }
}

/// Each overlaps each, none covers another: sources up to one address, destinations from another
/// on.
fn staircase(n: usize, _: usize) -> String {
    format!("src: 10.0.0.0-{}, dst: {}-10.255.255.255", host(n), host(n))
}

/// Ranges of ports that all share one and grow from rule to rule, then the same from other hosts.
fn ports(n: usize, _: usize) -> String {
    let (set, n) = (n / 30_000, n % 30_000);
    format!("src: any, dst: 192.0.2.{set}, service: {{ tcp: {}-{} }}", 30_000 - n, 30_000 + n)
}

/// Groups of networks.
const GROUPS: usize = 2000;

/// A group of 50 networks, spread over everything.
fn group(n: usize) -> String {
    let net = |k: usize| format!("{}/28", host(mixed(n * 50 + k) & !15));
    (0..50).map(net).collect::<Vec<_>>().join(", ")
}

/// Groups of 50 networks on both sides.
fn lists(n: usize, _: usize) -> String {
    let (a, b) = (n % GROUPS, mixed(n) % GROUPS);
    format!("src: g{a}, dst: g{b}, service: {{ tcp: {} }}", n % 9 + 1)
}

/// All the same but for the last bits of one address, below a rule for all of them.
fn shadowed(n: usize, count: usize) -> String {
    let dst = if n == count / 2 { "10.0.0.0/8".into() } else { host(n) };
    format!("src: any, dst: {dst}, service: {{ tcp: 80, udp: 80 }}")
}

/// A rule of a ClassBench file.
fn classbench(line: &str) -> Option<String> {
    let mut fields = line.strip_prefix('@')?.split('\t');
    let (src, dst, _, ports, protocol) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let ports = match ports.replace(" : ", "-").as_str() {
        "0-65535" => "any".to_owned(),
        ports => {
            ports.strip_prefix("0-").map_or_else(|| ports.to_owned(), |high| format!("1-{high}"))
        }
    };
    let service = match protocol {
        "0x06/0xFF" => format!("{{ tcp: {ports} }}"),
        "0x11/0xFF" => format!("{{ udp: {ports} }}"),
        "0x01/0xFF" => "{ protocol: icmp }".into(),
        _ => match protocol.strip_suffix("/0xFF").and_then(|n| n.strip_prefix("0x")) {
            Some(number) => format!("{{ protocol: {} }}", u8::from_str_radix(number, 16).ok()?),
            None => "any".into(),
        },
    };
    Some(format!("src: {src}, dst: {dst}, service: {service}"))
}

fn figures(name: &str, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    let files = [SourceText { path: "policy.yaml".into(), text: text.to_owned() }];
    let run = |lint| {
        let clock = Clock::now();
        let loaded = load_with(&files, &Options { threads: 1, lint });
        let loaded = loaded.map_err(|failure| failure.text(Default::default()))?;
        Ok::<_, String>((loaded, clock.milliseconds()))
    };
    // In turns: the difference is small beside what else the machine does.
    let (mut bare, mut without) = run(false)?;
    let (mut linted, mut with) = run(true)?;
    let (begin, mut runs) = (Instant::now(), 1);
    while begin.elapsed().as_millis() < 1500 {
        let (first, second) = (run(false)?, run(true)?);
        (bare, without) = (first.0, without + first.1);
        (linted, with) = (second.0, with + second.1);
        runs += 1;
    }
    (without, with) = (without / f64::from(runs), with / f64::from(runs));
    let rules = bare.rules;
    println!(
        "{name}: {} rules; load {without:.1} ms, lints {:.1} ms, {} warnings",
        rules.rules.len(),
        with - without,
        linted.warning_count
    );
    drop(linted);
    let count = rules.rules.len() - 2;
    let mut allocator = KeyAllocator::new(0xff_ffff)?;
    let old = plan(None, rules.clone(), &mut allocator)?.next;
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Vec<Rule>));
    let edits: [Edit<'_>; 10] = [
        ("nothing changed", &|_| {}),
        ("all renumbered", &|rules| {
            rules.iter_mut().for_each(|rule| rule.seq = rule.seq.saturating_mul(3));
        }),
        ("one action", &|rules| flip(rules, count / 2, 1)),
        ("one rule wider", &|rules| widen(rules, count / 2, count)),
        ("1 % wider", &|rules| widen(rules, 50, 100)),
        ("10 % wider", &|rules| widen(rules, 5, 10)),
        ("one on top of all", &|rules| top(rules)),
        ("1 % removed", &|rules| {
            let mut n = 0;
            rules.retain(|_| {
                n += 1;
                n % 100 != 1 || n > count
            });
        }),
        ("every action", &|rules| flip(rules, 0, count)),
        ("order reversed", &|rules| {
            if let Some(own) = rules.get_mut(..count) {
                own.reverse();
            }
        }),
    ];
    for (what, edit) in edits {
        let mut new = rules.clone();
        edit(&mut new.rules);
        difference(what, &old, &new, allocator)?;
    }
    Ok(())
}

fn difference(
    what: &str,
    old: &Installed,
    new: &RuleSet,
    allocator: KeyAllocator,
) -> Result<(), PlanError> {
    let (plan, ms) = mean(|| plan(Some(old), new.clone(), &mut allocator.clone()));
    let plan = plan?;
    let proved = plan.removed.iter().filter(|gone| gone.successor.is_some()).count();
    let removed = plan.removed.len();
    println!(
        "  {what:<20} {ms:>8.1} ms  {:>7} unchanged {proved:>7} of {removed:>7} with successor",
        plan.unchanged
    );
    Ok(())
}

fn flip(rules: &mut [Rule], start: usize, count: usize) {
    for rule in rules.iter_mut().skip(start).take(count) {
        rule.action = if rule.action.passes() { Action::Drop } else { Action::Accept };
    }
}

/// Adds an address to the source of each rule from `first` on, in these steps.
fn widen(rules: &mut [Rule], first: usize, step: usize) {
    for rule in rules.iter_mut().skip(first).step_by(step) {
        let one = (0x0afe_fefe, 0x0afe_fefe);
        let v4 = rule.matches.src.v4().iter().copied().chain([one]);
        rule.matches.src = AddressSet::from_ranges(v4, rule.matches.src.v6().iter().copied());
    }
}

/// A rule for every address, and one port, before all others.
fn top(rules: &mut Vec<Rule>) {
    if let Some(mut rule) = rules.last().cloned() {
        rule.name = "top".into();
        for service in &mut rule.matches.services {
            service.protocol = Some(6);
        }
        rules.insert(0, rule);
    }
}

/// The outcome, and the mean time of some runs in milliseconds: twenty, or fewer of long ones.
fn mean<T>(mut run: impl FnMut() -> T) -> (T, f64) {
    let begin = Instant::now();
    let clock = Clock::now();
    for runs in 1..20 {
        let result = run();
        if begin.elapsed().as_millis() >= 400 {
            return (result, clock.milliseconds() / f64::from(runs));
        }
    }
    let result = run();
    (result, clock.milliseconds() / 20.0)
}

/// The thread's processor time where Linux shows it, in steps of some milliseconds; else the time
/// of day.
struct Clock(Instant, Option<u64>);

impl Clock {
    fn now() -> Self {
        Self(Instant::now(), thread_time())
    }

    fn milliseconds(&self) -> f64 {
        match self.1.zip(thread_time()) {
            Some((then, now)) => now.saturating_sub(then) as f64 / 1e6,
            None => self.0.elapsed().as_secs_f64() * 1e3,
        }
    }
}

fn thread_time() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}
