//! `twinwall explain`: asks the daemon, or a policy file on its own.

use crate::check;
use crate::daemon;
use crate::options;
use crate::output::{Done, Failure};
use crate::render::{self, Question};
use crate::tuple;
use std::path::{Path, PathBuf};
use twinwall_control::{FlowQuery, Request, report};
use twinwall_policy::diag::render::Style;
use twinwall_policy::explain::explain;
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::load::Options as Loading;
use twinwall_policy::ruleset::{Action, RuleSet};
use twinwall_policy::zone::ZoneId;

/// Explains a flow.
pub(crate) fn run(socket: &Path, verb: &options::Explain, json: bool) -> Result<Done, Failure> {
    let query = tuple::query(verb).map_err(Failure::new)?;
    let report: report::Explain = match &verb.policy {
        Some(path) => offline(path, &query, json)?,
        None => daemon::ask(socket, &Request::Explain(query.clone()))?,
    };
    let question = Question { flow: &query, live: verb.policy.is_none(), brief: verb.brief };
    Done::report(&report, json, |report| render::explain(report, &question))
}

fn offline(path: &PathBuf, query: &FlowQuery, json: bool) -> Result<report::Explain, Failure> {
    let sources = check::read(std::slice::from_ref(path))?;
    let style = Style { colour: !json && check::wants_colour(), closing: None };
    let loading = Loading { lint: false, ..Loading::default() };
    let loaded = twinwall_policy::load_with(&sources, &loading)
        .map_err(|failure| check::refused(&failure, &sources, style))?;
    by_rules(&loaded.rules, query).map_err(Failure::new)
}

/// The decision of a rule set, as the daemon reports it.
fn by_rules(rules: &RuleSet, query: &FlowQuery) -> Result<report::Explain, String> {
    let (from, to) = (zone(rules, &query.from)?, zone(rules, &query.to)?);
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
    let explanation = explain(rules, &Flow { tuple, from, to });
    let decides = explanation
        .rule
        .and_then(|index| rules.rules.get(index.0 as usize))
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
        action: match decides.action {
            Action::Accept => "accept",
            Action::Drop => "drop",
            Action::Reject => "reject",
        }
        .into(),
        nat: (!explanation.nat.is_empty()).then(|| explanation.nat.join("; ")),
        session: None,
    })
}

fn zone(rules: &RuleSet, name: &str) -> Result<ZoneId, String> {
    let place = rules.zones.iter().position(|zone| *zone.name == *name);
    let place = place.and_then(|place| ZoneId::new(u8::try_from(place).ok()?));
    place.ok_or_else(|| {
        let zones: Vec<&str> = rules.zones.iter().map(|zone| zone.name.as_ref()).collect();
        format!("no zone named '{name}' in the policy; it has {}", zones.join(", "))
    })
}
