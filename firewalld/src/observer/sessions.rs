//! Conntrack in the policy's terms.

use super::Observer;
use super::hits::action_name;
use crate::conntrack::{inside, plain, source_translated};
use crate::journal::protocol_name;
use crate::snapshot::Policy;
use std::net::SocketAddr;
use twinwall_control::{SessionFilter, report};
use twinwall_netlink::conntrack::{Layer4, Session, Status};
use twinwall_policy::keys::{KeyInfo, SessionKey};

/// The most sessions that one answer lists.
const MAX_LISTED: usize = 100_000;

impl Observer {
    pub(super) fn sessions(&mut self, filter: &SessionFilter) -> Result<report::Sessions, String> {
        let published = self.published.load_full();
        let policy = &published.policy;
        let known = |rule: &String| {
            let named = |info: &KeyInfo| *info.rule == **rule;
            policy.installed.rules().rules.iter().any(|r| *r.name == **rule)
                || policy.installed.table().iter().any(|(_, info)| named(&info))
        };
        if let Some(unknown) = filter.rule.as_ref().filter(|rule| !known(rule)) {
            return Err(format!("no rule named '{unknown}' in the running policy"));
        }
        let limit = filter.limit.unwrap_or(MAX_LISTED).min(MAX_LISTED);
        let mask = self.marks.key_mask();
        let mut found = report::Sessions { total: 0, sessions: Vec::new() };
        let mut identities = Vec::new();
        let dumped = self.conntrack()?.dump(None, |session| {
            let key = session.mark & mask;
            let info = SessionKey::from_mark(key).and_then(|k| policy.installed.table().info(k));
            if !wanted(filter, session, info.as_ref()) {
                return;
            }
            found.total += 1;
            if found.sessions.len() < limit {
                found.sessions.push(describe(session, key, info));
                identities.push((session.original, session.zone));
            }
        });
        dumped.map_err(|error| format!("cannot read conntrack: {error}"))?;
        if let Some(places) = self.sync.as_ref().and_then(|sync| sync.places(&identities)) {
            for (session, place) in found.sessions.iter_mut().zip(places) {
                let Some(place) = place else { continue };
                session.carried = Some(if place.here { "here" } else { "peer" }.to_owned());
                session.synced = Some(place.synced);
            }
        }
        Ok(found)
    }
}

fn wanted(filter: &SessionFilter, session: &Session<'_>, info: Option<&KeyInfo>) -> bool {
    let rule = filter.rule.as_ref();
    let addresses =
        [session.original.src, session.original.dst, session.reply.src, session.reply.dst];
    rule.is_none_or(|rule| info.is_some_and(|info| *info.rule == **rule))
        && (!filter.stale || info.is_none())
        && filter.address.is_none_or(|address| addresses.contains(&address))
}

/// A session with what its key stands for.
pub(super) fn describe(session: &Session<'_>, key: u32, info: Option<KeyInfo>) -> report::Session {
    let arriving = plain(&session.original);
    let inside = inside(session);
    let has_ports = matches!(session.original.layer4, Layer4::Ports { .. });
    let address = |address, port| match has_ports {
        true => SocketAddr::new(address, port).to_string(),
        false => address.to_string(),
    };
    let back = plain(&session.reply);
    report::Session {
        action: info.as_ref().map(|info| action_name(info.action).into()),
        from: info.as_ref().map(|info| info.from.to_string()),
        to: info.as_ref().map(|info| info.to.to_string()),
        stale: info.is_none(),
        rule: info.map(|info| info.rule.to_string()),
        protocol: protocol_name(session.original.protocol),
        src: session.original.src,
        src_port: arriving.src_port,
        dst: session.original.dst,
        dst_port: arriving.dst_port,
        snat: source_translated(session).then(|| address(back.dst, back.dst_port)),
        dnat: (inside != arriving).then(|| address(inside.dst, inside.dst_port)),
        state: session.tcp_state.map(tcp_state),
        replied: session.status.has(Status::SEEN_REPLY),
        expected: session.status.has(Status::EXPECTED),
        timeout: session.timeout.unwrap_or_default(),
        key,
        carried: None,
        synced: None,
    }
}

/// A session of conntrack with what the running policy knows of it.
pub(super) fn describe_in(session: &Session<'_>, mask: u32, policy: &Policy) -> report::Session {
    let key = session.mark & mask;
    let info = SessionKey::from_mark(key).and_then(|key| policy.installed.table().info(key));
    describe(session, key, info)
}

/// A number of `enum tcp_conntrack` as the conntrack tools call it.
fn tcp_state(number: u8) -> String {
    const NAMES: [&str; 10] = [
        "none",
        "syn_sent",
        "syn_recv",
        "established",
        "fin_wait",
        "close_wait",
        "last_ack",
        "time_wait",
        "close",
        "syn_sent2",
    ];
    NAMES.get(usize::from(number)).map_or_else(|| number.to_string(), |name| (*name).into())
}
