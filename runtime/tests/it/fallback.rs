use sombra_runtime::IoClass;
use sombra_runtime::{
    DriverChoice, DriverKind, OpenHow, Runtime, RuntimeOptions, StartError, WriteMode,
};

use crate::harness::{SHARD_0, Scratch, on_shard, options, pattern};

/// Writes and reads a page through the runtime: proof that it serves.
pub(crate) fn serve_one_page(runtime: &Runtime, scratch: &Scratch) {
    let path = scratch.path("page");
    let _ = std::fs::remove_file(&path);
    on_shard(runtime, SHARD_0, move |shard| async move {
        let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
        let mut buf = shard.alloc_buffer(4096);
        buf.copy_from_slice(&pattern(4096, 6));
        let class = IoClass::Log;
        shard.write_all_at(&file, class, 0, buf.into(), WriteMode::Dsync).await.unwrap();
        let buf = shard.alloc_buffer(4096);
        let (buf, count) = shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
        assert!(count == 4096 && *buf == pattern(4096, 6));
    });
}

#[test]
fn ring_that_cannot_be_set_up_gives_threads_and_a_note() {
    let scratch = Scratch::new("fallback_errno");
    for (errno, word) in [
        (libc::EPERM, "seccomp"),
        (libc::ENOSYS, "io_uring"),
        (libc::ENOMEM, "RLIMIT_MEMLOCK"),
        (libc::EMFILE, "descriptors"),
        (libc::EINVAL, "io_uring"),
    ] {
        let injected =
            RuntimeOptions { inject_uring_setup_errno: Some(errno), ..options(DriverChoice::Auto) };
        let runtime = Runtime::start(injected.clone()).unwrap();
        assert_eq!(runtime.driver_kind(), DriverKind::Threads);
        let note = runtime.driver_note().unwrap();
        assert!(note.contains(word), "{errno}: {note}");
        serve_one_page(&runtime, &scratch);
        assert!(runtime.shutdown().is_clean());

        let demanded = RuntimeOptions { driver: DriverChoice::Uring, ..injected };
        let error = Runtime::start(demanded).err().unwrap();
        assert!(matches!(&error, StartError::Ring { reason, .. } if reason.contains(word)));
    }
}

/// The control of the test above: without the injected error there is a ring and no note.
#[test]
fn ring_is_the_automatic_choice_where_it_works() {
    let scratch = Scratch::new("automatic");
    let runtime = Runtime::start(options(DriverChoice::Auto)).unwrap();
    assert_eq!(runtime.driver_kind(), DriverKind::Uring);
    serve_one_page(&runtime, &scratch);
    assert!(runtime.shutdown().is_clean());
}

#[test]
fn small_memory_lock_limit_costs_registration_and_is_told() {
    let scratch = Scratch::new("memlock");
    for (memlock, told) in [(0, "no buffers are registered"), (1 << 20, "only 1048576 of 4194304")]
    {
        let options = RuntimeOptions {
            buffer_slab_bytes: 4 << 20,
            inject_memlock_bytes: Some(memlock),
            ..options(DriverChoice::Uring)
        };
        let runtime = Runtime::start(options).unwrap();
        let note = runtime.driver_note().unwrap();
        serve_one_page(&runtime, &scratch);
        assert!(note.contains(told) && note.contains("RLIMIT_MEMLOCK"), "{note}");
        assert!(runtime.shutdown().is_clean());
    }
}

#[test]
fn option_out_of_range_is_named() {
    let wrong = RuntimeOptions { ring_entries: 1 << 20, ..RuntimeOptions::default() };
    let error = Runtime::start(wrong).err().unwrap();
    assert!(error.to_string().contains("ring_entries"), "{error}");
}

#[test]
fn pinned_runtime_without_a_slab_serves() {
    let scratch = Scratch::new("pinned");
    for driver in [DriverChoice::Uring, DriverChoice::Threads] {
        let options = RuntimeOptions {
            shards: 0,
            driver,
            buffer_slab_bytes: 0,
            idle_spin_us: 50,
            ..RuntimeOptions::default()
        };
        let runtime = Runtime::start(options).unwrap();
        serve_one_page(&runtime, &scratch);
        assert!(runtime.shutdown().is_clean());
    }
}
