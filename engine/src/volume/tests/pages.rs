//! Pages written and read: verified, or an error that names the place.

use std::path::Path;

use sombra_runtime::sim::{Corruption, DiskOp, Fault, SimDisk};
use sombra_runtime::{IoClass, OpenHow, Shard};

use super::world::{OWNER, PATH, config, disk, leaf, run, tablet_owner};
use crate::format::page::{PageError, PageRef};
use crate::ids::PageAddr;
use crate::volume::{ReadPageError, Volume};

/// A file of sixteen extents behind the root table, made without a keeper.
fn file(seed: u64) -> SimDisk {
    let disk = disk(seed);
    disk.write_file(PATH, &vec![0; (2 << 20) + (4 << 20)]);
    disk
}

const FIRST: u64 = 8 * 64;

async fn write(shard: &Shard, volume: &Volume, addr: u64, version: u64) -> PageRef {
    let (reference, page) = leaf(PageAddr::new(addr), version);
    volume.write_page_list(shard, &[(reference.addr, page)], IoClass::Merge).await.unwrap();
    reference
}

#[test]
fn pages_survive_a_power_cut_after_the_barrier() {
    let disk = file(1);
    let references = run(1, &disk, |shard| async move {
        let volume = Volume::open(&shard, config()).await.unwrap();
        let mut references = Vec::new();
        let mut pages = Vec::new();
        // Two runs, one longer than a request, and a page alone.
        for addr in (FIRST..FIRST + 300).chain(FIRST + 400..FIRST + 420).chain([FIRST + 700]) {
            let (reference, page) = leaf(PageAddr::new(addr), addr);
            references.push(reference);
            pages.push((reference.addr, page));
        }
        volume.write_page_list(&shard, &pages, IoClass::Merge).await.unwrap();
        volume.barrier(&shard).await.unwrap();
        references
    });
    disk.power_cut();
    let writes = disk.counters().writes;
    assert!(writes <= 5, "{writes} requests for 321 pages in three runs");
    run(1, &disk, |shard| async move {
        let volume = Volume::open(&shard, config()).await.unwrap();
        for reference in references {
            volume.read_page(&shard, reference, &OWNER, IoClass::Read).await.unwrap();
        }
        let run = volume.read_run(&shard, PageAddr::new(FIRST), 3, IoClass::Read).await.unwrap();
        assert_eq!(run.len(), 3 * 4096);
    });
}

#[test]
fn damaged_page_is_an_error_that_names_path_byte_and_page() {
    let disk = file(2);
    run(2, &disk, {
        let disk = disk.clone();
        move |shard| async move {
            let volume = Volume::open(&shard, config()).await.unwrap();
            let old = write(&shard, &volume, FIRST, 1).await;
            let new = write(&shard, &volume, FIRST, 2).await;
            let read = |reference, owner| {
                let (shard, volume) = (&shard, &volume);
                async move { volume.read_page(shard, reference, &owner, IoClass::Read).await }
            };
            read(new, OWNER).await.unwrap();
            let stale = read(old, OWNER).await.unwrap_err();
            assert!(
                matches!(
                    &stale,
                    ReadPageError::Damaged { source: PageError::Reference { .. }, .. }
                ),
                "{stale}"
            );
            let foreign = read(new, tablet_owner(7)).await.unwrap_err();
            assert!(
                matches!(&foreign, ReadPageError::Damaged { source: PageError::Tablet { .. }, .. }),
                "{foreign}"
            );
            disk.corrupt(PATH, FIRST * 4096 + 999, Corruption::FlipBit { bit: 3 });
            let rotten = read(new, OWNER).await.unwrap_err();
            assert!(!rotten.is_device());
            let text = rotten.to_string();
            for part in [PATH, "at byte 2097152", "page 512", "checksum"] {
                assert!(text.contains(part), "{text} lacks {part}");
            }
            disk.fail_next(DiskOp::Read, 1, 5);
            assert!(read(new, OWNER).await.unwrap_err().is_device());
        }
    });
}

#[test]
fn lost_and_misdirected_writes_are_found_by_the_reference() {
    let faults = [Fault::LostWrite, Fault::MisdirectedWrite { by_bytes: 8192 }];
    for fault in faults {
        let disk = file(3);
        run(3, &disk, {
            let disk = disk.clone();
            move |shard| async move {
                let volume = Volume::open(&shard, config()).await.unwrap();
                write(&shard, &volume, FIRST + 1, 1).await;
                disk.plan(DiskOp::Write, None, 1, fault);
                let new = write(&shard, &volume, FIRST + 1, 2).await;
                let read = volume.read_page(&shard, new, &OWNER, IoClass::Read).await;
                assert!(matches!(read, Err(ReadPageError::Damaged { .. })), "{read:?}");
            }
        });
    }
}

#[test]
fn reference_outside_the_tablets_extents_is_refused_unread() {
    let disk = file(4);
    run(4, &disk, |shard| async move {
        let volume = Volume::open(&shard, config()).await.unwrap();
        for (page, pages) in
            [(0, 1), (FIRST - 1, 1), (FIRST, 0), (1536, 1), (1535, 2), (u64::MAX, 9)]
        {
            let page = PageAddr::new(page);
            let read = volume.read_run(&shard, page, pages, IoClass::Read).await;
            let error = read.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, ReadPageError::Outside { .. }), "{text}");
            assert!(text.contains("from 512 to below 1536"), "{text}");
        }
        let last = volume.read_run(&shard, PageAddr::new(1535), 1, IoClass::Read).await;
        assert_eq!(last.unwrap().len(), 4096);
        for page in [FIRST - 1, 1535] {
            let buf = shard.alloc_buffer(2 * 4096);
            let read = volume.read_into(&shard, PageAddr::new(page), buf, IoClass::Read).await;
            assert!(matches!(read, Err(ReadPageError::Outside { .. })), "{page}");
        }
    });
}

#[test]
fn pages_that_a_shorter_file_lacks_are_an_error_with_both_lengths() {
    let disk = file(7);
    run(7, &disk, |shard| async move {
        let volume = Volume::open(&shard, config()).await.unwrap();
        let file = shard.open(Path::new(PATH), OpenHow::direct_rw()).await.unwrap();
        shard.set_len(&file, 1535 * 4096).await.unwrap();
        let read = volume.read_run(&shard, PageAddr::new(1534), 2, IoClass::Read).await;
        let Err(ReadPageError::Short { expected, found, .. }) = read else { panic!("{read:?}") };
        assert_eq!((expected, found), (2 * 4096, 4096));
    });
}

#[test]
fn failed_data_write_and_flush_are_errors_that_name_the_place() {
    let disk = file(5);
    run(5, &disk, {
        let disk = disk.clone();
        move |shard| async move {
            let volume = Volume::open(&shard, config()).await.unwrap();
            disk.fail_next(DiskOp::Write, 1, 5);
            let buf = shard.alloc_buffer(8192);
            let written =
                volume.write_pages(&shard, PageAddr::new(FIRST), buf, IoClass::Merge).await;
            let text = written.unwrap_err().to_string();
            assert!(text.contains("at byte 2097152: write of 8192 bytes"), "{text}");
            disk.fail_next(DiskOp::Flush, 1, 5);
            let text = volume.barrier(&shard).await.unwrap_err().to_string();
            assert!(text.contains(PATH) && text.contains("flush of 6291456 bytes"), "{text}");
        }
    });
}

#[test]
#[should_panic(expected = "shard 0 panicked")]
fn page_of_the_root_table_is_never_written_as_a_page() {
    let disk = file(6);
    run(6, &disk, |shard| async move {
        let volume = Volume::open(&shard, config()).await.unwrap();
        let buf = shard.alloc_buffer(4096);
        drop(volume.write_pages(&shard, PageAddr::new(FIRST - 1), buf, IoClass::Merge).await);
    });
}

#[test]
#[should_panic(expected = "shard 0 panicked")]
fn pages_beyond_the_end_of_the_file_are_never_written() {
    let disk = file(8);
    run(8, &disk, |shard| async move {
        let volume = Volume::open(&shard, config()).await.unwrap();
        let buf = shard.alloc_buffer(2 * 4096);
        drop(volume.write_pages(&shard, PageAddr::new(1535), buf, IoClass::Merge).await);
    });
}
