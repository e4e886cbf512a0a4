//! What happens to a packet before it is decided, and where nobody has decided it.

use super::chains::{A, B, CLEAN_FORWARD, Rules, Wiring};
use super::layout::counter;
use crate::nft::expr::{self, Compare, Ct, Meta, Verdict};
use crate::nft::outcome::Unheard;
use std::ffi::CStr;

impl Rules<'_> {
    pub(super) fn clean(&mut self, chain: &CStr, wiring: &Wiring) {
        let owned = self.marks.owned();
        self.add(
            chain,
            "forged or left-over bits of ours: clear them",
            [
                expr::meta(Meta::Mark, A),
                expr::bits(A, B, owned, 0),
                expr::compare(B, Compare::NotEqual, &[0; 4]),
                expr::bits(A, A, !owned, 0),
                expr::set_packet_mark(A),
                expr::count(counter::FORGED),
            ],
        );
        if chain == CLEAN_FORWARD
            && wiring.peer.is_some()
            && let Some(queue) = wiring.queue(Unheard::IsDropped)
        {
            // Where a helper rewrites an address, it shifts the sequence numbers that follow, and
            // without the daemon the peer would not learn of it.
            self.add(
                chain,
                "a helper sees to its session: only while the daemon runs",
                [
                    expr::ct(Ct::Status, A),
                    expr::bits(A, A, expr::CT_STATUS_HELPER, 0),
                    expr::compare(A, Compare::NotEqual, &[0; 4]),
                    queue,
                ],
            );
        }
    }

    pub(super) fn unclassified(&mut self, chain: &CStr, open: bool) {
        let (owned, verdict) = (self.marks.owned(), self.marks.verdict());
        self.add(
            chain,
            "decided",
            [
                expr::meta(Meta::Mark, A),
                expr::bits(A, A, owned, 0),
                expr::compare(A, Compare::Equal, &[0; 4]),
                expr::verdict(Verdict::Accept),
            ],
        );
        // Of several packets that asked for one session, the first to come back saves the key, and
        // the others are decided by that before anybody looks at what they bring.
        self.add(
            chain,
            "answered, and decided by the key that its session had by then: clear our bits",
            [
                expr::meta(Meta::Mark, A),
                expr::bits(A, B, verdict, 0),
                expr::compare(B, Compare::NotEqual, &[0; 4]),
                expr::bits(A, A, !owned, 0),
                expr::set_packet_mark(A),
                expr::verdict(Verdict::Accept),
            ],
        );
        let mut rule = vec![
            expr::meta(Meta::Mark, A),
            expr::bits(A, A, !owned, 0),
            expr::set_packet_mark(A),
            expr::count(counter::UNCLASSIFIED),
        ];
        let (comment, verdict) = if open {
            ("no daemon answered, queue_failure open", Verdict::Accept)
        } else {
            ("no daemon answered, queue_failure closed", Verdict::Drop)
        };
        rule.push(expr::verdict(verdict));
        self.add(chain, comment, rule);
    }
}
