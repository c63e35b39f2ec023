use std::io;
use std::path::Path;

use sombra_runtime::{
    Create, DirEntry, DmaBuf, DmaFile, FlushVia, IoClass, OpenHow, Shard, WriteCache, WriteMode,
};

use crate::harness::{
    SHARD_0, SHARD_1, Scratch, on_shard, pattern, with_each_driver, with_each_driver_and,
};

fn filled(shard: &Shard, bytes: &[u8]) -> DmaBuf {
    let mut buf = shard.alloc_buffer(bytes.len());
    buf.copy_from_slice(bytes);
    buf
}

async fn write(shard: &Shard, file: &DmaFile, offset: u64, bytes: &[u8], mode: WriteMode) {
    let buf = filled(shard, bytes).into();
    shard.write_all_at(file, IoClass::Log, offset, buf, mode).await.unwrap();
}

async fn read(shard: &Shard, file: &DmaFile, offset: u64, len: usize) -> Vec<u8> {
    let buf = shard.alloc_buffer(len);
    let (buf, count) = shard.read_at(file, IoClass::Read, offset, buf).await.unwrap();
    buf[..count].to_vec()
}

#[test]
fn direct_file_reads_back_what_was_written_plain_and_durably() {
    let scratch = Scratch::new("direct_read_back");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
            assert!(file.is_direct() && file.path() == path);
            for (index, mode) in [WriteMode::Plain, WriteMode::Dsync].into_iter().enumerate() {
                let bytes = pattern(3 * 4096, index as u64);
                let offset = index as u64 * 65_536;
                write(&shard, &file, offset, &bytes, mode).await;
                assert_eq!(read(&shard, &file, offset, bytes.len()).await, bytes);
            }
            shard.flush(&file, FlushVia::Ring).await.unwrap();
            shard.flush(&file, FlushVia::Pool).await.unwrap();
            assert_eq!(shard.file_len(&file).await.unwrap(), 65_536 + 3 * 4096);
            drop(file);
            assert_eq!(std::fs::read(&path).unwrap()[..4096], pattern(3 * 4096, 0)[..4096]);
        });
    });
}

#[test]
fn buffered_file_takes_unaligned_reads_and_writes() {
    let scratch = Scratch::new("buffered_unaligned");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::create_new_buffered()).await.unwrap();
            assert!(!file.is_direct());
            let bytes = pattern(10_001, 7);
            write(&shard, &file, 13, &bytes, WriteMode::Dsync).await;
            assert_eq!(read(&shard, &file, 13, 20_000).await, bytes);
            assert_eq!(read(&shard, &file, 14, 3).await, bytes[1..4]);
            shard.flush(&file, FlushVia::Ring).await.unwrap();
        });
    });
}

#[test]
fn requests_beyond_the_limit_are_split_and_arrive_whole() {
    let scratch = Scratch::new("split_requests");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
            let bytes = pattern(2 * 512 * 1024 + 4096, 3);
            write(&shard, &file, 4096, &bytes, WriteMode::Plain).await;
            assert_eq!(read(&shard, &file, 4096, bytes.len()).await, bytes);
        });
        let metrics = &runtime.metrics()[0];
        assert_eq!(metrics.class(IoClass::Read).submitted, 3);
        assert_eq!(metrics.class(IoClass::Log).submitted, 3);
    });
}

#[test]
fn short_transfers_are_continued_until_the_buffer_is_done() {
    let scratch = Scratch::new("short_transfers");
    let shorten = |mut options: sombra_runtime::RuntimeOptions| {
        options.inject_short_io_bytes = Some(4096);
        options
    };
    with_each_driver_and(shorten, |runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
            let bytes = pattern(5 * 4096, 9);
            write(&shard, &file, 0, &bytes, WriteMode::Dsync).await;
            assert_eq!(read(&shard, &file, 0, bytes.len()).await, bytes);
        });
        // The transfers were short indeed: five parts each.
        let metrics = &runtime.metrics()[0];
        assert_eq!(metrics.class(IoClass::Read).submitted, 5);
        assert_eq!(metrics.class(IoClass::Log).submitted, 5);
    });
}

#[test]
fn read_stops_at_the_end_of_the_file() {
    let scratch = Scratch::new("read_at_end");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        std::fs::write(&path, pattern(4096 + 100, 1)).unwrap();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::direct_read()).await.unwrap();
            assert_eq!(read(&shard, &file, 0, 16_384).await, pattern(4096 + 100, 1));
            assert_eq!(read(&shard, &file, 8192, 4096).await, []);
            assert_eq!(read(&shard, &file, 1 << 40, 4096).await, []);
            let empty = shard.alloc_buffer(0);
            assert_eq!(shard.read_at(&file, IoClass::Read, 0, empty).await.unwrap().1, 0);
        });
    });
}

#[test]
fn failed_io_reports_its_error_and_counts_it() {
    let scratch = Scratch::new("failed_io");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        std::fs::write(&path, [1; 4096]).unwrap();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::direct_read()).await.unwrap();
            let buf = shard.alloc_buffer(4096).into();
            let written = shard.write_all_at(&file, IoClass::Evict, 0, buf, WriteMode::Plain).await;
            assert_eq!(written.err().unwrap().raw_os_error(), Some(libc::EBADF));
            let buf = shard.alloc_buffer(4096);
            let past = shard.read_at(&file, IoClass::Read, u64::MAX - 4095, buf).await;
            assert!(past.is_err());
        });
        let metrics = &runtime.metrics()[0];
        assert_eq!(metrics.class(IoClass::Evict).errors, 1);
        assert_eq!(metrics.class(IoClass::Merge).errors, 0);
    });
}

#[test]
fn open_creates_as_asked_and_names_what_is_missing() {
    let scratch = Scratch::new("open_create");
    with_each_driver(|runtime| {
        let kind = runtime.driver_kind();
        let path = scratch.path(&format!("{kind:?}"));
        on_shard(runtime, SHARD_0, move |shard| async move {
            let open = async |create| {
                let how = OpenHow { create, ..OpenHow::direct_rw() };
                shard.open(&path, how).await.map(|_| ()).map_err(|error| error.kind())
            };
            assert_eq!(open(Create::No).await, Err(io::ErrorKind::NotFound));
            assert_eq!(open(Create::New).await, Ok(()));
            assert_eq!(open(Create::New).await, Err(io::ErrorKind::AlreadyExists));
            assert_eq!(open(Create::Yes).await, Ok(()));
            assert_eq!(open(Create::No).await, Ok(()));
        });
    });
}

#[test]
fn open_says_so_when_the_file_system_refuses_direct_io() {
    with_each_driver(|runtime| {
        on_shard(runtime, SHARD_0, |shard| async move {
            let path = Path::new("/proc/version");
            let error = shard.open(path, OpenHow::direct_read()).await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains("/proc/version") && text.contains("O_DIRECT"), "{text}");
            shard.open(path, OpenHow::buffered_read()).await.unwrap();
        });
    });
}

#[test]
fn set_len_and_write_zeroes_shape_a_file() {
    let scratch = Scratch::new("shape_file");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        std::fs::write(&path, pattern(1_000_000, 5)).unwrap();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::buffered_rw()).await.unwrap();
            shard.write_zeroes(&file, 4096, 700_000).await.unwrap();
            shard.flush(&file, FlushVia::Pool).await.unwrap();
            let mut expected = pattern(1_000_000, 5);
            expected[4096..704_096].fill(0);
            assert!(read(&shard, &file, 0, 1_000_001).await == expected);
            shard.set_len(&file, 5000).await.unwrap();
            assert_eq!(shard.file_len(&file).await.unwrap(), 5000);
            shard.write_zeroes(&file, 5000, 3192).await.unwrap();
            assert_eq!(shard.file_len(&file).await.unwrap(), 8192);
        });
    });
}

#[test]
fn directories_are_created_listed_in_order_and_changed() {
    let scratch = Scratch::new("directories");
    with_each_driver(|runtime| {
        let root = scratch.path(&format!("{:?}", runtime.driver_kind()));
        on_shard(runtime, SHARD_0, move |shard| async move {
            shard.create_dir(&root).await.unwrap();
            let again = shard.create_dir(&root).await.unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            shard.create_dir(&root.join("c")).await.unwrap();
            for name in ["b", "a"] {
                let how = OpenHow::create_new_buffered();
                let file = shard.open(&root.join(name), how).await.unwrap();
                write(&shard, &file, 0, name.as_bytes(), WriteMode::Plain).await;
            }
            let listed = shard.list_dir(&root).await.unwrap();
            let names: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names, ["a", "b", "c"]);
            assert_eq!(listed[0], DirEntry { name: "a".into(), len_bytes: 1, is_dir: false });
            assert!(listed[2].is_dir);

            shard.rename(&root.join("a"), &root.join("c").join("z")).await.unwrap();
            shard.rename(&root.join("c").join("z"), &root.join("b")).await.unwrap();
            shard.unlink(&root.join("b")).await.unwrap();
            let gone = shard.unlink(&root.join("b")).await.unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::NotFound);
            assert!(!shard.path_exists(&root.join("b")).await.unwrap());
            assert!(shard.path_exists(&root.join("c")).await.unwrap());
            assert_eq!(shard.list_dir(&root).await.unwrap().len(), 1);
        });
    });
}

#[test]
fn lock_is_held_by_one_until_it_is_dropped() {
    let scratch = Scratch::new("lock");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        let other = path.clone();
        let lock = on_shard(runtime, SHARD_0, move |shard| async move {
            shard.lock_exclusive(&path).await.unwrap()
        });
        let try_again = move |shard: Shard| {
            let path = other.clone();
            async move { shard.lock_exclusive(&path).await.map_err(|error| error.kind()) }
        };
        let refused = on_shard(runtime, SHARD_1, try_again.clone());
        assert_eq!(refused.err(), Some(io::ErrorKind::WouldBlock));
        drop(lock);
        assert!(on_shard(runtime, SHARD_1, try_again).is_ok());
    });
}

#[test]
fn shared_locks_are_held_together_and_keep_an_exclusive_one_away() {
    let scratch = Scratch::new("lock-shared");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        on_shard(runtime, SHARD_0, move |shard| async move {
            drop(shard.lock_shared(&path).await.unwrap());
            assert!(shard.path_exists(&path).await.unwrap());
            let writer = shard.lock_exclusive(&path).await.unwrap();
            let refused = shard.lock_shared(&path).await.map_err(|error| error.kind());
            assert_eq!(refused.err(), Some(io::ErrorKind::WouldBlock));
            drop(writer);
            let readers =
                [shard.lock_shared(&path).await.unwrap(), shard.lock_shared(&path).await.unwrap()];
            let refused = shard.lock_exclusive(&path).await.map_err(|error| error.kind());
            assert_eq!(refused.err(), Some(io::ErrorKind::WouldBlock));
            drop(readers);
            shard.lock_exclusive(&path).await.unwrap();
        });
    });
}

#[test]
fn replace_file_shows_the_old_or_the_new_content_and_leaves_nothing_else() {
    let scratch = Scratch::new("replace");
    with_each_driver(|runtime| {
        let root = scratch.path(&format!("{:?}", runtime.driver_kind()));
        std::fs::create_dir(&root).unwrap();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let path = root.join("metrics");
            for content in ["first, and longer", "second"] {
                shard.replace_file(&path, content.into()).await.unwrap();
                assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            }
            assert_eq!(shard.list_dir(&root).await.unwrap().len(), 1);
        });
    });
}

#[test]
fn disk_info_names_the_device_and_its_alignment() {
    let scratch = Scratch::new("disk_info");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
            let info = shard.disk_info(&file).await.unwrap();
            assert!(info.identity.contains(" fs 0x"), "{info:?}");
            assert!(info.free_bytes > 0);
            assert!(info.dio_alignment_bytes.is_power_of_two());
            assert!(info.dio_alignment_bytes <= 4096);
            assert!(matches!(
                info.write_cache,
                WriteCache::WriteThrough | WriteCache::WriteBack | WriteCache::Unknown
            ));
        });
    });
}

#[test]
fn file_opened_on_one_shard_serves_all() {
    let scratch = Scratch::new("shared_file");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        let file = on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
            write(&shard, &file, 0, &pattern(8192, 2), WriteMode::Plain).await;
            file
        });
        let bytes = on_shard(runtime, SHARD_1, move |shard| async move {
            read(&shard, &file, 4096, 4096).await
        });
        assert_eq!(bytes, pattern(8192, 2)[4096..]);
    });
}

/// A ring's table has fewer places than there are files here, so each read round evicts: an
/// entry that is queued under a place must never see the place's next file.
#[test]
fn more_files_than_places_in_the_ring_never_get_mixed_up() {
    const FILES: usize = 300;
    const ROUNDS: usize = 3;
    let scratch = Scratch::new("many_files");
    for index in 0..FILES {
        let byte = [(index % 251) as u8; 1];
        std::fs::write(scratch.path(&index.to_string()), byte.repeat(4096)).unwrap();
    }
    with_each_driver(|runtime| {
        let paths: Vec<_> = (0..FILES).map(|index| scratch.path(&index.to_string())).collect();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let mut files = Vec::new();
            for path in &paths {
                files.push(shard.open(path, OpenHow::direct_read()).await.unwrap());
            }
            for _ in 0..ROUNDS {
                let reads = files.iter().map(|file| Box::pin(read(&shard, file, 0, 4096)));
                for (index, bytes) in join_all(reads).await.into_iter().enumerate() {
                    let expected = (index % 251) as u8;
                    assert!(bytes.len() == 4096 && bytes.iter().all(|byte| *byte == expected));
                }
            }
            // Dropped files give their places back; new ones take them.
            for path in &paths {
                let file = shard.open(path, OpenHow::direct_read()).await.unwrap();
                assert_eq!(read(&shard, &file, 0, 4096).await.len(), 4096);
            }
        });
    });
}

#[test]
fn more_reads_than_the_ring_holds_all_complete() {
    const READS: usize = 700;
    let scratch = Scratch::new("backlog");
    let narrow = |mut options: sombra_runtime::RuntimeOptions| {
        options.ring_entries = 8;
        options
    };
    with_each_driver_and(narrow, |runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        std::fs::write(&path, pattern(64 * 4096, 4)).unwrap();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::direct_read()).await.unwrap();
            let offset = |index: usize| (index % 64) * 4096;
            let reads =
                (0..READS).map(|index| Box::pin(read(&shard, &file, offset(index) as u64, 4096)));
            let expected = pattern(64 * 4096, 4);
            for (index, bytes) in join_all(reads).await.into_iter().enumerate() {
                assert!(bytes == expected[offset(index)..offset(index) + 4096]);
            }
        });
    });
}

/// Polls all futures in one task, so that all their operations are in flight together.
async fn join_all<F: Future + Unpin>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut slots: Vec<_> = futures.map(|future| (Some(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (waiting, output) in &mut slots {
            let Some(future) = waiting else { continue };
            match std::pin::Pin::new(future).poll(cx) {
                std::task::Poll::Ready(value) => {
                    *output = Some(value);
                    *waiting = None;
                }
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    slots.into_iter().map(|(_, output)| output.unwrap()).collect()
}
