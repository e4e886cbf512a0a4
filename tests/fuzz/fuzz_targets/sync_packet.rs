//! What the peer says inside the sealed channel: reading ends, and what is read can be written and
//! read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinwall_ctsync::wire::{
    Change, MAX_RECORD, Reader, RecordReader, RecordWriter, Section, Writer, pack, read_packet,
    unpack,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = read_packet(data) {
        let _ = packet.ack.selected().count();
        sections(packet.sections);
    }
    sections(data);
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
