//! The root table as it lies there: both copies of every slot that was ever written.

use std::io;
use std::path::Path;

use sombra_runtime::{Runtime, Shard};

use super::{on_shard, opened_volume};
use crate::check::{CheckProblem, ProblemPlace, problem};
use crate::error::OpenError;
use crate::format::root_table::{ROOT_PAGE_BYTES, RootCopy, RootPage, RootPlace};
use crate::ids::StoreId;
use crate::limits::ROOT_SLOTS;
use crate::media::PastDamage;
use crate::recovery;
use crate::volume::{Access, RootTable, Volume};

/// The root table of a store.
#[derive(Clone, Debug)]
pub struct RootReport {
    pub store_id: StoreId,
    pub page_size_bytes: u32,
    pub slots_max: u32,
    /// Slots of which at least one copy is not blank.
    pub slots: Vec<RootSlot>,
    /// Damage that the other copy makes good.
    pub notes: Vec<String>,
    pub problems: Vec<CheckProblem>,
}

/// One slot of the root table.
#[derive(Clone, Debug)]
pub struct RootSlot {
    pub slot: u32,
    pub copy_a: RootCopyState,
    pub copy_b: RootCopyState,
}

/// One copy of a slot.
#[derive(Clone, Debug)]
pub enum RootCopyState {
    /// Never written.
    Blank,
    Valid(RootPage),
    Damaged {
        reason: String,
    },
    /// The device does not deliver it.
    Unread {
        reason: String,
    },
}

impl RootSlot {
    /// The copy whose rows count: the valid one of the higher generation.
    #[must_use]
    pub fn in_force(&self) -> Option<RootCopy> {
        let generation = |state: &RootCopyState| match state {
            RootCopyState::Valid(page) => Some(page.generation),
            RootCopyState::Blank | RootCopyState::Damaged { .. } | RootCopyState::Unread { .. } => {
                None
            }
        };
        match (generation(&self.copy_a), generation(&self.copy_b)) {
            (None, None) => None,
            (a, b) => Some(if a >= b { RootCopy::A } else { RootCopy::B }),
        }
    }
}

/// Reads the root table of the closed store in `dir`.
///
/// # Errors
/// The store or its data file cannot be read; damage is in the report.
pub async fn root(runtime: &Runtime, dir: &Path) -> Result<RootReport, OpenError> {
    let dir = dir.to_owned();
    on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadOnly).await?;
        let (superblock, volume) = opened_volume(shard, &dir).await?;
        let slots = read_slots(shard, &volume).await?;
        let (mut notes, mut problems) = (Vec::new(), Vec::new());
        match RootTable::load(shard, &volume).await {
            Ok(loaded) => notes.extend(loaded.damaged.iter().map(|damaged| {
                let (slot, copy, offset) = (damaged.slot, damaged.copy, damaged.offset);
                format!("slot {slot}, copy {copy:?} at byte {offset}: {}", damaged.reason)
            })),
            Err(error) => {
                let place = ProblemPlace::file(volume.path());
                problems.push(problem(place, "a root table that can be believed", error));
            }
        }
        Ok(RootReport {
            store_id: superblock.store_id,
            page_size_bytes: superblock.page_size_bytes,
            slots_max: ROOT_SLOTS,
            slots,
            notes,
            problems,
        })
    })
    .await
}

/// Both copies of every slot that was ever written, believed or not.
pub(crate) async fn read_slots(shard: &Shard, volume: &Volume) -> Result<Vec<RootSlot>, OpenError> {
    let mut copies = Vec::with_capacity(2);
    for copy in RootCopy::BOTH {
        let read = volume.read_root_copy(shard, copy).await;
        let path = volume.path().to_owned();
        let operation = "read the root table";
        let read = read.map_err(|source| OpenError::from_io(path, operation, source))?;
        copies.push((copy, read));
    }
    let state = |slot: u32, (copy, read): &(RootCopy, PastDamage)| {
        let is_own = |(unread, _): &&(usize, io::Error)| *unread == slot as usize;
        if let Some((_, error)) = read.unread.iter().find(is_own) {
            return RootCopyState::Unread { reason: error.to_string() };
        }
        let at = slot as usize * ROOT_PAGE_BYTES;
        let page = read.buffer[..read.read_bytes].get(at..at + ROOT_PAGE_BYTES).unwrap_or(&[]);
        match RootPage::decode(page, volume.store_id(), RootPlace { slot, copy: *copy }) {
            Ok(None) => RootCopyState::Blank,
            Ok(Some(page)) => RootCopyState::Valid(page),
            Err(error) => RootCopyState::Damaged { reason: error.to_string() },
        }
    };
    let slots = (0..ROOT_SLOTS).map(|slot| RootSlot {
        slot,
        copy_a: state(slot, &copies[0]),
        copy_b: state(slot, &copies[1]),
    });
    let is_blank = |state: &RootCopyState| matches!(state, RootCopyState::Blank);
    Ok(slots.filter(|slot| !(is_blank(&slot.copy_a) && is_blank(&slot.copy_b))).collect())
}
