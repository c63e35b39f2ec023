use super::*;
use crate::file::DirectAlignment;
use crate::port::ShardPort;
use crate::runtime::Runtime;
use crate::time::Clock;
use std::sync::Arc;

const SHARD: ShardId = ShardId::new(0);

fn runtime() -> Runtime {
    let port = Arc::new(ShardPort::new(None));
    Runtime::assemble(Clock::real(), vec![port], None, None)
}

fn file(runtime: &Runtime) -> DmaFile {
    let file = std::fs::File::open("/dev/null").unwrap();
    DmaFile::real(file, "/dev/null".into(), DirectAlignment::Buffered, runtime)
}

fn table(places: u32) -> (Ring, FileTable) {
    let ring = Ring::new(8).unwrap();
    ring.register_files(places).unwrap();
    (ring, FileTable::new(SHARD, places))
}

fn registered(target: Target) -> Option<u32> {
    match target {
        Target::Registered(slot) => Some(slot),
        Target::Descriptor => None,
    }
}

#[test]
fn file_keeps_its_place_while_it_is_used() {
    let (mut ring, mut table) = table(2);
    let runtime = runtime();
    let file = file(&runtime);
    let slot = registered(table.target(&file, &mut ring)).unwrap();
    assert_eq!(registered(table.target(&file, &mut ring)), Some(slot));
    assert_eq!(file.ring_slot(SHARD), Some(slot));
}

#[test]
fn full_table_gives_away_the_least_recently_used_place() {
    let (mut ring, mut table) = table(2);
    let runtime = runtime();
    let [first, second, third] = [0; 3].map(|_| file(&runtime));
    table.target(&first, &mut ring);
    let freed = registered(table.target(&second, &mut ring)).unwrap();
    table.target(&first, &mut ring);
    assert_eq!(registered(table.target(&third, &mut ring)), Some(freed));
    assert_eq!(second.ring_slot(SHARD), None);
    assert!(first.ring_slot(SHARD).is_some());
}

#[test]
fn no_place_changes_hands_while_entries_are_queued() {
    let (mut ring, mut table) = table(1);
    let runtime = runtime();
    let [first, second] = [0; 2].map(|_| file(&runtime));
    table.target(&first, &mut ring);
    assert!(ring.push_cancel_all());
    assert!(table.is_full_for(&second) && !table.is_full_for(&first));
    assert_eq!(registered(table.target(&second, &mut ring)), None, "an entry may name it");
    ring.submit().unwrap();
    assert!(registered(table.target(&second, &mut ring)).is_some());
    assert_eq!(first.ring_slot(SHARD), None);
}

#[test]
fn dropped_file_asks_its_shard_to_release_its_place_once() {
    let (mut ring, mut table) = table(1);
    let runtime = runtime();
    let first = file(&runtime);
    let number = first.number();
    let slot = registered(table.target(&first, &mut ring)).unwrap();
    drop(first.clone());
    assert!(runtime.port(SHARD).pop_control().is_none(), "a handle is left");
    drop(first);
    let asked = runtime.port(SHARD).pop_control();
    let Some(crate::port::Control::ReleaseFile { slot: place, file: named }) = asked else {
        panic!("the shard is asked to release the place");
    };
    assert_eq!((place, named), (slot, number));
    // The place may have gone to another file before the request is served.
    let second = file(&runtime);
    table.target(&second, &mut ring);
    table.release(slot, number, &ring);
    assert_eq!(registered(table.target(&second, &mut ring)), Some(slot));
    table.release(slot, second.number(), &ring);
    assert_eq!(table.free, [slot]);
}

#[test]
fn table_without_places_names_files_by_descriptor() {
    let mut ring = Ring::new(8).unwrap();
    let mut table = FileTable::new(SHARD, 0);
    assert!(ring.push_cancel_all());
    assert_eq!(registered(table.target(&file(&runtime()), &mut ring)), None);
    assert_eq!(ring.queued(), 1, "there is no place to make room for, so the batch goes on");
}
