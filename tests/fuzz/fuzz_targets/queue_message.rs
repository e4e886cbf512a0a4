//! Datagrams of a packet queue, and the packets in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinwall_netlink::nfqueue::{Event, events, packet};

fuzz_target!(|data: &[u8]| {
    let mut count = 0;
    for event in events(data) {
        count += 1;
        if let Event::Packet(found) = event {
            assert!(found.original_len as usize >= found.payload.len());
            let _ = packet::parse(found.payload);
        }
    }
    assert!(count <= data.len() / 16);
});
