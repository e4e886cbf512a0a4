//! Messages and attributes, nested as deep as they go: reading ends, and what is read can be
//! written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinwall_netlink::wire::{self, Writer, attributes, messages};

const DEPTH: usize = 6;

fuzz_target!(|data: &[u8]| {
    let mut count = 0;
    let mut writer = Writer::default();
    for message in messages(data) {
        count += 1;
        let _ = (message.errno(), walk(message.payload, DEPTH));
        writer.message(message.kind, 0, message.seq, 0, 0);
        for (kind, payload) in message.attributes() {
            let _ = (wire::be16(payload), wire::be32(payload), wire::be64(payload));
            writer.bytes(kind, payload);
        }
    }
    assert!(count <= data.len() / 16);
    let Some(written) = writer.finished() else { return };
    let again = messages(written).map(|message| message.attributes().collect::<Vec<_>>());
    assert!(messages(data).map(|message| message.attributes().collect::<Vec<_>>()).eq(again));
});

fn walk(bytes: &[u8], depth: usize) -> usize {
    let inner = |payload| if depth == 0 { 0 } else { walk(payload, depth - 1) };
    let count = attributes(bytes).map(|(_, payload)| 1 + inner(payload)).sum();
    assert!(count <= bytes.len() / 4 * (DEPTH + 1));
    count
}
