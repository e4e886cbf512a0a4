//! Policy files to compiled rule sets, and the difference between two of them.
//!
//! ```text
//! text ──► yaml ──► syntax ──► resolve ──► RuleSet ──► classify   which rule decides a flow
//!                                │            │
//!                              diag           ├─────► keys, diff  what a reload changes
//!                      every fault at once    ├─────► lint        rules that can't match
//!                                             └─────► explain     why a rule did or didn't match
//! ```
//!
//! Goes in: the text of policy files, flows, the key table of the running policy. Comes out: rule
//! sets, decisions, the plan of a reload, messages for operators. Not here: files, sockets, the
//! clock, the kernel. Everything is a function of its arguments.

pub mod address;
pub mod classify;
pub mod flow;
pub mod keys;
pub mod matching;
pub mod ruleset;
pub mod zone;
