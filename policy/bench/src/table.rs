//! The whole table: every load, with its peers, as a section of the project's document.
//!
//! Goes in: how to measure, where ClassBench files are if not made here. Comes out: Markdown, and
//! whether every answer was right. Progress goes to standard error.

use crate::classbench;
use crate::compare::{Settings, measure};
use crate::generate::{Family, Load, headers_for, load};
use crate::machine;
use crate::report::{Figures, Peer, optional};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Seed of the sets that the table is of.
const SEED: u64 = 1;
/// Sizes of the three ClassBench families.
const SIZES: [usize; 4] = [SMALLEST, 10_000, 100_000, LARGEST];
const SMALLEST: usize = 1_000;
const LARGEST: usize = 1_000_000;
/// Sizes of the other loads.
const OTHER_SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// Nanoseconds a lookup of a linear scan, of DBTable and of DynamicTuple, one at a time, all
/// measured on one machine with ClassBench sets.
const PUBLIC: [(Family, usize, f64, f64, f64); 9] = [
    (Family::Acl, 1_000, 710.0, 55.0, 51.0),
    (Family::Fw, 1_000, 905.0, 71.0, 65.0),
    (Family::Ipc, 1_000, 774.0, 50.0, 59.0),
    (Family::Acl, 10_000, 7_032.0, 65.0, 61.0),
    (Family::Fw, 10_000, 6_582.0, 44.0, 39.0),
    (Family::Ipc, 10_000, 10_602.0, 98.0, 119.0),
    (Family::Acl, 100_000, 48_000.0, 54.0, 56.0),
    (Family::Fw, 100_000, 44_000.0, 127.0, 115.0),
    (Family::Ipc, 100_000, 52_000.0, 68.0, 135.0),
];

/// A line of the table.
struct Row {
    family: Family,
    size: usize,
    figures: Figures,
}

/// Measures all loads of up to `largest` rules; the files of the first three sizes come from `folder`, if there is one.
///
/// # Errors
///
/// When a file of the folder can't be used.
pub fn table(
    settings: &Settings,
    folder: Option<&Path>,
    largest: usize,
    command: &str,
) -> Result<(String, bool), classbench::Error> {
    let start = Instant::now();
    let classic = [Family::Acl, Family::Fw, Family::Ipc];
    let others = [Family::Ipv6, Family::Zoned, Family::Miss];
    let loads = SIZES
        .iter()
        .flat_map(|size| classic.map(|family| (family, *size)))
        .chain(OTHER_SIZES.iter().flat_map(|size| others.map(|family| (family, *size))))
        .filter(|(_, size)| *size <= largest);
    let mut rows = Vec::new();
    for (family, size) in loads {
        let began = Instant::now();
        let figures = measure(&row_load(family, size, folder)?, settings);
        eprintln!(
            "{family} {size}: batched {:.1} ns, {} wrong of {}, in {:.1} s",
            figures.batched_ns,
            figures.mismatches,
            figures.lookups,
            began.elapsed().as_secs_f64()
        );
        rows.push(Row { family, size, figures });
    }
    let right = rows.iter().all(|row| row.figures.mismatches == 0);
    Ok((section(&rows, settings, folder.is_some(), command, start.elapsed()), right))
}

/// Files of the three ClassBench families, if there is a folder; the largest set may be missing.
fn row_load(family: Family, size: usize, folder: Option<&Path>) -> Result<Load, classbench::Error> {
    let path = |folder: &Path, kind: &str| {
        let packed = folder.join(format!("{family}1_{size}.{kind}.zst"));
        if packed.exists() { packed } else { packed.with_extension("") }
    };
    let folder = match family {
        Family::Acl | Family::Fw | Family::Ipc => {
            folder.filter(|folder| size < LARGEST || path(folder, "rules").exists())
        }
        _ => None,
    };
    match folder {
        Some(folder) => classbench::load(&path(folder, "rules"), &path(folder, "trace")),
        None => Ok(load(family, size, headers_for(family, size), SEED)),
    }
}

fn section(
    rows: &[Row],
    settings: &Settings,
    from_files: bool,
    command: &str,
    took: Duration,
) -> String {
    let mut text = String::new();
    let model = machine::cpu_model().unwrap_or_else(|| "unknown processor".to_owned());
    let source = match from_files {
        true => "ClassBench sets up to 100,000 rules, the rest made by this program",
        false => "sets made by this program",
    };
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "## Classifier\n\n\
         `{command}`: {model}, {vectors}, one core for lookups; {source}, seed {SEED}; medians of \
         {rounds} rounds in which the engines take turns; {seconds} s in all. Batches and bursts \
         are of 256 headers. Times are the processor's for the thread; p99 is the clock's: 99 of \
         100 lookups stay below, each timed alone, the clock's own {clock} ns subtracted.\n\n\
         ns per lookup\n\n\
         | load | rules | linear scan | tuple space search | rte_acl | batched | one at a time | \
         p99 | rte_acl / batched |\n|---|---|---|---|---|---|---|---|---|\n",
        vectors = machine::vectors(),
        rounds = settings.rounds,
        seconds = took.as_secs(),
        clock = machine::clock_cost().as_nanos(),
    );
    for Row { family, size, figures } in rows {
        let peer = |name: &str| figures.peers.iter().find(|peer| peer.name == name);
        let ns = |name: &str| optional(peer(name).and_then(|peer| peer.ns), 0);
        let ratio = peer("rte_acl").and_then(|peer| peer.ns).map(|ns| ns / figures.batched_ns);
        let _ = writeln!(
            text,
            "| {family} {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.0} | {} |",
            short(*size),
            figures.rules,
            ns("linear scan"),
            ns("tuple space search"),
            ns("rte_acl"),
            figures.batched_ns,
            figures.scalar_ns,
            figures.p99_ns,
            optional(ratio, 1),
        );
    }
    let _ = write!(
        text,
        "\nBuilding, memory, updates ({} of them, {} reader{}), answers\n\n\
         | load | build ms | rte_acl build ms | bytes a rule | updates/s | p99 us | readers lose % \
         | wrong answers |\n|---|---|---|---|---|---|---|---|\n",
        settings.updates,
        settings.readers,
        if settings.readers == 1 { "" } else { "s" },
    );
    for Row { family, size, figures } in rows {
        let rte_acl = figures.peers.iter().find(|peer| peer.name == "rte_acl");
        let _ = writeln!(
            text,
            "| {family} {} | {:.1} | {} | {} | {} | {} | {} | {} of {} |",
            short(*size),
            figures.build_ms,
            optional(rte_acl.and_then(|peer| peer.build_ms), 0),
            optional(figures.bytes_per_rule, 0),
            optional(figures.updates_per_s, 0),
            optional(figures.update_p99_us, 2),
            optional(figures.reader_loss.map(|loss| loss * 100.0), 1),
            figures.mismatches,
            figures.lookups,
        );
    }
    text.push_str(&growth(rows));
    text.push_str(&ratios(rows));
    text.push_str(&notes(rows));
    text
}

/// Speed beside the linear scan of the same run, and beside that of two public engines.
fn ratios(rows: &[Row]) -> String {
    let mut text = String::new();
    for Row { family, size, figures } in rows {
        let public = PUBLIC.iter().find(|public| (public.0, public.1) == (*family, *size));
        let linear = figures.peers.iter().find(|peer| peer.name == "linear scan");
        let (Some((_, _, scan, dbtable, dynamic)), Some(linear)) =
            (public, linear.and_then(|peer| peer.ns))
        else {
            continue;
        };
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "| {family} {} | {:.0} | {:.0} | {:.0} | {:.0} |",
            short(*size),
            linear / figures.batched_ns,
            linear / figures.scalar_ns,
            scan / dbtable,
            scan / dynamic,
        );
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "\nTimes as fast as the linear scan of the same run. DBTable and DynamicTuple, the best \
         public engines for lookups one at a time, by their figures and a linear scan's on an EPYC \
         with AVX-512\n\n\
         | load | batched | one at a time | DBTable | DynamicTuple |\n|---|---|---|---|---|\n{text}"
    )
}

/// Time at the largest size against that at the smallest, by family.
fn growth(rows: &[Row]) -> String {
    let batched = |family: Family, size: usize| {
        let row = rows.iter().find(|row| row.family == family && row.size == size);
        row.map(|row| row.figures.batched_ns)
    };
    let ratios: Vec<String> = [Family::Acl, Family::Fw, Family::Ipc]
        .into_iter()
        .filter_map(|family| {
            let ratio = batched(family, LARGEST)? / batched(family, SMALLEST)?;
            Some(format!("{family} {ratio:.1}"))
        })
        .collect();
    if ratios.is_empty() {
        return String::new();
    }
    let (smallest, largest) = (short(SMALLEST), short(LARGEST));
    format!("\nBatched, time at {largest} rules over time at {smallest}: {}.\n", ratios.join(", "))
}

/// What peers say besides their figures, each thing once.
fn notes(rows: &[Row]) -> String {
    let mut notes: Vec<String> = Vec::new();
    let noted = |peer: &&Peer| !peer.note.is_empty() || peer.mismatches.unwrap_or(0) > 0;
    for peer in rows.iter().flat_map(|row| row.figures.peers.iter().filter(noted)) {
        let wrong = match peer.mismatches.unwrap_or(0) {
            0 => String::new(),
            wrong => format!(" ({wrong} wrong answers)"),
        };
        let note = format!("{}: {}{wrong}", peer.name, peer.note);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    match notes.is_empty() {
        true => String::new(),
        false => format!("\nPeers: {}.\n", notes.join("; ")),
    }
}

/// 1k, 10k, 1M.
fn short(size: usize) -> String {
    match size {
        1_000_000.. => format!("{}M", size / 1_000_000),
        1_000.. => format!("{}k", size / 1_000),
        _ => size.to_string(),
    }
}
