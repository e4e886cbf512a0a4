//! Build, adopt and read the table.
//!
//! Every change is a transaction. A process without `CAP_NET_ADMIN` in the first user namespace
//! can't raise its socket buffers above `wmem_max` and `rmem_max`; then changes of many elements
//! are split into several transactions, each whole in itself.

use super::Decision;
use super::chains::{self, QueueForm, Wiring};
use super::layout::{self, DECIDE, TABLE};
use super::local::Peer;
use super::marks::Marks;
use super::{nat, probe, switch};
use crate::nft::expr::Verdict;
use crate::nft::sets::{self, Change, Counter, Element, ElementVerdict};
use crate::nft::transaction::{self, Transaction};
use crate::socket::{Error as SocketError, Socket};
use crate::wire::Writer;
use nftnl::{Chain, MsgType, ProtoFamily, Table};
use std::ffi::{CStr, CString};

/// Bytes asked for as send buffer: 100,000 elements need about 8 MB.
const SEND_BUFFER: usize = 256 << 20;
/// What an element takes of a transaction, at most.
const ELEMENT_BYTES: usize = 64;
/// Room in a transaction for what isn't elements.
const RESERVE_BYTES: usize = 32 << 10;

/// Why the table could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A transaction was not applied.
    #[error(transparent)]
    Transaction(#[from] transaction::Error),
    /// Reading failed.
    #[error("nftables: cannot {attempt}: {source}")]
    Read {
        /// What was to be read.
        attempt: &'static str,
        /// The cause.
        source: SocketError,
    },
    /// The kernel can't queue packets.
    #[error("this kernel has neither nft's queue expression nor the NFQUEUE target")]
    NoQueue,
    /// Packets inside the chains can't be waited for.
    #[error("cannot wait for packets inside the chains: membarrier: {0}")]
    Barrier(std::io::Error),
}

/// What the chains depend on, besides the marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of the first queue.
    pub first_queue: u16,
    /// How many queues.
    pub queues: u16,
    /// Whether packets that nobody answers for pass.
    pub open_on_failure: bool,
    /// NAT rules.
    pub nat: Vec<nat::Rule>,
    /// The sync channel to the other node of a pair, which is never filtered.
    pub peer: Option<Peer>,
}

/// An element of the verdict map that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Session key.
    pub key: u32,
    /// What its packets get; `None` for a verdict that isn't ours.
    pub decision: Option<Decision>,
    /// What it has counted.
    pub counter: Counter,
}

/// The table in the kernel.
#[derive(Debug)]
pub struct Dataplane {
    pub(super) socket: Socket,
    pub(super) marks: Marks,
    form: QueueForm,
    send_limit: usize,
    /// Hears of deleted keys. Kept, as closing a socket takes some 20 ms in the kernel.
    pub(super) listener: Option<Socket>,
}

impl Dataplane {
    /// Opens a socket and finds out what the kernel has.
    ///
    /// # Errors
    /// Without `CAP_NET_ADMIN` over the network namespace, or without any way to queue packets.
    pub fn open(marks: Marks) -> Result<Self, Error> {
        let opened = |source: std::io::Error| Error::Read {
            attempt: "open a netlink socket",
            source: source.into(),
        };
        let mut socket = Socket::open().map_err(opened)?;
        let (send_limit, _) = socket.set_buffers(SEND_BUFFER, 1 << 20).map_err(opened)?;
        let form = probe::queue_form(&mut socket)?.ok_or(Error::NoQueue)?;
        Ok(Self { socket, marks, form, send_limit, listener: None })
    }

    /// A second socket on the same table, to read from while the first one writes.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn reader(marks: Marks, form: QueueForm) -> Result<Self, Error> {
        let socket = Socket::open().map_err(reading("open a netlink socket"))?;
        Ok(Self { socket, marks, form, send_limit: 0, listener: None })
    }

    /// Which form of the queue expression is used.
    #[must_use]
    pub const fn queue_form(&self) -> QueueForm {
        self.form
    }

    /// The owned bits.
    #[must_use]
    pub const fn marks(&self) -> Marks {
        self.marks
    }

    /// The elements of the verdict map, if there is a table that can be adopted.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn existing(&mut self) -> Result<Option<Vec<Present>>, Error> {
        let mut writer = Writer::default();
        let seq = self.socket.next_seq();
        sets::write_get_chain(&mut writer, TABLE, &layout::version(self.marks), seq);
        let bytes = writer.finished().unwrap_or_default();
        match self.socket.request(bytes, seq, |_| {}) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
            Err(source) => return Err(Error::Read { attempt: "look for the table", source }),
        }
        let mut found = Vec::new();
        self.dump(DECIDE, |element| {
            let decision = element.verdict.as_ref().and_then(decision_of);
            found.push(Present { key: element.key, decision, counter: element.counter });
        })?;
        Ok(Some(found))
    }

    /// Builds the table anew, whatever was there before, with these keys.
    ///
    /// # Errors
    /// When the kernel refuses a transaction.
    pub fn build(&mut self, settings: &Settings, keys: &[(u32, Decision)]) -> Result<(), Error> {
        let table = table();
        let mut tx = Transaction::new();
        let mut writer = Writer::default();
        // Deleting needs something to delete.
        tx.push(&table, MsgType::Add, "make the table");
        sets::write_delete_table(&mut writer, TABLE);
        tx.push_raw(&mut writer, "delete the old table");
        tx.push(&table, MsgType::Add, "make the table");
        if let Ok(version) = CString::new(layout::version(self.marks)) {
            tx.push(&Chain::new(&version, &table), MsgType::Add, "name the table's layout");
        }
        for (map, id) in layout::maps().iter().zip(1..) {
            sets::write_map(&mut writer, TABLE, map, id);
            tx.push_raw(&mut writer, format!("make map {}", map.name));
        }
        for name in layout::counter::ALL {
            sets::write_counter(&mut writer, TABLE, layout::text(name));
            tx.push_raw(&mut writer, format!("make counter {}", layout::text(name)));
        }
        chains::write(&mut tx, &table, &self.wiring(settings));
        nat::write(&mut tx, &table, &settings.nat);
        let (with_it, later) = keys.split_at(self.elements_at_once().min(keys.len()));
        self.write_keys(&mut tx, with_it);
        tx.commit(&mut self.socket)?;
        self.add_keys(later)
    }

    /// Writes the chains of a table that was there before, and leaves its maps.
    ///
    /// # Errors
    /// When the kernel refuses the transaction.
    pub fn adopt(&mut self, settings: &Settings) -> Result<(), Error> {
        let table = table();
        let mut tx = Transaction::new();
        chains::write(&mut tx, &table, &self.wiring(settings));
        nat::write(&mut tx, &table, &settings.nat);
        switch::empty_all(&mut tx);
        Ok(tx.commit(&mut self.socket)?)
    }

    /// Adds keys. Until a session has one of them, nothing changes for any packet.
    ///
    /// # Errors
    /// When the kernel refuses a transaction: `ENFILE` when the map is full.
    pub fn add_keys(&mut self, keys: &[(u32, Decision)]) -> Result<(), Error> {
        for part in keys.chunks(self.elements_at_once()) {
            let mut tx = Transaction::new();
            self.write_keys(&mut tx, part);
            tx.commit(&mut self.socket)?;
        }
        Ok(())
    }

    /// Takes the queue expressions out, so that `queue_failure` decides about new sessions.
    ///
    /// # Errors
    /// When the kernel refuses the transaction.
    pub fn leave(&mut self, open_on_failure: bool) -> Result<(), Error> {
        let wiring = Wiring {
            marks: self.marks,
            queues: None,
            form: self.form,
            open: open_on_failure,
            peer: None,
        };
        let mut tx = Transaction::new();
        chains::write_asking(&mut tx, &table(), &wiring);
        Ok(tx.commit(&mut self.socket)?)
    }

    /// Hands every key and its counter to `each`. 10,000 take about 10 ms, 100,000 about 230 ms.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn counters(&mut self, mut each: impl FnMut(u32, Counter)) -> Result<(), Error> {
        self.dump(DECIDE, |element| each(element.key, element.counter))
    }

    /// The counters of packets that no rule decides.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn exceptions(&mut self) -> Result<Vec<(String, Counter)>, Error> {
        let mut writer = Writer::default();
        let seq = self.socket.next_seq();
        sets::write_dump_counters(&mut writer, TABLE, seq);
        let mut found = Vec::new();
        self.socket
            .dump(writer.finished().unwrap_or_default(), seq, |message| {
                found.extend(sets::read_counter(message));
            })
            .map_err(|source| Error::Read { attempt: "read the named counters", source })?;
        Ok(found)
    }

    pub(super) fn dump(&mut self, map: &CStr, mut each: impl FnMut(Element)) -> Result<(), Error> {
        let mut writer = Writer::default();
        let seq = self.socket.next_seq();
        sets::write_dump_elements(&mut writer, TABLE, layout::text(map), seq);
        self.socket
            .dump(writer.finished().unwrap_or_default(), seq, |message| {
                sets::read_elements(message, &mut each);
            })
            .map_err(|source| Error::Read { attempt: "read a map", source })
    }

    fn write_keys(&self, tx: &mut Transaction, keys: &[(u32, Decision)]) {
        write_parts(tx, DECIDE, Change::Add, keys, |w, (key, decision)| {
            sets::write_key(w, *key);
            sets::write_verdict(w, verdict_of(*decision));
        });
    }

    pub(super) fn elements_at_once(&self) -> usize {
        (self.send_limit.saturating_sub(RESERVE_BYTES) / ELEMENT_BYTES).max(64)
    }

    fn wiring(&self, settings: &Settings) -> Wiring {
        Wiring {
            marks: self.marks,
            queues: Some((settings.first_queue, settings.queues)),
            form: self.form,
            open: settings.open_on_failure,
            peer: settings.peer,
        }
    }
}

pub(super) fn table() -> Table {
    Table::new(c"twinwall", ProtoFamily::Inet)
}

pub(super) fn reading(attempt: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Read { attempt, source: source.into() }
}

fn verdict_of(decision: Decision) -> Verdict<'static> {
    match decision {
        Decision::Accept => Verdict::Accept,
        Decision::Drop => Verdict::Drop,
        Decision::Reject => Verdict::Goto(chains::REJECT),
    }
}

fn decision_of(verdict: &ElementVerdict) -> Option<Decision> {
    match verdict {
        ElementVerdict::Accept => Some(Decision::Accept),
        ElementVerdict::Drop => Some(Decision::Drop),
        ElementVerdict::Goto(chain) if chain == layout::text(chains::REJECT) => {
            Some(Decision::Reject)
        }
        _ => None,
    }
}

/// Writes as many messages as the elements need.
pub(super) fn write_parts<T>(
    tx: &mut Transaction,
    map: &CStr,
    change: Change,
    items: &[T],
    mut element: impl FnMut(&mut Writer, &T),
) {
    let map = layout::text(map);
    let mut writer = Writer::default();
    let mut items = items.iter().peekable();
    while items.peek().is_some() {
        sets::write_elements(&mut writer, TABLE, map, change, &mut items, &mut element);
        tx.push_raw(&mut writer, format!("change map {map}"));
    }
}
