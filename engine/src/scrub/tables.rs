//! The superblock's copies, which nobody writes while a store is open, and both copies of each
//! page of the root table, which the publisher replaces.

use std::path::Path;
use std::time::Duration;

use sombra_runtime::{DmaFile, IoClass};

use super::{ScrubPass, Stopped};
use crate::check::problem;
use crate::format::BLOCK_SIZE_BYTES;
use crate::format::root_table::{ROOT_PAGE_BYTES, RootCopy, RootPage, RootPlace};
use crate::format::superblock::{Superblock, SuperblockCopy, SuperblockError};
use crate::limits;
use crate::recovery::{self, SUPERBLOCK_FILE};
use crate::volume::{Access, CopyState};

/// Reads both copies of the superblock; returns the one that counts, if one can be believed.
pub(crate) async fn scrub_superblock(
    pass: &mut ScrubPass<'_>,
    dir: &Path,
    is_written: bool,
) -> Result<Option<Superblock>, Stopped> {
    let path = dir.join(SUPERBLOCK_FILE);
    let file = match recovery::open_file(pass.shard, &path, Access::ReadOnly).await {
        Ok(file) => file,
        Err(error) => {
            pass.note_problem(&problem(path.display(), "the superblock", error));
            return Ok(None);
        }
    };
    let mut copies: Vec<(SuperblockCopy, Superblock)> = Vec::new();
    for copy in [SuperblockCopy::A, SuperblockCopy::B] {
        let place = format!("{} at byte {}, copy {copy}", path.display(), copy.offset());
        match read_superblock(pass, &file, copy).await {
            Ok(superblock) => copies.push((copy, superblock)),
            Err(found) => pass.note_problem(&problem(place, "a superblock copy", found)),
        }
        pass.pace().await?;
    }
    let newest = copies.iter().map(|(_, superblock)| superblock.generation).max();
    let newest = newest.unwrap_or(0);
    // This opening wrote both copies; only a reader may find one of an opening that a crash cut.
    for (copy, older) in copies.iter().filter(|(_, s)| is_written && s.generation < newest) {
        let place = format!("{} at byte {}, copy {copy}", path.display(), copy.offset());
        let found = format!("generation {}: a lost write", older.generation);
        pass.note_problem(&problem(place, &format!("generation {newest}"), found));
    }
    Ok(copies.into_iter().map(|(_, s)| s).find(|s| s.generation == newest))
}

async fn read_superblock(
    pass: &mut ScrubPass<'_>,
    file: &DmaFile,
    copy: SuperblockCopy,
) -> Result<Superblock, String> {
    let mut len_bytes = BLOCK_SIZE_BYTES;
    loop {
        let buf = pass.shard.alloc_buffer(len_bytes);
        let read = pass.shard.read_at(file, IoClass::Maintenance, copy.offset(), buf).await;
        let (buf, found) = read.map_err(|error| error.to_string())?;
        pass.note_read(0, found as u64);
        match Superblock::decode(&buf[..found]) {
            // It has more links than fit the first block.
            Err(SuperblockError::Truncated { expected, .. })
                if expected > len_bytes && found == len_bytes =>
            {
                len_bytes = expected.next_multiple_of(BLOCK_SIZE_BYTES);
            }
            decoded => return decoded.map_err(|error| error.to_string()),
        }
    }
}

/// Reads both copies of the root table.
pub(crate) async fn scrub_roots(pass: &mut ScrubPass<'_>) -> Result<(), Stopped> {
    let step = (limits::SCRUB_READ_BYTES / ROOT_PAGE_BYTES) as u32;
    for copy in RootCopy::BOTH {
        for first in (0..limits::ROOT_SLOTS).step_by(step as usize) {
            let slots = first..(first + step).min(limits::ROOT_SLOTS);
            let places: Vec<RootPlace> = slots.map(|slot| RootPlace { slot, copy }).collect();
            for place in compare(pass, &places).await {
                settle(pass, place).await?;
            }
            pass.pace().await?;
        }
    }
    Ok(())
}

/// A place that was being written is looked at again until it is at rest. Under steady
/// publications that may take too long: then it has just been written anyway.
async fn settle(pass: &mut ScrubPass<'_>, place: RootPlace) -> Result<(), Stopped> {
    for _ in 0..limits::SCRUB_ROOT_ATTEMPTS_MAX {
        pass.shard.sleep(Duration::from_millis(limits::SCRUB_ROOT_PAUSE_MS)).await;
        let is_at_rest = compare(pass, &[place]).await.is_empty();
        pass.pace().await?;
        if is_at_rest {
            break;
        }
    }
    Ok(())
}

/// Compares neighbouring places with what is known to be durable there; returns those that
/// somebody may have been writing.
async fn compare(pass: &mut ScrubPass<'_>, places: &[RootPlace]) -> Vec<RootPlace> {
    let (roots, volume) = (&pass.store.roots, &pass.store.volume);
    let before: Vec<Option<CopyState>> = places.iter().map(|&p| roots.at_rest(p)).collect();
    let read = volume.read_root_pages(pass.shard, places[0], places.len()).await;
    let (path, store_id) = (volume.path().display().to_string(), volume.store_id());
    let shown = |place: RootPlace| {
        let RootPlace { slot, copy } = place;
        format!("{path} at byte {}, root slot {slot}, copy {copy:?}", place.offset_bytes())
    };
    let (buf, found) = match read {
        Ok(read) => read,
        Err(error) => {
            pass.note_problem(&problem(shown(places[0]), "pages of the root table", error));
            return Vec::new();
        }
    };
    let after: Vec<Option<CopyState>> = places.iter().map(|&p| roots.at_rest(p)).collect();
    pass.note_read(places.len() as u64, found as u64);
    let mut stirred = Vec::new();
    for (at, &place) in places.iter().enumerate() {
        match (&before[at], &after[at]) {
            (Some(before), Some(after)) if before == after => {
                let bytes = buf[..found].get(at * ROOT_PAGE_BYTES..(at + 1) * ROOT_PAGE_BYTES);
                let decoded = match bytes {
                    Some(bytes) => {
                        RootPage::decode(bytes, store_id, place).map_err(|error| error.to_string())
                    }
                    None => Err("the end of the file".to_owned()),
                };
                if let Err((expected, found)) = judge(before, decoded) {
                    pass.note_problem(&problem(shown(place), &expected, found));
                }
            }
            _ => stirred.push(place),
        }
    }
    stirred
}

/// What must be there, and what is there instead.
fn judge(
    known: &CopyState,
    found: Result<Option<RootPage>, String>,
) -> Result<(), (String, String)> {
    let tell = |found: &Result<Option<RootPage>, String>| match found {
        Ok(None) => "a blank page".to_owned(),
        Ok(Some(page)) => format!("another page, of generation {}", page.generation),
        Err(error) => error.clone(),
    };
    match (known, &found) {
        (CopyState::Blank, Ok(None)) => Ok(()),
        (CopyState::Valid(page), Ok(Some(found))) if page == found => Ok(()),
        (CopyState::Blank, _) => Err(("a page that was never written".to_owned(), tell(&found))),
        (CopyState::Valid(page), _) => {
            Err((format!("its rows of generation {}", page.generation), tell(&found)))
        }
        (CopyState::Damaged, _) => {
            let reason = match &found {
                Err(error) => error.clone(),
                Ok(_) => "one that opening did not believe".to_owned(),
            };
            Err(("a copy that can be believed".to_owned(), reason))
        }
    }
}
