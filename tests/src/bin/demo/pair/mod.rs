//! What the chapter about the pair is told with: its gateways ([`bed`]), the sessions through them
//! ([`sessions`]), who was active when ([`watch`]), and all of that on one axis of time
//! ([`timeline`]).

pub(crate) mod bed;
pub(crate) mod sessions;
pub(crate) mod timeline;
pub(crate) mod watch;
