//! Hands each request to the thread that can answer it.
//!
//! ```text
//! apply, reload                      engine     changes the running policy, one after the other
//! status, rules, sessions, explain   observer   reads; never waits for a reload to finish
//! vrrp, failover                     vrrp       owns the state machine
//! sync                               sync       replicates sessions
//! ```

use crate::config::Config;
use crate::engine;
use crate::observer::{self, Question};
use crate::reply::{Answered, answer, refusal};
use crate::sync;
use crate::vrrp;
use crate::vrrp::settings::Group;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use twinwall_control::Request;

/// The longest wait for an event, well within what a client waits for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

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
    pub sync: Option<(sync::Sender, sync::settings::Settings)>,
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
            Request::Apply { files } => self.engine.apply(files, reply),
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
        let (reply, answer) = oneshot::channel();
        if let Err(reason) = self.engine.reload(reply) {
            return refusal(reason.to_string());
        }
        let answer = answer.await.unwrap_or_else(|_| stopping());
        if answer.refusal.is_some() {
            return answer;
        }
        if let Err(reason) = self.vrrp.configure(config.groups.clone()).await {
            return refusal(format!(
                "the policy is loaded, and virtual routers are as before: {reason}"
            ));
        }
        self.groups.send_replace(config.groups.into());
        if let Some((sync, _)) = &self.sync {
            sync.renew_keys();
        }
        if self.sync.as_ref().map(|(_, settings)| settings) != config.sync.as_ref() {
            tracing::warn!("the section sync has changed: that holds from the next start on");
        }
        answer
    }
}

fn stopping() -> Answered {
    refusal("twinwalld is stopping".into())
}
