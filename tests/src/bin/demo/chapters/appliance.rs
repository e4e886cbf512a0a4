//! The old appliance's fault, reproduced with plain iptables.
//!
//! A new session gets a mark with its rule's number; CONNMARK keeps it, and later packets are
//! decided by the number that was kept. So a session outlives the meaning of its number. The fault
//! has to show: this chapter holds when it does, and when there was none before the first change.

use crate::chapter::{Chapter, Scene};
use crate::error::{Error, io};
use crate::flows::{Flow, Traffic};
use crate::ledger::{self, Entry, Firewall};
use crate::phases::{CHANGES, Phase, Rule, START};
use crate::system::{self, NFT, PING};
use crate::witness::{self, Direction, Reading};
use crate::{chapters::settle, page};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use twinwall_testbed::Gateway;

pub(crate) const CHAPTER: Chapter =
    Chapter { name: "appliance", title: "The old appliance's fault, on iptables", run };

/// What counts as the fault: far more packets than can be under way while rules are exchanged.
const MANY: u64 = 100;

/// The two kinds of iptables, by the prefix of their programs. The first is what Debian uses.
const KINDS: [&str; 2] = ["iptables", "iptables-legacy"];

/// The gateway with one kind of iptables.
struct Appliance {
    gateway: Gateway,
    kind: &'static str,
    /// Where the rules are written to be loaded.
    folder: PathBuf,
    counted: BTreeMap<String, u64>,
}

fn run(scene: &mut Scene<'_>) -> Result<(), Error> {
    page::paragraph(
        "The mangle table marks a new session with the number of the rule that matches it (upper \
         half of the mark) and with a bit that says 'classified' (the lowest). CONNMARK saves the \
         mark with the session and restores it for every later packet, replies among them, which \
         then skips the rules. The filter table accepts or drops by the number, and counts. What \
         no rule accepts is dropped.",
    );
    let testbed = scene.testbed()?;
    let gateway = testbed.gateway("gw-a")?;
    system::require(&gateway, &[PING, NFT])?;
    witness::install(&gateway)?;
    let mut appliance = Appliance::start(gateway, &testbed.record().folder)?;
    page::paragraph(&format!("Loaded with {}.", appliance.version()?));
    scene.figure("iptables", appliance.version()?);

    scene.step(START.name, START.change)?;
    let mut traffic = Traffic::start(&testbed)?;
    let now = settle(scene, &appliance.gateway, &mut traffic, &Reading::default())?;
    let started = now.arrived(Flow::Ping, Direction::Original);
    let entries = appliance.account(&START, &now)?;
    show(scene, &START, &entries, &appliance);
    scene.check_none("start: packets on a wrong rule", ledger::wrong(&entries));

    for phase in &CHANGES {
        scene.step(phase.name, phase.change)?;
        let before = appliance.load(phase)?;
        let now = settle(scene, &appliance.gateway, &mut traffic, &before)?;
        let entries = appliance.account(phase, &now.since(&before))?;
        show(scene, phase, &entries, &appliance);
        let wrong = ledger::wrong(&entries);
        scene.check_many(format!("{}: packets on a wrong rule", phase.name), MANY, wrong);
        let through = ledger::let_through(&entries);
        if phase.rules.iter().any(|rule| !rule.accepts) {
            let name = format!("{}: packets passed that it drops", phase.name);
            scene.check_many(name, MANY, through);
        }
    }
    page::paragraph(
        "The sessions still carry the marks 30 and 50 that they got at the start. What these \
         numbers stand for has changed, and nothing has told the sessions.",
    );
    let (stream, ping) = traffic.stop(started)?;
    scene.figure("stream", stream);
    scene.figure("ping", ping);
    testbed.down()?;
    Ok(())
}

/// Shows a step: what the witness saw, and what iptables says of itself a moment later.
fn show(scene: &mut Scene<'_>, phase: &Phase, entries: &[Entry], appliance: &Appliance) {
    page::raw(&format!("\n{}", ledger::table(entries)));
    let counted: Vec<String> = appliance
        .counted
        .iter()
        .filter(|(_, packets)| **packets > 0)
        .map(|(name, packets)| format!("{name} {}", page::number(*packets)))
        .collect();
    page::raw(&format!("  iptables' own counters: {}\n", counted.join(", ")));
    scene.figure(phase.name, entries);
    scene.figure(format!("{}_counters", phase.name), &appliance.counted);
}

impl Appliance {
    /// Loads the first policy, with the first kind of iptables that can.
    fn start(gateway: Gateway, folder: &Path) -> Result<Self, Error> {
        let mut reasons = Vec::new();
        for kind in KINDS {
            let appliance = Self {
                gateway: gateway.clone(),
                kind,
                folder: folder.to_owned(),
                counted: BTreeMap::new(),
            };
            let path = appliance.write(&START)?;
            let restore = gateway.command(format!("{kind}-restore"))?.arg(path).output()?;
            match restore.code() {
                0 => return Ok(appliance),
                127 => reasons.push(format!("`{kind}-restore` is missing")),
                _ => reasons.push(format!("{kind}-restore says: {}", restore.stderr.trim())),
            }
        }
        Err(Error::Missing(format!(
            "iptables with its matches mark, comment and its targets MARK, CONNMARK is needed \
             (Debian package iptables); {}",
            reasons.join("; ")
        )))
    }

    fn write(&self, phase: &Phase) -> Result<PathBuf, Error> {
        let path = self.folder.join(phase.name).with_extension("iptables");
        let attempt = format!("write {}", path.display());
        fs::write(&path, phase.appliance).map_err(io(attempt)).map(|()| path)
    }

    /// Exchanges the rules as the appliance did, all at once, and reads the witness at once.
    fn load(&self, phase: &Phase) -> Result<Reading, Error> {
        let path = self.write(phase)?;
        let script = format!("{}-restore \"$0\" && exec {}", self.kind, witness::PRINT);
        let command = self.gateway.command("sh")?.arg("-c").arg(script).arg(path);
        Reading::parse(&command.json()?)
    }

    /// Accounts for a step from the witness and from iptables' own counters, which begin at zero
    /// with each policy.
    fn account(&mut self, phase: &Phase, window: &Reading) -> Result<Vec<Entry>, Error> {
        let saved = self.gateway.run(&format!("{}-save", self.kind), &["-c", "-t", "filter"])?;
        self.counted = counters(&saved);
        Ok(ledger::account(phase, window, self))
    }

    fn version(&self) -> Result<String, Error> {
        Ok(self.gateway.run(self.kind, &["--version"])?.trim().to_owned())
    }
}

impl Firewall for Appliance {
    fn rule_of(&self, mark: u32, phase: &Phase) -> Option<Rule> {
        phase.numbered(mark >> 16)
    }

    fn counted(&self) -> &BTreeMap<String, u64> {
        &self.counted
    }
}

/// The packets of each rule of the filter table, by its comment without the number.
fn counters(saved: &str) -> BTreeMap<String, u64> {
    let rule = |line: &str| {
        let (packets, rest) = line.strip_prefix('[')?.split_once(':')?;
        let comment = rest.split_once("--comment ")?.1;
        let comment = match comment.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => comment.split_whitespace().next()?,
        };
        let name = comment.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        Some((name.to_owned(), packets.parse().ok()?))
    };
    saved.lines().filter_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_rule() {
        let saved = "*filter\n:FORWARD DROP [0:0]\n\
            [402:36984] -A FORWARD -m mark --mark 0x1e0000/0xffff0000 -m comment \
            --comment \"30 stream\" -j ACCEPT\n\
            [7:588] -A FORWARD -m comment --comment \"no rule\" -j DROP\nCOMMIT\n";
        let expected = [("stream".to_owned(), 402), ("no rule".to_owned(), 7)];
        assert_eq!(counters(saved), expected.into());
    }

    #[test]
    fn number_in_the_mark_means_what_the_loaded_policy_says() {
        let [renumbered, ..] = CHANGES;
        let number = |phase: &Phase, mark: u32| phase.numbered(mark >> 16).map(|rule| rule.name);
        assert_eq!(number(&START, 0x001e_0001), Some("stream"));
        assert_eq!(number(&renumbered, 0x001e_0001), Some("client-all"));
        assert_eq!(number(&renumbered, 0x0032_0001), None);
    }
}
