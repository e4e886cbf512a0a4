//! Writes sessions and expectations as the state machine asks for them.
//!
//! Goes in: batches of writes. Comes out: what became of each. Not here: who writes when.

use super::convert;
use twinwall_ctsync::replica::{Write, WriteOp, WriteResult};
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Expectation, Outcome, Request, TupleRef, Writer,
};

/// `EIO`, `EEXIST` and `EINVAL`: what the state machine is told where the kernel said nothing.
const IO: i32 = 5;
const EXISTS: i32 = 17;
const INVALID: i32 = 22;

/// What became of a batch of writes.
#[derive(Debug)]
pub(super) struct Written {
    /// Which one.
    pub(super) batch: u64,
    /// A result for each.
    pub(super) results: Vec<WriteResult>,
    /// Sessions that are [`WriteResult::Busy`].
    pub(super) alive: Vec<Entry>,
}

/// Sockets to write with.
#[derive(Debug)]
pub(super) struct Pen {
    writer: Writer,
    looker: Conntrack,
}

/// What is written, in the kernel's terms.
enum Thing {
    Session(Entry),
    Expectation(Expectation),
    /// One that isn't to be deleted, since packets go through it.
    Busy,
    Nothing,
}

impl Pen {
    /// # Errors
    /// When a socket can't be had.
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self { writer: Writer::open()?, looker: Conntrack::open()? })
    }

    /// The port of the writing socket, by which its changes are known.
    pub(super) fn port(&self) -> u32 {
        self.writer.port()
    }

    /// Writes a batch. Blocks for about 5 us a session.
    pub(super) fn write(&mut self, batch: u64, writes: &[Write]) -> Written {
        let Self { writer, looker } = self;
        let (results, alive) = write(writer, looker, writes);
        Written { batch, results, alive }
    }
}

fn write(
    writer: &mut Writer,
    looker: &mut Conntrack,
    writes: &[Write],
) -> (Vec<WriteResult>, Vec<Entry>) {
    let mut alive = Vec::new();
    let things: Vec<Thing> = writes
        .iter()
        .map(|write| match write.session.expectation {
            None if write.op == WriteOp::DeleteIdle => {
                let entry = convert::entry(&write.session);
                match busy(looker, &entry) {
                    None => Thing::Session(entry),
                    Some(entry) => {
                        alive.push(entry);
                        Thing::Busy
                    }
                }
            }
            None => Thing::Session(convert::entry(&write.session)),
            Some(_) => {
                convert::expectation(&write.session).map_or(Thing::Nothing, Thing::Expectation)
            }
        })
        .collect();
    let pairs = writes.iter().zip(&things);
    let requests: Vec<Request<'_>> =
        pairs.filter_map(|(write, thing)| request(write.op, thing)).collect();
    let mut outcomes = Vec::with_capacity(requests.len());
    if let Err(error) = writer.write(&requests, &mut outcomes) {
        tracing::warn!(%error, "cannot write sessions");
    }
    let mut outcomes = outcomes.into_iter();
    let results = things
        .iter()
        .map(|thing| match thing {
            Thing::Busy => WriteResult::Busy,
            Thing::Nothing => WriteResult::Refused(INVALID),
            _ => outcomes.next().map_or(WriteResult::Refused(IO), result),
        })
        .collect();
    (results, alive)
}

/// A session that has less time left than `entry` says: a packet has set it since it was held.
fn busy(looker: &mut Conntrack, entry: &Entry) -> Option<Entry> {
    let found = looker.entry(TupleRef::Original(&entry.original), entry.zone);
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look a session up");
        None
    });
    found.filter(|found| found.timeout < entry.timeout)
}

fn request(op: WriteOp, thing: &Thing) -> Option<Request<'_>> {
    Some(match (op, thing) {
        (_, Thing::Nothing | Thing::Busy) => return None,
        (WriteOp::Create, Thing::Session(entry)) => Request::Put(entry),
        (WriteOp::Update, Thing::Session(entry)) => Request::Update(entry),
        (WriteOp::Replace, Thing::Session(entry)) => Request::Renew(entry),
        (WriteOp::Timeout, Thing::Session(entry)) => Request::Timeout {
            original: &entry.original,
            zone: entry.zone,
            seconds: entry.timeout.unwrap_or(0),
        },
        (WriteOp::Delete | WriteOp::DeleteIdle, Thing::Session(entry)) => {
            Request::Delete { original: &entry.original, zone: entry.zone, id: None }
        }
        (WriteOp::Delete | WriteOp::DeleteIdle, Thing::Expectation(expectation)) => {
            Request::Unexpect { tuple: &expectation.tuple, zone: expectation.zone, id: None }
        }
        (_, Thing::Expectation(expectation)) => Request::Expect(expectation),
    })
}

fn result(outcome: Outcome) -> WriteResult {
    match outcome {
        Outcome::Created | Outcome::Updated | Outcome::NoRoomForLabels | Outcome::Deleted => {
            WriteResult::Done
        }
        Outcome::Missing | Outcome::NoMaster => WriteResult::Missing,
        Outcome::Clash => WriteResult::Refused(EXISTS),
        Outcome::Incomplete(_) => WriteResult::Refused(INVALID),
        Outcome::Refused(errno) => WriteResult::Refused(errno),
    }
}
