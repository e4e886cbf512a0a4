//! What the peer says inside the sealed channel: reading ends, and what is read can be written and
//! read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use twinwall_ctsync::model::BootId;
use twinwall_ctsync::offer::{OfferConfig, Offers};
use twinwall_ctsync::time::Timestamp;
use twinwall_ctsync::wire::{
    Ack, Change, MAX_RECORD, OfferMessage, PART, PARTS, Reader, RecordReader, RecordWriter, Section,
    Writer, pack, read_packet, unpack, write_packet,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = read_packet(data) {
        let _ = packet.ack.selected().count();
        sections(packet.sections);
    }
    sections(data);
    offers(data);
    let mut reader = Reader::new(data);
    let mut records = RecordReader::default();
    while let Ok(change) = records.read(&mut reader) {
        check(&change);
    }
    if let Ok((session, version)) = unpack(data) {
        let mut writer = Writer::default();
        pack(&mut writer, &session, version);
        assert_eq!(unpack(writer.as_slice()), Ok((session, version)));
    }
});

/// Policies that are offered: each message is read again as it was, and a node that hears them takes
/// no more than one text's memory.
fn offers(bytes: &[u8]) {
    let longest = 1 << 14;
    let mut node = Offers::new(OfferConfig { longest, rate: 10_000 });
    let (boot, mut now) = (BootId(1), Timestamp::ZERO);
    node.met(now, boot);
    let mut reader = Reader::new(bytes);
    while let Ok(section) = reader.counted("a message") {
        let packet = write_packet(&Ack::default(), None, section);
        if let Ok(Some(message)) = OfferMessage::read(&packet) {
            assert_eq!(OfferMessage::read(&message.to_packet()), Ok(Some(message)));
        }
        now = now.after(Duration::from_millis(5));
        let mut out = Vec::new();
        node.receive(now, boot, &packet, &mut out);
        node.poll(now, &mut out);
        assert!(out.len() <= 2 + PARTS);
        assert!(node.memory() <= 2 * (longest as usize + PARTS * PART));
        drop(node.take());
    }
}

fn sections(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(section)) = Section::read(&mut reader) {
        if let Section::Records(records) | Section::List { records, .. } = section.clone() {
            records.flatten().for_each(|change| check(&change));
        }
        let written = section.to_bytes();
        let again = Section::read(&mut Reader::new(&written));
        assert_eq!(again, Ok(Some(section)));
    }
}

fn check(change: &Change) {
    let mut writer = Writer::default();
    RecordWriter::default().write(&mut writer, change);
    assert!(writer.len() <= MAX_RECORD);
    let again = RecordReader::default().read(&mut Reader::new(writer.as_slice()));
    assert_eq!(again.as_ref(), Ok(change));
}
