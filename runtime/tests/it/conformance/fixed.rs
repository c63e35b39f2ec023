//! The script that visits each operation and each of its errors once.

use sombra_runtime::{Create, FlushVia, OpenHow, WriteMode};

use super::script::Step;

const BLOCK: u64 = 4096;

fn open(slot: u8, path: &str, how: OpenHow) -> Step {
    Step::Open { slot, path: path.into(), how }
}

fn write(slot: u8, offset: u64, len: usize, mode: WriteMode) -> Step {
    Step::Write { slot, offset, len, pattern: offset ^ len as u64, mode }
}

fn read(slot: u8, offset: u64, len: usize) -> Step {
    Step::Read { slot, offset, len }
}

fn unlink(path: &str) -> Step {
    Step::Unlink { path: path.into() }
}

fn rename(from: &str, to: &str) -> Step {
    Step::Rename { from: from.into(), to: to.into() }
}

fn exists(path: &str) -> Step {
    Step::Exists { path: path.into() }
}

fn list(path: &str) -> Step {
    Step::List { path: path.into() }
}

fn create_dir(path: &str) -> Step {
    Step::CreateDir { path: path.into() }
}

fn replace(path: &str, len: usize) -> Step {
    Step::Replace { path: path.into(), len, pattern: len as u64 }
}

fn exclusive(slot: u8, path: &str) -> Step {
    Step::LockExclusive { slot, path: path.into() }
}

fn shared(slot: u8, path: &str) -> Step {
    Step::LockShared { slot, path: path.into() }
}

pub(super) fn script() -> Vec<Step> {
    [opening(), bytes(), lengths(), names(), locks(), replacing()].concat()
}

fn opening() -> Vec<Step> {
    let create = |create| OpenHow { create, ..OpenHow::direct_rw() };
    vec![
        list(""),
        open(0, "f", create(Create::No)),
        open(0, "f", create(Create::New)),
        open(1, "f", create(Create::New)),
        open(1, "f", create(Create::Yes)),
        open(1, "f", create(Create::No)),
        open(1, "f", OpenHow::buffered_rw()),
        open(2, "f", OpenHow::direct_read()),
        open(3, "missing/f", create(Create::Yes)),
        open(3, "f/below", create(Create::Yes)),
        open(3, "f/below", create(Create::No)),
        open(3, "f/below/deeper", create(Create::Yes)),
        open(3, "f/below/deeper", OpenHow::buffered_read()),
        create_dir("dir"),
        open(3, "dir", create(Create::No)),
        open(3, "dir", create(Create::Yes)),
        open(3, "dir", create(Create::New)),
        open(3, "dir", OpenHow::create_new_buffered()),
        open(3, "", create(Create::New)),
        open(3, &"n".repeat(255), create(Create::New)),
        unlink(&"n".repeat(255)),
        open(3, &"n".repeat(256), create(Create::New)),
        open(3, "f", OpenHow { create: Create::Yes, ..OpenHow::direct_read() }),
        open(3, "f", OpenHow { read: false, ..OpenHow::buffered_read() }),
        Step::Info { slot: 0 },
        Step::Info { slot: 1 },
        list(""),
    ]
}

/// Slot 0 direct, slot 1 buffered, slot 2 for reading only, all on one file.
fn bytes() -> Vec<Step> {
    vec![
        read(0, 0, 4096),
        read(0, 1 << 40, 4096),
        write(0, 0, 8192, WriteMode::Plain),
        write(0, 3 * BLOCK, 4096, WriteMode::Dsync),
        write(0, 4 * BLOCK, 4096, WriteMode::Sync),
        Step::Flush { slot: 0, via: FlushVia::Ring },
        Step::Flush { slot: 0, via: FlushVia::Pool },
        Step::Flush { slot: 2, via: FlushVia::Ring },
        read(0, 0, 8192),
        // The hole, alone and with its neighbours.
        read(0, 2 * BLOCK, 4096),
        read(0, BLOCK, 3 * 4096),
        // The end, from before it and behind it.
        read(0, 4 * BLOCK, 16_384),
        read(0, 5 * BLOCK, 4096),
        Step::ReadAll { slot: 2 },
        // Direct I/O takes whole units only.
        write(0, 1, 4096, WriteMode::Plain),
        write(0, 0, 100, WriteMode::Plain),
        read(0, 1, 4096),
        read(0, 0, 100),
        // Buffered I/O takes any, and the direct file sees it.
        write(1, 4090, 13, WriteMode::Plain),
        write(1, 5 * BLOCK + 7, 100, WriteMode::Dsync),
        Step::ReadAll { slot: 0 },
        read(1, 4080, 40),
        read(1, 5 * BLOCK + 100, 4096),
        Step::DropCache { slot: 1 },
        Step::DropCache { slot: 0 },
        Step::ReadAll { slot: 1 },
        // Places that no file has.
        read(0, u64::MAX - 4095, 4096),
        read(1, u64::MAX, 1),
        read(1, i64::MAX as u64, 1),
        write(1, u64::MAX, 1, WriteMode::Plain),
        write(0, u64::MAX - 4095, 4096, WriteMode::Plain),
        // Who may only read changes nothing.
        write(2, 0, 4096, WriteMode::Plain),
        Step::SetLen { slot: 2, len: 0 },
        Step::Trim { slot: 2, from: 0, to: BLOCK },
        Step::Allocate { slot: 2, from: 0, to: 1 << 20 },
        open(3, "f", OpenHow { read: false, ..OpenHow::buffered_rw() }),
        read(3, 0, 10),
        write(3, 0, 10, WriteMode::Plain),
        Step::ReadAll { slot: 1 },
    ]
}

fn lengths() -> Vec<Step> {
    vec![
        Step::SetLen { slot: 0, len: 5000 },
        read(0, BLOCK, 8192),
        Step::SetLen { slot: 0, len: 3 * BLOCK },
        Step::ReadAll { slot: 0 },
        Step::SetLen { slot: 1, len: 3 * BLOCK },
        Step::SetLen { slot: 1, len: u64::MAX },
        write(1, 0, 3 * 4096, WriteMode::Plain),
        Step::Trim { slot: 1, from: 100, to: BLOCK + 100 },
        Step::Trim { slot: 0, from: 2 * BLOCK, to: 2 * BLOCK },
        Step::Trim { slot: 0, from: 2 * BLOCK, to: BLOCK },
        Step::Trim { slot: 0, from: 2 * BLOCK, to: 9 * BLOCK },
        Step::Trim { slot: 0, from: 20 * BLOCK, to: 21 * BLOCK },
        Step::Trim { slot: 0, from: 1 << 63, to: (1 << 63) + BLOCK },
        Step::ReadAll { slot: 1 },
        Step::Allocate { slot: 0, from: BLOCK, to: 2 * BLOCK },
        Step::Allocate { slot: 0, from: 2 * BLOCK, to: 6 * BLOCK },
        Step::Allocate { slot: 0, from: 5, to: 5 },
        Step::Allocate { slot: 0, from: 1 << 63, to: (1 << 63) + 1 },
        Step::ReadAll { slot: 0 },
        Step::Zeroes { slot: 1, offset: 50, len: 5000 },
        Step::Zeroes { slot: 1, offset: 7 * BLOCK + 1, len: 1000 },
        Step::Zeroes { slot: 1, offset: 3, len: 0 },
        Step::ReadAll { slot: 0 },
        Step::SetLen { slot: 0, len: 0 },
        Step::SetLen { slot: 1, len: 3 * BLOCK },
        Step::ReadAll { slot: 0 },
        write(1, 10, 20, WriteMode::Plain),
        Step::Flush { slot: 0, via: FlushVia::Pool },
    ]
}

fn names() -> Vec<Step> {
    vec![
        create_dir("dir"),
        create_dir("f"),
        create_dir("f/below"),
        create_dir("missing/below"),
        create_dir("dir/inner"),
        create_dir(""),
        open(4, "dir/x", OpenHow::create_new_direct()),
        write(4, 0, 4096, WriteMode::Dsync),
        list("dir"),
        list("dir/inner"),
        list("f"),
        list("missing"),
        list("f/below"),
        exists("dir/x"),
        exists("dir/inner"),
        exists("missing"),
        exists("missing/below"),
        exists("f/below"),
        exists(""),
        // Over a file that is open: its handle keeps what was there.
        rename("dir/x", "f"),
        Step::ReadAll { slot: 0 },
        Step::ReadAll { slot: 4 },
        open(5, "f", OpenHow::direct_rw()),
        Step::ReadAll { slot: 5 },
        rename("dir/x", "f"),
        rename("f", "f"),
        rename("f", "dir"),
        rename("dir", "f"),
        rename("dir", "dir/inner/self"),
        rename("f", "missing/f"),
        rename("f", "f/below"),
        rename("f/below", "g"),
        rename("missing/f", "f"),
        rename("missing", "f/below"),
        rename("dir/inner", "empty"),
        rename("empty", "dir"),
        create_dir("other"),
        open(6, "other/y", OpenHow::create_new_buffered()),
        write(6, 0, 10, WriteMode::Plain),
        rename("dir", "other"),
        rename("other", "dir"),
        list(""),
        list("dir"),
        write(6, 10, 10, WriteMode::Plain),
        Step::ReadAll { slot: 6 },
        // While it is open.
        unlink("dir/y"),
        exists("dir/y"),
        write(6, 20, 10, WriteMode::Dsync),
        Step::ReadAll { slot: 6 },
        open(7, "dir/y", OpenHow::buffered_rw()),
        open(7, "dir/y", OpenHow::create_new_buffered()),
        Step::ReadAll { slot: 7 },
        Step::ReadAll { slot: 6 },
        Step::Close { slot: 6 },
        unlink("dir/gone"),
        unlink("dir"),
        unlink("f/below"),
        unlink("missing/f"),
        unlink(&"n".repeat(256)),
        exists(&"n".repeat(256)),
        list("dir"),
    ]
}

fn locks() -> Vec<Step> {
    vec![
        exclusive(0, "lock"),
        exclusive(1, "lock"),
        shared(1, "lock"),
        open(8, "lock", OpenHow::buffered_rw()),
        Step::Unlock { slot: 0 },
        shared(0, "lock"),
        shared(1, "lock"),
        exclusive(2, "lock"),
        Step::Unlock { slot: 0 },
        exclusive(2, "lock"),
        Step::Unlock { slot: 1 },
        exclusive(2, "lock"),
        // A lock is the file's, whatever its name becomes.
        rename("lock", "renamed"),
        exclusive(3, "renamed"),
        exclusive(3, "lock"),
        shared(4, "lock"),
        unlink("renamed"),
        exclusive(4, "renamed"),
        Step::Unlock { slot: 2 },
        exclusive(5, "renamed"),
        shared(6, "new"),
        exists("new"),
        exclusive(6, "dir"),
        exclusive(6, "missing/lock"),
        shared(6, "missing/lock"),
        exclusive(6, "f/below"),
        shared(6, "f/below"),
        list(""),
    ]
}

fn replacing() -> Vec<Step> {
    vec![
        replace("m", 5000),
        open(9, "m", OpenHow::buffered_rw()),
        replace("m", 12),
        Step::ReadAll { slot: 9 },
        open(10, "m", OpenHow::direct_rw()),
        Step::ReadAll { slot: 10 },
        replace("m", 0),
        list(""),
        replace("dir", 10),
        replace("missing/m", 10),
        replace("f/below", 10),
        list(""),
        list("dir"),
    ]
}
