//! The state directory outlives the daemon, and bad files in it do no harm.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::time::{Duration, SystemTime};
use twinwall_control::SourceFile;
use twinwall_firewalld::confirmed::Stamp;
use twinwall_firewalld::state::{Before, Directory, Running};
use twinwall_policy::keys::{KeyAllocator, KeyTable, State as Keys};

fn running() -> Running {
    let file = |text: &str| SourceFile { path: "policy.yaml".into(), text: text.into() };
    Running {
        generation: 41,
        loaded: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        files: [file("version: 1\n")].into(),
        own_files: Some([file("version: 1 # edited\n")].into()),
        keys: Keys {
            allocator: KeyAllocator::new(0x00ff_ffff).unwrap(),
            table: KeyTable::default(),
        },
        since: SystemTime::UNIX_EPOCH,
        folded: HashMap::from([("web".to_owned(), (7, 420))]),
        confirmed: Some(Stamp { at: 1_700_000_000_000, from_peer: true }),
        before: Some(Before { name: "edge".into(), files: [file("version: 1 # old\n")].into() }),
    }
}

#[test]
fn what_was_kept_is_read_again() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = Directory::open(&temporary.path().join("made/on/demand")).unwrap();
    assert!(directory.running().is_none());
    assert!(directory.allocator().is_none());
    let kept = running();
    directory.keep_running(&kept).unwrap();
    directory.keep_allocator(&kept.keys.allocator).unwrap();
    let read = directory.running().unwrap();
    assert_eq!(read.generation, kept.generation);
    assert_eq!(read.loaded, kept.loaded);
    assert_eq!(read.files, kept.files);
    assert_eq!(read.own_files, kept.own_files);
    assert_eq!(read.keys, kept.keys);
    assert_eq!(read.folded, kept.folded);
    assert_eq!((read.confirmed, read.before), (kept.confirmed, kept.before));
    assert_eq!(directory.allocator(), Some(kept.keys.allocator));
}

#[test]
fn every_truncation_counts_as_absent() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = Directory::open(temporary.path()).unwrap();
    directory.keep_running(&running()).unwrap();
    let path = temporary.path().join("running.json");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(directory.running().is_none(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn only_its_owner_can_read_the_state() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("state");
    let directory = Directory::open(&path).unwrap();
    directory.keep_running(&running()).unwrap();
    for path in [path.clone(), path.join("running.json")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}
