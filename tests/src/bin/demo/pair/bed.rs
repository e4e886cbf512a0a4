//! The pair's testbed: two gateways that run Twinwall, share their addresses and replicate their
//! sessions; and what the chapter asks and does there.
//!
//! The policies are files of their own, `tests/demo/pair/`, so that they can be loaded by hand; the
//! unit tests hold them to the rules here.

use crate::chapter::Scene;
use crate::chapters::PATIENCE;
use crate::error::Error;
use crate::pair::sessions::{IN_PORT, OUT_PORT};
use crate::phases;
use crate::system::{self, CONNTRACK, NFT};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;
use twinwall_control::{Request, SessionFilter, report, sync, vrrp};
use twinwall_testbed::scenario::pair::Side;
use twinwall_testbed::{Gateway, Gateways, Testbed, Vrrp};

/// The policy of both gateways at first.
const START: &str = include_str!("../../../../demo/pair/start.yaml");
/// The policy that takes its place.
const CHANGED: &str = include_str!("../../../../demo/pair/changed.yaml");

/// A gateway's state while it forwards.
pub(crate) const ACTIVE: &str = "active";
/// A gateway's state while it stands by.
pub(crate) const BACKUP: &str = "backup";

/// Between two adverts of the active gateway.
const ADVERTS: Duration = Duration::from_millis(50);

/// Between two questions that cost the gateways much: whoever asks must not be what keeps them busy.
pub(crate) const RESPITE: Duration = Duration::from_millis(250);

/// What a session is to both gateways alike: protocol, addresses, translation.
type Identity = (IpAddr, u16, IpAddr, u16, Option<String>, Option<String>);

/// The pair.
#[derive(Debug)]
pub(crate) struct Bed {
    testbed: Testbed,
    a: Gateway,
    b: Gateway,
    rules: u32,
}

/// What both gateways have, compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Sessions that both have alike.
    pub(crate) alike: usize,
    /// Sessions that only one has, or that are translated in another way.
    pub(crate) differing: usize,
    /// Sessions that the gateways would decide by different rules. One that a gateway has not
    /// decided yet is not among them: its next packet there is classified.
    pub(crate) decided_differently: usize,
}

impl Bed {
    /// Builds the pair and waits until `gw-a` is active and both agree.
    pub(crate) fn up(scene: &Scene<'_>) -> Result<Self, Error> {
        let vrrp = Vrrp { interval: ADVERTS, ..Vrrp::default() };
        let builder = Testbed::builder().gateways(Gateways::Two).vrrp(vrrp).sync(true);
        let testbed = scene.build(builder)?;
        let (a, b) = (testbed.gateway("gw-a")?, testbed.gateway("gw-b")?);
        system::require(&a, &[NFT, CONNTRACK])?;
        let rules = scene.settings.rules;
        if rules > 0 {
            phases::write_padding(&testbed.record().folder, rules)?;
        }
        let bed = Self { testbed, a, b, rules };
        bed.write(START)?;
        for gateway in [&bed.a, &bed.b] {
            // As for any pair: sessions that began without a daemon send no notifications otherwise.
            gateway.run("sysctl", &["-qw", "net.netfilter.nf_conntrack_events=1"])?;
            gateway.launch()?;
        }
        bed.a.wait_ready(PATIENCE)?;
        bed.b.wait_ready(PATIENCE)?;
        bed.wait_active(scene, Side::A)?;
        bed.wait_complete(scene)?;
        Ok(bed)
    }

    /// The testbed.
    pub(crate) const fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// Ends it.
    pub(crate) fn down(self) -> Result<(), Error> {
        Ok(self.testbed.down()?)
    }

    /// A gateway.
    pub(crate) const fn gateway(&self, side: Side) -> &Gateway {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// Waits until one gateway forwards and the other one stands by.
    pub(crate) fn wait_active(&self, scene: &Scene<'_>, side: Side) -> Result<(), Error> {
        let what = format!("{} to be active alone", side.name());
        scene.wait(&what, PATIENCE, || {
            let states = [side, side.other()].map(|side| state(self.gateway(side)));
            let right = [ACTIVE, BACKUP].into_iter().zip(&states);
            let right = right.into_iter().all(|(right, seen)| seen.as_deref().ok() == Some(right));
            Ok(if right { Ok(()) } else { Err(format!("so far {states:?}")) })
        })
    }

    /// Waits until one gateway forwards, whatever the other one does.
    pub(crate) fn wait_takeover(&self, scene: &Scene<'_>, side: Side) -> Result<(), Error> {
        scene.wait(&format!("{} to be active", side.name()), PATIENCE, || {
            let state = state(self.gateway(side))?;
            Ok(if state == ACTIVE { Ok(()) } else { Err(format!("so far it is {state}")) })
        })
    }

    /// Waits until both have everything that the other one has.
    pub(crate) fn wait_complete(&self, scene: &Scene<'_>) -> Result<(), Error> {
        scene.wait("both gateways to have everything", PATIENCE, || {
            let both = [self.sync(Side::A)?, self.sync(Side::B)?];
            let well = |one: &sync::Status| one.peer == "alive" && one.complete && one.equal;
            Ok(if both.iter().all(well) { Ok(()) } else { Err(format!("so far {both:?}")) })
        })
    }

    /// Loads the changed policy on a gateway as an operator does, and waits until the other one has
    /// it too: from its peer, or, where it still has the old one after a while, in the same way.
    pub(crate) fn change_policy(
        &self,
        scene: &Scene<'_>,
        active: Side,
    ) -> Result<report::Apply, Error> {
        /// How long the active gateway's offer may take.
        const OFFER: Duration = Duration::from_secs(2);
        let before = self.sync(active.other())?.policy;
        // In place, so that a daemon that starts again has it too.
        let path = self.write(CHANGED)?;
        let apply = |side: Side| -> Result<report::Apply, Error> {
            let command = self.gateway(side).command("twinwall")?;
            Ok(command.args(["apply", "--json"]).arg(&path).json()?)
        };
        let applied = apply(active)?;
        let same = || -> Result<Result<(), String>, Error> {
            let both = [self.sync(Side::A)?, self.sync(Side::B)?].map(|status| status.policy);
            let same = both.iter().all(|policy| *policy != before) && both[0] == both[1];
            Ok(if same { Ok(()) } else { Err(format!("so far {both:?}")) })
        };
        let offered = scene.wait("the peer's policy", OFFER, same);
        match offered {
            Err(Error::Late { .. }) => {
                if self.sync(active.other())?.policy == before {
                    apply(active.other())?;
                }
                scene.wait("both gateways to have the new policy", PATIENCE, same)?;
            }
            other => other?,
        }
        Ok(applied)
    }

    /// Takes sessions, rules and virtual addresses from a gateway's kernel, as a power cut would. The
    /// addresses go first: a kernel that has them and no rules would answer with resets.
    pub(crate) fn forget(&self, side: Side) -> Result<(), Error> {
        const SCRIPT: &str = "
            for link in $(ip -o link show type macvlan | sed 's/^[0-9]*: //; s/[@:].*//'); do
                ip link delete \"$link\"
            done
            nft flush ruleset
            conntrack -F 2>/dev/null";
        Ok(self.gateway(side).run("sh", &["-ec", SCRIPT]).map(drop)?)
    }

    /// What both gateways have of the demo's sessions. Waits a while for them to be alike.
    pub(crate) fn compare(&self, scene: &Scene<'_>) -> Result<Comparison, Error> {
        /// How long replication may take on however busy a machine.
        const WITHIN: Duration = Duration::from_secs(10);
        let mut last = Comparison::default();
        let found = scene.wait("both gateways to have the same sessions", WITHIN, || {
            let [a, b] = [sessions(&self.a)?, sessions(&self.b)?].map(by_identity);
            last = compared(&a, &b);
            if last.is_good() {
                return Ok(Ok(()));
            }
            thread::sleep(RESPITE);
            Ok(Err(format!("so far {last:?}")))
        });
        match found {
            Ok(()) | Err(Error::Late { .. }) => Ok(last),
            Err(error) => Err(error),
        }
    }

    /// Packets that each rule of a gateway has counted.
    pub(crate) fn hits(&self, side: Side) -> Result<BTreeMap<String, u64>, Error> {
        let rules: report::Rules = self.gateway(side).ask(&Request::Rules)?;
        Ok(rules.rules.into_iter().map(|rule| (rule.name, rule.packets)).collect())
    }

    /// The demo's sessions on a gateway, by the rule that decides them; `none` for those that no
    /// rule of the running policy has decided.
    pub(crate) fn deciders(&self, side: Side) -> Result<BTreeMap<String, usize>, Error> {
        let mut deciders = BTreeMap::new();
        for session in sessions(self.gateway(side))? {
            *deciders.entry(session.rule.unwrap_or_else(|| "none".to_owned())).or_default() += 1;
        }
        Ok(deciders)
    }

    /// What a gateway says of replication.
    fn sync(&self, side: Side) -> Result<sync::Status, Error> {
        Ok(self.gateway(side).ask(&Request::Sync)?)
    }

    /// Writes the policy that both daemons start with.
    fn write(&self, text: &str) -> Result<std::path::PathBuf, Error> {
        let folder: &Path = &self.testbed.record().folder;
        phases::write_policy(folder, "policy", text, self.rules)
    }
}

impl Comparison {
    const fn is_good(&self) -> bool {
        self.alike == crate::pair::sessions::ALL
            && self.differing == 0
            && self.decided_differently == 0
    }
}

/// What a gateway is: `active`, `backup` or `initialize`.
pub(crate) fn state(gateway: &Gateway) -> Result<String, Error> {
    let status: vrrp::Status = gateway.ask(&Request::Vrrp)?;
    let group = status.groups.into_iter().next();
    Ok(group.map_or_else(|| "initialize".to_owned(), |group| group.state))
}

/// The demo's sessions on a gateway, as they are in its kernel.
pub(crate) fn sessions(gateway: &Gateway) -> Result<Vec<report::Session>, Error> {
    let request = Request::Sessions(SessionFilter::default());
    let mut listed: report::Sessions = gateway.ask(&request)?;
    let ports = [OUT_PORT, IN_PORT];
    listed.sessions.retain(|one| one.protocol == "tcp" && ports.contains(&one.dst_port));
    Ok(listed.sessions)
}

fn by_identity(sessions: Vec<report::Session>) -> BTreeMap<Identity, Option<String>> {
    let identity = |one: report::Session| {
        ((one.src, one.src_port, one.dst, one.dst_port, one.snat, one.dnat), one.rule)
    };
    sessions.into_iter().map(identity).collect()
}

fn compared(
    a: &BTreeMap<Identity, Option<String>>,
    b: &BTreeMap<Identity, Option<String>>,
) -> Comparison {
    let all: BTreeSet<&Identity> = a.keys().chain(b.keys()).collect();
    let both = |identity: &&&Identity| a.contains_key(identity) && b.contains_key(identity);
    let alike = all.iter().filter(both).count();
    let differs = |identity: &&&Identity| {
        let rule = |side: &BTreeMap<Identity, Option<String>>| side.get(*identity).cloned();
        rule(a).flatten().zip(rule(b).flatten()).is_some_and(|(a, b)| a != b)
    };
    Comparison {
        alike,
        differing: all.len() - alike,
        decided_differently: all.iter().filter(differs).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(sessions: &[(u16, Option<&str>)]) -> BTreeMap<Identity, Option<String>> {
        let address: IpAddr = "10.0.0.5".parse().unwrap();
        let one = |&(port, rule): &(u16, Option<&str>)| {
            ((address, port, address, 9, None, None), rule.map(str::to_owned))
        };
        sessions.iter().map(one).collect()
    }

    #[test]
    fn sessions_of_one_side_only_differ() {
        let (a, b) = (side(&[(1, Some("x")), (2, Some("x"))]), side(&[(2, Some("x")), (3, None)]));
        let found = compared(&a, &b);
        assert_eq!(found, Comparison { alike: 1, differing: 2, decided_differently: 0 });
    }

    #[test]
    fn another_rule_is_another_decision_and_none_yet_is_not() {
        let (a, b) = (side(&[(1, Some("x")), (2, Some("x"))]), side(&[(1, Some("y")), (2, None)]));
        let found = compared(&a, &b);
        assert_eq!(found, Comparison { alike: 2, differing: 0, decided_differently: 1 });
    }

    #[test]
    fn policies_name_the_demo_s_ports_and_the_shared_address() {
        let shared = crate::pair::sessions::shared();
        for policy in [START, CHANGED] {
            for words in [
                format!("name: stream, from: lan, to: wan, service: {{ tcp: [{OUT_PORT}] }}"),
                format!("to_addr: {shared}, service: {{ tcp: [{IN_PORT}] }}"),
                format!("snat: {shared}"),
            ] {
                assert!(policy.contains(&words), "{words}: {policy}");
            }
        }
        assert!(START.contains("seq: 50, name: published"));
        assert!(CHANGED.contains("seq: 40, name: published"));
        assert!(CHANGED.contains("seq: 20, name: client-all") && !START.contains("client-all"));
    }
}
