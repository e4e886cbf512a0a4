//! Verdicts, collected so that one system call carries those of a whole batch.
//!
//! Goes in: numbers of packets and what is to become of them. Comes out: netlink messages. Not
//! here: sending them.

use super::message::{MARK, MSG_VERDICT, VERDICT_HDR};
use crate::wire::Writer;

/// `NF_DROP`, `NF_ACCEPT`, `NF_REPEAT` of `linux/netfilter.h`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const REPEAT: u32 = 4;

/// Bytes of the largest message: headers 20, verdict 12, mark 8.
const MESSAGE: usize = 40;

/// Verdicts that have not been sent yet.
///
/// The kernel searches its list of waiting packets from the oldest on, so verdicts are cheapest
/// in the order of arrival, and a packet that never gets one makes each later one dearer.
#[derive(Debug)]
pub struct Verdicts {
    queue: u16,
    writer: Writer,
    count: usize,
}

impl Verdicts {
    pub(super) fn new(queue: u16) -> Self {
        let room = MESSAGE * crate::sys::mmsg::BATCH;
        Self { queue, writer: Writer::with_capacity(room), count: 0 }
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

    /// The oldest verdicts that fit into `limit` bytes together, at least one, and their number.
    pub(super) fn piece(&self, limit: usize) -> (&[u8], usize) {
        // No attribute here comes near the length that could overflow.
        let bytes = self.writer.finished().unwrap_or_default();
        let whole = self.lengths.iter().map(|length| usize::from(*length));
        let mut end = 0;
        let mut count = 0;
        for length in whole {
            if end + length > limit && count > 0 {
                break;
            }
            end += length;
            count += 1;
        }
        (bytes.get(self.start..end).unwrap_or_default(), count)
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
    use crate::wire::{be32, messages};

    #[test]
    fn verdicts_follow_each_other_in_one_run_of_messages() {
        let mut verdicts = Verdicts::new(7);
        verdicts.repeat(1, 0x8000_0005);
        verdicts.drop(2);
        verdicts.accept(3);
        let seen = messages(verdicts.bytes())
            .map(|message| {
                assert_eq!(message.kind, MSG_VERDICT);
                assert_eq!(message.payload[2..4], 7u16.to_be_bytes());
                let attribute = |kind| message.attributes().find(|a| a.0 == kind).map(|a| a.1);
                let header = attribute(VERDICT_HDR).unwrap();
                (be32(&header[4..]), be32(&header[..4]), attribute(MARK).and_then(be32))
            })
            .collect::<Vec<_>>();
        let expected = [
            (Some(1), Some(REPEAT), Some(0x8000_0005)),
            (Some(2), Some(DROP), None),
            (Some(3), Some(ACCEPT), None),
        ];
        assert_eq!(seen, expected);
        assert_eq!(verdicts.len(), 3);
        verdicts.clear();
        assert!(verdicts.is_empty() && verdicts.bytes().is_empty());
    }

    #[test]
    fn a_batch_fits_the_memory_that_was_set_aside() {
        let mut verdicts = Verdicts::new(0);
        for id in 0..crate::sys::mmsg::BATCH as u32 {
            verdicts.repeat(id, u32::MAX);
        }
        assert_eq!(verdicts.bytes().len(), MESSAGE * crate::sys::mmsg::BATCH);
    }
}
