//! What a lookup takes on rule sets and traces in ClassBench's format, beside a linear scan.
//!
//! `cargo run --release -p twinwall-policy --example lookup_figures -- RULES TRACE [RULES TRACE ...]`
//! Files are plain text. Prints what the machine's memory takes, then a line for each pair; `wrong`
//! counts headers for which engine and scan differ.
#![expect(clippy::disallowed_methods, reason = "a measurement reads files and needs a clock")]

use std::error::Error;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;
use twinwall_policy::classify::engine::{Engine, Header, Hit, Networks, Rule};
use twinwall_policy::flow::Tuple;
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::Prefix;
use twinwall_policy::zone::{ZoneId, ZoneSet};

fn main() -> Result<(), Box<dyn Error>> {
    for mib in [1, 4, 16, 64] {
        let [chained, free] = memory(mib << 20);
        println!(
            "{mib:>3} MiB: {chained:.1} ns a load that waits for the last, {free:.1} ns another"
        );
    }
    println!(
        "  rules  tables  build ms  bytes/rule  batched ns  single ns  linear ns  wrong  file"
    );
    let files: Vec<String> = std::env::args().skip(1).collect();
    for pair in files.chunks(2) {
        let [rules, trace] = pair else { return Err("a trace is missing".into()) };
        figures(rules, trace)?;
    }
    Ok(())
}

fn figures(rules_file: &str, trace_file: &str) -> Result<(), Box<dyn Error>> {
    let rules = read(rules_file, rule)?;
    let headers = read(trace_file, |_, line| header(line))?;
    let mut builds: Vec<f64> = Vec::new();
    for _ in 0..3 {
        let (engine, ms) = timed(|| Engine::build(&rules));
        black_box(&engine);
        builds.push(ms);
    }
    let engine = Engine::build(&rules);
    let mut hits: Vec<Option<Hit>> = vec![None; headers.len()];
    let chunks = || headers.chunks(CHUNK);
    let batched = best(chunks().count(), |place| {
        let chunk = chunks().nth(place).unwrap_or_default();
        engine.lookup_batch(
            black_box(chunk),
            black_box(hits.get_mut(place * CHUNK..).unwrap_or_default()),
        );
    });
    let single = best(chunks().count(), |place| {
        for header in chunks().nth(place).unwrap_or_default() {
            black_box(engine.lookup(black_box(header)));
        }
    });
    let sample = (50_000_000 / rules.len().max(1)).clamp(100, headers.len());
    let (wrong, linear) = timed(|| {
        let pairs = headers.iter().zip(&hits).take(sample);
        pairs.filter(|(header, hit)| scan(&rules, header) != hit.map(|hit| hit.order)).count()
    });
    let all = headers.iter().zip(&hits);
    let differ = all.filter(|(header, hit)| engine.lookup(header) != **hit).count();
    builds.sort_by(f64::total_cmp);
    let per = 1e6 / headers.len() as f64;
    println!(
        "{:>7}  {:>6}  {:>8.1}  {:>10.1}  {:>10.1}  {:>9.1}  {:>9.0}  {:>5}  {rules_file}",
        rules.len(),
        engine.tables().0,
        builds.get(1).copied().unwrap_or_default(),
        engine.memory() as f64 / rules.len() as f64,
        batched * per,
        single * per,
        linear * 1e6 / sample as f64,
        wrong + differ,
    );
    Ok(())
}

/// Nanoseconds for a load from one of the lines of so much memory, if it says which comes next and
/// if all are known before.
fn memory(bytes: usize) -> [f64; 2] {
    const LINE: usize = 64 / size_of::<usize>();
    const LOADS: usize = 1 << 20;
    let lines = bytes / 64;
    let mut random = 88_172_645_463_325_252u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (((random >> 32) * limit as u64) >> 32) as usize
    };
    // One round through all lines, each once.
    let mut round: Vec<usize> = (0..lines).collect();
    for last in (1..lines).rev() {
        round.swap(last, below(last));
    }
    let mut words = vec![0usize; lines * LINE];
    for (line, next) in round.iter().enumerate() {
        if let Some(word) = words.get_mut(line * LINE) {
            *word = *next;
        }
    }
    let load = |line: usize| black_box(&words).get(line * LINE).copied().unwrap_or_default();
    let chained = || (0..LOADS).fold(0, |line, _| load(line));
    let free = || round.iter().cycle().take(LOADS).fold(0, |sum: usize, line| sum ^ load(*line));
    let runs: [&dyn Fn() -> usize; 2] = [&chained, &free];
    runs.map(|run| {
        let times = (0..5).map(|_| timed(|| black_box(run())).1);
        times.fold(f64::INFINITY, f64::min) * 1e6 / LOADS as f64
    })
}

fn scan(rules: &[Rule], header: &Header) -> Option<u32> {
    rules.iter().find(|rule| rule.matches(header)).map(|rule| rule.order)
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = run();
    (result, start.elapsed().as_secs_f64() * 1e3)
}

/// Headers that are timed together: few, so that most times are undisturbed.
const CHUNK: usize = 2048;

/// Milliseconds for all parts together, each in the best of many runs.
fn best(parts: usize, mut run: impl FnMut(usize)) -> f64 {
    let mut best = vec![f64::INFINITY; parts];
    for _ in 0..25 {
        for (place, best) in best.iter_mut().enumerate() {
            *best = timed(|| run(place)).1.min(*best);
        }
    }
    best.iter().sum()
}

fn read<T>(file: &str, parse: impl Fn(u32, &str) -> Option<T>) -> Result<Vec<T>, Box<dyn Error>> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let lines = (0u32..).zip(text.lines());
    lines
        .map(|(place, line)| {
            parse(place, line).ok_or_else(|| format!("{file}: can't read: {line}").into())
        })
        .collect()
}

fn rule(place: u32, line: &str) -> Option<Rule> {
    let mut words = line.strip_prefix('@')?.split_whitespace();
    let mut network = || {
        let (address, len) = words.next()?.split_once('/')?;
        let bits = address.parse::<Ipv4Addr>().ok()?.to_bits();
        Some(Prefix { bits, len: len.parse().ok()? })
    };
    let (src, dst) = (network()?, network()?);
    let mut ports = || {
        let low = words.next()?.parse().ok()?;
        words.next()?;
        PortRange::new(low, words.next()?.parse().ok()?)
    };
    let (src_port, dst_port) = (ports()?, ports()?);
    let (protocol, mask) = words.next()?.split_once('/')?;
    let number = u8::from_str_radix(protocol.strip_prefix("0x")?, 16).ok()?;
    Some(Rule {
        order: place,
        networks: Networks::V4 { src, dst },
        protocol: (mask != "0x00").then_some(number),
        src_port,
        dst_port,
        from: ZoneSet::ALL,
        to: ZoneSet::ALL,
        value: u64::from(place),
    })
}

fn header(line: &str) -> Option<Header> {
    let mut words = line.split_whitespace();
    let mut number = || words.next()?.parse::<u32>().ok();
    let (src, dst) = (Ipv4Addr::from_bits(number()?), Ipv4Addr::from_bits(number()?));
    let (src_port, dst_port) = (number()?.try_into().ok()?, number()?.try_into().ok()?);
    Some(Header {
        tuple: Tuple {
            src: src.into(),
            dst: dst.into(),
            protocol: number()?.try_into().ok()?,
            src_port,
            dst_port,
        },
        from: ZoneId::OUTSIDE,
        to: ZoneId::SELF,
    })
}
