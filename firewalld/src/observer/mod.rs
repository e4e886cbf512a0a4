//! The observer: answers what operators ask, without ever standing in the engine's way.
//!
//! ```text
//! hits       counters by rule, and when each rule was last hit
//! sessions   conntrack in the policy's terms
//! explain    why a flow is decided as it is
//! ```
//!
//! One thread, owned by [`crate::daemon`], answering one question after the other and looking at
//! the counters in between. It ends with the process: it holds nothing that has to be put away.

mod explain;
mod hits;
mod sessions;

use crate::engine::{Unavailable, rule_count};
use crate::options::Options;
use crate::published::Published;
use crate::reply::{Reply, respond};
use crate::sync;
use crate::worker::Counts;
use arc_swap::ArcSwap;
use hits::Hits;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::SystemTime;
use twinwall_control::{FlowQuery, SessionFilter, report};
use twinwall_netlink::conntrack::Conntrack;
use twinwall_netlink::dataplane::{Dataplane, Marks, QueueForm};
use twinwall_netlink::nfqueue::status;
use twinwall_policy::ruleset::QueueFailure;

/// Questions that may wait.
const WAITING: usize = 32;

/// What can be asked.
#[derive(Debug)]
pub enum Question {
    /// The daemon at a glance.
    Status,
    /// Rules and their hits.
    Rules,
    /// Sessions.
    Sessions(SessionFilter),
    /// Why a flow is decided as it is.
    Explain(FlowQuery),
}

/// The way to the observer.
#[derive(Clone, Debug)]
pub struct Sender(SyncSender<(Question, Reply)>);

/// The receiving end, for [`Observer::run`].
#[derive(Debug)]
pub struct Questions(Receiver<(Question, Reply)>);

/// Both ends.
#[must_use]
pub fn channel() -> (Sender, Questions) {
    let (sender, receiver) = sync_channel(WAITING);
    (Sender(sender), Questions(receiver))
}

impl Sender {
    /// Asks a question.
    ///
    /// # Errors
    /// When too many wait, or the observer has ended.
    pub fn ask(&self, question: Question, reply: Reply) -> Result<(), Unavailable> {
        self.0.try_send((question, reply)).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable::Busy,
            TrySendError::Disconnected(_) => Unavailable::Stopping,
        })
    }
}

/// The observer's state.
#[derive(Debug)]
pub struct Observer {
    published: Arc<ArcSwap<Published>>,
    marks: Marks,
    form: QueueForm,
    counts: Vec<Arc<Counts>>,
    first_queue: u16,
    started: SystemTime,
    hits: Hits,
    dataplane: Option<Dataplane>,
    conntrack: Option<Conntrack>,
    sync: Option<sync::Sender>,
}

impl Observer {
    /// An observer of a daemon that starts now.
    #[must_use]
    pub fn new(
        published: Arc<ArcSwap<Published>>,
        marks: Marks,
        form: QueueForm,
        counts: Vec<Arc<Counts>>,
        options: &Options,
    ) -> Self {
        Self {
            published,
            marks,
            form,
            counts,
            first_queue: options.first_queue,
            started: SystemTime::now(),
            hits: Hits::default(),
            dataplane: None,
            conntrack: None,
            sync: None,
        }
    }

    /// Has it say of sessions where they live.
    #[must_use]
    pub fn with_replication(self, sync: Option<sync::Sender>) -> Self {
        Self { sync, ..self }
    }

    /// Answers until the last sender is gone.
    pub fn run(mut self, questions: &Questions) {
        // Once before the first question: a rule that is hit after this was hit at a known time.
        self.look();
        loop {
            match questions.0.recv_timeout(self.hits.interval()) {
                Ok((question, reply)) => self.answer(question, reply),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) {
        if let Err(reason) = self.sample() {
            tracing::warn!(reason, "cannot sample the counters");
        }
    }

    fn answer(&mut self, question: Question, reply: Reply) {
        match question {
            Question::Status => respond(reply, self.status()),
            Question::Rules => respond(reply, self.rules()),
            Question::Sessions(filter) => respond(reply, self.sessions(&filter)),
            Question::Explain(query) => respond(reply, self.explain(&query)),
        }
    }

    fn status(&mut self) -> Result<report::Status, String> {
        let published = self.published.load_full();
        let installed = &published.policy.installed;
        let rules = installed.rules();
        let exceptions = self.dataplane()?.exceptions().map_err(|error| error.to_string())?;
        let policies = self.sync.as_ref().and_then(sync::Sender::policies);
        let policies = policies.unwrap_or_else(|| sync::policies::report(&published, None));
        Ok(report::Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: time(self.started),
            generation: published.generation,
            policy: rules.name.to_string(),
            loaded: time(published.loaded),
            rules: rule_count(rules),
            keys: installed.table().len(),
            sessions: u64::from(self.conntrack()?.count().map_err(|error| error.to_string())?),
            queue_failure: match rules.queue_failure {
                QueueFailure::Closed => "closed".into(),
                QueueFailure::Open => "open".into(),
            },
            queue_expression: match self.form {
                QueueForm::Native => "native".into(),
                QueueForm::Compat => "compat".into(),
            },
            mark_mask: self.marks.key_mask(),
            queues: self.queues()?,
            exceptions: exceptions
                .into_iter()
                .map(|(reason, counter)| report::Exception {
                    reason,
                    packets: counter.packets,
                    bytes: counter.bytes,
                })
                .collect(),
            interfaces: published
                .zones
                .named()
                .into_iter()
                .map(|(name, zone)| report::Interface {
                    name: name.into(),
                    zone: rules.zone_name(zone).to_string(),
                })
                .collect(),
            policies: Some(policies),
        })
    }

    fn queues(&self) -> Result<Vec<report::Queue>, String> {
        let kernel = status::read().map_err(|error| format!("cannot read the queues: {error}"))?;
        let queues = (self.first_queue..)
            .zip(&self.counts)
            .map(|(number, counts)| {
                let status = kernel.iter().find(|status| status.queue == number);
                report::Queue {
                    number,
                    classified: counts.classified.load(Ordering::Relaxed),
                    malformed: counts.malformed.load(Ordering::Relaxed),
                    waiting: status.map_or(0, |s| u64::from(s.waiting)),
                    overrun: status
                        .map_or(0, |s| u64::from(s.dropped) + u64::from(s.dropped_to_user)),
                }
            })
            .collect();
        Ok(queues)
    }

    fn dataplane(&mut self) -> Result<&mut Dataplane, String> {
        if self.dataplane.is_none() {
            let opened = Dataplane::reader(self.marks, self.form);
            self.dataplane = Some(opened.map_err(|error| error.to_string())?);
        }
        self.dataplane.as_mut().ok_or_else(|| "no data plane".into())
    }

    fn conntrack(&mut self) -> Result<&mut Conntrack, String> {
        if self.conntrack.is_none() {
            let opened = Conntrack::open();
            self.conntrack =
                Some(opened.map_err(|error| format!("cannot open a conntrack socket: {error}"))?);
        }
        self.conntrack.as_mut().ok_or_else(|| "no conntrack".into())
    }
}

/// A point in time as RFC 3339 has it, in UTC.
fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}
