//! How long loading a policy takes: `cargo run --release --example load_time [RULES] [BLOCK]`.
//!
//! Makes a policy of RULES rules (10,000 unless given), one flow mapping a line, or in block style
//! when a second argument is given, and loads it with 1, 2 and 4 threads, with and without lints.
//! Prints the least and the median of nine runs in milliseconds.
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock and arguments")]

use std::fmt::Write;
use std::time::Instant;
use twinwall_policy::{Options, SourceText, load_with};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rules = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let text = policy(rules, arguments.next().is_some());
    println!("{rules} rules, {} bytes", text.len());
    let files = [SourceText { path: "policy.yaml".into(), text }];
    for threads in [1, 2, 4] {
        for lint in [false, true] {
            let options = Options { threads, lint };
            let mut times: Vec<f64> = (0..9).map(|_| time(&files, &options)).collect();
            times.sort_by(f64::total_cmp);
            let lint = if lint { "with lints" } else { "without" };
            let (least, median) = (times.first().unwrap_or(&0.0), times.get(4).unwrap_or(&0.0));
            println!("{threads} threads, {lint:>11}: {least:7.1} {median:7.1} ms");
        }
    }
}

fn time(files: &[SourceText], options: &Options) -> f64 {
    let start = Instant::now();
    match load_with(files, options) {
        Ok(loaded) => {
            let time = start.elapsed().as_secs_f64() * 1000.0;
            assert_eq!(loaded.warning_count, 0, "{}", loaded.text(Default::default()));
            time
        }
        Err(failure) => {
            eprintln!("{}", failure.text(Default::default()));
            std::process::exit(1);
        }
    }
}

/// A policy like those of real gateways: named networks, hosts and services; some addresses and
/// services written in the rule; a few rules for any source.
fn policy(rules: usize, block: bool) -> String {
    let mut text = String::from(
        "version: 1\nname: benchmark\nzones:\n  lan: { interfaces: [eth1] }\n  \
         wan: { interfaces: [eth0] }\n  dmz: { interfaces: [eth2] }\nobjects:\n",
    );
    let objects = (rules / 10).clamp(1, 4000);
    for i in 0..objects {
        let (a, b) = (i / 250, i % 250);
        let _ = writeln!(text, "  net-{i}: {{ net: [10.{a}.{b}.0/24, \"2001:db8:{i:x}::/48\"] }}");
    }
    text.push_str("services:\n");
    for i in 0..200 {
        let _ =
            writeln!(text, "  app-{i}: {{ tcp: [{}, {}], udp: {} }}", 1000 + i, 2000 + i, 3000 + i);
    }
    text.push_str("rules:\n");
    let zones = ["lan", "wan", "dmz"];
    for i in 0..rules {
        let pairs = [
            ("seq", ((i + 1) * 10).to_string()),
            ("name", format!("rule-{i}")),
            ("from", zones.get(i % 3).copied().unwrap_or("any").to_owned()),
            ("to", zones.get((i + 1) % 3).copied().unwrap_or("any").to_owned()),
            ("src", format!("net-{}", i % objects)),
            ("dst", format!("172.{}.{}.{}", 16 + (i >> 16), (i >> 8) & 255, i & 255)),
            ("service", format!("app-{}", i % 200)),
            ("action", (if i % 7 == 0 { "drop" } else { "accept" }).to_owned()),
        ];
        let mut first = true;
        if !block {
            text.push_str("  - { ");
        }
        for (key, value) in pairs {
            let (lead, end) = match (block, first) {
                (true, true) => ("  - ", "\n"),
                (true, false) => ("    ", "\n"),
                (false, true) => ("", ""),
                (false, false) => (", ", ""),
            };
            let _ = write!(text, "{lead}{key}: {value}{end}");
            first = false;
        }
        if !block {
            text.push_str(" }\n");
        }
    }
    text
}
