//! The rules, chain by chain: how a packet finds its decision.
//!
//! Every chain is written whole: on a fresh table after it is made, on an adopted one after it was
//! emptied in the same transaction.

use super::denied::{DeniedFlow, FLOW, FLOW_DATA};
use super::layout::{self, DECIDE, HELD, HIDDEN, REKEY, TABLE, counter};
use super::local::Peer;
use super::marks::{ASKED, EXPECTED, Marks, RELATED, STALE};
use crate::nft::expr::{self, Compare, Ct, Expr, Meta, Reg, Shift, Verdict};
use crate::nft::outcome::{self, Unheard};
use crate::nft::sets;
use crate::nft::transaction::Transaction;
use crate::wire::Writer;
use nftnl::{Chain, ChainType, Hook, MsgType, Policy, Table};
use std::ffi::CStr;

/// How packets get to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueForm {
    /// nft's own expression.
    Native,
    /// The xtables target, through nft's compatibility layer.
    Compat,
}

/// What the chains depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wiring {
    pub(super) marks: Marks,
    /// First queue and how many, or `None` when no daemon will listen.
    pub(super) queues: Option<(u16, u16)>,
    pub(super) form: QueueForm,
    /// Whether packets that nobody answered for pass.
    pub(super) open: bool,
    /// The sync channel's ends.
    pub(super) peer: Option<Peer>,
}

impl Wiring {
    /// Hands the packet to the daemon.
    pub(super) fn queue(&self, unheard: Unheard) -> Option<Expr> {
        let (first, total) = self.queues?;
        Some(match self.form {
            QueueForm::Native => outcome::queue_native(first, total, unheard),
            QueueForm::Compat => outcome::queue_compat(first, total, unheard),
        })
    }
}

pub(super) const CLEAN_FORWARD: &CStr = c"clean-forward";
const FORWARD: &CStr = c"forward";
const INPUT: &CStr = c"input";
const RETURNED: &CStr = c"returned";
const BY_MEMORY: &CStr = c"by-memory";
const BY_ANSWER: &CStr = c"by-answer";
const BY_LAST_ANSWER: &CStr = c"by-last-answer";
const ASK: &CStr = c"ask";
pub(super) const REJECT: &CStr = c"reject";

/// The base chains: name, hook, priority.
const BASE: [(&CStr, Hook, i32); 6] = [
    (CLEAN_FORWARD, Hook::Forward, -1),
    (c"clean-input", Hook::In, -1),
    (FORWARD, Hook::Forward, 0),
    (INPUT, Hook::In, 0),
    (c"unclassified-forward", Hook::Forward, 1),
    (c"unclassified-input", Hook::In, 1),
];

/// The chains that rules go to.
const INNER: [&CStr; 6] = [BY_MEMORY, RETURNED, BY_ANSWER, BY_LAST_ANSWER, ASK, REJECT];

/// Makes all chains, or leaves those that are there, and writes their rules anew.
pub(super) fn write(tx: &mut Transaction, table: &Table, wiring: &Wiring) {
    for name in INNER {
        tx.push(
            &Chain::new(name, table),
            MsgType::Add,
            format!("make chain {}", layout::text(name)),
        );
    }
    for (name, hook, priority) in BASE {
        let mut chain = Chain::new(name, table);
        chain.set_type(ChainType::Filter);
        chain.set_hook(hook, priority);
        chain.set_policy(Policy::Accept);
        tx.push(&chain, MsgType::Add, format!("make base chain {}", layout::text(name)));
    }
    let mut rules = Rules { tx, table, marks: wiring.marks, writer: Writer::default() };
    for (name, _, priority) in BASE {
        rules.empty(name);
        match priority {
            -1 => rules.clean(name, wiring),
            0 => rules.pass(name, wiring.peer),
            _ => rules.unclassified(name, wiring.open),
        }
    }
    INNER.into_iter().for_each(|name| rules.empty(name));
    rules.returned();
    rules.by_memory();
    rules.by_answer();
    rules.ask(wiring);
    rules.reject();
}

/// Writes only the chains that say what happens without a daemon.
pub(super) fn write_unclassified(tx: &mut Transaction, table: &Table, marks: Marks, open: bool) {
    let mut rules = Rules { tx, table, marks, writer: Writer::default() };
    for (name, _, _) in BASE.into_iter().filter(|(_, _, priority)| *priority == 1) {
        rules.empty(name);
        rules.unclassified(name, open);
    }
}

/// Writes only the chains that ask.
pub(super) fn write_asking(tx: &mut Transaction, table: &Table, wiring: &Wiring) {
    let mut rules = Rules { tx, table, marks: wiring.marks, writer: Writer::default() };
    for (name, _, _) in BASE.into_iter().filter(|(_, _, priority)| *priority == -1) {
        rules.empty(name);
        rules.clean(name, wiring);
    }
    rules.empty(ASK);
    rules.ask(wiring);
}

/// Looks a key up and obeys it, unless it is hidden.
fn decide(key: Reg) -> [Expr; 2] {
    [expr::member(HIDDEN, key, false), expr::decide(DECIDE, key)]
}

pub(super) struct Rules<'a> {
    tx: &'a mut Transaction,
    table: &'a Table,
    pub(super) marks: Marks,
    writer: Writer,
}

/// Scratch registers.
pub(super) const A: Reg = Reg(0);
pub(super) const B: Reg = Reg(1);
const KEY: Reg = Reg(3);
const JOINED: Reg = Reg(4);

impl Rules<'_> {
    fn empty(&mut self, chain: &CStr) {
        sets::write_flush_chain(&mut self.writer, TABLE, layout::text(chain));
        self.tx.push_raw(&mut self.writer, format!("empty chain {}", layout::text(chain)));
    }

    pub(super) fn add(
        &mut self,
        chain: &CStr,
        comment: &str,
        exprs: impl IntoIterator<Item = Expr>,
    ) {
        let exprs: Vec<Expr> = exprs.into_iter().collect();
        self.tx.rule(self.table, layout::text(chain), comment, &exprs);
    }

    fn pass(&mut self, chain: &CStr, peer: Option<Peer>) {
        let key = self.marks.key_mask();
        let [by_key, if_held] = [0; 2].map(|_| [expr::ct(Ct::Mark, A), expr::bits(A, A, key, 0)]);
        self.add(
            chain,
            "known session: decide and count by its key",
            by_key.into_iter().chain(decide(A)),
        );
        let held = [expr::member(HELD, A, true), expr::verdict(Verdict::Drop)];
        self.add(chain, "its session is to be ended: drop", if_held.into_iter().chain(held));
        let mut rekey = vec![
            expr::ct(Ct::Mark, A),
            expr::bits(A, KEY, key, 0),
            expr::value_of(REKEY, KEY, KEY),
        ];
        rekey.extend(self.join(KEY, A));
        rekey.extend([
            expr::set_connmark(JOINED),
            // Read again: nft can't list a lookup by the result of a lookup.
            expr::ct(Ct::Mark, A),
            expr::bits(A, A, key, 0),
        ]);
        rekey.extend(decide(A));
        self.add(chain, "stale key with one successor: move the session", rekey);
        if chain == INPUT {
            self.local(chain);
            if let Some(peer) = peer {
                self.peer(chain, peer);
            }
        }
        self.add(
            chain,
            "invalid: drop",
            [
                expr::ct(Ct::State, A),
                expr::bits(A, A, expr::CT_STATE_INVALID, 0),
                expr::compare(A, Compare::NotEqual, &[0; 4]),
                expr::count(counter::INVALID),
                expr::verdict(Verdict::Drop),
            ],
        );
        for flow in DeniedFlow::ALL {
            let mut rule = flow.key();
            rule.extend([expr::value_of(flow.map(), FLOW, KEY), expr::meta(Meta::Mark, A)]);
            rule.extend(self.join(KEY, A));
            rule.push(expr::set_packet_mark(JOINED));
            rule.push(expr::verdict(Verdict::Goto(BY_MEMORY)));
            self.add(chain, &format!("{}: the key that denied it", flow.name()), rule);
        }
        self.add(
            chain,
            "the daemon has answered",
            [
                expr::meta(Meta::Mark, A),
                expr::bits(A, A, self.marks.verdict(), 0),
                expr::compare(A, Compare::NotEqual, &[0; 4]),
                expr::verdict(Verdict::Goto(RETURNED)),
            ],
        );
        self.add(chain, "unknown or stale: ask", [expr::verdict(Verdict::Goto(ASK))]);
    }

    fn returned(&mut self) {
        for protocol in [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6] {
            self.add(
                RETURNED,
                "ICMP error: decide, but leave its session's key",
                [
                    expr::ct(Ct::State, A),
                    expr::bits(A, A, expr::CT_STATE_RELATED, 0),
                    expr::compare(A, Compare::NotEqual, &[0; 4]),
                    expr::meta(Meta::Protocol, A),
                    expr::compare(A, Compare::Equal, &[protocol as u8]),
                    expr::verdict(Verdict::Goto(BY_ANSWER)),
                ],
            );
        }
        let mut save = vec![expr::meta(Meta::Mark, KEY), expr::ct(Ct::Mark, A)];
        save.extend(self.join(KEY, A));
        save.push(expr::set_connmark(JOINED));
        self.add(RETURNED, "save the key into the connmark", save);
        let (deny, key) = (self.marks.deny(), self.marks.key_mask());
        for flow in DeniedFlow::ALL {
            let mut rule = vec![
                expr::meta(Meta::Mark, A),
                expr::bits(A, FLOW_DATA, key, 0),
                expr::bits(A, A, deny, 0),
                expr::compare(A, Compare::NotEqual, &[0; 4]),
            ];
            rule.extend(flow.key());
            rule.push(expr::dynamic(flow.map(), false, FLOW, FLOW_DATA));
            rule.push(expr::dynamic(flow.map(), true, FLOW, FLOW_DATA));
            self.add(RETURNED, &format!("{}: remember it", flow.name()), rule);
        }
        self.add(RETURNED, "now decide", [expr::verdict(Verdict::Goto(BY_ANSWER))]);
    }

    fn by_memory(&mut self) {
        self.decide_by_mark(BY_MEMORY);
        self.add(BY_MEMORY, "that key has gone: ask", [expr::verdict(Verdict::Goto(ASK))]);
    }

    fn by_answer(&mut self) {
        let again = self.marks.again();
        self.add(
            BY_ANSWER,
            "second answer",
            [
                expr::meta(Meta::Mark, A),
                expr::bits(A, A, again, 0),
                expr::compare(A, Compare::NotEqual, &[0; 4]),
                expr::verdict(Verdict::Goto(BY_LAST_ANSWER)),
            ],
        );
        self.decide_by_mark(BY_ANSWER);
        self.add(
            BY_ANSWER,
            "its key has just gone: ask once more",
            [
                expr::meta(Meta::Mark, A),
                expr::bits(A, A, !again, again),
                expr::set_packet_mark(A),
                expr::verdict(Verdict::Goto(ASK)),
            ],
        );
        self.decide_by_mark(BY_LAST_ANSWER);
        self.add(
            BY_LAST_ANSWER,
            "gone again: drop",
            [expr::count(counter::AGAIN), expr::verdict(Verdict::Drop)],
        );
    }

    fn decide_by_mark(&mut self, chain: &CStr) {
        let (owned, key) = (self.marks.owned(), self.marks.key_mask());
        let mut rule = vec![
            expr::meta(Meta::Mark, A),
            expr::bits(A, B, key, 0),
            expr::bits(A, A, !owned, 0),
            expr::set_packet_mark(A),
        ];
        rule.extend(decide(B));
        self.add(chain, "clear our bits, decide by the key that came with the packet", rule);
    }

    fn ask(&mut self, wiring: &Wiring) {
        let marks = self.marks;
        self.add(
            ASK,
            "clear our bits but for the second pass, set ASKED",
            [
                expr::meta(Meta::Mark, A),
                expr::bits(A, A, !(marks.owned() & !marks.again()), ASKED),
                expr::set_packet_mark(A),
            ],
        );
        self.flag(
            "reply direction",
            &[expr::ct(Ct::Direction, A)],
            &[1],
            Compare::Equal,
            marks.reply(),
        );
        let related = [expr::ct(Ct::State, A), expr::bits(A, A, expr::CT_STATE_RELATED, 0)];
        self.flag("related", &related, &[0; 4], Compare::NotEqual, RELATED);
        let expected = [expr::ct(Ct::Status, A), expr::bits(A, A, expr::CT_STATUS_EXPECTED, 0)];
        self.flag("expected by another session", &expected, &[0; 4], Compare::NotEqual, EXPECTED);
        let stale = [expr::ct(Ct::Mark, A), expr::bits(A, A, marks.key_mask(), 0)];
        self.flag("has a key that is not in the map", &stale, &[0; 4], Compare::NotEqual, STALE);
        if let Some(queue) = wiring.queue(Unheard::GoesOn) {
            self.add(
                ASK,
                "ask the daemon; without it, on to the next base chain",
                [expr::count(counter::ASKED), queue],
            );
        }
    }

    fn flag(&mut self, name: &str, test: &[Expr], value: &[u8], how: Compare, bit: u32) {
        let mut rule = test.to_vec();
        rule.extend([
            expr::compare(A, how, value),
            expr::meta(Meta::Mark, A),
            expr::bits(A, A, !bit, bit),
            expr::set_packet_mark(A),
        ]);
        self.add(ASK, name, rule);
    }

    fn reject(&mut self) {
        self.add(
            REJECT,
            "TCP: reset",
            [
                expr::meta(Meta::Protocol, A),
                expr::compare(A, Compare::Equal, &[libc::IPPROTO_TCP as u8]),
                outcome::reject_with_reset(),
            ],
        );
        self.add(REJECT, "others: port unreachable", [outcome::reject_with_unreachable()]);
    }

    /// Joins the low bits of `key` with the other bits of `mark` into `JOINED`, and shifts the
    /// latter. Two registers in a row hold the foreign bits, moved to the bottom, and the key,
    /// moved to the top; a left shift over both brings the key in below the foreign bits.
    fn join(&self, key: Reg, mark: Reg) -> [Expr; 3] {
        let width = self.marks.width();
        let after_mark = Reg(mark.0 + 1);
        [
            expr::shift(Shift::Right, mark, mark, 4, width),
            expr::shift(Shift::Left, key, after_mark, 4, u32::BITS - width),
            expr::shift(Shift::Left, mark, JOINED, 8, width),
        ]
    }
}
