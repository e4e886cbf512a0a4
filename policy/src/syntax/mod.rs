//! What stands in the policy files, typed but with names not looked up yet.
//!
//! Goes in: the tree of each file. Comes out: a [`Draft`] that holds what all files declare, and
//! every fault of form: keys, kinds of values, numbers, words, addresses. Not here: whether names
//! exist and are used once ([`crate::resolve`]).

mod definitions;
mod nat;
mod rule;
pub(crate) mod scalar;
pub(crate) mod service;
mod test;

pub(crate) use definitions::{Group, Object, ServiceBody, ServiceDef, Zone};
pub(crate) use nat::{Family, Nat, Target};
pub(crate) use rule::{Rule, ServiceRef};
pub(crate) use scalar::Word;
pub(crate) use test::{Destination, Test};

use crate::diag::{Fault, Faults, codes};
use crate::form::{Keys, Record};
use crate::ruleset::{Action, OnChange, QueueFailure};
use crate::source::Span;
use crate::yaml::Node;

/// The version of the policy language that this crate reads.
const VERSION: u32 = 1;

/// What the files declare, in the order of the files.
#[derive(Debug, Default)]
pub(crate) struct Draft<'t> {
    pub(crate) name: Option<Word<'t>>,
    pub(crate) defaults: Defaults,
    pub(crate) zones: Vec<Zone<'t>>,
    pub(crate) objects: Vec<Object<'t>>,
    pub(crate) groups: Vec<Group<'t>>,
    pub(crate) services: Vec<ServiceDef<'t>>,
    pub(crate) rules: Vec<Rule<'t>>,
    pub(crate) nat: Vec<Nat<'t>>,
    pub(crate) tests: Vec<Test<'t>>,
    /// Keys that may stand in one file only, and where they stood.
    once: Vec<(&'static str, Span)>,
}

/// What holds where a rule doesn't say otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) action: Option<Action>,
    pub(crate) log: Option<bool>,
    pub(crate) on_change: Option<OnChange>,
    pub(crate) queue_failure: Option<QueueFailure>,
}

/// The keys of a file.
pub(crate) const FILE: Keys<10> = Keys {
    of: "a policy file",
    known: [
        "version", "name", "defaults", "zones", "objects", "groups", "services", "rules", "nat",
        "tests",
    ],
    later: &["schedules", "limits", "inspect"],
};

/// The keys of `defaults`.
pub(crate) const DEFAULTS: Keys<4> = Keys {
    of: "`defaults`",
    known: ["action", "log", "on_change", "queue_failure"],
    later: &["limits", "inspect"],
};

/// Adds what a file declares. `first` says that it is the first file, which needs a version.
pub(crate) fn decode<'t>(
    tree: &'t Node<'t>,
    first: bool,
    threads: usize,
    draft: &mut Draft<'t>,
    faults: &mut Faults,
) {
    // A file in which everything is commented out adds nothing.
    if tree.is_nothing() && !first {
        return;
    }
    let Some(file) = Record::read(tree, &FILE, faults) else { return };
    let [version, name, defaults, zones, objects, groups, services, rules, nat, tests] =
        file.values;
    match version {
        Some((_, value)) => check_version(value, faults),
        None if first => {
            let fault = Fault::error(codes::MISSING_KEY, "`version` is missing");
            faults.push(
                fault.at(tree.span.before(), "").help(format!("begin with `version: {VERSION}`")),
            );
        }
        None => {}
    }
    if let Some((key, value)) = name
        && draft.once("name", key.span, faults)
    {
        draft.name = scalar::name(value, "a policy", faults);
    }
    if let Some((key, value)) = defaults
        && draft.once("defaults", key.span, faults)
    {
        draft.defaults = decode_defaults(value, faults);
    }
    definitions::zones(zones, &mut draft.zones, faults);
    definitions::objects(objects, &mut draft.objects, faults);
    definitions::groups(groups, &mut draft.groups, faults);
    definitions::services(services, &mut draft.services, faults);
    rule::decode(rules, threads, &mut draft.rules, faults);
    nat::decode(nat, &mut draft.nat, faults);
    test::decode(tests, &mut draft.tests, faults);
}

impl Draft<'_> {
    /// Whether a key that may stand in one file only is new.
    fn once(&mut self, key: &'static str, span: Span, faults: &mut Faults) -> bool {
        if let Some((_, first)) = self.once.iter().find(|(known, _)| *known == key) {
            let fault = Fault::error(codes::DUPLICATE_KEY, format!("`{key}` is given twice"));
            faults.push(fault.at(span, "again here").at(*first, "first here"));
            return false;
        }
        self.once.push((key, span));
        true
    }
}

fn check_version(value: &Node<'_>, faults: &mut Faults) {
    let Some(version) = scalar::number(value, 0..=u32::MAX, faults) else { return };
    if version != VERSION {
        let message = format!("version {version} of the policy language is not supported");
        let fault = Fault::error(codes::UNSUPPORTED_VERSION, message);
        faults.push(fault.at(value.span, format!("this program reads version {VERSION}")));
    }
}

fn decode_defaults(value: &Node<'_>, faults: &mut Faults) -> Defaults {
    let Some(record) = Record::read(value, &DEFAULTS, faults) else { return Defaults::default() };
    let [action, log, on_change, queue_failure] = record.values;
    Defaults {
        action: action.and_then(|(_, v)| scalar::word(v, &scalar::ACTIONS, faults)),
        log: log.and_then(|(_, v)| scalar::word(v, &scalar::LOG, faults)),
        on_change: on_change.and_then(|(_, v)| scalar::word(v, &scalar::ON_CHANGE, faults)),
        queue_failure: queue_failure
            .and_then(|(_, v)| scalar::word(v, &scalar::QUEUE_FAILURE, faults)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// The schema for editors.
    fn schema() -> Value {
        serde_json::from_str(include_str!("../../policy.schema.json")).unwrap()
    }

    fn assert_keys<const N: usize>(keys: &Keys<N>, schema: &Value) {
        let known: BTreeSet<&str> = keys.known.into_iter().collect();
        let properties = schema["properties"].as_object().unwrap();
        let properties: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(known, properties, "{}", keys.of);
        assert_eq!(schema["additionalProperties"], Value::Bool(false), "{}", keys.of);
    }

    fn assert_words<T>(words: &scalar::Words<T>, schema: &Value) {
        let known: BTreeSet<String> = words.known.iter().map(|(word, _)| (*word).into()).collect();
        let schema = schema["enum"].as_array().unwrap();
        let schema: BTreeSet<String> =
            schema.iter().map(|v| v.to_string().trim_matches('"').to_owned()).collect();
        assert_eq!(known, schema, "{}", words.of);
    }

    #[test]
    fn the_schema_for_editors_has_the_keys_and_words_of_the_language() {
        let schema = schema();
        let of = |name: &str| &schema["definitions"][name];
        assert_keys(&FILE, &schema);
        assert_keys(&DEFAULTS, of("defaults"));
        assert_keys(&definitions::ZONE, of("zone"));
        assert_keys(&definitions::OBJECT, of("object"));
        assert_keys(&service::SERVICE, of("service"));
        assert_keys(&rule::RULE, of("rule"));
        assert_keys(&nat::NAT, of("nat"));
        assert_keys(&nat::DNAT, &of("nat")["properties"]["dnat"]["oneOf"][1]);
        assert_keys(&test::TEST, of("test"));
        assert_words(&scalar::ACTIONS, of("action"));
        assert_words(&scalar::LOG, of("log"));
        assert_words(&scalar::ON_CHANGE, of("on_change"));
        assert_words(&scalar::QUEUE_FAILURE, &of("defaults")["properties"]["queue_failure"]);
        assert_eq!(of("seq")["maximum"], Value::from(rule::SEQ_LIMIT));
        assert_eq!(schema["properties"]["version"]["const"], Value::from(VERSION));
    }
}
