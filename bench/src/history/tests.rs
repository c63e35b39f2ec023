//! What a recording leaves behind, and what it does when its file takes no more.

use std::path::PathBuf;

use bytes::Bytes;
use sombra::TransactionError;
use sombra_runtime::{DriverChoice, Runtime, RuntimeOptions};

use super::*;
use crate::error::BenchError;
use crate::workload::{Shape, WriteTag};

const SHAPE: Shape = Shape { key_len_bytes: 24, value_len_bytes: 40 };

fn with_runtime(test: impl FnOnce(&Runtime)) {
    let driver = DriverChoice::Threads;
    let options = RuntimeOptions { shards: 1, driver, ..RuntimeOptions::default() };
    let runtime = Runtime::start(options).unwrap();
    test(&runtime);
    runtime.shutdown();
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("sombra-recording-{}-{name}", std::process::id()))
}

#[test]
fn recording_names_every_write_and_shows_a_value_that_nobody_wrote_as_it_is() {
    with_runtime(|runtime| {
        let path = scratch("names");
        let recording = Recording::create(&path, runtime, ("k", SHAPE)).unwrap();
        let (loaded, tag) = (SHAPE.value(7, WriteTag::LOAD), WriteTag::new(3, 5));
        let mut damaged = loaded.clone();
        damaged[20] ^= 1;
        let mut notes = recording.begin(3, sombra::Isolation::Serializable);
        for found in [Some(Bytes::from(loaded)), Some(Bytes::from(damaged.clone())), None] {
            notes.read(notes.now(), 7, found.as_ref());
        }
        notes.write(notes.now(), 7, tag);
        notes.end(Ok(12));
        drop(recording.begin(3, sombra::Isolation::Snapshot));
        recording.begin(4, sombra::Isolation::Snapshot).give_up();
        let figures = recording.finish().unwrap().unwrap();
        assert_eq!((figures.transactions, figures.is_full), (2, false));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(figures.bytes, text.len() as u64);
        let lines: Vec<Transaction> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let name = |tag: u64| Some(Hex::of(&[7_u64.to_be_bytes(), tag.to_be_bytes()].concat()));
        let seen = lines[0].operations.iter().map(|operation| match &operation.action {
            Action::Read { value, .. } | Action::Write { value, .. } => value.clone(),
            Action::Scan { .. } => panic!("no scan was noted"),
        });
        let expected = [name(0), Some(Hex::of(&damaged)), None, name(tag.as_u64())];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
        assert_eq!(lines[0].outcome, Outcome::Committed { lsn: 12 });
        let (level, outcome) = (lines[1].isolation, &lines[1].outcome);
        assert_eq!(level, Isolation::Snapshot);
        assert!(matches!(outcome, Outcome::Aborted { reason } if reason.contains("stopped")));
    });
}

#[test]
fn recording_on_a_full_device_ends_the_clients_and_names_the_file() {
    with_runtime(|runtime| {
        let path = PathBuf::from("/dev/full");
        let recording = Recording::create(&path, runtime, ("k", SHAPE)).unwrap();
        let mut written = 0;
        while !recording.is_over() {
            let mut notes = recording.begin(1, sombra::Isolation::Snapshot);
            notes.write(notes.now(), written, WriteTag::new(1, written));
            notes.end(Err(&TransactionError::abort("for the test")));
            written += 1;
            assert!(written < 1_000_000, "nobody notices that nothing is written");
        }
        let error = recording.finish().unwrap_err();
        assert!(matches!(&error, BenchError::Io { path: found, .. } if *found == path));
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(recording.finish().unwrap(), None);
    });
}

#[test]
fn recording_without_a_file_notes_nothing() {
    let recording = Recording::default();
    let mut notes = recording.begin(1, sombra::Isolation::Serializable);
    assert_eq!(notes.now().as_nanos(), 0);
    notes.write(notes.now(), 1, WriteTag::LOAD);
    notes.end(Ok(1));
    assert_eq!((recording.is_over(), recording.finish().unwrap()), (false, None));
}
