//! What the driver is asked to do, and what it may want to tell the operator.

use crate::receive::Warning;
use crate::tally::Kind;
use crate::types::{Priority, RouterId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Something to be done for a virtual router. Outputs are to be done in the order in which they
/// come. Those of one group and verb come kind by kind for all its legs: adverts of priority 0,
/// addresses removed and added, other adverts, announcements, events. So all addresses can be
/// changed in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The virtual router.
    pub router: RouterId,
    /// What to do.
    pub action: Action,
}

/// What to do for a virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Send an advert of this priority; [`crate::router::Router::write_advert`] makes its bytes.
    SendAdvert {
        /// The priority; zero to resign.
        priority: Priority,
    },
    /// Put the virtual addresses, and the virtual MAC address, onto the interface.
    AddAddresses {
        /// Whether packets to them are to be taken in. If not, neighbour solicitations and
        /// advertisements are nevertheless (section 6.4.3), and packets through the router are
        /// forwarded.
        accept: bool,
    },
    /// Take the virtual addresses, and the virtual MAC address, off it.
    RemoveAddresses,
    /// Send a gratuitous ARP request or an unsolicited neighbour advertisement for each address.
    /// Only once the addresses and the virtual MAC address are in place (sections 8.1.2 and
    /// 8.2.2); if they can't be put there, report a fault instead.
    Announce,
    /// Nothing to do, something to tell.
    Event(Event),
}

impl Action {
    /// Its place among the outputs of one verb.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::SendAdvert { priority } if priority.is_resign() => 0,
            Self::RemoveAddresses => 1,
            Self::AddAddresses { .. } => 2,
            Self::SendAdvert { .. } => 3,
            Self::Announce => 4,
            Self::Event(_) => 5,
        }
    }
}

/// The states of RFC 9568 section 6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Takes no part.
    Initialize,
    /// Listens, ready to take over.
    Backup,
    /// Forwards, and answers for the addresses.
    Active,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
        })
    }
}

/// Why a virtual router is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Why {
    /// Initialize: it was never started.
    #[error("not started")]
    NotStarted,
    /// Initialize: waits before it takes part.
    #[error("waits after the start")]
    StartDelay,
    /// Initialize: something tracked is a fault.
    #[error("fault")]
    Fault,
    /// Initialize: it was stopped.
    #[error("stopped")]
    Stopped,
    /// Backup: it was started, or its fault is over.
    #[error("started")]
    Started,
    /// Backup: heard a router of higher priority.
    #[error("{from} has priority {priority}")]
    Superior {
        /// The other router.
        from: IpAddr,
        /// Its priority.
        priority: Priority,
    },
    /// Backup: heard a router of the same priority and a higher address.
    #[error("{from} has the same priority and a higher address")]
    HigherAddress {
        /// The other router.
        from: IpAddr,
    },
    /// Backup: another virtual router of the group can't be active.
    #[error("another virtual router of the group gave up")]
    Group,
    /// Backup: the operator wanted it so, and the peer has taken over.
    #[error("handed over to {to}")]
    HandedOver {
        /// The peer.
        to: IpAddr,
    },
    /// Backup: no advert was sent for so long that another router has taken over.
    #[error("sent no advert for {0:?}")]
    Stalled(Duration),
    /// Active: the owner of the addresses is active as soon as it is started.
    #[error("owner of the addresses")]
    Owner,
    /// Active: no other router was heard since the start.
    #[error("heard no other router")]
    Alone,
    /// Active: the active router's adverts are missing.
    #[error("the adverts of {0} are missing")]
    AdvertsMissing(IpAddr),
    /// Active: the active router gave up.
    #[error("{0} gave up")]
    Resigned(IpAddr),
    /// Active: the active router had a lower priority.
    #[error("{0} has a lower priority")]
    Preempted(IpAddr),
    /// Active: an advert is overdue, and the sync channel doesn't hear the peer either.
    #[error("neither adverts nor the sync channel hear the peer")]
    PeerSilent,
    /// Active: the sync channel knows that the peer is gone.
    #[error("the peer is gone")]
    PeerGone,
}

/// Where a handover in good order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum HandOver {
    /// The sync channel is to say when the peer has everything
    /// ([`crate::node::Node::peer_ready`]).
    #[error("waits until the peer has everything")]
    Asked,
    /// The peer wasn't ready in time; this router stays active.
    #[error("the peer was not ready in time, this node stays active")]
    NotReady,
    /// The operator changed their mind; this router stays active.
    #[error("cancelled, this node stays active")]
    Cancelled,
    /// Something else ended this router's being active before the peer was ready.
    #[error("overtaken, this node is no longer active")]
    Overtaken,
    /// The peer has everything. This router has resigned, and goes on forwarding until it hears
    /// that the peer is active.
    #[error("resigned, forwards until the peer is heard")]
    Resigned,
    /// Nobody took over; this router is active as before.
    #[error("nobody took over, this node stays active")]
    NotTaken,
}

impl HandOver {
    /// Whether no further event follows, except that of the state.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Asked | Self::Resigned)
    }
}

/// Something to tell. `Display` words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The state has changed.
    State {
        /// From this one.
        from: State,
        /// To this one.
        to: State,
        /// For this reason.
        why: Why,
    },
    /// The effective priority has changed.
    Priority {
        /// From this one.
        from: Priority,
        /// To this one.
        to: Priority,
    },
    /// A handover has come so far. Each leg of a group tells it.
    HandOver(HandOver),
    /// Something is odd. Comes once a minute at most for each kind.
    Warning {
        /// What it is.
        warning: Warning,
        /// Whose advert it is about, if it is about one.
        from: Option<IpAddr>,
        /// How often it happened since it was last told.
        untold: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State { from, to, why } => write!(f, "{from} -> {to}: {why}"),
            Self::Priority { from, to } => write!(f, "priority {from} -> {to}"),
            Self::HandOver(progress) => write!(f, "handover: {progress}"),
            Self::Warning { warning, from, untold } => {
                write!(f, "{}: ", warning.name())?;
                if let Some(from) = from {
                    write!(f, "advert from {from}: ")?;
                }
                write!(f, "{warning}")?;
                if *untold > 0 {
                    write!(f, " ({untold} more since this was last told)")?;
                }
                Ok(())
            }
        }
    }
}
