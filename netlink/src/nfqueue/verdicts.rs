//! Verdicts, collected so that one system call carries those of a whole batch.
//!
//! Goes in: numbers of packets and what is to become of them. Comes out: netlink messages. Not
//! here: sending them.

use super::message::{MARK, MSG_VERDICT, VERDICT_HDR};
use crate::sys::mmsg::BATCH;
use crate::wire::{Message, Writer, messages};

/// `NF_DROP`, `NF_ACCEPT`, `NF_REPEAT` of `linux/netfilter.h`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const REPEAT: u32 = 4;

/// Bytes of the largest message: headers 20, verdict 12, mark 8.
const MESSAGE: usize = 40;
const MESSAGE_HEADER: usize = 16;

/// Verdicts that have not been sent yet.
///
/// The kernel searches its list of waiting packets from the oldest on, so verdicts are cheapest
/// in the order of arrival, and a packet that never gets one makes each later one dearer.
#[derive(Debug)]
pub struct Verdicts {
    queue: u16,
    writer: Writer,
    /// Bytes at the beginning that have been sent.
    sent: usize,
    /// Verdicts behind them.
    count: usize,
}

impl Verdicts {
    pub(super) fn new(queue: u16) -> Self {
        let room = MESSAGE * BATCH;
        Self { queue, writer: Writer::with_capacity(room), sent: 0, count: 0 }
    }

    /// Lets the packet go on at the next base chain.
    pub fn accept(&mut self, id: u32) {
        self.add(id, ACCEPT, None);
    }

    /// Drops the packet.
    pub fn drop(&mut self, id: u32) {
        self.add(id, DROP, None);
    }

    /// Sets the packet mark, all 32 bits, and runs the chain that queued the packet again.
    pub fn repeat(&mut self, id: u32, mark: u32) {
        self.add(id, REPEAT, Some(mark));
    }

    /// How many wait to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The oldest verdicts that fit into `limit` bytes together, and their number.
    pub(super) fn piece(&self, limit: usize) -> (&[u8], usize) {
        // No attribute here comes near the length that could overflow.
        let unsent =
            self.writer.finished().unwrap_or_default().get(self.sent..).unwrap_or_default();
        if unsent.len() <= limit {
            return (unsent, self.count);
        }
        let fitting = limit / MESSAGE;
        let message = |message: Message<'_>| MESSAGE_HEADER + message.payload.len();
        let length = messages(unsent).take(fitting).map(message).sum();
        (unsent.get(..length).unwrap_or_default(), fitting)
    }

    /// Forgets the oldest verdicts, a piece.
    pub(super) fn done(&mut self, length: usize, count: usize) {
        self.sent += length;
        self.count = self.count.saturating_sub(count);
        if self.count == 0 {
            self.writer.clear();
            self.sent = 0;
        }
    }

    fn add(&mut self, id: u32, verdict: u32, mark: Option<u32>) {
        let mut header = [0; 8];
        let (left, right) = header.split_at_mut(4);
        left.copy_from_slice(&verdict.to_be_bytes());
        right.copy_from_slice(&id.to_be_bytes());
        self.writer.message(MSG_VERDICT, 0, 0, 0, self.queue);
        self.writer.bytes(VERDICT_HDR, &header);
        if let Some(mark) = mark {
            self.writer.be32(MARK, mark);
        }
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::be32;

    /// Number, verdict and mark of each message.
    fn read(bytes: &[u8], queue: u16) -> Vec<(u32, u32, Option<u32>)> {
        let read = |message: Message<'_>| {
            assert_eq!(message.kind, MSG_VERDICT);
            assert_eq!(message.payload[2..4], queue.to_be_bytes());
            let attribute = |kind| message.attributes().find(|a| a.0 == kind).map(|a| a.1);
            let header = attribute(VERDICT_HDR).unwrap();
            let mark = attribute(MARK).map(|mark| be32(mark).unwrap());
            (be32(&header[4..]).unwrap(), be32(&header[..4]).unwrap(), mark)
        };
        messages(bytes).map(read).collect()
    }

    #[test]
    fn verdicts_follow_each_other_in_one_run_of_messages() {
        let mut verdicts = Verdicts::new(7);
        verdicts.repeat(1, 0x8000_0005);
        verdicts.drop(2);
        verdicts.accept(3);
        let (bytes, count) = verdicts.piece(usize::MAX);
        let expected = [(1, REPEAT, Some(0x8000_0005)), (2, DROP, None), (3, ACCEPT, None)];
        assert_eq!(read(bytes, 7), expected);
        assert_eq!(count, 3);
        let length = bytes.len();
        verdicts.done(length, count);
        assert!(verdicts.is_empty());
        assert_eq!(verdicts.piece(usize::MAX), (&[][..], 0));
    }

    #[test]
    fn a_batch_fits_the_memory_that_was_set_aside() {
        let mut verdicts = Verdicts::new(0);
        for id in 0..BATCH as u32 {
            verdicts.repeat(id, u32::MAX);
        }
        assert_eq!(verdicts.piece(usize::MAX).0.len(), MESSAGE * BATCH);
    }

    #[test]
    fn many_verdicts_go_in_pieces_without_loss() {
        let mut verdicts = Verdicts::new(1);
        for id in 0..1000 {
            if id % 3 == 0 { verdicts.accept(id) } else { verdicts.repeat(id, id) }
        }
        let mut seen = Vec::new();
        while !verdicts.is_empty() {
            let (bytes, count) = verdicts.piece(4000);
            assert!(bytes.len() <= 4000 && count > 0);
            let length = bytes.len();
            seen.extend(read(bytes, 1).iter().map(|verdict| verdict.0));
            verdicts.done(length, count);
        }
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }
}
