//! A pair of gateways, and 100 TCP sessions that live through all that happens to it: a reload, the
//! death of the active gateway, its return, a handover in good order and the way back.
//!
//! Whatever a busy machine does to the times, no session may be lost, reset or decided by another
//! rule; stalls have a hard limit, and the aim beside it.

use crate::chapter::{Chapter, Scene};
use crate::chapters::PATIENCE;
use crate::error::Error;
use crate::page::{self, number};
use crate::pair::bed::{self, Bed};
use crate::pair::sessions::{ALL, EACH, Ends, Sessions};
use crate::pair::timeline::{self, Mark, Moment, SLOT_MS, STALL_MS, Timeline};
use crate::pair::watch::Watch;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};
use twinwall_testbed::clock;
use twinwall_testbed::scenario::fault::Fault;
use twinwall_testbed::scenario::pair::Side;

pub(crate) const CHAPTER: Chapter =
    Chapter { name: "pair", title: "A pair, and 100 sessions that live on", run };

/// How long nothing is done, so that the traffic shows what came of what was done before.
const QUIET: Duration = Duration::from_millis(1_800);

/// What no stall may reach, in milliseconds: a retransmission that was itself lost twice.
const STALL_LIMIT: f64 = 3_000.0;

/// Packets that each rule has to count to be the one that decides.
const HITS: u64 = 500;

/// The rules that decide the client's sessions and the server's, at first and after the reload.
const DECIDERS: [[&str; 2]; 2] = [["stream", "published"], ["client-all", "published"]];

/// The pair, its sessions, and what has been done so far.
struct Story {
    bed: Bed,
    sessions: Sessions,
    watch: Watch,
    zero: u64,
    moments: Vec<Moment>,
}

fn run(scene: &mut Scene<'_>) -> Result<(), Error> {
    page::paragraph(
        "Two gateways share their addresses by VRRP and replicate their sessions. The client opens \
         50 TCP sessions to the server, which sees them under the shared address 203.0.113.1; the \
         server opens 50 to that address, which lead to a host in the DMZ. In each session both \
         ends send 100 bytes every 20 ms and check what comes.",
    );
    page::raw("\n  client 10.0.0.5 ------+---- gw-a ----+------ server 198.51.100.7\n");
    page::raw("  dmz    10.20.0.10 ----+---- gw-b ----+\n");
    let bed = Bed::up(scene)?;
    let mut story = begin(scene, bed)?;
    match tell(scene, &mut story) {
        // What the sessions saw until then says most about why.
        Err(error) if !matches!(error, Error::Interrupted) => {
            let _ = end(scene, story);
            Err(error)
        }
        told => told.and_then(|()| end(scene, story)),
    }
}

fn tell(scene: &mut Scene<'_>, story: &mut Story) -> Result<(), Error> {
    reload(scene, story)?;
    death(scene, story)?;
    failback(scene, story)?;
    handover(scene, story, Side::A, "handover", "gw-a hands over", &["failover", "now"])?;
    handover(scene, story, Side::B, "back", "gw-a takes back", &["failover", "back"])
}

fn begin(scene: &mut Scene<'_>, bed: Bed) -> Result<Story, Error> {
    scene.step("sessions", "100 TCP sessions begin; gw-a is active")?;
    let watch = Watch::start(&[bed.gateway(Side::A), bed.gateway(Side::B)]);
    let sessions = Sessions::start(bed.testbed())?;
    let mut story = Story { bed, sessions, watch, zero: 0, moments: Vec::new() };
    story.check_alike(scene, "sessions")?;
    let slot = SLOT_MS * 1_000_000;
    story.zero = clock::now() / slot * slot;
    story.quiet(scene)?;
    story.check_rules(scene, "sessions", Side::A)?;
    Ok(story)
}

fn reload(scene: &mut Scene<'_>, story: &mut Story) -> Result<(), Error> {
    scene.step("reload", "client-all comes before stream; published is renumbered, 50 to 40")?;
    story.mark("reload", "policy reload");
    let applied = story.bed.change_policy(scene, Side::A)?;
    let old = |story: &Story| -> Result<Vec<u64>, Error> {
        let hits = |side| Ok(story.bed.hits(side)?.get("stream").copied().unwrap_or(0));
        [Side::A, Side::B].into_iter().map(hits).collect()
    };
    let before = old(story)?;
    story.settle();
    story.quiet(scene)?;
    let late: u64 = old(story)?.iter().zip(before).map(|(now, then)| now - then.min(*now)).sum();
    let counts = &applied.sessions;
    page::paragraph(&format!(
        "gw-a: in force after {:.1} ms; {} sessions moved to another rule, {} ended. gw-b has the \
         same policy.",
        applied.effective_ms, counts.remarked, counts.ended
    ));
    scene.figure("reload_apply", &applied);
    // Sessions of the gateway itself may move too.
    scene.check_many("reload: sessions moved to another rule", count(EACH), counts.remarked);
    scene.check_none("reload: sessions ended", counts.ended);
    scene.check_none("reload: packets on the old rule since", late);
    story.check_alike(scene, "reload")?;
    story.check_rules(scene, "reload", Side::A)
}

fn death(scene: &mut Scene<'_>, story: &mut Story) -> Result<(), Error> {
    scene.step("death", "gw-a dies: nothing leaves its ports, its daemon is killed")?;
    let died = Fault::Silent(Side::A).begin(story.bed.testbed())?;
    story.mark_at("death", "gw-a dies", died);
    story.bed.gateway(Side::A).kill9()?;
    story.bed.wait_takeover(scene, Side::B)?;
    story.settle();
    story.quiet(scene)?;
    page::paragraph("gw-b is active. gw-a's kernel forgets everything, as by a power cut.");
    story.bed.forget(Side::A)?;
    story.check_rules(scene, "death", Side::B)
}

fn failback(scene: &mut Scene<'_>, story: &mut Story) -> Result<(), Error> {
    scene.step("return", "gw-a comes back, gets every session, then takes over again")?;
    let returned = Fault::Silent(Side::A).end(story.bed.testbed())?;
    story.mark_at("return", "gw-a returns", returned);
    story.settle();
    story.bed.gateway(Side::A).launch()?;
    story.bed.gateway(Side::A).wait_ready(PATIENCE)?;
    story.bed.wait_active(scene, Side::A)?;
    let active = story.watch.active_since(story.bed.gateway(Side::A));
    story.mark_at("fail-back", "fail-back", active.unwrap_or_else(clock::now).max(returned));
    story.settle();
    story.quiet(scene)?;
    let gateway = story.bed.gateway(Side::A);
    let had = scene.wait("gw-a's answer after it took over", PATIENCE, || {
        let had = story.watch.sessions_at_takeover(gateway, returned);
        Ok(had.ok_or_else(|| "there was none yet".to_owned()))
    })?;
    page::paragraph(&format!("It had {had} of the {ALL} sessions when it took over."));
    scene.check("fail-back: sessions on gw-a at the takeover", ALL, had, had == ALL);
    story.bed.wait_complete(scene)?;
    story.check_alike(scene, "fail-back")?;
    story.check_rules(scene, "fail-back", Side::A)
}

/// The active gateway changes at an operator's word.
fn handover(
    scene: &mut Scene<'_>,
    story: &mut Story,
    from: Side,
    name: &'static str,
    label: &'static str,
    words: &[&str],
) -> Result<(), Error> {
    let to = from.other();
    scene.step(name, &format!("{label}: `twinwall {}` on gw-a", words.join(" ")))?;
    story.mark(name, label);
    story.bed.gateway(Side::A).twinwall(words)?.success()?;
    story.bed.wait_active(scene, to)?;
    story.settle();
    story.quiet(scene)?;
    page::paragraph(&format!("{} is active.", to.name()));
    story.bed.wait_complete(scene)?;
    story.check_alike(scene, name)?;
    story.check_rules(scene, name, to)
}

fn end(scene: &mut Scene<'_>, story: Story) -> Result<(), Error> {
    scene.step("end", "all sessions end in good order, and both ends compare what they have")?;
    let stopped = clock::now();
    let ends = story.sessions.stop()?;
    let nodes = story.watch.finish(story.zero, stopped);
    let timeline = timeline::assemble(story.zero, stopped, &story.moments, &ends, nodes);
    scene.figure("longest_stalls", timeline::longest(story.zero, &ends));
    check_stalls(scene, &timeline);
    check_ends(scene, &ends);
    scene.timeline(timeline);
    scene.group_checks(&["sessions", "reload", "death", "return", "fail-back", "handover", "back"]);
    story.bed.down()
}

/// What each event did to the sessions.
fn check_stalls(scene: &mut Scene<'_>, timeline: &Timeline) {
    page::raw(&format!(
        "\n  {:18}{:>9}{:>10}{:>24}\n",
        "", "alive", "stalled", "longest stall, ms"
    ));
    for mark in &timeline.marks {
        let Mark { name, label, alive, stalled, .. } = mark;
        let longest = mark.longest();
        page::raw(&format!("  {label:18}{alive:>9}{stalled:>10}{longest:>24.0}\n"));
        scene.check(format!("{name}: sessions alive afterwards"), ALL, alive, *alive == ALL);
        scene.check(
            format!("{name}: longest stall, aim {STALL_MS:.0} ms"),
            format!("under {} ms", number(3_000)),
            format!("{longest:.0} ms"),
            longest < STALL_LIMIT,
        );
    }
    page::raw(&format!(
        "  stalled: something was under way for more than {STALL_MS:.0} ms, the aim\n"
    ));
}

/// What the ends of the sessions say.
fn check_ends(scene: &mut Scene<'_>, ends: &Ends) {
    let totals = ends.totals();
    scene.check("end: sessions whole, the same as at first", ALL, totals.whole, {
        totals.whole == ALL
    });
    scene.check("end: sessions by the shared address", ALL, totals.translated, {
        totals.translated == ALL
    });
    scene.check_none("end: sessions reset", count(totals.reset));
    let held = totals.sent == totals.received && totals.sent > 0;
    let (sent, received) = (number(totals.sent), number(totals.received));
    scene.check("end: bytes sent, received", sent, received, held);
    scene.check_none("end: wrong bytes received", totals.corrupt);
    scene.figure("sessions", totals);
}

impl Story {
    /// Something is done now.
    fn mark(&mut self, name: &'static str, label: &'static str) {
        self.mark_at(name, label, clock::now());
    }

    /// Something was done at a reading of the clock.
    fn mark_at(&mut self, name: &'static str, label: &'static str, at: u64) {
        self.moments.push(Moment { name, label, at, settled: at });
    }

    /// From now on what was done last is over: what is sent has to arrive.
    fn settle(&mut self) {
        if let Some(last) = self.moments.last_mut() {
            last.settled = clock::now();
        }
    }

    /// Does nothing for a while.
    fn quiet(&mut self, scene: &Scene<'_>) -> Result<(), Error> {
        let until = Instant::now() + QUIET;
        scene.wait("the traffic of one step", QUIET + PATIENCE, || {
            self.sessions.check()?;
            Ok(if Instant::now() >= until { Ok(()) } else { Err(String::new()) })
        })
    }

    /// Checks that both gateways have the same sessions.
    fn check_alike(&self, scene: &mut Scene<'_>, step: &str) -> Result<(), Error> {
        let found = self.bed.compare(scene)?;
        scene.check(format!("{step}: the same sessions on both"), ALL, found.alike, {
            found.alike == ALL && found.differing == 0
        });
        let name = format!("{step}: sessions with different rules");
        scene.check_none(name, count(found.decided_differently));
        Ok(())
    }

    /// Checks that the right rules decide the sessions on a gateway, and go on counting.
    fn check_rules(&self, scene: &mut Scene<'_>, step: &str, side: Side) -> Result<(), Error> {
        let changed = self.moments.iter().any(|moment| moment.name == "reload");
        let [before, after] = DECIDERS;
        let rules = if changed { after } else { before };
        let deciders = self.bed.deciders(side)?;
        // All of them, should one be where none is expected.
        scene.figure(format!("{step}_deciders"), &deciders);
        let each = rules.map(|rule| deciders.get(rule).copied().unwrap_or(0));
        let held = each == [EACH; 2] && deciders.values().sum::<usize>() == ALL;
        let name = format!("{step}: sessions on {}", rules.join(", "));
        let [first, second] = each;
        scene.check(name, format!("{EACH}, {EACH}"), format!("{first}, {second}"), held);
        let least = |earlier: &BTreeMap<String, u64>| {
            let now = self.hits();
            let of = |hits: &BTreeMap<String, u64>, rule| hits.get(rule).copied().unwrap_or(0);
            let more = |rule| of(&now, rule).saturating_sub(of(earlier, rule));
            rules.into_iter().map(more).min().unwrap_or(0)
        };
        let earlier = self.hits();
        let seen = scene.wait("the hits of both rules", PATIENCE, || {
            thread::sleep(bed::RESPITE);
            let seen = least(&earlier);
            Ok(if seen >= HITS { Ok(seen) } else { Err(format!("so far {seen}")) })
        })?;
        scene.check_many(format!("{step}: packets that each counts since"), HITS, seen);
        Ok(())
    }

    /// Packets that each rule has counted, on both gateways together: on a machine that is so busy
    /// that the active one gives up for a moment, both count. One that is dead counts nothing.
    fn hits(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for hits in [Side::A, Side::B].into_iter().filter_map(|side| self.bed.hits(side).ok()) {
            for (rule, packets) in hits {
                *all.entry(rule).or_default() += packets;
            }
        }
        all
    }
}

fn count(items: usize) -> u64 {
    items.try_into().unwrap_or(u64::MAX)
}
