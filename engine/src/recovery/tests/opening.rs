//! What an opening decides before it replays anything.

use std::path::Path;

use sombra_runtime::sim::{SimDisk, SimDiskOptions};
use sombra_runtime::{OpenHow, WriteCache};

use super::world::{Keys, store_dir, superblock};
use crate::error::OpenError;
use crate::format::superblock::SUPERBLOCK_COPY_BYTES;
use crate::options::{DurabilityMethod, OpenMode, Options};
use crate::recovery::{choose_method, create, look_at_superblock, open, open_volume};
use crate::volume::tests::world::{disk, disk_with, run};

/// What an opening without a method of its own makes of a store that was made elsewhere, or
/// with a device of this identity and method.
fn chosen(cache: WriteCache, identity: &str, method: DurabilityMethod) -> (bool, DurabilityMethod) {
    let options = SimDiskOptions { write_cache: cache, ..SimDiskOptions::new(1) };
    let disk = disk_with(options);
    disk.write_file(store_dir().join("file"), &[0; 4096]);
    let mut superblock = superblock(Vec::new());
    (superblock.device_identity, superblock.durability_method) = (identity.to_owned(), method);
    let probed = disk.clone();
    let chosen = run(1, &disk, |shard| async move {
        let file = shard.open(&store_dir().join("file"), OpenHow::direct_rw()).await.unwrap();
        let before = probed.counters().flushes;
        let none = Options { durability_method: None, ..Options::default() };
        let chosen = choose_method(&shard, store_dir(), &none, &file, &mut superblock).await;
        assert_eq!(superblock.durability_method, chosen.unwrap());
        assert_eq!(superblock.device_identity, "sim:0");
        let own = Some(DurabilityMethod::PoolFlush);
        let own = Options { durability_method: own, ..Options::default() };
        let told = choose_method(&shard, store_dir(), &own, &file, &mut superblock).await;
        assert_eq!(told.unwrap(), DurabilityMethod::PoolFlush);
        (probed.counters().flushes > before, superblock.durability_method)
    });
    assert!(disk.read_file(store_dir().join("probe.tmp")).is_none());
    chosen
}

#[test]
fn device_is_measured_when_it_is_another_or_its_cache_has_become_volatile() {
    let (back, through) = (WriteCache::WriteBack, WriteCache::WriteThrough);
    let (ring, needs_none) = (DurabilityMethod::RingFlush, DurabilityMethod::WriteThrough);
    assert_eq!(
        chosen(back, "sim:0", DurabilityMethod::PoolFlush),
        (false, DurabilityMethod::PoolFlush)
    );
    assert_eq!(chosen(through, "sim:0", needs_none), (false, needs_none));
    assert_eq!(chosen(through, "sim:0", ring), (false, ring));
    let (is_measured, method) = chosen(back, "sim:0", needs_none);
    assert!(is_measured && method != needs_none, "the cache needs flushes now: {method:?}");
    let (is_measured, method) = chosen(back, "another", ring);
    assert!(is_measured && method != needs_none, "{method:?}");
    assert_eq!(chosen(through, "another", ring), (true, needs_none));
}

fn options() -> Options {
    let durability_method = Some(DurabilityMethod::RingFlush);
    Options { durability_method, segment_bytes: 1 << 20, ..Options::default() }
}

#[test]
fn each_opening_writes_the_superblock_in_a_generation_of_its_own() {
    let disk = disk(1);
    for expected in 2..5 {
        let (generation, created) = run(expected, &disk, |shard| async move {
            let opened = open(&shard, store_dir(), &options(), &mut Keys::default()).await;
            let created = opened.unwrap().report.created;
            let picked = look_at_superblock(&shard, store_dir()).await.unwrap();
            (picked.superblock.generation, created)
        });
        assert_eq!((generation, created), (expected, expected == 2));
        let bytes = disk.read_file(store_dir().join("superblock")).unwrap();
        assert_eq!(bytes.len(), 2 * SUPERBLOCK_COPY_BYTES, "it never grows again");
    }
}

fn refused(disk: &SimDisk, mode: OpenMode) -> String {
    let error = run(1, disk, move |shard| async move {
        let options = Options { open_mode: mode, ..options() };
        open(&shard, store_dir(), &options, &mut Keys::default()).await.map(drop)
    });
    match error.unwrap_err() {
        OpenError::Missing { path, found } => {
            assert_eq!(path, store_dir());
            found
        }
        other => panic!("{other}"),
    }
}

#[test]
fn directory_of_something_else_is_refused_before_anything_is_made_in_it() {
    let disk = disk(1);
    let notes = Path::new("/store/notes.txt");
    disk.write_file(notes, b"none of a store");
    let files = disk.files();
    for mode in [OpenMode::CreateIfMissing, OpenMode::CreateNew, OpenMode::MustExist] {
        assert!(refused(&disk, mode).contains("notes.txt"));
        assert_eq!(disk.files(), files, "not even a lock");
    }
    let beside = super::world::Log::new(Vec::new()).disk;
    beside.write_file(store_dir().join("superblock"), &[0; 8192]);
    beside.write_file(notes, b"beside a store");
    run(1, &beside, |shard| async move {
        create::refuse_other_directory(&shard, store_dir()).await.unwrap();
    });
}

#[test]
fn store_from_before_there_were_trees_has_no_data_file_to_look_at() {
    run(1, &disk(1), |shard| async move {
        let superblock = superblock(Vec::new());
        assert!(open_volume(&shard, store_dir(), &superblock).await.unwrap().is_none());
    });
}
