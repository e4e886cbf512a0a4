//! The same traffic and the same changes, with Twinwall.
//!
//! Sessions and counters stay with their rule when it is renumbered, move with the next packet
//! when another rule has to decide, and end when their rule drops, whichever side is sending.

use crate::chapter::{Chapter, Scene};
use crate::chapters::{settle, twinwall_testbed};
use crate::error::Error;
use crate::flows::{Flow, PingEnds, StreamEnds, Traffic};
use crate::ledger::{self, Entry, Firewall};
use crate::page::{self, number};
use crate::phases::{self, CHANGES, Phase, Rule, START};
use crate::witness::{self, Direction, Reading};
use serde::Serialize;
use serde_json::{Deserializer, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use twinwall_control::report;
use twinwall_testbed::Gateway;

pub(crate) const CHAPTER: Chapter =
    Chapter { name: "twinwall", title: "The same with Twinwall", run };

/// How often one rule is changed to see how long a reload takes, and how often at most on a machine
/// that is so busy that none of these was undisturbed.
const RELOADS: usize = 9;
const MOST_RELOADS: usize = 40;

/// What a reload of one rule may take, in milliseconds, with up to so many rules added.
const RELOAD_LIMIT: f64 = 100.0;
const RELOAD_LIMIT_HOLDS_TO: u32 = 10_000;

/// What a reload took, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct ReloadTime {
    /// Until no packet was decided by the old policy.
    effective_ms: f64,
    /// Until the last session was looked at.
    total_ms: f64,
}

/// The gateway, and what is known of its session keys.
struct Twinwall {
    gateway: Gateway,
    folder: PathBuf,
    mask: u32,
    rules: u32,
    /// The rule of each session key that a session has had.
    keys: BTreeMap<u32, String>,
    /// Packets of each rule during the step.
    counted: BTreeMap<String, u64>,
}

/// A change of policy, and the state right after it.
struct Change {
    apply: report::Apply,
    /// What each rule had counted before.
    before: BTreeMap<String, u64>,
    /// What each rule has counted since.
    after: BTreeMap<String, u64>,
    /// The `seq` of each rule since.
    numbers: BTreeMap<String, u32>,
    reading: Reading,
}

fn run(scene: &mut Scene<'_>) -> Result<(), Error> {
    page::paragraph(
        "Twinwall marks a session with a key that stands for the rule itself, not for its number, \
         and one verdict map in the kernel decides and counts by the key. A reload takes away the \
         keys that no longer hold before it returns; it moves their sessions, or ends them.",
    );
    let (testbed, gateway) = twinwall_testbed(scene)?;
    witness::install(&gateway)?;
    let mask = gateway.status()?.mark_mask;
    let mut twinwall = Twinwall {
        gateway,
        folder: testbed.record().folder.clone(),
        mask,
        rules: scene.settings.rules,
        keys: BTreeMap::new(),
        counted: BTreeMap::new(),
    };

    scene.step(START.name, START.change)?;
    let mut traffic = Traffic::start(&testbed)?;
    let now = settle(scene, &twinwall.gateway, &mut traffic, &Reading::default())?;
    let started = now.arrived(Flow::Ping, Direction::Original);
    let hits = twinwall.hits()?;
    twinwall.learn_keys()?;
    let entries = twinwall.account(&START, &now, &BTreeMap::new(), &hits);
    twinwall.show(scene, &START, &entries);

    for phase in &CHANGES {
        scene.step(phase.name, phase.change)?;
        let change = twinwall.load(phase)?;
        describe(scene, phase, &change.apply);
        let now = settle(scene, &twinwall.gateway, &mut traffic, &change.reading)?;
        let hits = twinwall.hits()?;
        twinwall.learn_keys()?;
        let window = now.since(&change.reading);
        let entries = twinwall.account(phase, &window, &change.after, &hits);
        twinwall.show(scene, phase, &entries);
        check_change(scene, phase, &change, &window);
    }

    let before_end = witness::read(&twinwall.gateway)?;
    let (stream, ping) = traffic.stop(started)?;
    let end = witness::read(&twinwall.gateway)?;
    check_ends(scene, stream, ping, &end.since(&before_end));
    check_books(scene, &end, &twinwall.hits()?);
    reload_times(scene, &twinwall)?;
    testbed.down()?;
    Ok(())
}

/// What `twinwall apply` said.
fn describe(scene: &mut Scene<'_>, phase: &Phase, apply: &report::Apply) {
    let sessions = &apply.sessions;
    page::paragraph(&format!(
        "apply: in force after {:.1} ms; sessions: {} unchanged, {} moved, {} ended",
        apply.effective_ms, sessions.unchanged, sessions.remarked, sessions.ended
    ));
    scene.figure(format!("{}_apply", phase.name), apply);
}

/// What is special about each change.
fn check_change(scene: &mut Scene<'_>, phase: &Phase, change: &Change, window: &Reading) {
    let name = phase.name;
    match name {
        "renumbered" => {
            let join = |numbers: [Option<u32>; 2]| {
                numbers.map(|n| n.map_or("none".to_owned(), |n| n.to_string())).join(", ")
            };
            let expected = join(phase.rules.map(|rule| Some(rule.number)));
            let seen = join(phase.rules.map(|rule| change.numbers.get(rule.name).copied()));
            let names = phase.rules.map(|rule| rule.name).join(" and ");
            let held = expected == seen;
            scene.check(format!("{name}: numbers of {names}"), expected, seen, held);
            let kept = change.apply.sessions.unchanged;
            scene.check(format!("{name}: sessions that keep their rule"), 2, kept, kept == 2);
            for flow in Flow::ALL {
                let Some(rule) = phase.decides(flow) else { continue };
                let count =
                    |hits: &BTreeMap<String, u64>| hits.get(rule.name).copied().unwrap_or(0);
                let (before, after) = (count(&change.before), count(&change.after));
                let what = format!("{name}: hits of {} afterwards", rule.name);
                scene.check_many(what, before.max(1), after);
            }
        }
        "swapped" => {
            let sent = window.arrived(Flow::Stream, Direction::Original);
            scene.check_none(format!("{name}: packets of the client in the stream"), sent);
        }
        _ => {
            let replies = window.passed(Flow::Stream, Direction::Reply);
            let requests = window.passed(Flow::Ping, Direction::Original);
            scene.check_none(format!("{name}: packets passed to the client"), replies);
            scene.check_none(format!("{name}: packets passed to the server"), requests);
        }
    }
}

/// What the ends of the sessions saw, and the last packets after the cut.
fn check_ends(scene: &mut Scene<'_>, stream: StreamEnds, ping: PingEnds, last: &Reading) {
    page::paragraph(&format!(
        "In the end the client asks the server to stop the stream, in the same session. The \
         server sent {} datagrams and the client got the first {}; the ping got the first {} of \
         {} replies.",
        number(stream.sent),
        number(stream.received),
        number(ping.received),
        number(ping.sent)
    ));
    let (asked, passed) = (
        last.arrived(Flow::Stream, Direction::Original),
        last.passed(Flow::Stream, Direction::Original),
    );
    let stopped = asked > 0 && passed == 0 && !stream.server_told_to_stop;
    let seen = if asked == 0 {
        "never came"
    } else if stopped {
        "stopped"
    } else {
        "passed"
    };
    scene.check("dropped: the client's last word in the stream", "stopped", seen, stopped);
    scene.check_none("lost until then, of the stream", stream.lost);
    scene.check_none("lost until then, of the ping", ping.lost + ping.duplicated);
    scene.figure("stream", stream);
    scene.figure("ping", ping);
}

/// With the traffic at rest, the rules' counters and the witness have to agree to the packet.
fn check_books(scene: &mut Scene<'_>, end: &Reading, hits: &BTreeMap<String, u64>) {
    let arrived: u64 = Flow::ALL.map(|flow| end.arrived_both_ways(flow)).iter().sum();
    let counted: u64 = hits.values().sum();
    let held = arrived == counted && arrived > 0;
    scene.check("hits of all rules, by packets arrived", number(arrived), number(counted), held);
    scene.figure("packets_arrived", arrived);
    scene.figure("packets_counted", counted);
}

/// Changes one rule there and back, and shows how long that takes.
fn reload_times(scene: &mut Scene<'_>, twinwall: &Twinwall) -> Result<(), Error> {
    let [_, swapped, dropped] = &CHANGES;
    scene.step("reload", "one rule is changed, there and back")?;
    let mut times: Vec<ReloadTime> = Vec::new();
    let mut rules = 0;
    let limited = scene.settings.rules <= RELOAD_LIMIT_HOLDS_TO;
    let most = if limited { MOST_RELOADS } else { RELOADS };
    for phase in [swapped, dropped].into_iter().cycle().take(most) {
        let fast = times.iter().any(|time| time.total_ms < RELOAD_LIMIT);
        if times.len() >= RELOADS && fast {
            break;
        }
        let apply = twinwall.load(phase)?.apply;
        rules = apply.rules;
        times.push(ReloadTime { effective_ms: apply.effective_ms, total_ms: apply.total_ms });
    }
    let sorted = |field: fn(&ReloadTime) -> f64| {
        let mut values: Vec<f64> = times.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::INFINITY);
        [at(0), at(values.len() / 2), at(values.len().saturating_sub(1))]
    };
    let [effective, total] = [sorted(|time| time.effective_ms), sorted(|time| time.total_ms)];
    let rules = number(rules.try_into().unwrap_or(u64::MAX));
    page::raw(&format!(
        "\n  {:28}{:>10}{:>10}{:>10}\n",
        format!("{} reloads, {rules} rules", times.len()),
        "fastest",
        "median",
        "slowest"
    ));
    for (what, [fastest, median, slowest]) in
        [("in force after, ms", effective), ("all sessions seen after, ms", total)]
    {
        page::raw(&format!("  {what:28}{fastest:>10.1}{median:>10.1}{slowest:>10.1}\n"));
    }
    scene.figure("reloads", times);
    if !limited {
        return Ok(());
    }
    let [fastest, ..] = total;
    // Other work on the machine can only add to it, so the fastest says what a reload costs.
    scene.check(
        "reload of one rule, the fastest",
        format!("under {RELOAD_LIMIT:.0} ms"),
        format!("{fastest:.1} ms"),
        fastest < RELOAD_LIMIT,
    );
    Ok(())
}

impl Twinwall {
    /// Loads a policy as an operator does, and reads counters and witness at once before and after.
    fn load(&self, phase: &Phase) -> Result<Change, Error> {
        let path = self.folder.join(phase.name).with_extension("yaml");
        let path = if path.exists() {
            path
        } else {
            phases::write_policy(&self.folder, phase.name, phase.policy, self.rules)?
        };
        let script = format!(
            "twinwall rules --json && twinwall apply --json \"$0\" && twinwall rules --json && \
             exec {}",
            witness::PRINT
        );
        let command = self.gateway.command("sh")?.arg("-c").arg(&script).arg(&path);
        let printed = command.run()?;
        let wrong = |reason: String| Error::Output { command: script.clone(), reason };
        let mut documents = Deserializer::from_str(&printed).into_iter::<Value>();
        let mut next = || match documents.next() {
            Some(document) => document.map_err(|error| wrong(error.to_string())),
            None => Err(wrong("it ended too early".to_owned())),
        };
        let [before, apply, after] = [next()?, next()?, next()?];
        let reading = Reading::parse(&next()?)?;
        let rules =
            |document| serde_json::from_value(document).map_err(|error| wrong(error.to_string()));
        let (before, after): (report::Rules, report::Rules) = (rules(before)?, rules(after)?);
        let numbers = after.rules.iter().filter_map(|rule| Some((rule.name.clone(), rule.seq?)));
        let numbers = numbers.collect();
        let apply = serde_json::from_value(apply).map_err(|error| wrong(error.to_string()))?;
        Ok(Change { apply, before: hits(before), after: hits(after), numbers, reading })
    }

    /// What each rule has counted.
    fn hits(&self) -> Result<BTreeMap<String, u64>, Error> {
        Ok(hits(self.gateway.command("twinwall")?.args(["rules", "--json"]).json()?))
    }

    /// Learns from the live sessions which rule each key stands for.
    fn learn_keys(&mut self) -> Result<(), Error> {
        let sessions = self.gateway.command("twinwall")?.args(["sessions", "--json"]);
        let sessions: report::Sessions = sessions.json()?;
        for session in sessions.sessions {
            if let Some(rule) = session.rule {
                self.keys.insert(session.key, rule);
            }
        }
        Ok(())
    }

    fn account(
        &mut self,
        phase: &Phase,
        window: &Reading,
        before: &BTreeMap<String, u64>,
        after: &BTreeMap<String, u64>,
    ) -> Vec<Entry> {
        let since = |(name, packets): (&String, &u64)| {
            (name.clone(), packets.saturating_sub(before.get(name).copied().unwrap_or(0)))
        };
        self.counted = after.iter().map(since).collect();
        ledger::account(phase, window, self)
    }

    /// Shows a step and checks that no packet went to a wrong rule: neither by the mark that it
    /// carried nor by the rules' own counters.
    fn show(&self, scene: &mut Scene<'_>, phase: &Phase, entries: &[Entry]) {
        page::raw(&format!("\n{}", ledger::table(entries)));
        scene.figure(phase.name, entries);
        let deciders: Vec<&str> =
            Flow::ALL.iter().filter_map(|flow| Some(phase.decides(*flow)?.name)).collect();
        let stray: u64 = self
            .counted
            .iter()
            .filter(|(name, _)| !deciders.contains(&name.as_str()))
            .map(|(_, packets)| packets)
            .sum();
        let name = format!("{}: packets on a wrong rule", phase.name);
        scene.check_none(name, ledger::wrong(entries).max(stray));
    }
}

impl Firewall for Twinwall {
    fn rule_of(&self, mark: u32, phase: &Phase) -> Option<Rule> {
        phase.named(self.keys.get(&(mark & self.mask))?)
    }

    fn counted(&self) -> &BTreeMap<String, u64> {
        &self.counted
    }
}

/// Packets by rule; only rules that have counted any.
fn hits(rules: report::Rules) -> BTreeMap<String, u64> {
    let counted = rules.rules.into_iter().filter(|rule| rule.packets > 0);
    counted.map(|rule| (rule.name, rule.packets)).collect()
}
