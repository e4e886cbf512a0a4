//! A node whose inputs the flight recorder keeps, so that what it did can be run again.
//!
//! Goes in: the verbs of [`Node`]. Comes out: what they bring about; and what is to be written into
//! a file, [`Recorded::recorder`]. Not here: the file, and how recordings are written and read
//! (crate twinwall-recorder).

use crate::action::{Output, State};
use crate::config::ConfigError;
use crate::group::{Group, GroupConfig, HandOverError};
use crate::node::{Node, Refused};
use crate::receive::{Datagram, Discard};
use crate::router::PeerReport;
use crate::time::Timestamp;
use crate::track::Health;
use crate::types::{GroupId, InterfaceId, Priority, RouterId};
use crate::wire::Endpoints;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;
use twinwall_recorder::{Machine, Recorder};

/// A call of one of a node's verbs, which say what each is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the arguments of the verbs")]
pub enum Input {
    /// [`Node::add`]
    Add { config: Box<GroupConfig> },
    /// [`Node::remove`]
    Remove { group: GroupId },
    /// [`Node::start`]
    Start,
    /// [`Node::stop`]
    Stop,
    /// [`Node::poll`]
    Poll,
    /// [`Node::carried_out`]
    CarriedOut { done: Timestamp },
    /// [`Node::receive`]
    Receive { interface: InterfaceId, hop_limit: u8, endpoints: Endpoints, payload: Vec<u8> },
    /// [`Node::refuse`]
    Refuse { interface: InterfaceId, source: Option<IpAddr>, reason: Discard },
    /// [`Node::track`]
    Track { name: String, health: Health },
    /// [`Node::set_priority`]
    SetPriority { group: GroupId, priority: Priority },
    /// [`Node::set_primary`]
    SetPrimary { router: RouterId, primary: IpAddr },
    /// [`Node::hold_preemption`]
    HoldPreemption { until: Timestamp },
    /// [`Node::allow_preemption`]
    AllowPreemption,
    /// [`Node::hand_over`]
    HandOver { group: GroupId, until: Timestamp },
    /// [`Node::peer_ready`]
    PeerReady { group: GroupId },
    /// [`Node::cancel_hand_over`]
    CancelHandOver { group: GroupId },
    /// [`Node::reclaim`]
    Reclaim { group: GroupId },
    /// [`Node::peer_state`]
    PeerState { group: GroupId, state: State },
    /// [`Node::peer_report`]
    PeerReport { report: PeerReport },
}

impl Machine for Node {
    const STREAM: u8 = 1;
    type Input = Input;
    type Output = Output;

    /// Does what the verb does. What it answers was for the driver.
    fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        let now = Timestamp::new(now);
        match input {
            Input::Add { config } => drop(self.add(*config, now)),
            Input::Remove { group } => drop(self.remove(group, now, out)),
            Input::Start => self.start(now, out),
            Input::Stop => self.stop(now, out),
            Input::Poll => self.poll(now, out),
            Input::CarriedOut { done } => self.carried_out(now, done),
            Input::Receive { interface, hop_limit, endpoints, payload } => {
                let datagram = Datagram { interface, hop_limit, endpoints, payload: &payload };
                let _ = self.receive(now, &datagram, out);
            }
            Input::Refuse { interface, source, reason } => {
                self.refuse(now, interface, source, reason);
            }
            Input::Track { name, health } => {
                self.track(&name, health, now, out);
            }
            Input::SetPriority { group, priority } => {
                drop(self.set_priority(group, priority, now, out));
            }
            Input::SetPrimary { router, primary } => drop(self.set_primary(router, primary)),
            Input::HoldPreemption { until } => self.hold_preemption(now, until),
            Input::AllowPreemption => self.allow_preemption(now),
            Input::HandOver { group, until } => drop(self.hand_over(group, until, out)),
            Input::PeerReady { group } => self.peer_ready(group, now, out),
            Input::CancelHandOver { group } => self.cancel_hand_over(group, now, out),
            Input::Reclaim { group } => self.reclaim(group, now),
            Input::PeerState { group, state } => self.peer_state(group, state, now, out),
            Input::PeerReport { report } => self.peer_report(now, report, out),
        }
    }
}

/// A node and its recorder, if it has one. What only reads is [`Node`]'s.
#[derive(Debug, Default)]
pub struct Recorded {
    node: Node,
    recorder: Option<Recorder>,
}

impl Deref for Recorded {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

#[expect(missing_docs, clippy::missing_errors_doc, reason = "the verbs are those of the node")]
impl Recorded {
    /// A node without groups.
    #[must_use]
    pub fn new(recorder: Option<Recorder>) -> Self {
        Self { node: Node::new(), recorder }
    }

    /// Its recorder.
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_mut()
    }

    pub fn add(&mut self, config: GroupConfig, now: Timestamp) -> Result<GroupId, ConfigError> {
        let input = || Input::Add { config: Box::new(config.clone()) };
        self.tape(now, input, &mut Vec::new(), |node, _| node.add(config.clone(), now))
    }

    pub fn remove(&mut self, id: GroupId, now: Timestamp, out: &mut Vec<Output>) -> Option<Group> {
        self.tape(now, || Input::Remove { group: id }, out, |node, out| node.remove(id, now, out))
    }

    pub fn start(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.tape(now, || Input::Start, out, |node, out| node.start(now, out));
    }

    pub fn stop(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.tape(now, || Input::Stop, out, |node, out| node.stop(now, out));
    }

    /// Does nothing before it is due.
    pub fn poll(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if self.node.next_deadline().is_some_and(|due| due <= now) {
            self.tape(now, || Input::Poll, out, |node, out| node.poll(now, out));
        }
    }

    pub fn carried_out(&mut self, asked: Timestamp, done: Timestamp) {
        let verb = |node: &mut Node, _: &mut Vec<Output>| node.carried_out(asked, done);
        self.tape(asked, || Input::CarriedOut { done }, &mut Vec::new(), verb);
    }

    pub fn receive(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let Datagram { interface, hop_limit, endpoints, payload } = *datagram;
        let input = || {
            let payload = payload.to_vec();
            Input::Receive { interface, hop_limit, endpoints, payload }
        };
        self.tape(now, input, out, |node, out| node.receive(now, datagram, out))
    }

    pub fn refuse(
        &mut self,
        now: Timestamp,
        interface: InterfaceId,
        source: Option<IpAddr>,
        reason: Discard,
    ) -> Refused {
        let input = || Input::Refuse { interface, source, reason };
        self.tape(now, input, &mut Vec::new(), |node, _| {
            node.refuse(now, interface, source, reason)
        })
    }

    pub fn track(
        &mut self,
        name: &str,
        health: Health,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> bool {
        let input = || Input::Track { name: name.to_owned(), health };
        self.tape(now, input, out, |node, out| node.track(name, health, now, out))
    }

    pub fn set_priority(
        &mut self,
        id: GroupId,
        priority: Priority,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<(), ConfigError> {
        let input = || Input::SetPriority { group: id, priority };
        self.tape(now, input, out, |node, out| node.set_priority(id, priority, now, out))
    }

    /// `now` is when it is done, for the recording.
    pub fn set_primary(
        &mut self,
        id: RouterId,
        primary: IpAddr,
        now: Timestamp,
    ) -> Result<(), ConfigError> {
        let input = || Input::SetPrimary { router: id, primary };
        self.tape(now, input, &mut Vec::new(), |node, _| node.set_primary(id, primary))
    }

    pub fn hold_preemption(&mut self, now: Timestamp, until: Timestamp) {
        let input = || Input::HoldPreemption { until };
        self.tape(now, input, &mut Vec::new(), |node, _| node.hold_preemption(now, until));
    }

    pub fn allow_preemption(&mut self, now: Timestamp) {
        let input = || Input::AllowPreemption;
        self.tape(now, input, &mut Vec::new(), |node, _| node.allow_preemption(now));
    }

    /// `now` is when it is done, for the recording.
    pub fn hand_over(
        &mut self,
        id: GroupId,
        until: Timestamp,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<(), HandOverError> {
        let input = || Input::HandOver { group: id, until };
        self.tape(now, input, out, |node, out| node.hand_over(id, until, out))
    }

    pub fn peer_ready(&mut self, id: GroupId, now: Timestamp, out: &mut Vec<Output>) {
        let input = || Input::PeerReady { group: id };
        self.tape(now, input, out, |node, out| node.peer_ready(id, now, out));
    }

    pub fn cancel_hand_over(&mut self, id: GroupId, now: Timestamp, out: &mut Vec<Output>) {
        let input = || Input::CancelHandOver { group: id };
        self.tape(now, input, out, |node, out| node.cancel_hand_over(id, now, out));
    }

    pub fn reclaim(&mut self, id: GroupId, now: Timestamp) {
        let input = || Input::Reclaim { group: id };
        self.tape(now, input, &mut Vec::new(), |node, _| node.reclaim(id, now));
    }

    pub fn peer_state(&mut self, id: GroupId, state: State, now: Timestamp, out: &mut Vec<Output>) {
        let input = || Input::PeerState { group: id, state };
        self.tape(now, input, out, |node, out| node.peer_state(id, state, now, out));
    }

    pub fn peer_report(&mut self, now: Timestamp, report: PeerReport, out: &mut Vec<Output>) {
        let input = || Input::PeerReport { report };
        self.tape(now, input, out, |node, out| node.peer_report(now, report, out));
    }

    fn tape<T>(
        &mut self,
        now: Timestamp,
        input: impl FnOnce() -> Input,
        out: &mut Vec<Output>,
        verb: impl FnOnce(&mut Node, &mut Vec<Output>) -> T,
    ) -> T {
        let Some(recorder) = &mut self.recorder else { return verb(&mut self.node, out) };
        recorder.before(&self.node, now.since_origin(), &input());
        let before = out.len();
        let answer = verb(&mut self.node, out);
        recorder.after::<Node>(out.get(before..).unwrap_or_default());
        answer
    }
}
