//! More sessions than the machine allows: its limits are raised for one row, and put back.
//!
//! `nf_conntrack_max` can't be set inside a namespace, so this is the machine's own, for which root
//! outside of any user namespace is needed. A shell that waits for the end of its standard input
//! puts the old values back: whatever becomes of this process, that input ends with it.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// Limits that are raised for as long as this lives.
#[derive(Debug)]
pub(super) struct Raised {
    keeper: Child,
    max: u64,
}

impl Raised {
    /// Raises the limits to so many sessions, or says why not.
    pub(super) fn to(sessions: u32) -> Result<Option<Self>, String> {
        let max = number(MAX)?;
        let buckets = number(BUCKETS)?;
        if max >= u64::from(sessions) {
            return Ok(None);
        }
        let script = format!(
            "trap '' INT TERM HUP QUIT; read -r end; echo {max} >{MAX}; echo {buckets} >{BUCKETS}"
        );
        let keeper = Command::new("setsid")
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start the shell that puts {MAX} back: {error}"))?;
        eprintln!(
            "ATTENTION: this machine's own {MAX} goes from {max} to {sessions} and {BUCKETS} from \
             {buckets} to {sessions} for one row; they are put back when it is over or this \
             program ends"
        );
        let raised = Self { keeper, max };
        let set = |path: &str| {
            fs::write(path, sessions.to_string()).map_err(|error| format!("set {path}: {error}"))
        };
        set(MAX)?;
        set(BUCKETS)?;
        Ok(Some(raised))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        match number(MAX) {
            Ok(now) if now == self.max => eprintln!("{MAX} is {now} again"),
            other => eprintln!("ATTENTION: {MAX} was {} and is {other:?}", self.max),
        }
    }
}

fn number(path: &str) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    text.trim().parse().map_err(|_| format!("read {path}: {}", wrong()))
}
