use sombra_runtime::{
    BufferPool, DmaFile, DriverChoice, DriverKind, IoClass, OpenHow, Runtime, RuntimeOptions,
    Shard, WriteMode,
};

use crate::harness::{
    SHARD_0, SHARD_1, Scratch, on_shard, options, pattern, with_each_driver, with_each_driver_and,
};

const MIB: usize = 1 << 20;

/// Memory of this process that is resident, in bytes.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

async fn write_and_read(shard: &Shard, pool: &BufferPool, file: &DmaFile, seed: u64) {
    let mut buf = pool.alloc(8192).unwrap();
    buf.copy_from_slice(&pattern(8192, seed));
    let class = IoClass::Merge;
    shard.write_all_at(file, class, 4096, buf.into(), WriteMode::Plain).await.unwrap();
    let buf = pool.alloc_for_read(8192).unwrap();
    let (buf, count) = shard.read_at(file, IoClass::Read, 4096, buf).await.unwrap();
    assert!(count == 8192 && *buf == pattern(8192, seed));
}

#[test]
fn pool_buffers_read_and_write_and_a_ring_registers_them() {
    let scratch = Scratch::new("pool_io");
    with_each_driver(|runtime| {
        let kind = runtime.driver_kind();
        let path = scratch.path(&format!("{kind:?}"));
        let registered = on_shard(runtime, SHARD_0, move |shard| async move {
            let pool = shard.add_buffer_pool(8 * MIB).unwrap();
            let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
            for seed in 0..10 {
                write_and_read(&shard, &pool.clone(), &file, seed).await;
            }
            pool.registered_bytes()
        });
        let expected = if kind == DriverKind::Uring { 2 * MIB } else { 0 };
        assert_eq!(registered, expected, "{kind:?}");
    });
}

#[test]
fn pool_without_memory_to_lock_serves_and_tells() {
    let scratch = Scratch::new("pool_memlock");
    let options = RuntimeOptions {
        buffer_slab_bytes: MIB,
        inject_memlock_bytes: Some(MIB),
        ..options(DriverChoice::Uring)
    };
    let runtime = Runtime::start(options).unwrap();
    assert!(!runtime.driver_note().unwrap_or_default().contains("pool"));
    let path = scratch.path("file");
    on_shard(&runtime, SHARD_0, move |shard| async move {
        let pool = shard.add_buffer_pool(4 * MIB).unwrap();
        let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
        write_and_read(&shard, &pool, &file, 1).await;
        assert_eq!(pool.registered_bytes(), 0);
    });
    let note = runtime.driver_note().unwrap();
    assert!(note.contains("buffer pool") && note.contains("RLIMIT_MEMLOCK"), "{note}");
    assert!(runtime.shutdown().is_clean());
}

#[test]
fn pool_gives_no_more_than_it_has_and_reuses_what_returns() {
    with_each_driver(|runtime| {
        on_shard(runtime, SHARD_0, |shard| async move {
            let pool = shard.add_buffer_pool(4 * 4096).unwrap();
            let mut buffers: Vec<_> = (0..4).map(|_| pool.alloc(4096).unwrap()).collect();
            assert!(pool.alloc(1).is_none() && pool.alloc_for_read(1).is_none());
            buffers[2].fill(9);
            buffers.remove(2);
            assert!(pool.alloc_for_read(4096).unwrap().iter().all(|byte| *byte == 9));
            assert!(pool.alloc(4096).unwrap().iter().all(|byte| *byte == 0));
        });
    });
}

#[test]
fn pool_memory_is_not_resident_before_it_is_used() {
    with_each_driver(|runtime| {
        on_shard(runtime, SHARD_0, |shard| async move {
            let before = resident_bytes();
            let pool = shard.add_buffer_pool(2048 * MIB).unwrap();
            let buf = pool.alloc_for_read(4096).unwrap();
            let grown = resident_bytes().saturating_sub(before);
            // Other tests run beside this one.
            assert!(grown < 512 * MIB, "{grown} bytes");
            drop(buf);
        });
    });
}

/// The limit has room for two pools' worth of registered memory, so a pool whose memory were
/// not given back would be the last one that is registered.
#[test]
fn thousand_pools_after_each_other_leak_neither_memory_nor_registrations() {
    let scratch = Scratch::new("pool_thousand");
    let narrow = |options: RuntimeOptions| RuntimeOptions {
        buffer_slab_bytes: MIB,
        inject_memlock_bytes: Some(5 * MIB),
        ..options
    };
    with_each_driver_and(narrow, |runtime| {
        let kind = runtime.driver_kind();
        let path = scratch.path(&format!("{kind:?}"));
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
            let before = resident_bytes();
            for seed in 0..1000 {
                let pool = shard.add_buffer_pool(64 * MIB).unwrap();
                write_and_read(&shard, &pool, &file, seed).await;
                let expected = if kind == DriverKind::Uring { 2 * MIB } else { 0 };
                assert_eq!(pool.registered_bytes(), expected, "{kind:?}, pool {seed}");
            }
            let grown = resident_bytes().saturating_sub(before);
            assert!(grown < 512 * MIB, "{grown} bytes");
        });
        assert!(!runtime.driver_note().unwrap_or_default().contains("pool"));
    });
}

#[test]
fn pool_dropped_with_a_read_in_flight_keeps_the_memory_for_it() {
    let scratch = Scratch::new("pool_orphan");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        std::fs::write(&path, pattern(MIB, 3)).unwrap();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::direct_read()).await.unwrap();
            for _ in 0..50 {
                let pool = shard.add_buffer_pool(4 * MIB).unwrap();
                let buf = pool.alloc_for_read(512 * 1024).unwrap();
                {
                    let mut read = Box::pin(shard.read_at(&file, IoClass::Read, 0, buf));
                    let once = std::future::poll_fn(|cx| {
                        std::task::Poll::Ready(read.as_mut().poll(cx).is_ready())
                    });
                    assert!(!once.await, "a read takes more than one poll");
                }
                drop(pool);
                shard.yield_now().await;
            }
        });
    });
}

#[test]
fn pool_buffer_may_be_used_on_another_shard() {
    let scratch = Scratch::new("pool_foreign");
    with_each_driver(|runtime| {
        let path = scratch.path(&format!("{:?}", runtime.driver_kind()));
        std::fs::write(&path, pattern(8192, 5)).unwrap();
        let (pool, file) = on_shard(runtime, SHARD_0, move |shard| async move {
            let pool = shard.add_buffer_pool(2 * MIB).unwrap();
            let file = shard.open(&path, OpenHow::direct_read()).await.unwrap();
            let buf = pool.alloc_for_read(4096).unwrap();
            shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
            (pool, file)
        });
        on_shard(runtime, SHARD_1, move |shard| async move {
            let buf = pool.alloc_for_read(8192).unwrap();
            let (buf, _) = shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
            assert_eq!(*buf, pattern(8192, 5));
        });
    });
}
