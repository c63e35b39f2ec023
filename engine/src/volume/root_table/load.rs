//! Reading the root table at open: which rows are in force, what must stay pinned, what is
//! damaged.
//!
//! A slot's first rows go to copy A, and to copy B only when A is durable; they count as in
//! force when both are. So a damaged copy A beside a blank copy B never held rows in force: it is
//! a first write that the power cut, and the slot counts as empty. Every other slot without a
//! valid copy is damage. After the first write the copies' generations differ by one; a copy
//! that lies further behind is a write that the device lost, and is not believed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use sombra_runtime::Shard;

use super::slot::{CopyState, Slot};
use super::{RootTable, SlotGeneration, Slots};
use crate::error::same_error;
use crate::format::root_table::{
    ROOT_COPY_BYTES, ROOT_PAGE_BYTES, RootCopy, RootPage, RootPlace, RootRow, RowKey,
};
use crate::limits::{ROOT_BLANK_BITS_MAX, ROOT_SLOTS};
use crate::media::PastDamage;
use crate::volume::errors::RootLoadError;
use crate::volume::file::Volume;

/// Rows that the copy which is not in force holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OlderRows {
    /// What only they need may be released when this is durable in both copies.
    pub(crate) until: SlotGeneration,
    pub(crate) rows: Vec<RootRow>,
}

/// A copy that was not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DamagedRoot {
    pub(crate) slot: u32,
    pub(crate) copy: RootCopy,
    /// Where it begins in the data file.
    pub(crate) offset: u64,
    pub(crate) reason: String,
    /// False for a first write that a power cut tore: nothing is lost. Nor is anything by damage
    /// of a page that was never written, but that is to be told.
    pub(crate) was_in_force: bool,
}

/// What the root table said at open.
#[derive(Debug)]
pub(crate) struct LoadedRoots {
    pub(crate) table: RootTable,
    /// In the order of their slots.
    pub(crate) rows: Vec<RootRow>,
    /// For recovery to pin; the log's floor has them in it already.
    pub(crate) older: Vec<OlderRows>,
    pub(crate) damaged: Vec<DamagedRoot>,
    /// Slots whose copies hold different sets of rows, or only one copy. They hold the log's
    /// floor at zero until [`RootTable::advance_twins`] has run.
    #[cfg(test)]
    pub(crate) uneven: Vec<u32>,
}

/// One copy as it was read.
enum Seen {
    Blank,
    Valid(RootPage),
    Damaged(String),
    /// The device does not deliver it.
    Unread(io::Error),
}

impl Seen {
    /// Why it cannot be believed, if it cannot.
    fn damage(&self) -> Option<String> {
        match self {
            Seen::Blank | Seen::Valid(_) => None,
            Seen::Damaged(reason) => Some(reason.clone()),
            Seen::Unread(error) => Some(unread(error)),
        }
    }
}

fn unread(error: &io::Error) -> String {
    format!("the device does not deliver it: {error}")
}

pub(super) async fn load(shard: &Shard, volume: &Volume) -> Result<LoadedRoots, RootLoadError> {
    let io_error = |offset, operation| {
        let path = volume.path().to_owned();
        move |source| RootLoadError::Io { path, offset, operation, source }
    };
    // What a killed process left in the device's cache must be durable before it is believed.
    let flushed = volume.barrier(shard).await.map_err(|error| error.source);
    flushed.map_err(io_error(0, "flush"))?;
    let mut regions = Vec::with_capacity(2);
    for copy in RootCopy::BOTH {
        let offset = RootPlace { slot: 0, copy }.offset_bytes();
        let read = volume.read_root_copy(shard, copy).await;
        let region = read.map_err(io_error(offset, "read"))?;
        let (expected, found) = (ROOT_COPY_BYTES as usize, region.read_bytes);
        if found != expected {
            let path = volume.path().to_owned();
            return Err(RootLoadError::Short { path, offset, expected, found });
        }
        regions.push(region);
    }
    let mut loader = Loader { volume, damaged: Vec::new() };
    let slots: Result<Vec<Slot>, RootLoadError> =
        (0..ROOT_SLOTS).map(|slot| loader.slot(slot, &regions)).collect();
    let slots = slots?;
    let damaged = loader.damaged;
    let places = places(volume, &slots)?;
    let numbered = || (0..ROOT_SLOTS).zip(&slots);
    let older = numbered().filter_map(|(slot, state)| {
        let generation = state.newest()?.generation;
        let rows = state.older()?.rows.clone();
        Some(OlderRows { until: SlotGeneration { slot, generation }, rows })
    });
    let older = older.collect();
    #[cfg(test)]
    let uneven = numbered().filter(|(_, state)| state.is_uneven()).map(|(slot, _)| slot).collect();
    let rows = slots.iter().flat_map(|slot| slot.rows().iter().cloned()).collect();
    let table = RootTable::from_slots(Slots {
        slots,
        places,
        is_publishing: false,
        writing: BTreeSet::new(),
    });
    Ok(LoadedRoots {
        table,
        rows,
        older,
        damaged,
        #[cfg(test)]
        uneven,
    })
}

fn places(volume: &Volume, slots: &[Slot]) -> Result<BTreeMap<RowKey, u32>, RootLoadError> {
    let mut places = BTreeMap::new();
    for (second, slot) in (0..ROOT_SLOTS).zip(slots) {
        for row in slot.rows() {
            if let Some(first) = places.insert(row.key(), second) {
                let (path, row) = (volume.path().to_owned(), format!("{:?}", row.key()));
                return Err(RootLoadError::RowTwice { path, row, first, second });
            }
        }
    }
    Ok(places)
}

struct Loader<'a> {
    volume: &'a Volume,
    damaged: Vec<DamagedRoot>,
}

impl Loader<'_> {
    fn slot(&mut self, slot: u32, regions: &[PastDamage]) -> Result<Slot, RootLoadError> {
        let a = self.see(RootPlace { slot, copy: RootCopy::A }, &regions[0])?;
        let b = self.see(RootPlace { slot, copy: RootCopy::B }, &regions[1])?;
        let (a, b) = match (a, b) {
            (Seen::Blank, Seen::Blank) => return Ok(Slot::EMPTY),
            (Seen::Damaged(reason), Seen::Blank) => {
                self.report(slot, (RootCopy::A, reason), false);
                return Ok(Slot::EMPTY);
            }
            // Rows are in force when both copies hold them: beside a copy that is blank there are
            // none, whatever lies in the sectors that cannot be read.
            (Seen::Unread(error), Seen::Blank) => {
                self.report(slot, (RootCopy::A, unread(&error)), true);
                return Ok(Slot::EMPTY);
            }
            (Seen::Blank, Seen::Unread(error)) => {
                self.report(slot, (RootCopy::B, unread(&error)), true);
                return Ok(Slot::EMPTY);
            }
            // Copy B is never written before copy A, nor copy A a second time before copy B.
            (Seen::Blank, b) => (Seen::Damaged("all zero, though it was written".to_owned()), b),
            (Seen::Valid(a), Seen::Blank) if a.generation > 1 => {
                let reason = "all zero, though it was written".to_owned();
                (Seen::Valid(a), Seen::Damaged(reason))
            }
            (Seen::Valid(a), Seen::Valid(b)) => distrust_a_lost_write(a, b),
            others => others,
        };
        if let (Some(copy_a), Some(copy_b)) = (a.damage(), b.damage()) {
            let offset = |copy| RootPlace { slot, copy }.offset_bytes();
            let (offset_a, offset_b) = (offset(RootCopy::A), offset(RootCopy::B));
            let path = self.volume.path().to_owned();
            return Err(match (a, b) {
                (Seen::Unread(source), _) => {
                    RootLoadError::Unread { path, slot, offset: offset_a, source, other: copy_b }
                }
                (_, Seen::Unread(source)) => {
                    RootLoadError::Unread { path, slot, offset: offset_b, source, other: copy_a }
                }
                _ => RootLoadError::BothDamaged { path, slot, offset_a, copy_a, offset_b, copy_b },
            });
        }
        Ok(Slot { copies: [self.state(slot, RootCopy::A, a), self.state(slot, RootCopy::B, b)] })
    }

    fn see(&mut self, place: RootPlace, region: &PastDamage) -> Result<Seen, RootLoadError> {
        let slot = place.slot as usize;
        if let Some((_, error)) = region.unread.iter().find(|(unread, _)| *unread == slot) {
            return Ok(Seen::Unread(same_error(error)));
        }
        let at = slot * ROOT_PAGE_BYTES;
        let bytes = &region.buffer[at..at + ROOT_PAGE_BYTES];
        match RootPage::decode(bytes, self.volume.store_id(), place) {
            Ok(None) => Ok(Seen::Blank),
            Ok(Some(page)) => Ok(Seen::Valid(page)),
            Err(source) if source.is_intact_page() => {
                let (path, offset) = (self.volume.path().to_owned(), place.offset_bytes());
                let RootPlace { slot, copy } = place;
                Err(RootLoadError::Newer { path, offset, slot, copy, source })
            }
            Err(error) if is_nearly_blank(bytes) => {
                // Otherwise one rotten bit of a slot that nobody has used could close the store.
                let reason = format!("never written, and not all zero any more: {error}");
                self.report(place.slot, (place.copy, reason), true);
                Ok(Seen::Blank)
            }
            Err(error) => Ok(Seen::Damaged(error.to_string())),
        }
    }

    fn state(&mut self, slot: u32, copy: RootCopy, seen: Seen) -> CopyState {
        match seen {
            Seen::Blank => CopyState::Blank,
            Seen::Valid(page) => CopyState::Valid(page),
            Seen::Damaged(reason) => {
                self.report(slot, (copy, reason), true);
                CopyState::Damaged
            }
            Seen::Unread(error) => {
                self.report(slot, (copy, unread(&error)), true);
                CopyState::Damaged
            }
        }
    }

    fn report(&mut self, slot: u32, (copy, reason): (RootCopy, String), was_in_force: bool) {
        let offset = RootPlace { slot, copy }.offset_bytes();
        tracing::warn!(slot, ?copy, offset, reason, was_in_force, "root page not believed");
        self.damaged.push(DamagedRoot { slot, copy, offset, reason, was_in_force });
    }
}

/// Whether a page has so few bits set that it is a rotten blank one: the magic of a written page
/// alone has more.
fn is_nearly_blank(page: &[u8]) -> bool {
    page.iter().map(|byte| byte.count_ones()).sum::<u32>() <= ROOT_BLANK_BITS_MAX
}

/// Each write of a slot follows the other copy's: generations differ by exactly one.
fn distrust_a_lost_write(a: RootPage, b: RootPage) -> (Seen, Seen) {
    let (generation_a, generation_b) = (a.generation, b.generation);
    if generation_a.abs_diff(generation_b) == 1 {
        return (Seen::Valid(a), Seen::Valid(b));
    }
    let lost = |expected: u64, found: u64| {
        Seen::Damaged(format!("generation: expected {expected}, found {found}: a lost write"))
    };
    match generation_a > generation_b {
        true => (Seen::Valid(a), lost(generation_a - 1, generation_b)),
        false => (lost(generation_b.saturating_sub(1), generation_a), Seen::Valid(b)),
    }
}
