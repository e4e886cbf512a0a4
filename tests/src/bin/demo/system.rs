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

/// What the report says about this machine.
pub(crate) fn describe(settings: &Settings) -> System {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
    System {
        twinwall: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
        distribution: distribution().unwrap_or_else(|| "unknown".to_owned()),
        processors: thread::available_parallelism().map_or(1, usize::from),
        user_namespace: settings.user_namespace || !rustix::process::geteuid().is_root(),
        rules_added: settings.rules,
    }
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
