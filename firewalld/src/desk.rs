//! Hands each request to the thread that can answer it.
//!
//! ```text
//! apply, reload                      engine     changes the running policy, one after the other
//! status, rules, sessions, explain   observer   reads; never waits for a reload to finish
//! ```

use crate::engine;
use crate::observer::{self, Question};
use crate::reply::refusal;
use tokio::sync::oneshot;
use twinwall_control::Request;

/// The way to both threads.
#[derive(Clone, Debug)]
pub struct Desk {
    /// To the thread that owns the running policy.
    pub engine: engine::Sender,
    /// To the thread that reads.
    pub observer: observer::Sender,
}

impl Desk {
    /// The answer to a request, as bytes.
    pub async fn answer(&self, request: Request) -> Vec<u8> {
        let (reply, answer) = oneshot::channel();
        let accepted = match request {
            Request::Apply { files } => self.engine.apply(files, reply),
            Request::Reload => self.engine.reload(reply),
            Request::Status => self.observer.ask(Question::Status, reply),
            Request::Rules => self.observer.ask(Question::Rules, reply),
            Request::Sessions(filter) => self.observer.ask(Question::Sessions(filter), reply),
            Request::Explain(query) => self.observer.ask(Question::Explain(query), reply),
        };
        match accepted {
            Ok(()) => answer.await.unwrap_or_else(|_| refusal("twinwalld is stopping".into())),
            Err(reason) => refusal(reason.to_string()),
        }
    }
}
