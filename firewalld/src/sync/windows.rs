//! TCP windows over a failover. The kernel doesn't tell them, so a session that is taken over has
//! none, and one that comes back to a node that forwarded it before has old ones.
//!
//! - Sessions are written such that the kernel doesn't hold packets against windows
//!   (`BE_LIBERAL`): the first packets after a takeover may be old ones.
//! - When this node has become active and packets have gone both ways, the windows are right and
//!   the flag goes.
//! - When this node has given up one of several groups, no session is held against its windows any
//!   more: which ones went with it isn't known.
//! - When the peer has been active beside this node, for however short a time, the flag is set
//!   too: what the peer forwarded isn't in the windows here.
//! - When this node stands by, sessions that it has forwarded are made anew: nothing else makes
//!   the kernel forget old windows. That takes a while and must not be done while packets come, so
//!   the flag is set first: this node may be active again at any time. It is done once more when no
//!   packet comes any longer. If this node is active before that is through, the flag stays until it
//!   has stood by once more.

use super::convert;
use super::filter::Filter;
use crate::snapshot::Policy;
use std::sync::atomic::{AtomicBool, Ordering};
use twinwall_ctsync::model::Proto;
use twinwall_ctsync::replica::{Config, Replica};
use twinwall_netlink::conntrack::{
    Conntrack, Entry, ProtoInfo, Request, Select, TcpEnd, TcpInfo, Tuple, TupleRef, Writer,
};
use twinwall_netlink::socket::Error;

/// Sessions that are changed at a time.
const CHUNK: usize = 64;
/// Sessions up to which each is looked up. While the kernel lists, its processor takes no packets
/// before a message is full of sessions; in a table that is nearly empty that takes 7 ms and more
/// (docs/kernel.md). Looking up takes some 3 us each.
const LOOKED_UP: usize = 4096;

/// The sessions of which the TCP ones are gone through.
#[derive(Debug)]
pub(super) enum Sessions {
    /// Those that the kernel lists.
    Listed,
    /// These, by their original directions and zones.
    Known(Vec<(Tuple, u16)>),
}

impl Sessions {
    /// The best way to get at the sessions of a node.
    pub(super) fn of(replica: &Replica) -> Self {
        let (living, _) = replica.counts();
        if !replica.knows_all() || living > LOOKED_UP {
            return Self::Listed;
        }
        let sessions = replica.sessions().filter(|session| session.expectation.is_none());
        let tcp = sessions.filter(|session| matches!(session.proto, Proto::Tcp(_)));
        Self::Known(tcp.map(|session| convert::address(&session)).collect())
    }
}

/// Has the kernel no longer hold packets against windows that it has learnt. That is right at any
/// time, whatever this node is.
pub(super) fn loosen(
    writer: &mut Writer,
    filter: &Filter,
    policy: &Policy,
    sessions: &Sessions,
) -> Result<(), Error> {
    let mut set = |entries: &[Entry]| {
        let requests: Vec<Request<'_>> = entries.iter().map(|entry| liberal(entry, true)).collect();
        if let Err(error) = writer.write(&requests, &mut Vec::new()) {
            tracing::warn!(%error, "cannot keep sessions from being held against their windows");
        }
    };
    let held = |tcp: &TcpInfo| tcp.has_windows() && !all_liberal(tcp);
    each_tcp(sessions, filter, policy, held, &mut set)
}

/// Makes the TCP sessions anew that this node has forwarded, with their expectations, for as long
/// as it stands by. `config` says which timeouts they get. Returns whether that is true of all of
/// them.
pub(super) fn forget(
    writer: &mut Writer,
    filter: &Filter,
    policy: &Policy,
    sessions: &Sessions,
    (standby, config): (&AtomicBool, &Config),
) -> Result<bool, Error> {
    let mut conntrack = Conntrack::open()?;
    let (mut done, mut all) = (0, true);
    let mut renew = |entries: &[Entry]| {
        // Once this node is active, a packet could come between the end and the new beginning.
        if !standby.load(Ordering::Acquire) {
            all = false;
            return;
        }
        let (helped, plain): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|entry| entry.helper.is_some() || entry.seq_adjust.is_some());
        let anew: Vec<Entry> = plain.iter().map(|entry| without_windows(entry, config)).collect();
        let requests: Vec<Request<'_>> = anew.iter().map(Request::Renew).collect();
        let mut outcome = writer.write(&requests, &mut Vec::new()).map(drop);
        if !helped.is_empty() {
            let helped = renew_helped(writer, &mut conntrack, &helped, config);
            outcome = outcome.and(helped);
        }
        if let Err(error) = outcome {
            tracing::warn!(%error, "cannot make sessions anew");
            all = false;
        }
        done += entries.len();
    };
    each_tcp(sessions, filter, policy, TcpInfo::has_windows, &mut renew)?;
    tracing::debug!(done, all, "sync: windows are forgotten");
    Ok(all && standby.load(Ordering::Acquire))
}

/// Makes sessions anew that a helper sees to, with what they have made the kernel expect. The peer's
/// news of how their sequence numbers are shifted may come at any time: each is looked up just before
/// it is made anew.
fn renew_helped(
    writer: &mut Writer,
    conntrack: &mut Conntrack,
    entries: &[&Entry],
    config: &Config,
) -> Result<(), Error> {
    // They go with their session. Listed just before that: they come and go quickly.
    let mut expectations = Vec::new();
    conntrack.expectations(|expectation| expectations.push(expectation))?;
    for entry in entries {
        let found = conntrack.entry(TupleRef::Original(&entry.original), entry.zone)?;
        let Some(anew) = found.map(|entry| without_windows(&entry, config)) else { continue };
        let expected = expectations.iter().filter(|own| own.master == anew.original);
        let requests = std::iter::once(Request::Renew(&anew)).chain(expected.map(Request::Expect));
        writer.write(&requests.collect::<Vec<_>>(), &mut Vec::new())?;
    }
    Ok(())
}

/// Has the kernel hold the packets of those sessions against their windows again whose windows it
/// has learnt. Returns how many are left that it hasn't.
pub(super) fn believe(
    writer: &mut Writer,
    filter: &Filter,
    policy: &Policy,
    sessions: &Sessions,
    standby: &AtomicBool,
) -> Result<u64, Error> {
    let mut left = 0;
    let mut set = |entries: &[Entry]| {
        if standby.load(Ordering::Acquire) {
            return;
        }
        let learnt = |entry: &&Entry| tcp(entry).is_some_and(|tcp| both_have_windows(&tcp));
        left += entries.iter().filter(|entry| !learnt(entry)).count() as u64;
        let requests: Vec<Request<'_>> =
            entries.iter().filter(learnt).map(|entry| liberal(entry, false)).collect();
        if let Err(error) = writer.write(&requests, &mut Vec::new()) {
            tracing::warn!(%error, "cannot have sessions held against their windows");
        }
    };
    each_tcp(sessions, filter, policy, is_liberal, &mut set)?;
    Ok(left)
}

/// Hands replicated TCP sessions that are of some kind over, a few at a time.
fn each_tcp(
    sessions: &Sessions,
    filter: &Filter,
    policy: &Policy,
    kind: impl Fn(&TcpInfo) -> bool,
    take: &mut impl FnMut(&[Entry]),
) -> Result<(), Error> {
    let mut conntrack = Conntrack::open()?;
    let mut chunk: Vec<Entry> = Vec::with_capacity(CHUNK);
    let mut look_at = |entry: Entry| {
        if tcp(&entry).is_some_and(|tcp| kind(&tcp)) && filter.takes(&entry, policy) {
            chunk.push(entry);
        }
        if chunk.len() >= CHUNK {
            take(&chunk);
            chunk.clear();
        }
    };
    match sessions {
        Sessions::Listed => {
            conntrack.entries(Select::default(), look_at)?;
        }
        Sessions::Known(sessions) => {
            for (original, zone) in sessions {
                // One that has ended meanwhile needs nothing.
                let found = conntrack.entry(TupleRef::Original(original), *zone)?;
                found.into_iter().for_each(&mut look_at);
            }
        }
    }
    take(&chunk);
    Ok(())
}

fn liberal(entry: &Entry, on: bool) -> Request<'_> {
    Request::Liberal { original: &entry.original, zone: entry.zone, on }
}

fn tcp(entry: &Entry) -> Option<TcpInfo> {
    match entry.proto {
        Some(ProtoInfo::Tcp(tcp)) => Some(tcp),
        _ => None,
    }
}

/// Whether the flag was set for the sake of a takeover; sessions that the kernel picked up in the
/// middle have it for good.
fn is_liberal(tcp: &TcpInfo) -> bool {
    let set =
        |tcp: &TcpInfo| tcp.ends.iter().flatten().any(|end| end.flags & TcpEnd::BE_LIBERAL != 0);
    set(tcp) && !set(&tcp.portable())
}

fn all_liberal(tcp: &TcpInfo) -> bool {
    let set = |end: &TcpEnd| end.flags & TcpEnd::BE_LIBERAL != 0;
    tcp.ends.is_some_and(|ends| ends.iter().all(set))
}

fn both_have_windows(tcp: &TcpInfo) -> bool {
    let known = |end: &TcpEnd| end.flags & TcpEnd::MAXACK_SET != 0;
    tcp.ends.is_some_and(|ends| ends.iter().all(known))
}

fn without_windows(entry: &Entry, config: &Config) -> Entry {
    let mut anew = entry.clone();
    let held = config.held(&convert::delta(entry).begin());
    if let Some(ProtoInfo::Tcp(tcp)) = &mut anew.proto {
        *tcp = tcp.portable().liberal();
    }
    anew.timeout = anew.timeout.map(|timeout| timeout.max(held));
    anew
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(flags: u8) -> TcpInfo {
        TcpInfo { state: 3, ends: Some([TcpEnd { scale: 7, flags }; 2]) }
    }

    #[test]
    fn a_session_that_was_picked_up_in_the_middle_stays_liberal() {
        let scaled = TcpEnd::WINDOW_SCALE | TcpEnd::BE_LIBERAL;
        assert!(is_liberal(&info(scaled)));
        assert!(!is_liberal(&info(TcpEnd::BE_LIBERAL)));
        assert!(!is_liberal(&info(TcpEnd::WINDOW_SCALE)));
    }

    #[test]
    fn a_session_is_loose_only_when_both_ends_are() {
        let mut one = info(TcpEnd::BE_LIBERAL);
        assert!(all_liberal(&one));
        one.ends.as_mut().unwrap()[1].flags = TcpEnd::MAXACK_SET;
        assert!(!all_liberal(&one));
    }

    #[test]
    fn windows_of_both_ends_have_to_be_known() {
        assert!(both_have_windows(&info(TcpEnd::MAXACK_SET)));
        let mut one = info(TcpEnd::MAXACK_SET);
        one.ends.as_mut().unwrap()[1].flags = 0;
        assert!(!both_have_windows(&one));
    }
}
