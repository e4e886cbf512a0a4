//! One transaction: all of it is applied, or nothing.
//!
//! It goes to the kernel in one `sendto`; mnl's `send_all` sends each page of a batch by itself,
//! and the kernel applies nothing of a transaction that comes in parts. Not here: what is in it.

use super::expr::Expr;
use super::ffi::Encoded;
use crate::socket::{Error as SocketError, Socket};
use crate::wire::{ERROR, Writer};
use nftnl::{Batch, Chain, MsgType, NlMsg, Rule, Table};
use std::ffi::CString;
use std::io;

/// Why a transaction was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused one of the messages, and so all of them.
    #[error("nftables: cannot {attempt}: {source}")]
    Refused {
        /// What the message was to do.
        attempt: String,
        /// The errno.
        source: io::Error,
    },
    /// A message could not be written.
    #[error("nftables: cannot {attempt}: the message is too long")]
    TooLong {
        /// What the message was to do.
        attempt: String,
    },
    /// The transaction is larger than the socket's send buffer.
    #[error("nftables: a transaction of {bytes} bytes does not fit into the send buffer")]
    Oversize {
        /// Its length.
        bytes: usize,
    },
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

impl Error {
    /// The errno of a refusal.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            Self::Socket(error) => error.errno(),
            _ => None,
        }
    }
}

/// Collects messages until they are sent.
pub struct Transaction {
    batch: Batch,
    attempts: Vec<String>,
    unwritable: Option<String>,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

impl Transaction {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self { batch: Batch::new(), attempts: Vec::new(), unwritable: None }
    }

    /// Adds one of nftnl's own messages. `attempt` completes the sentence "cannot ...".
    pub fn push(&mut self, message: &impl NlMsg, kind: MsgType, attempt: impl Into<String>) {
        self.batch.add(message, kind);
        self.attempts.push(attempt.into());
    }

    /// Adds a message that the writer holds, and clears the writer.
    pub fn push_raw(&mut self, writer: &mut Writer, attempt: impl Into<String>) {
        let attempt = attempt.into();
        match writer.finished().and_then(Encoded::new) {
            Some(message) => self.push(&message, MsgType::Add, attempt),
            None => self.unwritable = Some(attempt),
        }
        writer.clear();
    }

    /// Adds a rule at the end of a chain. The comment shows in `nft list`.
    pub fn rule(&mut self, table: &Table, chain: &str, comment: &str, exprs: &[Expr]) {
        let (Ok(name), Ok(text)) = (CString::new(chain), CString::new(comment)) else {
            self.unwritable = Some(format!("name a rule in chain {chain}"));
            return;
        };
        let chain = Chain::new(&name, table);
        let mut rule = Rule::new(&chain);
        for expr in exprs {
            rule.add_expr(expr);
        }
        if rule.set_comment(text).is_err() {
            self.unwritable = Some(format!("add the comment '{comment}'"));
            return;
        }
        let attempt = format!("add the rule '{comment}' to chain {}", name.to_string_lossy());
        self.push(&rule, MsgType::Add, attempt);
    }

    /// Sends everything in one piece and waits for the kernel's word.
    ///
    /// # Errors
    /// The first message that the kernel refused. Nothing has been applied then.
    pub fn commit(self, socket: &mut Socket) -> Result<(), Error> {
        if let Some(attempt) = self.unwritable {
            return Err(Error::TooLong { attempt });
        }
        let attempts = self.attempts;
        let batch = self.batch.finalize();
        let mut bytes = Vec::new();
        for page in &batch {
            bytes.extend_from_slice(page);
        }
        socket.send(&bytes).map_err(|error| match error.raw_os_error() {
            Some(libc::EMSGSIZE) => Error::Oversize { bytes: bytes.len() },
            _ => Error::Socket(error.into()),
        })?;
        // The kernel has worked through all of it when the send returns, so its answers are there.
        let first = batch.sequence_numbers().end.saturating_sub(attempts.len() as u32 + 1);
        let mut refused: Option<(u32, io::Error)> = None;
        socket.drain(|message| {
            let errno = if message.kind == ERROR { message.errno() } else { 0 };
            if errno != 0 && refused.is_none() {
                refused = Some((message.seq, io::Error::from_raw_os_error(errno)));
            }
        })?;
        match refused {
            None => Ok(()),
            Some((seq, source)) => {
                let place = seq.checked_sub(first).and_then(|n| attempts.get(n as usize));
                let attempt = place.cloned().unwrap_or_else(|| "apply a transaction".to_owned());
                Err(Error::Refused { attempt, source })
            }
        }
    }
}
