//! x
use crate::diag::Faults;
use crate::resolve::Resolved;
use crate::syntax::Draft;
pub(crate) fn check(_draft: &Draft<'_>, _resolved: &Resolved<'_>, _threads: usize, _faults: &mut Faults) {}
