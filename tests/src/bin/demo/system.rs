//! Where the demo runs: kernel, distribution, and the programs that it needs.

use crate::chapter::Settings;
use crate::error::Error;
use crate::report::System;
use std::fs;
use std::thread;
use twinwall_testbed::Node;

/// A program, and the Debian package that holds it.
pub(crate) type Tool = (&'static str, &'static str);

pub(crate) const PING: Tool = ("ping", "iputils-ping");
pub(crate) const NFT: Tool = ("nft", "nftables");
pub(crate) const CONNTRACK: Tool = ("conntrack", "conntrack");

/// What the report says about this machine.
pub(crate) fn describe(settings: &Settings) -> System {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
    System {
        twinwall: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
        distribution: distribution().unwrap_or_else(|| "unknown".to_owned()),
        processors: thread::available_parallelism().map_or(1, usize::from),
        user_namespace: needs_user_namespace(settings),
        rules_added: settings.rules,
    }
}

/// Why an ordinary user may not have namespaces here, as far as the kernel's settings say: from `; `
/// on, or nothing.
pub(crate) fn why_no_namespaces(settings: &Settings) -> String {
    if !needs_user_namespace(settings) {
        return String::new();
    }
    // Name, and the value that forbids them. Not every kernel has every one.
    let switches = [
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ];
    let found: Vec<String> = switches
        .into_iter()
        .filter(|(name, forbidding)| {
            fs::read_to_string(format!("/proc/sys/{name}"))
                .is_ok_and(|value| value.trim() == *forbidding)
        })
        .map(|(name, value)| format!("the sysctl {} is {value}", name.replace('/', ".")))
        .collect();
    let cause =
        if found.is_empty() { String::new() } else { format!(", but {}", found.join(", ")) };
    format!("; an ordinary user needs user namespaces{cause}; root doesn't")
}

fn needs_user_namespace(settings: &Settings) -> bool {
    settings.user_namespace || !rustix::process::geteuid().is_root()
}

/// Fails when a program can't be found from within a testbed.
pub(crate) fn require(node: &Node, tools: &[Tool]) -> Result<(), Error> {
    let script = "for tool; do command -v \"$tool\" >/dev/null || echo \"$tool\"; done";
    let command = node.command("sh")?.args(["-c", script, "sh"]);
    let printed = command.args(tools.iter().map(|(program, _)| program)).run()?;
    let missing: Vec<String> = tools
        .iter()
        .filter(|(program, _)| printed.lines().any(|line| line == *program))
        .map(|(program, package)| format!("`{program}` is missing (Debian package {package})"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing.join(", "))) }
}

/// The distribution's own name for itself, from os-release(5).
fn distribution() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}
