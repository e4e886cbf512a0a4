//! conntrackd on a gateway of a testbed: what copies sessions beside keepalived.
//!
//! It belongs to the testbed, not to the process that started it. Its files are in the node's
//! folder: `conntrackd.conf`, `conntrackd.log`, `conntrackd.ctl` and `notify.sh`, by which
//! keepalived tells it of changes. Not here: when it is started and stopped
//! ([`crate::scenario::pair`]).

use crate::error::{Attempt, Error};
use crate::gateway::{Gateway, PATIENCE};
use crate::host::{self, ProcessId};
use crate::node;
use crate::topology::{Role, Segment, Topology};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// One conntrackd.
#[derive(Clone, Debug)]
pub struct Conntrackd {
    gateway: Gateway,
    process: ProcessId,
}

impl Conntrackd {
    /// Starts it on a gateway, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it isn't installed; others when it ends at once.
    pub fn start(gateway: &Gateway) -> Result<Self, Error> {
        require()?;
        let path = |name: &str| gateway.folder().join(name);
        for name in ["conntrackd.lock", "conntrackd.ctl"] {
            // Left by one that was killed, or not there.
            let _ = fs::remove_file(path(name));
        }
        let written = configured(gateway);
        fs::write(&written, configuration(gateway))
            .attempt(|| format!("write {}", written.display()))?;
        let log = path("conntrackd.log");
        let printed =
            node::background(gateway.record(), gateway.name(), &log, OsStr::new("conntrackd"))?
                .arg("-C")
                .arg(&written)
                .run()?;
        let process = printed.trim().parse().ok().and_then(ProcessId::of);
        let ended = || Error::Ended { what: "conntrackd".to_owned(), log: self::log(gateway) };
        let conntrackd = Self { gateway: gateway.clone(), process: process.ok_or_else(ended)? };
        let deadline = Instant::now() + PATIENCE;
        while !path("conntrackd.ctl").exists() {
            if !conntrackd.process.is_alive() || Instant::now() > deadline {
                return Err(ended());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(conntrackd)
    }

    /// Its process id, as seen from outside the testbed.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Has it do something: `-n` asks the other one for all sessions, `-B` sends it all.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn tell(&self, option: &str) -> Result<(), Error> {
        let command = self.gateway.command("conntrackd")?.arg("-C").arg(configured(&self.gateway));
        command.arg(option).run().map(drop)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.process.pid).ok().and_then(Pid::from_raw)
            && self.process.is_alive()
        {
            // It may just have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub fn kill9(&self) -> Result<(), Error> {
        self.signal(Signal::KILL);
        let deadline = Instant::now() + PATIENCE;
        while self.process.is_alive() {
            if Instant::now() > deadline {
                return Err(Error::TimedOut {
                    what: format!("the end of conntrackd on {}", self.gateway.name()),
                    within: PATIENCE,
                    detail: String::new(),
                });
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// Fails with [`Error::Unavailable`] when a program is missing.
///
/// # Errors
/// That one, with the Debian package that has it.
pub fn require() -> Result<(), Error> {
    host::require("conntrackd", "conntrackd")?;
    host::require("nft", "nftables")
}

/// Writes the script by which keepalived tells of its state, and returns the lines for its group:
/// what was replicated is committed, both caches are made anew and the other node gets all; the
/// node that becomes the backup asks for all.
///
/// # Errors
/// When the script can't be written.
pub fn notify(gateway: &Gateway) -> Result<String, Error> {
    let (script, configured) = (gateway.folder().join("notify.sh"), configured(gateway));
    let configured = configured.display();
    let text = format!(
        "#!/bin/sh\nask() {{ conntrackd -C {configured} \"$1\"; }}\ncase $1 in\n\
         primary) for step in -c -f -R -B; do ask $step; done ;;\n\
         backup) ask -t; ask -n ;;\nfault) ask -t ;;\nesac\n"
    );
    fs::write(&script, text).attempt(|| format!("write {}", script.display()))?;
    let script = script.display();
    let line =
        |state: &str, word: &str| format!("  notify_{state} \"/bin/sh {script} {word}\" root\n");
    Ok(line("master", "primary") + &line("backup", "backup") + &line("fault", "fault"))
}

/// What it has printed on a gateway since the testbed is up.
#[must_use]
pub fn log(gateway: &Gateway) -> String {
    fs::read(gateway.folder().join("conntrackd.log"))
        .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn configured(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("conntrackd.conf")
}

/// The reliable mode; sessions go straight into the kernel, so that a takeover has nothing to
/// commit; buffers as large as those of `twinwalld`, and its manual's real-time priority.
fn configuration(gateway: &Gateway) -> String {
    let (own, other) = if gateway.name() == "gw-a" { (1, 2) } else { (2, 1) };
    let folder = gateway.folder();
    let folder = folder.display();
    let [own_address, peer_address] = [own, other].map(|host| Segment::Sync.address(host));
    let interface = Segment::Sync.gateway_interface();
    let ignored: String = Topology::new(gateway.record().gateways)
        .nodes
        .iter()
        .filter(|node| node.role == Role::Gateway)
        .flat_map(|node| node.addresses().collect::<Vec<_>>())
        .chain(["127.0.0.1", "::1"].iter().filter_map(|address| address.parse().ok()))
        .map(|address: IpAddr| match address {
            IpAddr::V4(address) => format!("      IPv4_address {address}\n"),
            IpAddr::V6(address) => format!("      IPv6_address {address}\n"),
        })
        .collect();
    format!(
        "Sync {{\n  Mode FTFW {{\n    ResendQueueSize 131072\n    CommitTimeout 180\n    PurgeTimeout 60\n    \
         ACKWindowSize 300\n    DisableExternalCache On\n  }}\n  UDP {{\n    IPv4_address {own_address}\n    \
         IPv4_Destination_Address {peer_address}\n    Port 3780\n    Interface {interface}\n    \
         SndSocketBuffer 16777216\n    RcvSocketBuffer 16777216\n    Checksum on\n  }}\n}}\n\
         General {{\n  HashSize 262144\n  HashLimit 4000000\n  LogFile {folder}/conntrackd-own.log\n  Syslog off\n  \
         LockFile {folder}/conntrackd.lock\n  UNIX {{\n    Path {folder}/conntrackd.ctl\n  }}\n  \
         Scheduler {{\n    Type FIFO\n    Priority 99\n  }}\n  NetlinkBufferSize 67108864\n  \
         NetlinkBufferSizeMaxGrowth 134217728\n  NetlinkOverrunResync On\n  NetlinkEventsReliable Off\n  \
         EventIterationLimit 100\n  Filter From Userspace {{\n    Protocol Accept {{\n      TCP\n      UDP\n      ICMP\n    }}\n    \
         Address Ignore {{\n{ignored}    }}\n  }}\n}}\n"
    )
}
