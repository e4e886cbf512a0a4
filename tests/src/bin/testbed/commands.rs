//! What the verbs of `testbed` do, and what they print.

use crate::{Action, Daemon, Exec, Logs, Up, Verb, bench, replay, scenario, soak};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use twinwall_testbed::state::Record;
use twinwall_testbed::topology::{NodeSpec, Role};
use twinwall_testbed::{Error, Gateways, Testbed, Vrrp, enter, init};

/// Runs a verb to its end.
pub(crate) fn run(verb: Verb) -> Result<ExitCode, Error> {
    match verb {
        Verb::Up(options) => up(options)?,
        Verb::Exec(options) => return exec(&options),
        Verb::Down(name) => Testbed::open(&name.name)?.down()?,
        Verb::List => list()?,
        Verb::Logs(options) => logs(&options)?,
        Verb::Daemon(options) => daemon(&options)?,
        Verb::Scenario(options) => return scenario::run(&options),
        Verb::SoakFailover(options) => return soak::run(&options),
        Verb::Replay(options) => return Ok(replay::run(&options)),
        Verb::BenchVrrp(options) => return scenario::bench(&options),
        Verb::BenchPair(options) => return bench::run(&options),
        Verb::Hold { folder } => init::hold(&folder)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(options: Up) -> Result<(), Error> {
    let mut builder = Testbed::builder()
        .name(&options.name.name)
        .gateways(match (options.gateways, options.fixed, options.active_active) {
            (_, _, true) => Gateways::TwoActive,
            (2, true, _) => Gateways::TwoStatic,
            (2, false, _) => Gateways::Two,
            _ => Gateways::One,
        })
        .vrrp(Vrrp {
            interval: options.interval,
            mac: options.mac,
            active_active: options.active_active,
            ..Vrrp::default()
        })
        .sync(options.sync)
        .daemon(!options.no_daemon)
        .user_namespace(options.user_namespace);
    if let Some(policy) = options.policy {
        builder = builder.policy(policy);
    }
    let mut testbed = builder.build()?;
    print(&describe(testbed.record(), !options.no_daemon));
    if options.attached {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        return testbed.down();
    }
    testbed.keep()
}

fn exec(options: &Exec) -> Result<ExitCode, Error> {
    let testbed = Testbed::open(&options.name.name)?;
    if let Some(log) = &options.background {
        let pid = enter::start(testbed.record(), &options.node, &options.command, log)?;
        print(&format!("{pid}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    enter::run(testbed.record(), &options.node, &options.command).map(ExitCode::from)
}

fn list() -> Result<(), Error> {
    for record in Testbed::list()? {
        let nodes: Vec<_> = record.topology().nodes.iter().map(|node| node.name).collect();
        let testbed = Testbed::open(&record.name)?;
        let daemons: Vec<_> =
            testbed.gateways().iter().filter(|g| g.is_running()).map(|g| g.name()).collect();
        print(&format!(
            "{}\tnodes: {}\tdaemons: {}\tfiles: {}\n",
            record.name,
            nodes.join(" "),
            if daemons.is_empty() { "none".to_owned() } else { daemons.join(" ") },
            record.folder.display(),
        ));
    }
    Ok(())
}

fn logs(options: &Logs) -> Result<(), Error> {
    let testbed = Testbed::open(&options.name.name)?;
    let gateways = match &options.gateway {
        Some(name) => vec![testbed.gateway(name)?],
        None => testbed.gateways(),
    };
    for gateway in &gateways {
        if gateways.len() > 1 {
            print(&format!("== {} ({})\n", gateway.name(), gateway.log_path().display()));
        }
        print(&gateway.log());
    }
    Ok(())
}

fn daemon(options: &Daemon) -> Result<(), Error> {
    let gateway = Testbed::open(&options.name.name)?.gateway(&options.gateway)?;
    match options.action {
        Action::Start => gateway.start(),
        Action::Stop => gateway.stop(),
        Action::Restart => gateway.restart(),
        Action::Reload => gateway.reload(),
        Action::Kill => gateway.kill9(),
    }
}

/// What `up` says: nodes with addresses, where the files are, and what to try next.
fn describe(record: &Record, daemons: bool) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("testbed"));
    let program = program.display();
    let option =
        if record.name == "default" { String::new() } else { format!(" --name {}", record.name) };
    let topology = record.topology();
    let mut text = format!("testbed `{}` is up\n", record.name);
    for node in topology.nodes.iter().filter(|node| node.role != Role::Switch) {
        text.push_str(&describe_node(node));
    }
    text.push_str(&format!("\nfiles    {}\n", record.folder.display()));
    if daemons {
        text.push_str(&format!("policy   {}\n", record.policy.display()));
        for node in topology.gateways() {
            let folder = record.folder.join(node.name);
            text.push_str(&format!(
                "{:8} log {1}/daemon.log, socket {1}/control.sock\n",
                node.name,
                folder.display()
            ));
        }
    }
    text.push_str(&format!("\ntry      {program} exec{option} client -- ping -c 3 198.51.100.7\n"));
    if daemons {
        text.push_str(&format!("         {program} exec{option} gw-a -- twinwall rules\n"));
    }
    text.push_str(&format!("end      {program} down{option}\n"));
    text
}

fn describe_node(node: &NodeSpec) -> String {
    let mut text = String::new();
    for (index, interface) in node.interfaces.iter().enumerate() {
        let addresses: Vec<_> = interface.addresses.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "{:8} {} {:4} {}\n",
            if index == 0 { node.name } else { "" },
            interface.name,
            interface.segment.name(),
            addresses.join(" ")
        ));
    }
    text
}

/// To standard output; a reader that has gone away doesn't matter.
pub(crate) fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
