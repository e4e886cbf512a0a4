//! Answers to requests: written by the thread that has them, so that a large one doesn't hold up
//! the event loop.

use serde::Serialize;
use tokio::sync::oneshot;
use twinwall_control::Answer;

/// Where an answer goes to, already encoded.
pub type Reply = oneshot::Sender<Vec<u8>>;

/// Answers with a report or a refusal. Somebody who no longer waits gets nothing.
pub fn respond<T: Serialize>(reply: Reply, result: Result<T, String>) {
    let answer = match result {
        Ok(report) => Answer::Ok(report),
        Err(text) => Answer::Error(text),
    };
    drop(reply.send(encode(&answer)));
}

/// An answer that says no.
#[must_use]
pub fn refusal(text: String) -> Vec<u8> {
    encode(&Answer::<()>::Error(text))
}

fn encode<T: Serialize>(answer: &Answer<T>) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_else(|error| {
        // Only maps with odd keys fail, and no report has one.
        format!("{{\"error\":\"cannot write the answer: {error}\"}}").into_bytes()
    })
}
