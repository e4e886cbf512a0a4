//! From one policy's keys to the next's.
//!
//! The last count of an element comes with the notification of its deletion, which the kernel
//! writes at once. A packet that was at the element by then, on a processor that was held up before
//! it counted, would be on nobody's account (`docs/kernel.md`). So keys are hidden from the chains
//! first, and deleted when no packet can be at them any more:
//!
//! 1. `hidden` gets the keys, which don't decide from then on; `held` and `rekey` get what belongs to
//!    them.
//! 2. Wait for the packets that are inside the chains.
//! 3. Delete the keys and read what they had counted.
//! 4. Once the sessions have new keys, [`Dataplane::settle`] empties the sets.
//!
//! When any of it fails, the keys that are still there decide again.

use super::guard::NOTIFICATIONS;
use super::layout::{self, DECIDE, HELD, HIDDEN, REKEY, TABLE};
use super::table::{reading, table, write_parts};
use super::{Counter, Dataplane, Error, chains, nat};
use crate::nft::sets::{self, Change};
use crate::nft::transaction::Transaction;
use crate::socket::Socket;
use crate::sys;
use crate::wire::Writer;
use std::collections::{HashMap, HashSet};

/// Bytes asked for as receive buffer: the kernel's notifications of deleted elements.
const RECEIVE_BUFFER: usize = 64 << 20;
/// What one deleted element takes of the receive buffer, with the kernel's overhead: notifications
/// are put together to pages of about 4 KB, each of which is charged with about 8 KB and tells of
/// about 30 elements.
const NOTIFICATION: usize = 512;

/// What takes an old policy out of force.
#[derive(Clone, Debug, Default)]
pub struct Switch<'a> {
    /// Keys to delete.
    pub remove: &'a [u32],
    /// Those of them whose sessions must not be asked about again: their packets are dropped until
    /// [`Dataplane::settle`], on no rule's account.
    pub hold: &'a [u32],
    /// For some of them the only key that their sessions can go to.
    pub successors: &'a [(u32, u32)],
    /// NAT rules, if they changed.
    pub nat: Option<&'a [nat::Rule]>,
    /// `queue_failure`, if it changed.
    pub open_on_failure: Option<bool>,
}

impl Dataplane {
    /// Takes the old policy out of force. When this returns, no packet is decided or counted by
    /// the removed keys any more. Returns all that they had counted.
    ///
    /// # Errors
    /// When the kernel refuses a transaction, or can't wait for packets inside the chains.
    pub fn switch(&mut self, switch: &Switch<'_>) -> Result<Vec<(u32, Counter)>, Error> {
        let switched = self.hide(switch).and_then(|()| {
            sys::membarrier().map_err(Error::Barrier)?;
            self.delete(switch.remove)
        });
        if switched.is_err() {
            // What made it fail says more than a second failure.
            let _ = self.settle();
        }
        switched
    }

    /// Deletes keys that no session has, and returns what they had counted. Of keys in use it may
    /// miss a packet that is being counted.
    ///
    /// # Errors
    /// When the kernel refuses a transaction, or can't wait for packets inside the chains.
    pub fn remove_keys(&mut self, keys: &[u32]) -> Result<Vec<(u32, Counter)>, Error> {
        let counted = self.delete(keys)?;
        sys::membarrier().map_err(Error::Barrier)?;
        Ok(counted)
    }

    /// Hands every stale key that has a successor to `each`, with the number of sessions that the
    /// kernel has moved from it.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn moved(&mut self, mut each: impl FnMut(u32, u64)) -> Result<(), Error> {
        self.dump(REKEY, |element| each(element.key, element.counter.packets))
    }

    /// Ends what [`Self::switch`] began: nothing is hidden or held any more, and nothing has a
    /// successor.
    ///
    /// # Errors
    /// When the kernel refuses the transaction.
    pub fn settle(&mut self) -> Result<(), Error> {
        let mut tx = Transaction::new();
        empty_all(&mut tx);
        Ok(tx.commit(&mut self.socket)?)
    }

    /// From here on the keys don't decide. Other settings change with the first of them.
    fn hide(&mut self, switch: &Switch<'_>) -> Result<(), Error> {
        let at_once = (self.elements_at_once() / 3).max(1);
        let successor: HashMap<u32, u32> = switch.successors.iter().copied().collect();
        let hold: HashSet<u32> = switch.hold.iter().copied().collect();
        let mut parts = switch.remove.chunks(at_once);
        let mut tx = Transaction::new();
        if let Some(rules) = switch.nat {
            nat::write(&mut tx, &table(), rules);
        }
        if let Some(open) = switch.open_on_failure {
            chains::write_unclassified(&mut tx, &table(), self.marks, open);
        }
        loop {
            let part = parts.next().unwrap_or_default();
            let moves: Vec<(u32, u32)> =
                part.iter().filter_map(|key| Some((*key, *successor.get(key)?))).collect();
            let held: Vec<u32> = part.iter().filter(|key| hold.contains(key)).copied().collect();
            write_parts(&mut tx, HIDDEN, Change::Add, part, |w, key| sets::write_key(w, *key));
            write_parts(&mut tx, HELD, Change::Add, &held, |w, key| sets::write_key(w, *key));
            write_parts(&mut tx, REKEY, Change::Add, &moves, |w, (from, to)| {
                sets::write_key(w, *from);
                sets::write_mark(w, *to);
            });
            std::mem::take(&mut tx).commit(&mut self.socket)?;
            if parts.len() == 0 {
                return Ok(());
            }
        }
    }

    /// Deletes keys and returns the last counts.
    fn delete(&mut self, keys: &[u32]) -> Result<Vec<(u32, Counter)>, Error> {
        let failed = || reading("listen to notifications");
        let mut listener = match self.listener.take() {
            Some(listener) => listener,
            None => Socket::open().map_err(failed())?,
        };
        let (_, receive) = listener.set_buffers(0, RECEIVE_BUFFER).map_err(failed())?;
        listener.join(NOTIFICATIONS).map_err(failed())?;
        let at_once = (receive / NOTIFICATION).min(self.elements_at_once()).max(1);
        let mut counted = Vec::with_capacity(keys.len());
        for part in keys.chunks(at_once) {
            let mut tx = Transaction::new();
            write_parts(&mut tx, DECIDE, Change::Delete, part, |w, key| sets::write_key(w, *key));
            tx.commit(&mut self.socket)?;
            read_deleted(&mut listener, &mut counted)?;
        }
        // What is left are changes of others. One that fails here is made anew next time.
        let emptied = listener.leave(NOTIFICATIONS).is_ok() && listener.drain(|_| {}).is_ok();
        self.listener = emptied.then_some(listener);
        Ok(counted)
    }
}

fn read_deleted(listener: &mut Socket, counted: &mut Vec<(u32, Counter)>) -> Result<(), Error> {
    listener
        .drain(|message| {
            sets::read_deleted(message, TABLE, layout::text(DECIDE), |element| {
                counted.push((element.key, element.counter));
            });
        })
        .map_err(|source| Error::Read { attempt: "read the last counts of deleted keys", source })
}

/// Empties what is only needed during a reload.
pub(super) fn empty_all(tx: &mut Transaction) {
    for name in [HIDDEN, HELD, REKEY] {
        let name = layout::text(name);
        let mut writer = Writer::default();
        sets::write_flush_map(&mut writer, TABLE, name);
        tx.push_raw(&mut writer, format!("empty map {name}"));
    }
}
