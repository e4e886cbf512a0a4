//! Reading typed values out of a tree of YAML nodes, with every fault reported in place.
//!
//! Goes in: a [`crate::yaml::Node`]. Comes out: the keys of a mapping ([`Record`]), single values
//! ([`scalar`]), and
//! what networks are made of ([`network`]); what is wrong goes into the [`crate::diag::Faults`]. Used by the policy files and
//! open to other files in YAML. Not here: which keys a file has, and what they mean.

pub(crate) mod address;
pub mod network;
mod record;
pub mod scalar;

pub use record::{Keys, Record, missing, wrong_kind};
