//! A worker: takes packets of new sessions from one queue, decides them, sends the verdicts.
//!
//! Each worker is a thread, owned by [`Workers`]. It ends when it is told to and its queue is
//! empty, or when the queue fails, which ends the daemon: a daemon that no longer answers has to
//! be restarted. Not here: the decision itself, see [`crate::snapshot`]; the way packets come and
//! go, see [`crate::packet`]; and when packets have waited too long, see [`crate::delay`].

use crate::clock::since_boot;
use crate::delay::Delay;
use crate::gate::Gate;
use crate::journal::{Journal, Line};
use crate::moved::{Moved, Tally};
use crate::packet::{self, Question};
use crate::parent::Parents;
use crate::pulse::Pulse;
use crate::snapshot::Snapshot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use twinwall_netlink::dataplane::Marks;
use twinwall_netlink::dataplane::marks::ASKED;
use twinwall_netlink::nfqueue::{Config, Error, Packet, Queue, Received, Waker};
use twinwall_policy::flow::protocol;

/// How long a worker waits for packets at a time: it bounds how long a lost wake-up would go
/// unnoticed.
const WAIT: Duration = Duration::from_millis(250);

/// What a worker has counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Packets that got a key.
    pub classified: AtomicU64,
    /// Packets that could not be read, or come from a zone that the policy doesn't know; dropped.
    pub malformed: AtomicU64,
    /// Sessions taken from a stale key to another one.
    pub moved: Tally,
}

/// All workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    wakers: Vec<Waker>,
    counts: Vec<Arc<Counts>>,
    stop: Arc<AtomicBool>,
}

/// What all workers share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The running policy.
    pub gate: Arc<Gate<Snapshot>>,
    /// The owned bits.
    pub marks: Marks,
    /// The session log.
    pub journal: Journal,
    /// Whether the process stood still.
    pub pulse: Arc<Pulse>,
}

impl Workers {
    /// Binds the queues and starts a thread for each. `failed` is called from a worker whose queue
    /// fails.
    ///
    /// # Errors
    /// When a queue can't be had; none is held then.
    pub fn start(
        first_queue: u16,
        count: u16,
        shared: &Shared,
        failed: impl Fn(Error) + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let numbers = first_queue..first_queue.saturating_add(count);
        let config = |queue| Config { fail_open: true, ..Config::new(queue) };
        let room = config(first_queue).max_length;
        let queues = numbers.map(|n| Queue::bind(&config(n))).collect::<Result<Vec<_>, _>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let wakers = queues.iter().map(Queue::waker).collect();
        let counts: Vec<_> = queues.iter().map(|_| Arc::new(Counts::default())).collect();
        let mut threads = Vec::new();
        for (number, queue) in queues.into_iter().enumerate() {
            let worker = Worker {
                number,
                queue,
                shared: shared.clone(),
                counts: counts.get(number).map(Arc::clone).unwrap_or_default(),
                memory: Memory::default(),
                delay: Delay::new(WAIT, room, shared.pulse.standstill(since_boot())),
                stop: Arc::clone(&stop),
            };
            let failed = failed.clone();
            let thread =
                std::thread::Builder::new().name(format!("queue-{number}")).spawn(move || {
                    if let Err(error) = worker.run() {
                        failed(error);
                    }
                });
            threads.push(thread.map_err(|source| Error::Io {
                action: "start a thread for",
                queue: first_queue,
                source,
            })?);
        }
        Ok(Self { threads, wakers, counts, stop })
    }

    /// The counters of each worker.
    #[must_use]
    pub fn counts(&self) -> Vec<Arc<Counts>> {
        self.counts.clone()
    }

    /// Lets the workers answer what still waits in their queues, and ends them.
    pub fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wakers.iter().for_each(Waker::wake);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a queue worker had panicked");
            }
        }
    }
}

struct Worker {
    number: usize,
    queue: Queue,
    shared: Shared,
    counts: Arc<Counts>,
    memory: Memory,
    delay: Delay,
    stop: Arc<AtomicBool>,
}

/// What a worker knows from packets before.
#[derive(Default)]
struct Memory {
    parents: Parents,
    moved: Moved,
}

impl Worker {
    fn run(mut self) -> Result<(), Error> {
        loop {
            let stopping = self.stop.load(Ordering::SeqCst);
            let wait = if stopping { Duration::ZERO } else { self.delay.wait() };
            let received = self.queue.receive(wait)?;
            self.delay.look(self.shared.pulse.standstill(since_boot()));
            match received {
                Received::Batch => self.batch()?,
                Received::Timeout if stopping => return Ok(()),
                Received::Timeout if wait.is_zero() => self.drained(),
                Received::Timeout | Received::Woken => {}
            }
        }
    }

    /// Nothing waits any more.
    fn drained(&mut self) {
        if let Some((stood_still, dropped)) = self.delay.drained() {
            tracing::warn!(
                "the daemon stood still for {stood_still:?}: {dropped} TCP packets that waited were \
                 dropped, their senders repeat them"
            );
        }
    }

    fn batch(&mut self) -> Result<(), Error> {
        let Self { number, queue, shared, counts, memory, delay, .. } = self;
        let gate = Arc::clone(&shared.gate);
        gate.with(*number, |snapshot| {
            let (packets, verdicts) = queue.batch();
            for packet in packets {
                if delay.is_late() && packet::protocol(&packet) == Some(protocol::TCP) {
                    delay.drop_one();
                    verdicts.drop(packet.id);
                    continue;
                }
                if packet.mark & ASKED == 0 {
                    // Of a session that a helper sees to: it has to pass here, and is decided later.
                    verdicts.accept(packet.id);
                    continue;
                }
                match answer(&packet, snapshot, shared, memory, &counts.moved) {
                    Some(mark) => {
                        counts.classified.fetch_add(1, Ordering::Relaxed);
                        verdicts.repeat(packet.id, mark);
                    }
                    None => {
                        counts.malformed.fetch_add(1, Ordering::Relaxed);
                        verdicts.drop(packet.id);
                    }
                }
            }
            // Inside the gate: the engine waits until these verdicts have been carried out.
            queue.flush()
        })
    }
}

/// The packet mark that takes the deciding key back, or `None` for a packet that can't be decided.
fn answer(
    packet: &Packet<'_>,
    snapshot: &Snapshot,
    shared: &Shared,
    memory: &mut Memory,
    tally: &Tally,
) -> Option<u32> {
    let question = packet::read(packet, shared.marks, &snapshot.zones)?;
    let policy = &snapshot.policy;
    let decided = match question {
        Question::Session { flow, expected, .. } => {
            let parent =
                if expected { memory.parents.of(&flow.tuple, shared.marks, policy) } else { None };
            match parent {
                Some(parent) => policy.decide(&parent)?,
                None => policy.decide(&flow)?,
            }
        }
        Question::AboutSession(flow) => policy.decide(&flow)?,
    };
    let refuses = !decided.rule.action.passes();
    if let Question::Session { flow, stale: true, .. } = question {
        memory.moved.note(flow.tuple, policy, !refuses, tally);
    }
    if let (true, Question::Session { flow, reply: false, .. }) = (decided.rule.log, question) {
        let zone = |zone| policy.installed.rules().zone_name(zone);
        shared.journal.log(Line {
            rule: Arc::clone(&decided.rule.name),
            action: decided.rule.action,
            from: zone(flow.from),
            to: zone(flow.to),
            tuple: flow.tuple,
        });
    }
    let remember = refuses && matches!(question, Question::Session { reply: false, .. });
    Some(shared.marks.answer(packet.mark, decided.key.mark(), remember))
}
