//! What a driver drives: the replica behind the sealed channel.
//!
//! ```text
//!   datagrams ──► ┌─────────┐ plaintext ┌─────────┐ ──► Write, Dump, Classify, Event
//!   keys, time    │ Channel │ ◄───────► │ Replica │
//!   Send      ◄── └─────────┘           └─────────┘ ◄── notifications, dumps, results,
//!                      ▲                     │          roles, policy, time
//!                      ▼                     ▼
//!   Delivery  ◄──   Offers              Recorder: inputs without keys
//! ```
//!
//! Goes in: everything that happens, with the time. Comes out: [`Output`], in which what is to be
//! sent is sealed already. Not here: sockets and clocks.

use crate::channel::{Channel, ChannelConfig, ChannelOutput, KeyRing, Opened, Refusal, Refusals};
use crate::model::{Delta, GroupTag, Identity, KernelEvent, Role};
use crate::offer::{Delivery, Local, OfferConfig, OfferStatus, Offers, Verdict};
use crate::replica::{Config, Input, Liveness, Output, Place, Replica, Status, WriteResult};
use crate::time::Timestamp;
use crate::wire::RuleIdentity;
use twinwall_recorder::Recorder;

/// A node of the pair.
#[derive(Debug)]
pub struct Node {
    channel: Channel,
    replica: Replica,
    offers: Offers,
    recorder: Option<Recorder>,
    raw: Vec<Output>,
}

impl Node {
    /// A node that knows of nothing yet. `seed` has to be random and used only once.
    #[must_use]
    pub fn new(channel: ChannelConfig, config: Config, keys: KeyRing, seed: [u8; 32]) -> Self {
        let replica = Replica::new(config);
        let channel = Channel::new(channel, keys, replica.greeting(), seed);
        let offers = Offers::new(OfferConfig::default());
        Self { channel, replica, offers, recorder: None, raw: Vec::new() }
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Has all inputs of the replica recorded from now on. What is to be written into the file is
    /// fetched from [`Self::recorder`].
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Has nothing recorded any more. Returns the recorder with what is still to be written.
    pub fn stop_recording(&mut self) -> Option<Recorder> {
        self.recorder.take()
    }

    /// The recorder, if inputs are recorded.
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_mut()
    }

    /// Asks for the dump of the start; the peer is spoken to when that is over.
    pub fn start(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.feed(now, Input::Start, out);
    }

    /// Tells the peer that this node stops; nothing is to be fed in after that.
    pub fn stop(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.feed(now, Input::Stop, out);
    }

    /// Takes a datagram in.
    ///
    /// # Errors
    /// When it is refused; it is counted already.
    pub fn receive(
        &mut self,
        now: Timestamp,
        datagram: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if !self.replica.is_ready() {
            return Ok(());
        }
        let mut raised = Vec::new();
        let opened = self.channel.receive(now, datagram, &mut raised);
        self.raise(now, raised, out);
        if let Some(Opened { boot, plaintext }) = opened? {
            let mut answers = Vec::new();
            if !self.offers.receive(now, boot, &plaintext, &mut answers) {
                self.feed(now, Input::Message { boot, plaintext }, out);
            }
            self.seal(&answers, out);
        }
        Ok(())
    }

    /// Takes a notification of the kernel in.
    pub fn kernel_event(&mut self, now: Timestamp, event: KernelEvent, out: &mut Vec<Output>) {
        self.feed(now, Input::Kernel(event), out);
    }

    /// Notifications were lost.
    pub fn overrun(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.feed(now, Input::Overrun, out);
    }

    /// Takes a session that a dump found in.
    pub fn dumped(&mut self, now: Timestamp, delta: Delta, out: &mut Vec<Output>) {
        self.feed(now, Input::Dumped(delta), out);
    }

    /// A dump is over.
    pub fn dump_end(&mut self, now: Timestamp, complete: bool, out: &mut Vec<Output>) {
        self.feed(now, Input::DumpEnd { complete }, out);
    }

    /// What became of the writes of a batch, in their order.
    pub fn written(
        &mut self,
        now: Timestamp,
        batch: u64,
        results: Vec<WriteResult>,
        out: &mut Vec<Output>,
    ) {
        self.feed(now, Input::Written { batch, results }, out);
    }

    /// What this node is for its VRRP groups; those that are left out are unknown.
    pub fn set_roles(
        &mut self,
        now: Timestamp,
        roles: Vec<(GroupTag, Role)>,
        out: &mut Vec<Output>,
    ) {
        self.feed(now, Input::Roles(roles), out);
    }

    /// This node is about to decide by another key table; see [`Input::PolicyChanges`].
    pub fn policy_changes(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.feed(now, Input::PolicyChanges, out);
    }

    /// This node decides by another key table; see [`Input::Policy`].
    pub fn set_policy(
        &mut self,
        now: Timestamp,
        keyspace: u128,
        rules: Vec<(u32, RuleIdentity)>,
        out: &mut Vec<Output>,
    ) {
        self.feed(now, Input::Policy { keyspace, rules }, out);
    }

    /// The answer to [`Output::Classify`].
    pub fn classified(
        &mut self,
        now: Timestamp,
        identity: Identity,
        key: Option<u32>,
        out: &mut Vec<Output>,
    ) {
        self.feed(now, Input::Classified { identity, key }, out);
    }

    /// Tells when the peer has everything that is here now.
    pub fn barrier(&mut self, now: Timestamp, id: u32, out: &mut Vec<Output>) {
        self.feed(now, Input::Barrier { id }, out);
    }

    /// Has both nodes compare what they have.
    pub fn resync(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.feed(now, Input::Resync, out);
    }

    /// What this node has for a policy.
    pub fn set_local_policy(&mut self, now: Timestamp, local: Local) {
        self.offers.set_local(now, local);
    }

    /// A policy of the peer's that is newer than this node's, once. It has to be answered by
    /// [`Self::offer_decided`].
    pub fn take_offer(&mut self) -> Option<Delivery> {
        self.offers.take()
    }

    /// What became of an offer.
    pub fn offer_decided(&mut self, now: Timestamp, verdict: Verdict) {
        self.offers.decided(now, verdict);
    }

    /// Whether it is known that the peer has no newer policy, or what becomes of it.
    #[must_use]
    pub fn is_policy_settled(&self, now: Timestamp) -> bool {
        self.offers.is_settled(now)
    }

    /// The latest stamp of a policy that this node knows of.
    #[must_use]
    pub fn latest_stamp(&self) -> u64 {
        self.offers.latest()
    }

    /// The peer's policy, and what became of either on the other node.
    #[must_use]
    pub fn offer_status(&self) -> OfferStatus {
        self.offers.status()
    }

    /// Whether the peer is heard.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.replica.liveness()
    }

    /// Offers, to look at.
    #[must_use]
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Other pre-shared keys.
    pub fn set_keys(&mut self, keys: KeyRing) {
        self.channel.set_keys(keys);
    }

    /// When [`Self::poll`] is due. If that is past, at once, but after everything that waits to
    /// be fed in.
    #[must_use]
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let channel = self.channel.next_deadline().filter(|_| self.replica.is_ready());
        let offers = self.offers.next_deadline().filter(|_| self.replica.is_ready());
        [self.replica.next_deadline(now), channel, offers].into_iter().flatten().min()
    }

    /// Does what the time asks for, and sends and writes what was brought about by what was fed
    /// in. To call it early does nothing else.
    pub fn poll(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if self.replica.is_ready() {
            let mut raised = Vec::new();
            self.channel.poll(now, &mut raised);
            self.raise(now, raised, out);
            let mut offers = Vec::new();
            self.offers.poll(now, &mut offers);
            self.seal(&offers, out);
        }
        self.feed(now, Input::Poll, out);
    }

    /// Everything that `twinwall sync status` shows but what the channel refused.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        self.replica.status(now)
    }

    /// Datagrams that were refused, by reason.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        self.channel.refusals()
    }

    /// Where a session lives; `None` if there is none.
    #[must_use]
    pub fn place(&mut self, identity: &Identity) -> Option<Place> {
        self.replica.place(identity)
    }

    /// The replica, to look at.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    fn raise(&mut self, now: Timestamp, raised: Vec<ChannelOutput>, out: &mut Vec<Output>) {
        for output in raised {
            match output {
                ChannelOutput::Send(datagram) => out.push(Output::Send(datagram)),
                ChannelOutput::Up(greeting) => {
                    self.offers.met(now, greeting.boot);
                    self.feed(now, Input::Greeted(greeting), out);
                }
            }
        }
    }

    fn seal(&mut self, plaintexts: &[Vec<u8>], out: &mut Vec<Output>) {
        let sealed = plaintexts.iter().filter_map(|plaintext| self.channel.seal(plaintext));
        out.extend(sealed.map(Output::Send));
    }

    fn feed(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        let mut raw = std::mem::take(&mut self.raw);
        match &mut self.recorder {
            Some(recorder) => {
                recorder.step(&mut self.replica, now.since_origin(), input, &mut raw);
            }
            None => self.replica.handle(now, input, &mut raw),
        }
        for output in raw.drain(..) {
            match output {
                // Without a session nobody could open it; it comes again.
                Output::Send(plaintext) => {
                    out.extend(self.channel.seal(&plaintext).map(Output::Send))
                }
                Output::Greet { .. } => self.channel.set_greeting(self.replica.greeting()),
                output => out.push(output),
            }
        }
        self.raw = raw;
    }
}
