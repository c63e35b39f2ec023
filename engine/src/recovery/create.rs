//! Making a store: directory, lock, superblock. A crash in between leaves nothing that counts:
//! the file `superblock` gets its name only when both copies are durable.

use std::path::Path;

use sombra_runtime::{Create, DirEntry, DiskInfo, FlushVia, IoClass, OpenHow, Shard, WriteMode};

use super::{DATA_FILE, SUPERBLOCK_FILE, WAL_DIR, io_error};
use crate::error::OpenError;
use crate::format::superblock::{
    DEVICE_IDENTITY_BYTES_MAX, SUPERBLOCK_COPY_BYTES, Superblock, SuperblockCopy,
};
use crate::ids::StoreId;
use crate::options::{OpenMode, Options};
use crate::wal::method;

/// Makes `dir` when it is missing and the caller allows that. Its parent must exist.
pub(super) async fn ensure_directory(
    shard: &Shard,
    dir: &Path,
    mode: OpenMode,
) -> Result<(), OpenError> {
    if shard.path_exists(dir).await.map_err(io_error(dir, "look"))? {
        return Ok(());
    }
    if !mode.makes_missing() {
        let found = "no such directory".to_owned();
        return Err(OpenError::Missing { path: dir.to_owned(), found });
    }
    shard.create_dir(dir).await.map_err(io_error(dir, "make the directory"))
}

/// Makes the superblock when there is none and the caller allows that; tells whether it did.
pub(super) async fn ensure_superblock(
    shard: &Shard,
    dir: &Path,
    options: &Options,
) -> Result<bool, OpenError> {
    let path = dir.join(SUPERBLOCK_FILE);
    if shard.path_exists(&path).await.map_err(io_error(&path, "look"))? {
        return match options.open_mode {
            OpenMode::CreateNew => Err(OpenError::Exists { path: dir.to_owned() }),
            _ => Ok(false),
        };
    }
    let entries = shard.list_dir(dir).await.map_err(io_error(dir, "list"))?;
    refuse_foreign(dir, &entries)?;
    let wal_dir = dir.join(WAL_DIR);
    let has_wal = entries.iter().any(|entry| entry.name == WAL_DIR);
    let segments = match has_wal {
        true => shard.list_dir(&wal_dir).await.map_err(io_error(&wal_dir, "list"))?.len(),
        false => 0,
    };
    if segments > 0 {
        let found = format!("a log of {segments} files without its superblock");
        return Err(OpenError::Missing { path: dir.to_owned(), found });
    }
    if entries.iter().any(|entry| entry.name == DATA_FILE) {
        let found = format!("a data file, {DATA_FILE:?}, without its superblock");
        return Err(OpenError::Missing { path: dir.to_owned(), found });
    }
    if !options.open_mode.makes_missing() {
        let found = "an empty directory".to_owned();
        return Err(OpenError::Missing { path: dir.to_owned(), found });
    }
    if !has_wal {
        shard.create_dir(&wal_dir).await.map_err(io_error(&wal_dir, "make the directory"))?;
    }
    write_first(shard, dir, options).await?;
    Ok(true)
}

/// Where there is no store, only what an opening left that was cut off may lie.
fn refuse_foreign(dir: &Path, entries: &[DirEntry]) -> Result<(), OpenError> {
    let is_ours = |name: &str| {
        matches!(
            name,
            "LOCK"
                | "metrics"
                | "wal"
                | "pages.sombra"
                | "pages.preparing"
                | "superblock.preparing"
                | "probe.tmp"
        )
    };
    if let Some(foreign) = entries.iter().find(|entry| !is_ours(&entry.name)) {
        let found = format!("a directory that holds {:?}", foreign.name);
        return Err(OpenError::Missing { path: dir.to_owned(), found });
    }
    Ok(())
}

/// Before anything is made in `dir`, the lock included: refuses a directory of something else.
pub(super) async fn refuse_other_directory(shard: &Shard, dir: &Path) -> Result<(), OpenError> {
    let entries = shard.list_dir(dir).await.map_err(io_error(dir, "list"))?;
    // One look: somebody else may be making the store.
    if entries.iter().any(|entry| entry.name == SUPERBLOCK_FILE) {
        return Ok(());
    }
    refuse_foreign(dir, &entries)
}

async fn write_first(shard: &Shard, dir: &Path, options: &Options) -> Result<(), OpenError> {
    let preparing = dir.join("superblock.preparing");
    let describe = |operation| io_error(&preparing, operation);
    let method = match options.durability_method {
        Some(method) => method,
        None => method::choose(shard, dir).await.map_err(io_error(dir, "measure the device"))?,
    };
    let how = OpenHow { create: Create::Yes, ..OpenHow::buffered_rw() };
    let plain = shard.open(&preparing, how).await.map_err(describe("create"))?;
    let len_bytes = 2 * SUPERBLOCK_COPY_BYTES as u64;
    shard.write_zeroes(&plain, 0, len_bytes).await.map_err(describe("write"))?;
    shard.flush(&plain, FlushVia::Pool).await.map_err(describe("flush"))?;
    drop(plain);
    let file = shard.open(&preparing, OpenHow::direct_rw()).await.map_err(describe("open"))?;
    let disk = shard.disk_info(&file).await.map_err(describe("ask the device"))?;
    let mut store_id = [0; 16];
    store_id[..8].copy_from_slice(&shard.random_u64().to_le_bytes());
    store_id[8..].copy_from_slice(&shard.random_u64().to_le_bytes());
    let superblock = Superblock {
        store_id: StoreId::from_bytes(store_id),
        generation: 1,
        required_features: 0,
        optional_features: 0,
        segment_bytes: options.segment_bytes,
        page_size_bytes: options.page_size_bytes,
        root_table_addr: 0,
        durability_method: method,
        device_identity: device_identity(&disk),
        created_ms: shard.wall_clock_ms(),
        links: Vec::new(),
    };
    let bytes = superblock.encode();
    for copy in [SuperblockCopy::A, SuperblockCopy::B] {
        let mut buffer = shard.alloc_buffer(bytes.len());
        buffer.copy_from_slice(&bytes);
        let class = IoClass::Maintenance;
        shard
            .write_all_at(&file, class, copy.offset(), buffer.into(), WriteMode::Plain)
            .await
            .map_err(describe("write"))?;
    }
    shard.flush(&file, FlushVia::Pool).await.map_err(describe("flush"))?;
    let path = dir.join(SUPERBLOCK_FILE);
    shard.rename(&preparing, &path).await.map_err(describe("rename"))
}

/// The device's identity as the superblock keeps it, cut at a character that fits.
pub(super) fn device_identity(disk: &DiskInfo) -> String {
    let mut identity = disk.identity.clone();
    while identity.len() > DEVICE_IDENTITY_BYTES_MAX {
        identity.pop();
    }
    identity
}

#[cfg(test)]
mod tests {
    use sombra_runtime::WriteCache;

    use super::*;

    #[test]
    fn device_identity_that_fits_is_kept_and_a_longer_one_is_cut_at_a_character() {
        let of = |identity: &str| {
            device_identity(&DiskInfo {
                identity: identity.to_owned(),
                write_cache: WriteCache::Unknown,
                free_bytes: 0,
                dio_alignment_bytes: 512,
                is_block_device: false,
            })
        };
        let longest = "d".repeat(DEVICE_IDENTITY_BYTES_MAX);
        assert_eq!(of(&longest), longest);
        assert_eq!(of(&format!("{longest}e")), longest);
        let shorter = &longest[1..];
        assert_eq!(of(&format!("{shorter}\u{e9}")), shorter, "half a character is none");
    }
}
