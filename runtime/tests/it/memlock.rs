//! A real memory lock limit, for an ordinary user in a process of its own: root has none.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use sombra_runtime::{
    Create, DriverChoice, IoClass, OpenHow, PolledState, Runtime, RuntimeOptions, WriteMode,
};

use crate::harness::{SHARD_0, Scratch, on_shard, options, pattern};

const LIMIT_VARIABLE: &str = "SOMBRA_TEST_MEMLOCK_BYTES";
const PLACE_VARIABLE: &str = "SOMBRA_TEST_MEMLOCK_PLACE";
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What the runtime says of itself under such a limit, and how much of a pool it registered.
fn say_under_limit(place: PathBuf) {
    let options = RuntimeOptions {
        shards: 1,
        buffer_slab_bytes: 2 * MIB,
        inject_polled_ring_without_iopoll: true,
        ..options(DriverChoice::Uring)
    };
    let runtime = Runtime::start(options).unwrap();
    let pool = on_shard(&runtime, SHARD_0, move |shard| async move {
        let pool = shard.add_buffer_pool(4 * MIB).unwrap();
        let how = OpenHow { create: Create::Yes, polled: true, ..OpenHow::direct_rw() };
        let file = shard.open(&place, how).await.unwrap();
        for mut buf in [shard.alloc_buffer(4096), pool.alloc(4096).unwrap()] {
            buf.copy_from_slice(&pattern(4096, 3));
            let write = shard.write_all_at(&file, IoClass::Log, 0, buf.into(), WriteMode::Plain);
            let buf = write.await.unwrap().into_owned().unwrap();
            let (buf, _) = shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
            assert_eq!(*buf, pattern(4096, 3));
        }
        pool
    });
    // Two turns later the report has everything.
    on_shard(&runtime, SHARD_0, |shard| async move { shard.yield_now().await });
    let pool_bytes = pool.registered_bytes();
    let ring = runtime.driver_report().shards[0].ring.clone().unwrap();
    let shared = match ring.polled {
        PolledState::Ready { buffers_shared } => buffers_shared.to_string(),
        refused => format!("{refused:?}"),
    };
    println!("SAYS registered {} pool {pool_bytes} shared {shared}", ring.registered_bytes);
    println!("SAYS note {}", runtime.driver_note().unwrap_or_default());
    drop(pool);
    assert!(runtime.shutdown().is_clean());
}

/// Does nothing in an ordinary run; the test below runs it in a process of its own.
#[test]
fn child_of_the_memlock_test() {
    let Some(limit) = std::env::var(LIMIT_VARIABLE).ok() else { return };
    let limit: u64 = limit.parse().unwrap();
    setrlimit(Resource::RLIMIT_MEMLOCK, limit, limit).unwrap();
    say_under_limit(PathBuf::from(std::env::var(PLACE_VARIABLE).unwrap()));
}

/// A user whom no other process has: what a user locks is counted over all of them, and a ring
/// gives it back some time after its process has ended.
fn fresh_user(number: u32) -> u32 {
    1_000_000 + std::process::id() * 16 % 1_000_000_000 + number
}

fn run_child(scratch: &Scratch, limit: usize, user: u32) -> Result<String, String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "memlock::child_of_the_memlock_test", "--nocapture"])
        .env(LIMIT_VARIABLE, limit.to_string())
        .env(PLACE_VARIABLE, scratch.path(&format!("file-{limit}")))
        .current_dir("/")
        .uid(user)
        .gid(user);
    let output = child.output().map_err(|error| format!("as an ordinary user: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{limit}: {text}{errors}");
    Ok(text)
}

#[test]
fn real_memory_lock_limit_costs_registration_and_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIPPED a real memory lock limit: only root can become somebody else");
    }
    let scratch = Scratch::new("memlock_child");
    let open_to_all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(scratch.path(""), open_to_all).unwrap();
    let cases = [
        // Room for the slab once: the second ring shares it, the pool finds no room.
        (3 * MIB, "registered 2097152 pool 0 shared true", Some("buffer pool is not registered")),
        (3 * MIB / 2, "registered 1048576 pool 0 shared true", Some("only 1048576 of 2097152")),
        (160 * KIB, "registered 0 pool 0 shared true", Some("no buffers are registered")),
        // Rings count too: there is room for one.
        (64 * KIB, "registered 0 pool 0 shared Refused", Some("polled I/O was asked for")),
        (7 * MIB, "registered 4194304 pool 2097152 shared true", None),
    ];
    for (number, (limit, counted, told)) in cases.into_iter().enumerate() {
        let text = match run_child(&scratch, limit, fresh_user(number as u32)) {
            Ok(text) => text,
            Err(why) => return println!("SKIPPED a real memory lock limit: {why}"),
        };
        assert!(text.contains(counted), "{limit}: {text}");
        match told {
            Some(told) => assert!(text.contains(told) && text.contains("RLIMIT_MEMLOCK"), "{text}"),
            None => assert!(!text.contains("RLIMIT_MEMLOCK"), "{text}"),
        }
    }
}
