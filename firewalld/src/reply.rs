//! Answers to requests: written by the thread that has them, so that a large one doesn't hold up
//! the event loop.

use serde::Serialize;
use tokio::sync::oneshot;
use twinwall_control::Answer;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Encoded for whoever has asked.
    pub line: Vec<u8>,
    /// Why the request was refused, if it was.
    pub refusal: Option<String>,
}

/// Where an answer goes to.
pub type Reply = oneshot::Sender<Answered>;

/// Answers with a report or a refusal. Somebody who no longer waits gets nothing.
pub fn respond<T: Serialize>(reply: Reply, result: Result<T, String>) {
    drop(reply.send(answer(result)));
}

/// An answer with a report, or one that says no.
#[must_use]
pub fn answer<T: Serialize>(result: Result<T, String>) -> Answered {
    match result {
        Ok(report) => Answered { line: encode(&Answer::Ok(report)), refusal: None },
        Err(text) => refusal(text),
    }
}

/// An answer that says no.
#[must_use]
pub fn refusal(text: String) -> Answered {
    Answered { line: encode(&Answer::<()>::Error(text.clone())), refusal: Some(text) }
}

fn encode<T: Serialize>(answer: &Answer<T>) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_else(|error| {
        // Only maps with odd keys fail, and no report has one.
        format!("{{\"error\":\"cannot write the answer: {error}\"}}").into_bytes()
    })
}
