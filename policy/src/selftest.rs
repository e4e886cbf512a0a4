//! x
use crate::diag::Faults;
use crate::resolve::Resolved;
use crate::syntax::Test;
pub(crate) fn run(_tests: &[Test<'_>], _resolved: &Resolved<'_>, _faults: &mut Faults) {}
