//! The holder from inside: process 1 of a testbed (`testbed hold`).
//!
//! It gives the testbed a `/run` and a `/proc` of its own, says that it is ready, buries orphans,
//! and ends when its standard input does, unless told to stay. Not here: the network.

use crate::error::{Attempt, Error};
use crate::{clock, holder, state};
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{WaitOptions, wait};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, process, thread};

/// Runs as the holder of the testbed in `folder`, to the end of the testbed.
///
/// # Errors
/// When the mounts can't be made or another holder has the lock.
pub fn hold(folder: &Path) -> Result<(), Error> {
    let lock = state::lock(folder)
        .and_then(|lock| lock.ok_or_else(|| io::Error::other("another process has it")))
        .attempt(|| format!("lock {}", folder.display()))?;
    // The old /proc still shows the number by which others know this process.
    let pid = fs::read_link("/proc/self").attempt(|| "read /proc/self".to_owned())?;
    let name = prepare_mounts(folder)?;
    let mut signals = Signals::new([SIGCHLD]).attempt(|| "watch for SIGCHLD".to_owned())?;
    thread::spawn(move || {
        if !told_to_stay() {
            end(Path::new(&name));
        }
    });
    writeln!(io::stdout(), "ready {}", pid.display()).attempt(|| "report".to_owned())?;
    for _ in &mut signals {
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    }
    drop(lock);
    Ok(())
}

/// Mounts `/run` and `/proc`. Returns the folder's name relative to the current directory, which
/// is the folder above it on the machine's own file system.
fn prepare_mounts(folder: &Path) -> Result<OsString, Error> {
    let unusable = || io::Error::other("it has no name or no folder above");
    let (above, name) = folder
        .parent()
        .zip(folder.file_name())
        .ok_or_else(unusable)
        .attempt(|| format!("use {}", folder.display()))?;
    env::set_current_dir(above).attempt(|| format!("enter {}", above.display()))?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")
        .attempt(|| "mount a tmpfs on /run".to_owned())?;
    if folder.starts_with("/run") {
        // Just hidden by the tmpfs, but still there relative to the current directory.
        fs::create_dir_all(folder).attempt(|| format!("create {}", folder.display()))?;
        mount_bind(name, folder).attempt(|| format!("bind {}", folder.display()))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if let Err(error) = mount("proc", "/proc", "proc", flags, None) {
        // Some containers forbid it. Then process lists show the machine's processes.
        let _ = writeln!(io::stderr(), "no /proc of its own: {error}");
    }
    Ok(name.to_owned())
}

/// Reads standard input to its end or to the word that says to stay.
fn told_to_stay() -> bool {
    io::stdin().lock().lines().map_while(Result::ok).any(|line| line == holder::KEEP.trim_end())
}

/// Kills everything in the testbed, removes its folder, and ends.
fn end(folder: &Path) -> ! {
    let everyone = ["-c", "kill -KILL -1"];
    let _ = Command::new("sh").args(everyone).stdin(Stdio::null()).status();
    // Under another name first: a new testbed may want this one as soon as the lock is gone.
    let dying = PathBuf::from(format!(".{}-{}", folder.display(), clock::now()));
    if fs::rename(folder, &dying).is_ok() {
        // A process that is just dying may still create a file.
        for _ in 0..100 {
            if fs::remove_dir_all(&dying).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    process::exit(0)
}
