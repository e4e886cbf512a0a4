//! What a kernel notification says of a session: only what has changed. Protocol state, labels
//! and sequence adjustments come only when they changed, so a notification is merged into what is
//! known and never replaces it.

use super::{
    Expectation, GroupTag, Identity, Proto, SeqAdjust, Session, Status, SynProxy, Tuple, Zone,
};
use serde::{Deserialize, Serialize};

/// Protocols with a state that a session can't be without (IANA).
const TCP: u8 = 6;
const SCTP: u8 = 132;

/// A notification of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelEvent {
    /// What happened.
    pub kind: EventKind,
    /// Whose doing it was.
    pub origin: Origin,
    /// What it says.
    pub delta: Delta,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// It began.
    New,
    /// It changed.
    Update,
    /// It ended.
    Destroy,
}

/// Whose doing a notification was. The kernel puts the netlink port of whoever asked for a change
/// into its notification (`nlmsg_pid`), and 0 if a packet or a timer did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A packet or a timer: port 0.
    Traffic,
    /// The socket that carries out [`crate::replica::Output::Write`].
    Replication,
    /// Another socket of this node: the reload's sweep, an operator's command.
    Local,
}

/// What is said of a session; `None` where nothing is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The direction of the first packet, before any translation.
    pub original: Tuple,
    /// The conntrack zone; it tells sessions apart and so is always said.
    pub zone: Zone,
    /// The VRRP group that the driver puts it into.
    pub group: GroupTag,
    /// The reply direction.
    pub reply: Option<Tuple>,
    /// Status bits.
    pub status: Option<Status>,
    /// Protocol state.
    pub proto: Option<Proto>,
    /// Seconds that are left.
    pub timeout: Option<u32>,
    /// The connmark.
    pub mark: Option<u32>,
    /// Labels.
    pub labels: Option<u128>,
    /// The name of the helper.
    pub helper: Option<Box<str>>,
    /// The original direction of the master.
    pub master: Option<Tuple>,
    /// Sequence adjustments of both directions.
    pub seq_adjust: Option<[SeqAdjust; 2]>,
    /// SYN proxy data.
    pub syn_proxy: Option<SynProxy>,
    /// Only for an expectation, and always for one, since it tells it from a session.
    pub expectation: Option<Box<Expectation>>,
}

impl Delta {
    /// One that says nothing yet.
    #[must_use]
    pub fn new(original: Tuple) -> Self {
        Self {
            original,
            zone: Zone::default(),
            group: GroupTag::default(),
            reply: None,
            status: None,
            proto: None,
            timeout: None,
            mark: None,
            labels: None,
            helper: None,
            master: None,
            seq_adjust: None,
            syn_proxy: None,
            expectation: None,
        }
    }

    /// One that says everything of a session.
    #[must_use]
    pub fn whole(session: &Session) -> Self {
        Self {
            original: session.original,
            zone: session.zone,
            group: session.group,
            reply: Some(session.reply),
            status: Some(session.status),
            proto: Some(session.proto),
            timeout: Some(session.timeout),
            mark: Some(session.mark),
            labels: Some(session.labels),
            helper: session.helper.clone(),
            master: session.master,
            seq_adjust: session.seq_adjust,
            syn_proxy: session.syn_proxy,
            expectation: session.expectation.clone(),
        }
    }

    /// Whose session it is about.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { original: self.original, zone: self.zone, expected: self.expectation.is_some() }
    }

    /// Whether it says enough to begin a session with. That of a change doesn't: a kernel makes no
    /// session of TCP or SCTP without the state of its protocol.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let stateful = matches!(self.original.protocol, TCP | SCTP);
        let known = !stateful || self.proto.is_some_and(|proto| proto != Proto::None);
        self.expectation.is_some() || (self.reply.is_some() && self.status.is_some() && known)
    }

    /// A session of which only this is known.
    #[must_use]
    pub fn begin(&self) -> Session {
        let mut session = Session::new(self.original, self.original.inverse());
        session.zone = self.zone;
        session.expectation.clone_from(&self.expectation);
        self.merge_into(&mut session);
        session
    }

    /// Puts what is said into a session. A status bit that can't be cleared in the kernel isn't
    /// cleared here either; a helper, once there, stays.
    pub fn merge_into(&self, session: &mut Session) {
        fn set<T: Clone>(field: &mut T, said: &Option<T>) {
            if let Some(said) = said {
                field.clone_from(said);
            }
        }
        set(&mut session.reply, &self.reply);
        set(&mut session.proto, &self.proto);
        set(&mut session.timeout, &self.timeout);
        set(&mut session.mark, &self.mark);
        set(&mut session.labels, &self.labels);
        if let Some(status) = self.status {
            session.status = Status(status.replicated().0 | session.status.sticky().0);
        }
        if self.helper.is_some() {
            session.helper.clone_from(&self.helper);
        }
        if self.master.is_some() {
            session.master = self.master;
        }
        if self.seq_adjust.is_some() {
            session.seq_adjust = self.seq_adjust;
        }
        if self.syn_proxy.is_some() {
            session.syn_proxy = self.syn_proxy;
        }
        session.group = self.group;
    }
}
