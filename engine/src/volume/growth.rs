//! Free extents: given to tablets, taken back, and kept ahead of need by growing the file.
//!
//! No room is a state, not a failure: the store goes on when there is some. A device that fails
//! while the file grows is a failure ([`VolumeState::Broken`]): the caller poisons the store.

use std::io;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sombra_runtime::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use sombra_runtime::sync::{EpochCell, Signal};
use sombra_runtime::{FaultPoint, FlushVia, OpenHow, Shard};

use super::errors::{ExtentError, WritePagesError};
use super::file::{Volume, VolumeConfig};
use super::free_extents::FreeExtents;
use crate::format::root_table::ROOT_EXTENTS;
use crate::limits;

/// Whether the data file can grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VolumeState {
    /// It did, or has no need to.
    Fine,
    /// It would pass `data_bytes_max`, or the end of its device.
    Full { expected: u64, found: u64 },
    /// The file system refused it.
    DiskFull { needed: u64, reason: String },
    /// The device failed. Caller: poison the store (INV-7). The keeper has ended.
    Broken { reason: String },
}

struct Pool {
    free: FreeExtents,
    /// Extents of the file, the root table's included.
    end: u32,
    /// Neighbours that somebody did not find, until they are there; 0 = nobody waits.
    missing: u32,
    /// Neither free nor a tablet's until the root table has settled after the opening.
    aside: Vec<u32>,
}

/// Bounds and state of the file's space.
pub(super) struct Space {
    pool: Mutex<Pool>,
    /// Copies of the pool's numbers, for looks without the lock.
    free_count: AtomicU32,
    end: AtomicU32,
    state: EpochCell<VolumeState>,
    is_fine: AtomicBool,
    /// Grows whenever extents may have become free: a look that found none is worth another.
    supplies: AtomicU64,
    /// Extents given while the file could not grow and only the reserve was left.
    reserve_taken: AtomicU64,
    wanted: Signal,
    /// Held by whoever changes the file's length.
    is_growing: AtomicBool,
    is_closing: AtomicBool,
    /// Bounds of a step of growth and of the reserve; in between a quarter of the file.
    step_extents: RangeInclusive<u32>,
    reserve_extents: RangeInclusive<u32>,
    end_max: u32,
}

/// The right to change the file's length, however its use ends.
struct Tail<'a>(&'a AtomicBool);

impl Tail<'_> {
    fn try_take(is_growing: &AtomicBool) -> Option<Tail<'_>> {
        // Made only by the winner: dropping one gives the right back.
        (!is_growing.swap(true, Ordering::Acquire)).then(|| Tail(is_growing))
    }
}

impl Drop for Tail<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Space {
    pub(super) fn new(config: &VolumeConfig, end: u32) -> Space {
        let max_bytes = config.fixed_len_bytes.unwrap_or(config.data_bytes_max);
        let extents = |bytes: u64| u32::try_from(bytes / limits::EXTENT_BYTES).unwrap_or(u32::MAX);
        let step_bytes = (max_bytes / limits::GROWTH_STEPS_MIN)
            .clamp(limits::EXTENT_BYTES, limits::GROWTH_STEP_BYTES);
        let reserve_bytes = limits::DATA_RESERVE_BYTES.min(max_bytes / 8);
        let bounds = |least: u64, most: u64| extents(least.min(most))..=extents(most);
        let mut free = FreeExtents::default();
        free.insert(ROOT_EXTENTS..end);
        Space {
            free_count: AtomicU32::new(free.count()),
            end: AtomicU32::new(end),
            pool: Mutex::new(Pool { free, end, missing: 0, aside: Vec::new() }),
            state: EpochCell::new(std::sync::Arc::new(VolumeState::Fine)),
            is_fine: AtomicBool::new(true),
            supplies: AtomicU64::new(0),
            reserve_taken: AtomicU64::new(0),
            wanted: Signal::new(),
            is_growing: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            step_extents: bounds(limits::GROWTH_STEP_BYTES_MIN, step_bytes),
            reserve_extents: bounds(limits::DATA_RESERVE_BYTES_MIN, reserve_bytes),
            end_max: extents(max_bytes),
        }
    }

    /// Extents of the file: pages below it may be read and written.
    pub(super) fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }

    /// A panic while the lock was held left the pool as it was: its holders only move values.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the pool and the numbers that others look at.
    fn change<T>(&self, change: impl FnOnce(&mut Pool) -> T) -> T {
        let mut pool = self.pool();
        let result = change(&mut pool);
        self.free_count.store(pool.free.count(), Ordering::Relaxed);
        self.end.store(pool.end, Ordering::Release);
        result
    }

    /// By how much the file grows at once.
    fn step_extents(&self) -> u32 {
        (self.end() / 4).clamp(*self.step_extents.start(), *self.step_extents.end())
    }

    /// What commits leave for deletes and merges.
    fn reserve_extents(&self) -> u32 {
        (self.end() / 4).clamp(*self.reserve_extents.start(), *self.reserve_extents.end())
    }

    /// Free extents below which the file grows.
    fn ahead_extents(&self) -> u32 {
        self.step_extents() + self.reserve_extents()
    }

    fn is_short(&self) -> bool {
        let pool = self.pool();
        let is_missed = pool.missing > 0 && !pool.free.has_neighbours(pool.missing);
        is_missed || pool.free.count() < self.ahead_extents()
    }

    /// Whether extents that somebody did not find are there now; true once for each wish.
    fn is_served(&self) -> bool {
        let mut pool = self.pool();
        let is_served = pool.missing > 0 && pool.free.has_neighbours(pool.missing);
        if is_served {
            pool.missing = 0;
        }
        is_served
    }

    fn set_state(&self, state: VolumeState) {
        self.is_fine.store(state == VolumeState::Fine, Ordering::Relaxed);
        self.supplies.fetch_add(1, Ordering::SeqCst);
        self.state.replace(std::sync::Arc::new(state));
    }
}

impl Volume {
    /// Takes extents out of the free ones: what a tablet's map, or an older copy's, names.
    ///
    /// # Errors
    /// The first that lies outside or has an owner: the root table or the file is damaged.
    pub(crate) fn mark_owned(
        &self,
        extents: impl IntoIterator<Item = u32>,
    ) -> Result<(), ExtentError> {
        self.space.change(|pool| {
            for extent in extents {
                if !(ROOT_EXTENTS..pool.end).contains(&extent) {
                    let (first, end) = (ROOT_EXTENTS, pool.end);
                    return Err(ExtentError::Outside { extent, first, end });
                }
                if !pool.free.remove(extent) {
                    return Err(ExtentError::OwnedTwice { extent });
                }
            }
            Ok(())
        })
    }

    /// Keeps free extents from being given to anybody until
    /// [`Volume::give_back_aside`]; those that are not free stay what they are.
    pub(crate) fn set_aside(&self, extents: impl IntoIterator<Item = u32>) {
        self.space.change(|pool| {
            let taken = extents.into_iter().filter(|&extent| pool.free.remove(extent));
            pool.aside.extend(taken);
        });
    }

    /// Gives back what was set aside; tells whether it was anything.
    pub(crate) fn give_back_aside(&self) -> bool {
        let aside = self.space.change(|pool| std::mem::take(&mut pool.aside));
        let is_any = !aside.is_empty();
        self.give_back(aside);
        is_any
    }

    /// Gives `count` extents, the lowest that are free, or neighbours; all of them or none.
    /// `None` asks the keeper for them: look again after its next change.
    pub(crate) fn take_extents(&self, count: u32, contiguous: bool) -> Option<Vec<u32>> {
        let taken = self.space.change(|pool| {
            let taken = match contiguous {
                true => pool.free.take_neighbours(count),
                false => pool.free.take_lowest(count),
            };
            if taken.is_some() && count >= pool.missing && pool.missing > 0 {
                pool.missing = 0;
                // Whoever wished for it may still miss neighbours, and must look again.
                self.space.supplies.fetch_add(1, Ordering::SeqCst);
            }
            taken
        });
        if taken.is_some() && !self.has_room_for_commits() {
            self.space.reserve_taken.fetch_add(u64::from(count), Ordering::Relaxed);
        }
        match taken {
            None => self.want_extents(count),
            Some(_) if self.free_extents() < self.space.ahead_extents() => self.want(),
            Some(_) => {}
        }
        taken
    }

    /// Takes extents back that no root, view or durable copy needs any more.
    ///
    /// # Panics
    /// If one lies outside or is free already (INV-5).
    pub(crate) fn give_back(&self, extents: Vec<u32>) {
        self.space.change(|pool| {
            for extent in extents {
                let is_inside = (ROOT_EXTENTS..pool.end).contains(&extent);
                assert!(is_inside, "INV-5: extent {extent} is not a tablet's");
                pool.free.insert(extent..extent + 1);
            }
        });
        self.space.supplies.fetch_add(1, Ordering::SeqCst);
        if !self.space.is_fine.load(Ordering::Relaxed) {
            self.want();
        }
    }

    /// How often extents may have become free so far.
    pub(crate) fn supplies(&self) -> u64 {
        self.space.supplies.load(Ordering::SeqCst)
    }

    /// Asks the keeper to look whether the file must grow.
    pub(crate) fn want(&self) {
        self.space.wanted.raise();
    }

    /// Asks the keeper for `count` neighbours.
    pub(crate) fn want_extents(&self, count: u32) {
        self.space.change(|pool| pool.missing = pool.missing.max(count));
        self.space.wanted.raise();
    }

    pub(crate) fn free_extents(&self) -> u32 {
        self.space.free_count.load(Ordering::Relaxed)
    }

    /// Extents that are set aside.
    pub(crate) fn extents_aside(&self) -> u64 {
        self.space.pool().aside.len() as u64
    }

    /// What commits leave for deletes and merges, in bytes.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        u64::from(self.space.reserve_extents()) * limits::EXTENT_BYTES
    }

    /// Extents taken out of the reserve since the store was opened.
    pub(crate) fn reserve_extents_taken_total(&self) -> u64 {
        self.space.reserve_taken.load(Ordering::Relaxed)
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        u64::from(self.space.end()) * limits::EXTENT_BYTES
    }

    pub(crate) fn state(&self) -> VolumeState {
        (*self.space.state.load()).clone()
    }

    /// Whether fewer extents are free than merges and deletes may need.
    pub(crate) fn is_reserve_touched(&self) -> bool {
        self.free_extents() < self.space.reserve_extents()
    }

    /// Whether commits may go on: the reserve is whole, or the file has not failed to grow.
    pub(crate) fn has_room_for_commits(&self) -> bool {
        !self.is_reserve_touched() || self.space.is_fine.load(Ordering::Relaxed)
    }

    /// The file's length does not change any more. The store keeps its lock until
    /// [`Volume::is_growing`] says no: what has begun must not reach the next opener's file.
    pub(crate) fn close(&self) {
        self.space.is_closing.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_growing(&self) -> bool {
        self.space.is_growing.load(Ordering::SeqCst)
    }

    /// Runs for the life of the store on one shard: keeps a step of free extents beyond the
    /// reserve. `changed` runs when the file has grown and whenever the state changes.
    pub(crate) async fn keep(&self, shard: &Shard, changed: impl Fn()) {
        loop {
            self.space.wanted.wait().await;
            while let Some(tail) = self.tail_if_open() {
                // Others may have given back what was missed: who waits for it hears of it too.
                let is_served = self.space.is_served();
                if !self.space.is_short() {
                    if is_served || !self.space.is_fine.load(Ordering::Relaxed) {
                        self.space.set_state(VolumeState::Fine);
                        changed();
                    }
                    break;
                }
                let outcome = self.grow(shard).await;
                drop(tail);
                let state = outcome.err().unwrap_or(VolumeState::Fine);
                let (is_fine, is_broken) =
                    (state == VolumeState::Fine, matches!(state, VolumeState::Broken { .. }));
                // Who hears of it asks again: a second failure must not make it ask a third time.
                let is_news = is_fine || is_served || state != self.state();
                self.space.set_state(state);
                if is_news {
                    changed();
                }
                if is_broken {
                    return;
                }
                if !is_fine {
                    break;
                }
            }
        }
    }

    /// Gives one step of free extents at the end of the file back to the file system, beyond
    /// what is kept ahead; returns how many bytes. For a store that is idle.
    ///
    /// # Errors
    /// The file system refused; the extents are free as before, nothing else has changed.
    pub(crate) async fn truncate_tail(&self, shard: &Shard) -> Result<u64, WritePagesError> {
        if self.config.fixed_len_bytes.is_some() {
            return Ok(0);
        }
        let Some(tail) = self.tail_if_open() else { return Ok(0) };
        let (first, end) = self.space.change(|pool| {
            let spare = pool.free.count().saturating_sub(self.space.ahead_extents());
            let end = pool.end;
            pool.end = pool.free.take_tail(end, spare.min(self.space.step_extents()));
            (pool.end, end)
        });
        let cut_bytes = u64::from(end - first) * limits::EXTENT_BYTES;
        if cut_bytes == 0 {
            drop(tail);
            self.want();
            return Ok(0);
        }
        // Not flushed: a crash may leave the file longer, which opening allows for.
        let len_bytes = u64::from(first) * limits::EXTENT_BYTES;
        let outcome = shard.set_len(&self.file, len_bytes).await;
        if outcome.is_err() {
            self.space.change(|pool| {
                pool.free.insert(first..end);
                pool.end = end;
            });
        }
        drop(tail);
        // The keeper may have been turned away meanwhile.
        self.want();
        outcome.map(|()| cut_bytes).map_err(|source| WritePagesError {
            path: self.config.path.clone(),
            operation: "truncate",
            offset: len_bytes,
            len_bytes: cut_bytes,
            source,
        })
    }

    /// The closing flag is read after the tail is taken, so that `close` followed by
    /// `is_growing` misses nobody.
    fn tail_if_open(&self) -> Option<Tail<'_>> {
        let tail = Tail::try_take(&self.space.is_growing)?;
        (!self.space.is_closing.load(Ordering::SeqCst)).then_some(tail)
    }

    async fn grow(&self, shard: &Shard) -> Result<(), VolumeState> {
        let (end, missing) = {
            let pool = self.space.pool();
            (pool.end, pool.missing)
        };
        let room = self.space.end_max.saturating_sub(end);
        let count = self.space.step_extents().max(missing).min(room);
        let found = u64::from(end) * limits::EXTENT_BYTES;
        if count == 0 || shard.refuses(FaultPoint::FileGrowth) {
            let expected = self.config.fixed_len_bytes.unwrap_or(self.config.data_bytes_max);
            return Err(VolumeState::Full { expected, found });
        }
        let needed = u64::from(count) * limits::EXTENT_BYTES;
        if let Err(error) = self.append_zeroes(shard, found, needed).await {
            // What was written of the step goes back; the log may need the room.
            let _ = shard.set_len(&self.file, found).await;
            return Err(refused(needed, &error));
        }
        self.space.change(|pool| {
            pool.free.insert(end..end + count);
            pool.end = end + count;
        });
        Ok(())
    }

    /// Zeroes through a plain descriptor, so that later overwrites need no allocation; durable
    /// before the extents count, or their first flush would carry the file system's journal.
    async fn append_zeroes(&self, shard: &Shard, offset: u64, len_bytes: u64) -> io::Result<()> {
        let plain = shard.open(&self.config.path, OpenHow::buffered_rw()).await?;
        let mut written = 0;
        while written < len_bytes {
            let step = limits::GROWTH_ZERO_STEP_BYTES.min(len_bytes - written);
            shard.write_zeroes(&plain, offset + written, step).await?;
            written += step;
        }
        self.flushes.flush(shard, &plain, FlushVia::Pool).await
    }
}

/// No room is back-pressure; anything else means that the device cannot be trusted.
fn refused(needed: u64, error: &io::Error) -> VolumeState {
    let reason = error.to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            VolumeState::DiskFull { needed, reason }
        }
        _ => VolumeState::Broken { reason },
    }
}
