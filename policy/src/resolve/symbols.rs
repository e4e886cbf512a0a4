//! Objects, groups and services by name, with what they stand for.

use super::table::{Table, unknown};
use crate::address::AddressSet;
use crate::diag::suggest::Budget;
use crate::diag::{Fault, Faults, codes};
use crate::form::address::{self, Form, Range, looks_like_address};
use crate::matching::Service;
use crate::syntax::scalar::shorten;
use crate::syntax::service::normalised;
use crate::syntax::{Draft, ServiceBody, Word};
use crate::yaml::Node;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What the policy defines by name.
pub(crate) struct Symbols<'t> {
    pub(crate) objects: Table<'t, AddressSet>,
    pub(crate) services: Table<'t, Vec<Service>>,
    /// Ranges and service entries in all groups and rules.
    size: AtomicUsize,
}

impl<'t> Symbols<'t> {
    /// Ranges of addresses and service entries that may be compiled in all; 32 bytes each at most.
    const LIMIT: usize = 16 << 20;

    pub(super) fn new(draft: &Draft<'t>, faults: &mut Faults) -> Self {
        let mut symbols = Self {
            objects: Table::with_capacity(draft.objects.len() + draft.groups.len()),
            services: Table::with_capacity(draft.services.len()),
            size: AtomicUsize::new(0),
        };
        symbols.define_objects(draft, faults);
        symbols.define_services(draft, faults);
        if symbols.is_too_large() {
            faults.push(too_large());
        }
        symbols
    }

    fn define_objects(&mut self, draft: &Draft<'t>, faults: &mut Faults) {
        for object in &draft.objects {
            self.objects.define(object.name, "object", object.addresses.clone(), faults);
        }
        let mut groups: Vec<Composite<'t>> = Vec::with_capacity(draft.groups.len());
        for group in &draft.groups {
            let empty = AddressSet::default();
            if let Some(place) = self.objects.define(group.name, "group", empty, faults) {
                groups.push(Composite { name: group.name, nodes: group.members, place });
            }
        }
        let members = members(&groups, &self.objects, faults, |word| {
            let fault = unknown(codes::UNKNOWN_OBJECT, "object", word, "not in objects or groups");
            if looks_like_address(word.text) {
                return fault.help("a group has names in it: define an object for the address");
            }
            fault
        });
        for index in order(&groups, &members, "group", faults) {
            let (Some(group), Some(members)) = (groups.get(index), members.get(index)) else {
                continue;
            };
            let sets: Vec<_> = members.iter().filter_map(|i| self.objects.value(*i)).collect();
            if !self.grow(sets.iter().map(|set| set.v4().len() + set.v6().len()).sum()) {
                return;
            }
            let union = union(&sets, Vec::new(), Vec::new());
            if let Some(value) = self.objects.value_mut(group.place) {
                *value = union;
            }
        }
    }

    fn define_services(&mut self, draft: &Draft<'t>, faults: &mut Faults) {
        let mut groups: Vec<Composite<'t>> = Vec::new();
        for service in &draft.services {
            let (entries, nodes) = match &service.body {
                ServiceBody::Entries(entries) => (entries.clone(), None),
                ServiceBody::Group(nodes) => (Vec::new(), Some(*nodes)),
            };
            let place = self.services.define(service.name, "service", entries, faults);
            if let (Some(place), Some(nodes)) = (place, nodes) {
                groups.push(Composite { name: service.name, nodes, place });
            }
        }
        let members = members(&groups, &self.services, faults, |word| {
            unknown(codes::UNKNOWN_SERVICE, "service", word, "not in services")
        });
        for index in order(&groups, &members, "service", faults) {
            let (Some(group), Some(members)) = (groups.get(index), members.get(index)) else {
                continue;
            };
            let lists: Vec<_> = members.iter().filter_map(|i| self.services.value(*i)).collect();
            if !self.grow(lists.iter().map(|list| list.len()).sum()) {
                return;
            }
            let all = normalised(lists.into_iter().flatten().copied().collect());
            if let Some(value) = self.services.value_mut(group.place) {
                *value = all;
            }
        }
    }

    /// Adds what was perhaps meant to the faults of unknown names.
    pub(super) fn suggest(&self, faults: &mut Faults) {
        let mut budget = Budget::default();
        faults.suggest("object", |name| self.objects.nearest(name, &mut budget));
        faults.suggest("service", |name| self.services.nearest(name, &mut budget));
    }

    /// Counts entries; false when there are too many in all.
    fn grow(&self, entries: usize) -> bool {
        let before = self.size.fetch_add(entries, Relaxed);
        before.saturating_add(entries) <= Self::LIMIT
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.size.load(Relaxed) > Self::LIMIT
    }

    /// The addresses of a list of objects, groups and addresses. An empty list stands for any.
    pub(crate) fn addresses(&self, nodes: &[Node<'_>], faults: &mut Faults) -> AddressSet {
        if nodes.is_empty() {
            return AddressSet::any();
        }
        let mut sets = Vec::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for word in nodes.iter().filter_map(Word::of) {
            if word.text == "any" {
                return AddressSet::any();
            }
            if let Some(set) = self.objects.get(word.text) {
                sets.push(set);
            } else if looks_like_address(word.text) {
                match address::parse(word.text, Form::Any, word.span) {
                    Ok(Range::V4(low, high)) => v4.push((low, high)),
                    Ok(Range::V6(low, high)) => v6.push((low, high)),
                    Err(fault) => faults.push(fault),
                }
            } else {
                faults.push(self.unknown_object(word));
            }
        }
        let size = sets.iter().map(|set| set.v4().len() + set.v6().len()).sum::<usize>();
        if !self.grow(size + v4.len() + v6.len()) {
            return AddressSet::default();
        }
        if let ([set], true) = (sets.as_slice(), v4.is_empty() && v6.is_empty()) {
            return (*set).clone();
        }
        union(&sets, v4, v6)
    }

    /// The fault of an object that is not defined.
    pub(super) fn unknown_object(&self, word: Word<'_>) -> Fault {
        let label = "not in objects or groups";
        unknown(codes::UNKNOWN_OBJECT, "object", word, label)
    }

    /// The entries of a list of services.
    pub(crate) fn services(&self, nodes: &[Node<'_>], faults: &mut Faults) -> Vec<Service> {
        if let [node] = nodes {
            return Word::of(node).map_or_else(Vec::new, |word| self.service(word, faults));
        }
        let mut all = Vec::new();
        for word in nodes.iter().filter_map(Word::of) {
            all.extend(self.service(word, faults));
        }
        normalised(all)
    }

    fn service(&self, word: Word<'_>, faults: &mut Faults) -> Vec<Service> {
        if word.text == "any" {
            return vec![Service::ANY];
        }
        match self.services.get(word.text) {
            Some(entries) if self.grow(entries.len()) => return entries.clone(),
            Some(_) => {}
            None => {
                let fault = unknown(codes::UNKNOWN_SERVICE, "service", word, "not in services");
                let number = word.text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
                faults.push(if number {
                    fault.help(format!("for a port write {{ tcp: [{}] }}", shorten(word.text)))
                } else {
                    fault
                });
            }
        }
        Vec::new()
    }
}

/// The fault of a policy whose rules have too many addresses in all.
pub(super) fn too_large() -> Fault {
    let message = format!("the rules come to more than {} ranges of addresses", Symbols::LIMIT);
    Fault::error(codes::TOO_MANY, message)
        .note("each rule counts with all addresses of the groups that it uses")
}

fn union(sets: &[&AddressSet], mut v4: Vec<(u32, u32)>, mut v6: Vec<(u128, u128)>) -> AddressSet {
    for set in sets {
        v4.extend_from_slice(set.v4());
        v6.extend_from_slice(set.v6());
    }
    AddressSet::from_ranges(v4, v6)
}

/// A definition made of others.
struct Composite<'t> {
    name: Word<'t>,
    nodes: &'t [Node<'t>],
    /// Its place in the table.
    place: usize,
}

/// The places in the table of each composite's members.
fn members<'t, T>(
    composites: &[Composite<'t>],
    table: &Table<'t, T>,
    faults: &mut Faults,
    fault: impl Fn(Word<'t>) -> Fault,
) -> Vec<Vec<usize>> {
    let mut all = Vec::with_capacity(composites.len());
    for composite in composites {
        let mut places = Vec::with_capacity(composite.nodes.len());
        for word in composite.nodes.iter().filter_map(Word::of) {
            match table.find(word.text) {
                Some(place) => places.push(place),
                None => faults.push(fault(word)),
            }
        }
        all.push(places);
    }
    all
}

/// The composites so that each comes after those that it is made of. One that contains itself is a
/// fault. Walks with a stack of its own: groups may be nested as deep as there are groups.
fn order(
    composites: &[Composite<'_>],
    members: &[Vec<usize>],
    kind: &str,
    faults: &mut Faults,
) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let last = composites.iter().map(|composite| composite.place).max().unwrap_or(0);
    let mut by_place = vec![None; last + 1];
    for (index, composite) in composites.iter().enumerate() {
        if let Some(slot) = by_place.get_mut(composite.place) {
            *slot = Some(index);
        }
    }
    let mut states = vec![State::New; composites.len()];
    let mut ordered = Vec::with_capacity(composites.len());
    for start in 0..composites.len() {
        if states.get(start) != Some(&State::New) {
            continue;
        }
        let mut path = vec![(start, 0)];
        while let Some((index, next)) = path.last_mut() {
            let index = *index;
            if let Some(state) = states.get_mut(index) {
                *state = State::Open;
            }
            let Some(place) = members.get(index).and_then(|places| places.get(*next)) else {
                if let Some(state) = states.get_mut(index) {
                    *state = State::Done;
                }
                ordered.push(index);
                path.pop();
                continue;
            };
            *next += 1;
            let Some(member) = by_place.get(*place).copied().flatten() else { continue };
            match states.get(member) {
                Some(State::New) => path.push((member, 0)),
                Some(State::Open) => faults.push(cycle(composites, &path, member, kind)),
                _ => {}
            }
        }
    }
    ordered
}

/// The fault of a composite that contains itself by way of the end of the path.
fn cycle(
    composites: &[Composite<'_>],
    path: &[(usize, usize)],
    member: usize,
    kind: &str,
) -> Fault {
    let name = |index: usize| composites.get(index).map_or("", |composite| composite.name.text);
    let from = path.iter().position(|(index, _)| *index == member).unwrap_or(0);
    let circle = path.get(from..).unwrap_or_default();
    let mut names: Vec<&str> = circle.iter().take(8).map(|(index, _)| name(*index)).collect();
    if circle.len() > names.len() {
        names.push("…");
    }
    names.push(name(member));
    let span = composites.get(member).map_or_else(Default::default, |c| c.name.span);
    Fault::error(codes::CYCLE, format!("the {kind} `{}` contains itself", name(member)))
        .at(span, "")
        .note(names.join(" > "))
}
