//! Sessions of the channel: keys that both nodes have, and what was sealed and opened with them.

use super::keys::Key;
use super::refusal::Refusal;
use super::window::Window;
use super::{Greeting, MAX_PLAINTEXT, Opened, header};
use crate::time::Timestamp;
use snow::StatelessTransportState;
use std::fmt;
use std::time::Duration;

/// The current one, the one before it, and one that isn't confirmed yet.
const MAX_SESSIONS: usize = 3;

/// A session.
pub(super) struct Session {
    /// What the peer's datagrams name it by.
    pub(super) index: u32,
    /// What this node's datagrams name it by.
    pub(super) remote: u32,
    pub(super) transport: StatelessTransportState,
    pub(super) key: Key,
    pub(super) greeting: Greeting,
    pub(super) since: Timestamp,
    /// Whether the peer is known to have it.
    pub(super) confirmed: bool,
    pub(super) window: Window,
    pub(super) sent: u64,
    /// When it is forgotten, if there is a later one.
    pub(super) until: Option<Timestamp>,
}

impl Session {
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    pub(super) fn seal(&mut self, plaintext: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = header::write_data(self.remote, self.sent);
        let head = datagram.len();
        datagram.resize(head + plaintext.len() + 16, 0);
        let room = datagram.get_mut(head..)?;
        self.transport.write_message(self.sent, plaintext, room).ok()?;
        self.sent += 1;
        Some(datagram)
    }

    fn open(&mut self, counter: u64, sealed: &[u8]) -> Result<Opened, Refusal> {
        if !self.window.admits(counter) {
            return Err(Refusal::Repeated);
        }
        let len = sealed.len().checked_sub(16).filter(|len| *len <= MAX_PLAINTEXT);
        let mut plaintext = vec![0; len.ok_or(Refusal::Form)?];
        let opened = self.transport.read_message(counter, sealed, &mut plaintext);
        opened.map_err(|_| Refusal::Seal)?;
        self.window.take(counter);
        Ok(Opened { boot: self.greeting.boot, plaintext })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, remote, since, confirmed, sent, .. } = self;
        write!(f, "Session({index:x} -> {remote:x}, {since:?}, {confirmed}, {sent})")
    }
}

/// The living sessions, the latest one last.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: Vec<Session>,
}

impl Sessions {
    /// The one to seal with: the latest that the peer is known to have.
    pub(super) fn current(&self) -> Option<&Session> {
        self.sessions.iter().rfind(|session| session.confirmed)
    }

    pub(super) fn current_mut(&mut self) -> Option<&mut Session> {
        self.sessions.iter_mut().rfind(|session| session.confirmed)
    }

    pub(super) fn living(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.sessions.iter().map(|session| (session.index, session.window.next()))
    }

    pub(super) fn add(&mut self, session: Session, now: Timestamp, retire_after: Duration) {
        let confirmed = session.confirmed;
        // There is one handshake at a time: an older one that wasn't confirmed has failed.
        self.sessions.retain(|other| other.confirmed && other.index != session.index);
        self.sessions.push(session);
        if confirmed {
            self.supersede(now, retire_after);
        }
        if self.sessions.len() > MAX_SESSIONS {
            self.sessions.remove(0);
        }
    }

    /// Opens a datagram. Returns the greeting of a session that it is the first of.
    pub(super) fn open(
        &mut self,
        now: Timestamp,
        index: u32,
        counter: u64,
        sealed: &[u8],
        retire_after: Duration,
    ) -> Result<(Opened, Option<Greeting>), Refusal> {
        let session = self.sessions.iter_mut().find(|session| session.index == index);
        let session = session.ok_or(Refusal::Session)?;
        let opened = session.open(counter, sealed)?;
        if session.confirmed {
            return Ok((opened, None));
        }
        session.confirmed = true;
        let greeting = session.greeting;
        self.supersede(now, retire_after);
        Ok((opened, Some(greeting)))
    }

    pub(super) fn retire(&mut self, now: Timestamp) {
        self.sessions.retain(|session| session.until.is_none_or(|until| until > now));
    }

    /// All but the latest are on their way out.
    fn supersede(&mut self, now: Timestamp, retire_after: Duration) {
        if let Some((_, older)) = self.sessions.split_last_mut() {
            for session in older {
                session.until.get_or_insert(now.after(retire_after));
            }
        }
    }
}
