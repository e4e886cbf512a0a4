//! The control protocol: what `twinwall` asks `twinwalld`, over a Unix stream socket.
//!
//! One request and one answer a connection, each a JSON object on a line of its own. Requests are
//! at most [`MAX_REQUEST`] bytes, answers are not bounded (a list of sessions can be long). Not
//! here: what the daemon does with a request.

pub mod client;
pub mod pair;
pub mod report;
pub mod source;
pub mod sync;
pub mod vrrp;

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/twinwall/control.sock";

/// The environment variable that names another socket.
pub const SOCKET_VARIABLE: &str = "TWINWALL_SOCKET";

/// The longest request in bytes: a policy of 100,000 rules has about 12 MB.
pub const MAX_REQUEST: usize = 128 << 20;

/// One policy file, as the caller read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The path, as messages are to show it.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionFilter {
    /// Only sessions of this rule.
    pub rule: Option<String>,
    /// Only sessions whose mark is not a key of the running policy.
    pub stale: bool,
    /// Only sessions that this address takes part in.
    pub address: Option<IpAddr>,
    /// At most this many.
    pub limit: Option<usize>,
}

/// A flow to explain. Zones by name; without them, by interface; without both, `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowQuery {
    /// Ingress zone.
    pub from: String,
    /// Egress zone, or `self`.
    pub to: String,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Source port or ICMP type.
    pub src_port: u16,
    /// Destination port or ICMP code.
    pub dst_port: u16,
}

/// What `twinwall` asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Load this policy. Answered by [`report::Apply`].
    Apply {
        /// The policy's files, in the order that they add up.
        files: Vec<SourceFile>,
    },
    /// Load a policy, and go back to the one before unless it is confirmed in time. Answered by
    /// [`report::Apply`].
    Try {
        /// The policy's files; the daemon's own ones if there are none.
        files: Option<Vec<SourceFile>>,
        /// Milliseconds for the confirmation, at most a day.
        confirm_ms: u64,
    },
    /// Keep the policy that waits for its confirmation. Answered by [`pair::Confirmed`].
    Confirm,
    /// Load the policy that the peer has offered. Answered by [`report::Apply`].
    ApplyOffered,
    /// Read the daemon's own policy files again and load them. Answered by [`report::Apply`].
    Reload,
    /// Answered by [`report::Status`].
    Status,
    /// Answered by [`report::Rules`].
    Rules,
    /// Answered by [`report::Sessions`].
    Sessions(SessionFilter),
    /// Answered by [`report::Explain`].
    Explain(FlowQuery),
    /// Answered by [`vrrp::Status`].
    Vrrp,
    /// What happened to VRRP. Answered by [`vrrp::Events`], at once or when there is something.
    VrrpEvents {
        /// Only events after the one of this number.
        after: u64,
        /// How long to wait for one, in milliseconds; at most 10 s.
        wait_ms: u64,
    },
    /// Give active groups to the peer in good order. Answered by [`vrrp::HandOver`].
    FailOver {
        /// Only this group.
        group: Option<String>,
    },
    /// Take back what was handed over, as far as priorities allow. Answered by
    /// [`vrrp::HandOver`].
    FailBack {
        /// Only this group.
        group: Option<String>,
    },
    /// Answered by [`sync::Status`].
    Sync,
    /// Have both nodes compare their sessions. Answered by [`sync::Status`].
    Resync,
}

/// What `twinwalld` answers: a report, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// Done.
    Ok(T),
    /// Not done. The text is for the operator and says what became of the running policy.
    Error(String),
}
