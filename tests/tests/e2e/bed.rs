//! A testbed with one gateway and its daemon, as the tests use it.

use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use twinwall_control::{Request, SessionFilter, SourceFile, report};
use twinwall_testbed::testing::{eventually, need};
use twinwall_testbed::topology::{OUTSIDE_V4, OUTSIDE_V6};
use twinwall_testbed::{Builder, Gateway, Node, Output, Process, Testbed, host};

/// For whatever has to happen soon, on however busy a machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The server beyond the WAN, in both families.
pub(crate) const OUTSIDE: [IpAddr; 2] = [IpAddr::V4(OUTSIDE_V4), IpAddr::V6(OUTSIDE_V6)];

/// The client's addresses.
pub(crate) const CLIENT: [&str; 2] = ["10.0.0.5", "2001:db8:10::5"];

/// What every policy here begins with.
const HEAD: &str = "\
version: 1
name: e2e
defaults: { action: drop, log: false, on_change: rematch }
zones:
  wan: { interfaces: [eth0] }
  lan: { interfaces: [eth1] }
  dmz: { interfaces: [eth2] }
";

/// A policy with these rules. Each is what stands between the braces.
pub(crate) fn policy<R: AsRef<str>>(rules: &[R]) -> String {
    with_nat(rules, &[])
}

/// A policy with these rules and NAT rules.
pub(crate) fn with_nat<R: AsRef<str>>(rules: &[R], nat: &[&str]) -> String {
    let list = |name: &str, entries: Vec<&str>| {
        let lines: String = entries.iter().map(|entry| format!("  - {{ {entry} }}\n")).collect();
        if lines.is_empty() { String::new() } else { format!("{name}:\n{lines}") }
    };
    let rules = list("rules", rules.iter().map(AsRef::as_ref).collect());
    format!("{HEAD}{rules}{}", list("nat", nat.to_vec()))
}

/// Address and port as the tools want them.
pub(crate) fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// One gateway with its hosts. It goes with this value.
pub(crate) struct Bed {
    /// There until this value is dropped.
    testbed: Option<Testbed>,
    pub(crate) gateway: Gateway,
}

impl Drop for Bed {
    fn drop(&mut self) {
        // The kernel takes a second to take it apart, which the next test need not wait for.
        let testbed = self.testbed.take();
        thread::spawn(move || drop(testbed));
    }
}

impl Bed {
    /// Hosts, a gateway, and the daemon with this policy. `None` when this machine can't.
    pub(crate) fn up(test: &str, policy: &str) -> Option<Self> {
        let bed = Self::without_daemon(test, Testbed::builder())?;
        bed.write_policy(policy);
        bed.gateway.start().unwrap();
        Some(bed)
    }

    /// Hosts and a gateway. `None` when this machine can't.
    pub(crate) fn without_daemon(test: &str, builder: Builder) -> Option<Self> {
        let testbed = need(test, builder.binaries(binaries()).build())?;
        let gateway = testbed.gateway("a").unwrap();
        Some(Self { testbed: Some(testbed), gateway })
    }

    pub(crate) fn testbed(&self) -> &Testbed {
        self.testbed.as_ref().unwrap()
    }

    pub(crate) fn node(&self, name: &str) -> Node {
        self.testbed().node(name).unwrap()
    }

    /// The daemon's own policy file.
    pub(crate) fn policy_path(&self) -> PathBuf {
        self.testbed().record().policy.clone()
    }

    /// Writes the daemon's own policy file; nothing reads it yet.
    pub(crate) fn write_policy(&self, text: &str) {
        fs::write(self.policy_path(), text).unwrap();
    }

    /// Loads a policy.
    pub(crate) fn apply(&self, text: &str) -> report::Apply {
        self.try_apply(text).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
    }

    /// Tries to load a policy; the refusal as an operator would read it.
    pub(crate) fn try_apply(&self, text: &str) -> Result<report::Apply, String> {
        let files = vec![SourceFile { path: "policy.yaml".into(), text: text.into() }];
        self.gateway.ask(&Request::Apply { files }).map_err(|error| error.to_string())
    }

    pub(crate) fn status(&self) -> report::Status {
        self.gateway.status().unwrap()
    }

    pub(crate) fn rules(&self) -> Vec<report::Rule> {
        self.gateway.ask::<report::Rules>(&Request::Rules).unwrap().rules
    }

    /// A rule's line of `rules`.
    pub(crate) fn rule(&self, name: &str) -> report::Rule {
        let rules = self.rules();
        let found = rules.iter().find(|rule| rule.name == name).cloned();
        found.unwrap_or_else(|| panic!("no rule {name} in {rules:?}"))
    }

    /// Packets by rule.
    pub(crate) fn packets(&self) -> BTreeMap<String, u64> {
        self.rules().into_iter().map(|rule| (rule.name, rule.packets)).collect()
    }

    /// Packets outside the rules, by their reason.
    pub(crate) fn exception(&self, reason: &str) -> u64 {
        let exceptions = self.status().exceptions;
        let found = exceptions.iter().find(|exception| exception.reason == reason);
        found.unwrap_or_else(|| panic!("no exception {reason} in {exceptions:?}")).packets
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> Vec<report::Session> {
        self.sessions_where(SessionFilter::default())
    }

    pub(crate) fn sessions_of(&self, rule: &str) -> Vec<report::Session> {
        self.sessions_where(SessionFilter { rule: Some(rule.into()), ..SessionFilter::default() })
    }

    pub(crate) fn sessions_where(&self, filter: SessionFilter) -> Vec<report::Session> {
        let answer: report::Sessions = self.gateway.ask(&Request::Sessions(filter)).unwrap();
        assert_eq!(answer.total, answer.sessions.len() as u64);
        answer.sessions
    }

    /// Runs a traffic tool to its end.
    pub(crate) fn traffic<T: DeserializeOwned>(&self, node: &str, arguments: &str) -> T {
        let node = self.node(node);
        node.traffic(arguments.split_whitespace()).unwrap().json().unwrap()
    }

    /// Starts a traffic tool.
    pub(crate) fn start(&self, node: &str, arguments: &str) -> Process {
        let node = self.node(node);
        node.traffic(arguments.split_whitespace()).unwrap().spawn().unwrap()
    }

    /// Starts a traffic tool that serves, and waits until it does.
    pub(crate) fn serve(&self, node: &str, arguments: &str) -> Process {
        let mut process = self.start(node, arguments);
        process.wait_ready().unwrap();
        process
    }

    /// Sends echo requests 200 ms apart, and waits for an answer to each: a reply or an error.
    pub(crate) fn ping(&self, node: &str, to: IpAddr, count: u32) -> Pinged {
        self.ping_within("0.2", "10", node, to, count)
    }

    /// Sends echo requests 10 ms apart that nobody is to answer.
    pub(crate) fn ping_in_vain(&self, node: &str, to: IpAddr, count: u32) -> Pinged {
        self.ping_within("0.01", "0.5", node, to, count)
    }

    /// Of several requests that wait for the daemon at once conntrack lets only the first through:
    /// it knows how to join two new sessions into one for UDP, not for ICMP. So those that have to
    /// be answered go out one by one.
    fn ping_within(
        &self,
        interval: &str,
        seconds: &str,
        node: &str,
        to: IpAddr,
        count: u32,
    ) -> Pinged {
        let command = self.node(node).command("ping").unwrap();
        let (to, count) = (to.to_string(), count.to_string());
        let arguments = ["-n", "-i", interval, "-W", seconds, "-c", &count, &to];
        Pinged(command.args(arguments).output().unwrap())
    }

    /// ICMP and ICMPv6 errors of the kind "destination unreachable" that have come to a node. (A
    /// socket may report two that come close together as one.)
    pub(crate) fn unreachables(&self, node: &str) -> u64 {
        let text = self.shell(node, "cat /proc/net/snmp /proc/net/snmp6");
        let mut icmp = text.lines().filter(|line| line.starts_with("Icmp: "));
        let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
        let mut fields = names.split_whitespace().zip(values.split_whitespace());
        let (_, v4) = fields.find(|(name, _)| *name == "InDestUnreachs").unwrap();
        let v6 = text.lines().find_map(|line| line.strip_prefix("Icmp6InDestUnreachs")).unwrap();
        v4.parse::<u64>().unwrap() + v6.trim().parse::<u64>().unwrap()
    }

    /// Runs a shell script in a node.
    pub(crate) fn shell(&self, node: &str, script: &str) -> String {
        self.node(node).run("sh", &["-ec", script]).unwrap()
    }

    /// Feeds nft on the gateway.
    pub(crate) fn nft(&self, ruleset: &str) {
        let command = self.gateway.command("nft").unwrap();
        command.args(["-f", "-"]).input(ruleset).run().unwrap();
    }

    /// Counts packets in a table of its own, before Twinwall sees them: those that one of nft's
    /// conditions describes.
    pub(crate) fn watch(&self, hook: &str, name: &str, conditions: &[&str]) {
        self.count(hook, -10, name, conditions);
    }

    /// Counts packets that Twinwall has let pass.
    pub(crate) fn watch_passed(&self, hook: &str, name: &str, conditions: &[&str]) {
        self.count(hook, 10, name, conditions);
    }

    fn count(&self, hook: &str, priority: i32, name: &str, conditions: &[&str]) {
        let line = |condition: &&str| format!("{condition} counter name seen-{name};");
        let lines: String = conditions.iter().map(line).collect();
        self.nft(&format!(
            "table inet watch {{ counter seen-{name} {{ }}; chain seen-{name} {{ \
             type filter hook {hook} priority {priority}; {lines} }}; }}"
        ));
    }

    /// What a watch has counted.
    pub(crate) fn seen(&self, name: &str) -> Counted {
        let name = format!("seen-{name}");
        let text = self.gateway.run("nft", &["list", "counter", "inet", "watch", &name]).unwrap();
        let after = |word: &str| {
            let mut words = text.split_whitespace().skip_while(|found| *found != word);
            words.nth(1).unwrap().parse().unwrap()
        };
        Counted { packets: after("packets"), bytes: after("bytes") }
    }

    /// Waits until a condition holds, and fails when it never does.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        let found = eventually(SOON, condition);
        found.unwrap_or_else(|| panic!("{what}: not within {SOON:?}\n{}", self.gateway.log()))
    }
}

/// Packets and bytes, IP headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl From<report::Rule> for Counted {
    fn from(rule: report::Rule) -> Self {
        Self { packets: rule.packets, bytes: rule.bytes }
    }
}

/// What `ping` printed.
pub(crate) struct Pinged(Output);

impl Pinged {
    /// How many replies came.
    pub(crate) fn received(&self) -> u32 {
        let text = &self.0.stdout;
        let line = text.lines().find(|line| line.contains("packets transmitted"));
        let received = line.and_then(|line| {
            line.split(", ").find_map(|part| part.strip_suffix(" received")?.parse().ok())
        });
        received.unwrap_or_else(|| panic!("cannot read what ping printed: {:?}", self.0))
    }

    /// How many ICMP errors with these words came.
    pub(crate) fn errors(&self, words: &str) -> usize {
        self.0.stdout.lines().filter(|line| line.contains(words)).count()
    }
}

/// The release binaries beside those of this test's profile, if they were built.
pub(crate) fn binaries() -> PathBuf {
    let own = host::binaries().unwrap();
    let release = own.with_file_name("release");
    let named = std::env::var_os(host::BINARIES_VARIABLE).is_some();
    if !named && release.join("twinwalld").is_file() { release } else { own }
}
