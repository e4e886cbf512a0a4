//! A whole testbed: built, opened by name, taken down.

use crate::enter::HOLDER;
use crate::error::{Attempt, Error};
use crate::gateway::Gateway;
use crate::holder::Holder;
use crate::node::{self, Node};
use crate::process::Command;
use crate::state::{self, Record, Registry};
use crate::topology::{Gateways, Role};
use crate::vrrp::{self, Vrrp};
use crate::{host, setup};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

/// The policy of a testbed that was given none.
pub const DEFAULT_POLICY: &str = include_str!("../policies/default.yaml");

/// As the manual asks of a pair of which both gateways are active.
const LIBERAL: &str = "cd /proc/sys/net/netfilter; echo 1 >nf_conntrack_tcp_be_liberal; \
                       echo 432000 >nf_conntrack_tcp_timeout_unacknowledged";

/// A testbed that is up.
///
/// One that was built goes with this value; one that was opened or kept stays up.
#[derive(Debug)]
pub struct Testbed {
    record: Arc<Record>,
    registry: Registry,
    holder: Option<Holder>,
}

impl Testbed {
    /// Says what to build. Without more: a name of its own, one gateway, no daemon.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A testbed that another process left up.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn open(name: &str) -> Result<Self, Error> {
        let registry = Registry::of_this_user();
        let record = Arc::new(registry.record(name)?);
        Ok(Self { record, registry, holder: None })
    }

    /// All testbeds of this user that are up.
    ///
    /// # Errors
    /// When their folder can't be read.
    pub fn list() -> Result<Vec<Record>, Error> {
        Registry::of_this_user().list()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Name, folder, policy and more.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// A node by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<Node, Error> {
        Node::new(&self.record, name)
    }

    /// A gateway by name: `a` or `gw-a`.
    ///
    /// # Errors
    /// When there is none.
    pub fn gateway(&self, name: &str) -> Result<Gateway, Error> {
        Gateway::new(&self.record, name)
    }

    /// All gateways.
    #[must_use]
    pub fn gateways(&self) -> Vec<Gateway> {
        let topology = self.record.topology();
        topology.gateways().filter_map(|node| self.gateway(node.name).ok()).collect()
    }

    /// A command beside the nodes, from where `ip netns` finds them all.
    pub(crate) fn outside_nodes(&self, program: &str) -> Result<Command, Error> {
        node::command(&self.record, HOLDER, OsStr::new(program))
    }

    /// Leaves it up when this value, or this process, is gone.
    ///
    /// # Errors
    /// When its holder has ended.
    pub fn keep(&mut self) -> Result<(), Error> {
        self.holder.take().map_or(Ok(()), Holder::keep)
    }

    /// Takes it down with everything that runs in it, whoever built it.
    ///
    /// # Errors
    /// When the holder can't be killed.
    pub fn down(mut self) -> Result<(), Error> {
        if self.holder.take().is_none() && state::is_up(&self.record.folder) {
            // The lock is held, so the number still is the holder's.
            let pid = i32::try_from(self.record.holder).ok().and_then(Pid::from_raw);
            pid.ok_or(rustix::io::Errno::SRCH)
                .and_then(|pid| kill_process(pid, Signal::KILL))
                .attempt(|| format!("kill the holder of testbed `{}`", self.record.name))?;
        }
        self.registry.remove(&self.record.name)
    }
}

/// Says what to build.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: Option<String>,
    gateways: Gateways,
    policy: Option<PathBuf>,
    daemon: bool,
    user_namespace: bool,
    binaries: Option<PathBuf>,
    vrrp: Vrrp,
    sync: bool,
}

impl Builder {
    /// A name to find it by; otherwise one is made up.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// What VRRP is told, with [`Gateways::Two`] or [`Gateways::TwoActive`].
    #[must_use]
    pub fn vrrp(mut self, vrrp: Vrrp) -> Self {
        self.vrrp = vrrp;
        self
    }

    /// Whether the daemons replicate sessions, with [`Gateways::Two`] or
    /// [`Gateways::TwoActive`].
    #[must_use]
    pub const fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// How many gateways.
    #[must_use]
    pub const fn gateways(mut self, gateways: Gateways) -> Self {
        self.gateways = gateways;
        self
    }

    /// The policy that daemons are started with; [`DEFAULT_POLICY`] unless set. The file is used
    /// where it is, so it can be edited and reloaded.
    #[must_use]
    pub fn policy(mut self, file: impl Into<PathBuf>) -> Self {
        self.policy = Some(file.into());
        self
    }

    /// Whether to start a daemon on each gateway.
    #[must_use]
    pub const fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Uses a user namespace even when the caller is root. Others always get one.
    #[must_use]
    pub const fn user_namespace(mut self, forced: bool) -> Self {
        self.user_namespace = forced;
        self
    }

    /// Where this workspace's binaries are; see [`host::binaries`] for where they are looked for
    /// otherwise.
    #[must_use]
    pub fn binaries(mut self, folder: impl Into<PathBuf>) -> Self {
        self.binaries = Some(folder.into());
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this machine or user lacks something; [`Error::Exists`] when the
    /// name is taken; others when a step fails. Nothing is left behind then.
    pub fn build(self) -> Result<Testbed, Error> {
        host::require_tools()?;
        let binaries = self.binaries.map_or_else(host::binaries, Ok)?;
        let program = host::binary(&binaries, "testbed")?;
        if self.daemon {
            host::binary(&binaries, "twinwalld")?;
        }
        let registry = Registry::of_this_user();
        let name = self.name.clone().unwrap_or_else(made_up_name);
        let user_namespace = self.user_namespace || !rustix::process::geteuid().is_root();
        let (folder, guard) = registry.create(&name)?;
        let holder = match Holder::start(&program, &folder, user_namespace) {
            Ok(holder) => holder,
            Err(error) => {
                state::remove(&folder)?;
                return Err(error);
            }
        };
        let record = Arc::new(Record {
            name,
            holder: holder.pid,
            user_namespace,
            gateways: self.gateways,
            policy: folder.join("policy.yaml"),
            folder,
            binaries,
        });
        // From here on, dropping it cleans up.
        let mut testbed = Testbed { record, registry, holder: Some(holder) };
        let record = Arc::make_mut(&mut testbed.record);
        if let Some(policy) = self.policy {
            record.policy =
                policy.canonicalize().attempt(|| format!("find {}", policy.display()))?;
        }
        record.save()?;
        drop(guard);
        testbed.furnish()?;
        if self.gateways.elect() {
            let key = testbed.record.folder.join("sync.key");
            if self.sync {
                write_key(&key).attempt(|| format!("write {}", key.display()))?;
            }
            for gateway in testbed.gateways() {
                let mut text = self.vrrp.twinwalld(gateway.name());
                if self.sync {
                    text.push_str(&vrrp::sync_section(gateway.name(), &key));
                }
                gateway.configure(&text)?;
                if self.gateways == Gateways::TwoActive {
                    gateway.run("sh", &["-c", LIBERAL])?;
                }
            }
        }
        if self.daemon {
            testbed.gateways().iter().try_for_each(Gateway::launch)?;
            for gateway in testbed.gateways() {
                gateway.wait_ready(crate::gateway::PATIENCE)?;
            }
        }
        Ok(testbed)
    }
}

impl Testbed {
    /// Makes folders, the policy, nodes and links.
    fn furnish(&self) -> Result<(), Error> {
        let record = &self.record;
        let topology = record.topology();
        for node in topology.nodes.iter().filter(|node| node.role != Role::Switch) {
            let folder = record.folder.join(node.name);
            fs::create_dir(&folder).attempt(|| format!("create {}", folder.display()))?;
        }
        let policy: &Path = &record.policy;
        if policy.starts_with(&record.folder) {
            fs::write(policy, DEFAULT_POLICY).attempt(|| format!("write {}", policy.display()))?;
        }
        let shell = node::command(record, HOLDER, OsStr::new("sh"))?;
        shell.input(setup::script(&topology)).run().map(drop)
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if self.holder.take().is_some() {
            // The holder has removed the folder, unless it was killed.
            let _ = self.registry.remove(&self.record.name);
        }
    }
}

/// Writes a new key for the sync channel, for nobody else to read.
fn write_key(path: &Path) -> io::Result<()> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = File::options().mode(0o600).create_new(true).write(true).open(path)?;
    writeln!(file, "{digits}")
}

/// A name that no other testbed of this machine has while this process lives.
fn made_up_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
