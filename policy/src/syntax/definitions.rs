//! Zones, objects, groups and services: mappings from names to what they stand for.

use super::scalar::{self, Word, one_or_more};
use super::service;
use crate::address::AddressSet;
use crate::diag::{Fault, Faults, codes};
use crate::form::address::{self, Form, Range, looks_like_address};
use crate::form::network::interface;
use crate::form::{Keys, Record, wrong_kind};
use crate::matching::Service;
use crate::yaml::Node;

/// A key and its value, if the key is there.
pub(super) type Entry<'t> = Option<(&'t Node<'t>, &'t Node<'t>)>;

/// A zone as declared.
#[derive(Debug)]
pub(crate) struct Zone<'t> {
    pub(crate) name: Word<'t>,
    /// Names and patterns, each of the right form.
    pub(crate) interfaces: Vec<Word<'t>>,
}

/// A named set of addresses.
#[derive(Debug)]
pub(crate) struct Object<'t> {
    pub(crate) name: Word<'t>,
    pub(crate) addresses: AddressSet,
}

/// A named list of objects and groups.
#[derive(Debug)]
pub(crate) struct Group<'t> {
    pub(crate) name: Word<'t>,
    pub(crate) members: &'t [Node<'t>],
}

/// A named service.
#[derive(Debug)]
pub(crate) struct ServiceDef<'t> {
    pub(crate) name: Word<'t>,
    pub(crate) body: ServiceBody<'t>,
}

/// What a service stands for.
#[derive(Debug)]
pub(crate) enum ServiceBody<'t> {
    /// Protocols and ports, normalised; empty only after a fault.
    Entries(Vec<Service>),
    /// Other services by name.
    Group(&'t [Node<'t>]),
}

/// The keys of a zone.
pub(crate) const ZONE: Keys<1> =
    Keys { of: "a zone", known: ["interfaces"], later: &["antispoof", "limits"] };
/// The keys of an object.
pub(crate) const OBJECT: Keys<3> =
    Keys { of: "an object", known: ["net", "host", "range"], later: &[] };

/// Reads `zones`.
pub(super) fn zones<'t>(section: Entry<'t>, out: &mut Vec<Zone<'t>>, faults: &mut Faults) {
    for (name, value) in named(section, "a zone", faults) {
        let mut interfaces = Vec::new();
        if let Some(record) = Record::read(value, &ZONE, faults) {
            let [list] = record.values;
            match list {
                Some((_, list)) => {
                    let list = one_or_more(list, "an interface or a list of interfaces", faults);
                    let words = list.unwrap_or_default().iter().filter_map(Word::of);
                    interfaces.extend(words.filter(|word| interface(*word, true, faults)));
                }
                None => record.require(&["interfaces"], faults),
            }
        }
        out.push(Zone { name, interfaces });
    }
}

/// Reads `objects`. A faulty object is declared all the same, so that its uses are no faults too.
pub(super) fn objects<'t>(section: Entry<'t>, out: &mut Vec<Object<'t>>, faults: &mut Faults) {
    for (name, value) in named(section, "an object", faults) {
        not_an_address(name, "an object", faults);
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        if let Some(record) = Record::read(value, &OBJECT, faults) {
            if record.values.iter().all(Option::is_none) {
                let fault = Fault::error(codes::EMPTY, "this object is empty");
                faults.push(fault.at(record.start, "can have: net, host, range"));
            }
            let forms = [Form::Prefix, Form::Host, Form::Range];
            let of = [
                "a prefix or a list of prefixes",
                "an address or a list of addresses",
                "a range or a list of ranges",
            ];
            for ((entry, form), of) in record.values.into_iter().zip(forms).zip(of) {
                let Some((_, list)) = entry else { continue };
                let list = one_or_more(list, of, faults).unwrap_or_default();
                for word in list.iter().filter_map(Word::of) {
                    match address::parse(word.text, form, word.span) {
                        Ok(Range::V4(low, high)) => v4.push((low, high)),
                        Ok(Range::V6(low, high)) => v6.push((low, high)),
                        Err(fault) => faults.push(fault),
                    }
                }
            }
        }
        out.push(Object { name, addresses: AddressSet::from_ranges(v4, v6) });
    }
}

/// Reads `groups`.
pub(super) fn groups<'t>(section: Entry<'t>, out: &mut Vec<Group<'t>>, faults: &mut Faults) {
    for (name, value) in named(section, "a group", faults) {
        not_an_address(name, "a group", faults);
        let members = one_or_more(value, "an object, a group or a list of them", faults);
        out.push(Group { name, members: members.unwrap_or_default() });
    }
}

/// Reads `services`.
pub(super) fn services<'t>(section: Entry<'t>, out: &mut Vec<ServiceDef<'t>>, faults: &mut Faults) {
    for (name, value) in named(section, "a service", faults) {
        let body = if value.map().is_some() {
            ServiceBody::Entries(service::decode(value, faults).unwrap_or_default())
        } else {
            let of = "a mapping such as { tcp: [443] }, or the names of other services,";
            ServiceBody::Group(one_or_more(value, of, faults).unwrap_or_default())
        };
        out.push(ServiceDef { name, body });
    }
}

/// The entries of a section that maps names to something. A section with nothing in it has none.
fn named<'t>(section: Entry<'t>, of: &str, faults: &mut Faults) -> Vec<(Word<'t>, &'t Node<'t>)> {
    let Some((_, value)) = section else { return Vec::new() };
    if value.is_nothing() {
        return Vec::new();
    }
    let Some(entries) = value.map() else {
        faults.push(wrong_kind(
            value,
            &format!("a mapping belongs here, with the name of {of} as each key"),
        ));
        return Vec::new();
    };
    let mut named = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        if let Some(name) = scalar::name(key, of, faults) {
            named.push((name, value));
        }
    }
    named
}

/// A name that reads as an address would hide the address.
fn not_an_address(name: Word<'_>, of: &str, faults: &mut Faults) {
    if looks_like_address(name.text) {
        let message = format!("`{}` can't be the name of {of}", name.text);
        let fault = Fault::error(codes::BAD_NAME, message);
        faults.push(fault.at(name.span, "reads as an address"));
    }
}
