//! Definitions that nothing refers to.

use crate::diag::{Fault, Faults, codes};
use crate::resolve::{Resolved, Table};

/// Adds a warning for each object, group and service that no rule, NAT rule, group or service
/// refers to.
pub(super) fn check(resolved: &Resolved<'_>, faults: &mut Faults) {
    table(&resolved.symbols.objects, faults);
    table(&resolved.symbols.services, faults);
}

fn table<T>(table: &Table<'_, T>, faults: &mut Faults) {
    for entry in table.entries().iter().filter(|entry| !entry.is_used()) {
        let message = format!("{} `{}` is not used", entry.kind, entry.name.text);
        faults.push(Fault::warning(codes::UNUSED, message).at(entry.name.span, ""));
    }
}
