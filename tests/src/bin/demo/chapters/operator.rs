//! What an operator sees: `twinwall rules --hits`, `sessions` and `explain` with live sessions.

use crate::chapter::{Chapter, Scene};
use crate::chapters::{PATIENCE, twinwall_testbed};
use crate::error::Error;
use crate::flows::{CLIENT_PORT, Flow, SERVER_PORT, Traffic};
use crate::page::{self, number};
use crate::phases::START;
use twinwall_control::report;
use twinwall_testbed::Gateway;
use twinwall_testbed::topology::OUTSIDE_V4;

pub(crate) const CHAPTER: Chapter =
    Chapter { name: "operator", title: "What an operator sees", run };

/// Packets that each rule has to count before the picture is taken.
const HITS: u64 = 100;

/// Lines that are shown of the beginning and of the end of a long output.
const SHOWN: usize = 9;

fn run(scene: &mut Scene<'_>) -> Result<(), Error> {
    let (testbed, gateway) = twinwall_testbed(scene)?;
    let traffic = Traffic::start(&testbed)?;
    let rules = wait_for_hits(scene, &gateway)?;
    let client = testbed.node("client")?.v4();

    scene.step("rules", "what has each rule decided?")?;
    let shown = show(&gateway, &["rules", "--hits"])?;
    for rule in START.rules {
        let hits = rules.rules.iter().find(|line| line.name == rule.name);
        let line = shown.lines().find(|line| line.split_whitespace().any(|word| word == rule.name));
        let seen = hits.map_or(0, |line| line.packets);
        scene.check(
            format!("rules --hits: packets of {}", rule.name),
            format!("{} or more", number(HITS)),
            number(seen),
            seen >= HITS && line.is_some(),
        );
    }

    scene.step("sessions", "which rule decides each session?")?;
    show(&gateway, &["sessions"])?;
    let sessions: report::Sessions =
        gateway.command("twinwall")?.args(["sessions", "--json"]).json()?;
    for flow in Flow::ALL {
        let listed = sessions.sessions.iter().find(|session| session.protocol == flow.protocol());
        let seen = listed.and_then(|session| session.rule.as_deref()).unwrap_or("none");
        let expected = START.decides(flow).map_or("none", |rule| rule.name);
        scene.check(format!("sessions: rule of the {}", flow.name()), expected, seen, {
            seen == expected
        });
    }

    scene.step("explain", "why are they decided like this?")?;
    let (source, server) = (client.to_string(), OUTSIDE_V4.to_string());
    // With many rules the reasons of most of them are left out.
    let brief: &[&str] = if scene.settings.rules > 0 { &["--brief"] } else { &[] };
    let stream = [format!("{source}:{CLIENT_PORT}"), format!("{server}:{SERVER_PORT}")];
    for flow in Flow::ALL {
        let [from, to] = match flow {
            Flow::Stream => stream.each_ref().map(String::as_str),
            Flow::Ping => [source.as_str(), server.as_str()],
        };
        let flow_of = ["--from", "lan", "--to", "wan", flow.protocol(), from, to];
        let question = [&["explain"], brief, flow_of.as_slice()].concat();
        show(&gateway, &question)?;
        let command = gateway.command("twinwall")?.args(&question).arg("--json");
        let answer: report::Explain = command.json()?;
        let expected = START.decides(flow).map_or("none", |rule| rule.name);
        let live = answer.session.and_then(|session| session.rule);
        let held = answer.rule == expected && live.as_deref() == Some(expected);
        let seen = match live {
            Some(live) if live != answer.rule => format!("{}, session {live}", answer.rule),
            Some(_) => answer.rule,
            None => format!("{}, no session", answer.rule),
        };
        let name = format!("explain: rule of the {} and its session", flow.name());
        scene.check(name, expected, seen, held);
    }
    drop(traffic);
    testbed.down()?;
    Ok(())
}

/// Waits until both rules have counted packets and know when the last one was.
fn wait_for_hits(scene: &Scene<'_>, gateway: &Gateway) -> Result<report::Rules, Error> {
    scene.wait("the hits of both rules", PATIENCE, || {
        let rules: report::Rules = gateway.command("twinwall")?.args(["rules", "--json"]).json()?;
        let hits = START.rules.map(|rule| {
            let line = rules.rules.iter().find(|line| line.name == rule.name);
            line.filter(|line| line.last_hit.is_some()).map_or(0, |line| line.packets)
        });
        if hits.iter().all(|&packets| packets >= HITS) {
            return Ok(Ok(rules));
        }
        Ok(Err(format!("so far {} and {} packets", hits[0], hits[1])))
    })
}

/// Runs `twinwall` in the gateway and shows what it prints; the middle of long output is left out.
fn show(gateway: &Gateway, arguments: &[&str]) -> Result<String, Error> {
    let output = gateway.twinwall(arguments)?.success()?.stdout;
    page::raw(&format!("\n$ twinwall {}\n", arguments.join(" ")));
    let lines: Vec<&str> = output.lines().collect();
    let omitted = lines.len().saturating_sub(2 * SHOWN);
    for (index, line) in lines.iter().enumerate() {
        if omitted < 2 || index < SHOWN || index >= lines.len() - SHOWN {
            page::raw(&format!("{line}\n"));
        } else if index == SHOWN {
            let omitted = number(omitted.try_into().unwrap_or(u64::MAX));
            page::raw(&format!("... {omitted} lines more ...\n"));
        }
    }
    Ok(output)
}
