//! Runs a command in a node (`testbed exec`), with the caller's terminal, exit code and signals.
//!
//! The calling process moves into the holder's namespaces and then into the node's, and starts the
//! command there; it stays single-threaded, because the kernel demands that. The command is killed
//! when the calling process is. Not here: capturing output, time limits (`process`).

use crate::error::{Attempt, Error};
use crate::host;
use crate::state::Record;
use crate::topology::{NodeSpec, Role};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Stands for the holder's own network namespace, which holds no node.
pub(crate) const HOLDER: &str = ".";

/// Runs a command in a node to its end.
///
/// Signals go on to the command, except those that a terminal has sent to it already.
///
/// # Returns
/// Its exit code; 128 and the signal's number if a signal ended it; 127 if there is no such
/// program and 126 if it can't be run.
///
/// # Errors
/// When the node can't be entered.
pub fn run(record: &Record, node: &str, command: &[OsString]) -> Result<u8, Error> {
    let mut forwarded = vec![SIGCHLD, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2];
    let terminal = std::io::stdin().is_terminal();
    forwarded.extend([SIGINT, SIGQUIT]);
    let mut signals =
        Signals::new(&forwarded).attempt(|| "prepare to pass on signals".to_owned())?;
    enter(record, node)?;
    let mut prepared = Command::new("setpriv");
    prepared.args(["--pdeathsig", "KILL", "--"]).args(command);
    environment(&mut prepared, record, node);
    let mut child = prepared.spawn().attempt(|| "start `setpriv`".to_owned())?;
    loop {
        for signal in signals.wait() {
            match signal {
                SIGCHLD => {}
                SIGINT | SIGQUIT if terminal => {}
                other => pass_on(&child, other),
            }
        }
        let ended = child.try_wait().attempt(|| "wait for the command".to_owned())?;
        if let Some(status) = ended {
            return Ok(exit_code(status));
        }
    }
}

/// Starts a command in a node and leaves it running there. Its output is added to the log.
///
/// # Returns
/// Its process id, as seen from outside the testbed.
///
/// # Errors
/// When the node can't be entered or the log can't be opened.
pub fn start(record: &Record, node: &str, command: &[OsString], log: &Path) -> Result<u32, Error> {
    let open = || File::options().create(true).append(true).open(log);
    let files = open().and_then(|output| Ok((output.try_clone()?, output)));
    let (output, errors) = files.attempt(|| format!("open {}", log.display()))?;
    enter(record, node)?;
    // A session of its own keeps Ctrl-C at a terminal away from it.
    let mut prepared = Command::new("setsid");
    prepared.args(command).stdin(Stdio::null()).stdout(output).stderr(errors);
    environment(&mut prepared, record, node);
    let child = prepared.spawn().attempt(|| "start `setsid`".to_owned())?;
    Ok(child.id())
}

/// Moves the calling thread into a node's namespaces; its children get the PID namespace too.
fn enter(record: &Record, node: &str) -> Result<(), Error> {
    if node != HOLDER {
        record.topology().node(node)?;
    }
    let folder = env::current_dir();
    let holder = i32::try_from(record.holder)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .attempt(|| format!("find the holder of testbed `{}`", record.name))?;
    let mut spaces =
        ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::NETWORK | ThreadNameSpaceType::PROCESS_ID;
    if record.user_namespace {
        spaces |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(holder.as_fd(), spaces)
        .attempt(|| format!("enter testbed `{}`", record.name))?;
    if node != HOLDER {
        File::open(Path::new("/run/netns").join(node))
            .and_then(|file| {
                let network = Some(LinkNameSpaceType::Network);
                Ok(move_into_link_name_space(file.as_fd(), network)?)
            })
            .attempt(|| format!("enter node {node} of testbed `{}`", record.name))?;
    }
    // Entering a mount namespace moved us to its root.
    if let Ok(folder) = folder {
        let _ = env::set_current_dir(folder);
    }
    Ok(())
}

/// PATH, and on a gateway the socket of its daemon.
fn environment(command: &mut Command, record: &Record, node: &str) {
    command.env("PATH", host::search_path(Some(&record.binaries)));
    let topology = record.topology();
    if topology.node(node).is_ok_and(|node: &NodeSpec| node.role == Role::Gateway) {
        let socket = crate::gateway::socket(record, node);
        command.env(twinwall_control::SOCKET_VARIABLE, socket);
    }
}

fn pass_on(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some((pid, signal)) = pid.zip(Signal::from_named_raw(signal)) {
        // The child has not been waited for, so the number is its own; that it has ended is fine.
        let _ = kill_process(pid, signal);
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
