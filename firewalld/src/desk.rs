//! Hands each request to the thread that can answer it.
//!
//! ```text
//! apply, confirm, reload             engine     changes the running policy, one after the other
//! status, rules, sessions, explain   observer   reads; never waits for a reload to finish
//! vrrp, failover                     vrrp       owns the state machine
//! sync                               sync       replicates sessions
//! ```

use crate::config::Config;
use crate::engine;
use crate::observer::{self, Question};
use crate::reply::{Answered, answer, refusal};
use crate::sync;
use crate::sync::settings::Settings;
use crate::vrrp;
use crate::vrrp::settings::Group;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use twinwall_control::{Request, pair, report};
use twinwall_netlink::dataplane::Peer;

/// The longest wait for an event, well within what a client waits for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The longest time for a confirmation.
const LONGEST_TRIAL: Duration = Duration::from_secs(86_400);
/// How long an answer waits for what becomes of a policy on the peer, and how often it looks.
const PEER: Duration = Duration::from_secs(5);
const BETWEEN: Duration = Duration::from_millis(10);
/// A peer that isn't heard for so long will not answer soon; less happens on a busy machine.
const AWAY: Duration = Duration::from_millis(500);

/// The way to all threads.
#[derive(Clone, Debug)]
pub struct Desk {
    /// To the thread that owns the running policy.
    pub engine: engine::Sender,
    /// To the thread that reads.
    pub observer: observer::Sender,
    /// To the thread that owns the virtual routers.
    pub vrrp: vrrp::Sender,
    /// To the thread that replicates sessions, if they are replicated, and what it was told.
    pub sync: Option<(sync::Sender, Arc<ArcSwap<Settings>>)>,
    /// What is watched on behalf of VRRP.
    pub groups: Arc<watch::Sender<Arc<[Group]>>>,
    /// The file of the daemon's own settings.
    pub config: PathBuf,
}

impl Desk {
    /// The answer to a request.
    pub async fn answer(&self, request: Request) -> Answered {
        let (reply, answered) = oneshot::channel();
        let accepted = match request {
            Request::Apply { files } => {
                return self.loaded(|reply| self.engine.apply(files, reply)).await;
            }
            Request::Try { files, confirm_ms } => {
                let within = Duration::from_millis(confirm_ms).min(LONGEST_TRIAL);
                return self.loaded(|reply| self.engine.try_policy(files, within, reply)).await;
            }
            Request::ApplyOffered => {
                return self.loaded(|reply| self.engine.apply_offered(reply)).await;
            }
            Request::Confirm => return self.confirm().await,
            Request::Reload => return self.reload().await,
            Request::Status => self.observer.ask(Question::Status, reply),
            Request::Rules => self.observer.ask(Question::Rules, reply),
            Request::Sessions(filter) => self.observer.ask(Question::Sessions(filter), reply),
            Request::Explain(query) => self.observer.ask(Question::Explain(query), reply),
            Request::Vrrp => self.vrrp.status(reply),
            Request::VrrpEvents { after, wait_ms } => {
                let wait = Duration::from_millis(wait_ms).min(LONGEST_WAIT);
                return answer(Ok(self.vrrp.events().after(after, wait).await));
            }
            Request::FailOver { group } => self.vrrp.fail_over(group, reply),
            Request::FailBack { group } => self.vrrp.fail_back(group, reply),
            Request::Sync | Request::Resync => match (&self.sync, request) {
                (None, _) => return refusal("session replication is not configured".into()),
                (Some((sync, _)), Request::Resync) => sync.resync(reply),
                (Some((sync, _)), _) => sync.status(reply),
            },
        };
        match accepted {
            Ok(()) => answered.await.unwrap_or_else(|_| stopping()),
            Err(reason) => refusal(reason.to_string()),
        }
    }

    /// Reads the daemon's own files again: its settings, and then the policy. What is refused
    /// changes nothing of either.
    pub async fn reload(&self) -> Answered {
        let closing = "nothing was changed: settings and policy are as before";
        let config = match Config::read(&self.config, closing) {
            Ok(config) => config,
            Err(text) => return refusal(text),
        };
        let mut report = match self.load(|reply| self.engine.reload(reply)).await {
            Ok(report) => report,
            Err(text) => return refusal(text),
        };
        if let Err(reason) = self.vrrp.configure(config.groups.clone()).await {
            return refusal(format!(
                "the policy is loaded, and virtual routers are as before: {reason}"
            ));
        }
        self.groups.send_replace(config.groups.into());
        match self.configure_sync(config.sync).await {
            Ok(warning) => report.warnings.extend(warning),
            Err(reason) => {
                return refusal(format!(
                    "policy and virtual routers are loaded, and session replication is as before: \
                     {reason}"
                ));
            }
        }
        answer(Ok(report))
    }

    /// Has session replication go by other settings; returns a warning for the operator.
    async fn configure_sync(&self, wanted: Option<Settings>) -> Result<Option<String>, String> {
        let ((sync, current), wanted) = match (&self.sync, wanted) {
            (None, None) => return Ok(None),
            (Some(sync), Some(wanted)) => (sync, wanted),
            (_, wanted) => {
                let what = if wanted.is_some() { "new" } else { "gone" };
                let text = format!(
                    "warning: the section `sync` is {what}: that holds from the next start on"
                );
                tracing::warn!("{text}");
                return Ok(Some(text));
            }
        };
        let before = current.load_full();
        let ends = |settings: &Settings| Peer { local: settings.local, peer: settings.peer };
        let moves = ends(&before) != ends(&wanted);
        if moves {
            outcome(|reply| self.engine.peer(ends(&wanted), reply)).await?;
        }
        let configured = sync.configure(wanted.clone()).await;
        if configured.is_ok() {
            current.store(Arc::new(wanted));
        } else if moves {
            outcome(|reply| self.engine.peer(ends(&before), reply)).await?;
        }
        configured.map(|()| None)
    }
}

impl Desk {
    /// Has a policy loaded, and answers when it is, and when it is known what becomes of it on the
    /// peer.
    async fn loaded(
        &self,
        ask: impl FnOnce(engine::Outcome<report::Apply>) -> Result<(), engine::Unavailable>,
    ) -> Answered {
        answer(self.load(ask).await)
    }

    async fn load(
        &self,
        ask: impl FnOnce(engine::Outcome<report::Apply>) -> Result<(), engine::Unavailable>,
    ) -> Result<report::Apply, String> {
        let mut report = outcome(ask).await?;
        if report.confirm_within_ms.is_none() {
            report.peer = self.peer_outcome().await;
        }
        Ok(report)
    }

    async fn confirm(&self) -> Answered {
        let mut report = match outcome(|reply| self.engine.confirm(reply)).await {
            Ok(report) => report,
            Err(text) => return refusal(text),
        };
        report.peer = self.peer_outcome().await;
        answer(Ok(report))
    }

    /// What becomes of the confirmed policy on the peer, as far as that is soon known.
    async fn peer_outcome(&self) -> Option<pair::Outcome> {
        let sync = self.sync.as_ref().map(|(sync, _)| sync.clone())?;
        let began = Instant::now();
        let mut heard = began;
        loop {
            let asked = sync.clone();
            // The thread may be busy; this one mustn't wait for it.
            let policies = tokio::task::spawn_blocking(move || asked.policies()).await.ok()??;
            let offer = policies.offer?;
            match offer.state.as_str() {
                "pending" => heard = Instant::now(),
                "unreachable" if heard.elapsed() < AWAY => {}
                _ => return Some(offer),
            }
            if began.elapsed() >= PEER {
                let reason = format!("the peer has not said within {} s", PEER.as_secs());
                return Some(pair::Outcome { reason, ..offer });
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

/// Asks the engine, and waits for the outcome.
async fn outcome<T>(
    ask: impl FnOnce(engine::Outcome<T>) -> Result<(), engine::Unavailable>,
) -> Result<T, String> {
    let (reply, outcome) = oneshot::channel();
    ask(reply).map_err(|reason| reason.to_string())?;
    outcome.await.unwrap_or_else(|_| Err("twinwalld is stopping".into()))
}

fn stopping() -> Answered {
    refusal("twinwalld is stopping".into())
}
