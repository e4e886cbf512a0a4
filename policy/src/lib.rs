//! Policy files to compiled rule sets, and the difference between two of them.
//!
//! ```text
//! text ──► yaml ──► syntax ──► resolve ──► RuleSet ──► classify   which rule decides a flow
//!                                │            │
//!                              diag           ├─────► keys, diff  what a reload changes
//!                      every fault at once    ├─────► lint        rules that can't match
//!                                             ├─────► overlap     which rules share flows: asked by
//!                                             │                   diff and lint
//!                                             └─────► explain     why a rule did or didn't match
//! ```
//!
//! [`load()`] goes the whole way from the text to the rule set, runs the tests that the policy
//! brings along (`selftest`), and adds the warnings.
//!
//! Goes in: the text of policy files, flows, the key table of the running policy. Comes out: rule
//! sets, decisions, the plan of a reload, messages for operators. Not here: files, sockets, the
//! clock, the kernel. Everything is a function of its arguments.

pub mod address;
pub mod classify;
pub mod diag;
pub mod diff;
pub mod explain;
pub mod flow;
pub mod form;
pub mod interfaces;
pub mod keys;
mod lint;
pub mod load;
pub mod matching;
pub mod nat;
mod overlap;
mod parallel;
pub mod prefix;
mod resolve;
pub mod ruleset;
mod selftest;
pub mod source;
mod syntax;
pub mod yaml;
pub mod zone;

pub use load::{Failure, Loaded, Options, load, load_with};
pub use source::SourceText;
