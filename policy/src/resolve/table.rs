//! Tables of names.

use crate::diag::{Code, Fault, Faults, codes, suggest};
use crate::source::Span;
use crate::syntax::Word;
use ahash::AHashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What names stand for. Looking a name up marks it as used.
#[derive(Debug)]
pub(crate) struct Table<'t, T> {
    index: AHashMap<&'t str, usize>,
    entries: Vec<Entry<'t, T>>,
}

/// A definition.
#[derive(Debug)]
pub(crate) struct Entry<'t, T> {
    pub(crate) name: Word<'t>,
    /// `object`, `group`, `service`.
    pub(crate) kind: &'static str,
    pub(crate) value: T,
    used: AtomicBool,
}

impl<T> Entry<'_, T> {
    /// Whether anything refers to it.
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Relaxed)
    }
}

impl<'t, T> Table<'t, T> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { index: AHashMap::with_capacity(capacity), entries: Vec::with_capacity(capacity) }
    }

    /// Defines a name; a second definition is a fault and left out.
    pub(super) fn define(
        &mut self,
        name: Word<'t>,
        kind: &'static str,
        value: T,
        faults: &mut Faults,
    ) -> Option<usize> {
        let next = self.entries.len();
        if let Some(first) = self.index.get(name.text).and_then(|i| self.entries.get(*i)) {
            faults.push(duplicate_name(kind, name, first.name.span));
            return None;
        }
        self.index.insert(name.text, next);
        self.entries.push(Entry { name, kind, value, used: AtomicBool::new(false) });
        Some(next)
    }

    /// The place of a name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let index = *self.index.get(name)?;
        if let Some(entry) = self.entries.get(index)
            && !entry.is_used()
        {
            entry.used.store(true, Relaxed);
        }
        Some(index)
    }

    /// What a name stands for.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.find(name).and_then(|index| self.entries.get(index)).map(|entry| &entry.value)
    }

    pub(super) fn value(&self, index: usize) -> Option<&T> {
        self.entries.get(index).map(|entry| &entry.value)
    }

    pub(super) fn value_mut(&mut self, index: usize) -> Option<&mut T> {
        self.entries.get_mut(index).map(|entry| &mut entry.value)
    }

    /// All definitions in the order of the files.
    pub(crate) fn entries(&self) -> &[Entry<'t, T>] {
        &self.entries
    }

    /// The name nearest to a word, and its place.
    pub(super) fn nearest(
        &self,
        word: &str,
        budget: &mut suggest::Budget,
    ) -> Option<(&'t str, Option<Span>)> {
        let near = budget.nearest(word, self.entries.iter().map(|entry| entry.name.text))?;
        let entry = self.index.get(near).and_then(|index| self.entries.get(*index));
        Some((near, entry.map(|entry| entry.name.span)))
    }
}

/// The fault of a name that is used twice.
pub(super) fn duplicate_name(kind: &str, name: Word<'_>, first: Span) -> Fault {
    Fault::error(codes::DUPLICATE_NAME, format!("the name `{}` is used twice", name.text))
        .at(name.span, format!("second {kind} of this name"))
        .at(first, "first here")
}

/// The fault of a name that nothing is defined by.
pub(super) fn unknown(code: Code, of: &'static str, word: Word<'_>, label: &str) -> Fault {
    let shown = crate::syntax::scalar::shorten(word.text);
    let fault = Fault::error(code, format!("unknown {of} `{shown}`"));
    fault.at(word.span, label).unknown(of, word.text)
}
