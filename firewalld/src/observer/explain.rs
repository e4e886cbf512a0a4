//! Why a flow is decided as it is.

use super::Observer;
use super::hits::action_name;
use super::sessions::describe_in;
use crate::conntrack::{inside, plain};
use crate::snapshot::Policy;
use twinwall_control::{FlowQuery, report};
use twinwall_policy::explain::explain;
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::zone::ZoneId;

impl Observer {
    pub(super) fn explain(&mut self, query: &FlowQuery) -> Result<report::Explain, String> {
        let published = self.published.load_full();
        let policy = &published.policy;
        let zone = |name: &str| {
            let unknown = || format!("no zone named '{name}' in the running policy");
            policy.installed.rules().zone(name).ok_or_else(unknown)
        };
        let (from, to) = (zone(&query.from)?, zone(&query.to)?);
        if (from, to) == (ZoneId::SELF, ZoneId::SELF) {
            return Err("nothing that the gateway sends to itself is filtered".into());
        }
        let tuple = Tuple {
            src: query.src,
            dst: query.dst,
            protocol: query.protocol,
            src_port: query.src_port,
            dst_port: query.dst_port,
        };
        let explanation = explain(policy.installed.rules(), &Flow { tuple, from, to });
        let rules = &policy.installed.rules().rules;
        let decides = explanation
            .rule
            .and_then(|index| rules.get(index.0 as usize))
            .ok_or("no rule matches, not even the default")?;
        let tried = explanation.tried.iter().map(|tried| report::Tried {
            seq: tried.seq,
            name: tried.name.to_string(),
            matched: tried.matched(),
            reasons: tried.reasons.clone(),
        });
        Ok(report::Explain {
            tried: tried.collect(),
            rule: decides.name.to_string(),
            action: action_name(decides.action).into(),
            nat: (!explanation.nat.is_empty()).then(|| explanation.nat.join("; ")),
            session: self.live_session(&tuple, policy)?,
        })
    }

    /// The session of a tuple, by its original direction before or after translation. A source
    /// port of 0 stands for any.
    fn live_session(
        &mut self,
        tuple: &Tuple,
        policy: &Policy,
    ) -> Result<Option<report::Session>, String> {
        let mask = self.marks.key_mask();
        let same = |other: Tuple| {
            let any_port = Tuple { src_port: other.src_port, ..*tuple };
            other == *tuple || (tuple.src_port == 0 && other == any_port)
        };
        let mut found = None;
        let dumped = self.conntrack()?.dump(None, |session| {
            if found.is_none() && (same(plain(&session.original)) || same(inside(session))) {
                found = Some(describe_in(session, mask, policy));
            }
        });
        dumped.map_err(|error| format!("cannot read conntrack: {error}"))?;
        Ok(found)
    }
}
