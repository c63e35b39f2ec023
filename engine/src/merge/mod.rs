//! Merging: freeze a window, rebuild the tree with it slice by slice, publish each slice's root,
//! release what no root needs, let the log be truncated.
//!
//! Knows the order: durable and visible before a page is written (INV-2), pages durable before
//! their root, a root in both copies before anything it replaced is released (INV-5). Must never
//! know clients or how requests travel.

mod pacing;
mod publisher;
mod release;
mod slice;
mod writer;

pub(crate) use publisher::{Catalog, PublishRequest, Publisher, missing_rows};

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use sombra_runtime::sync::MailboxSender;

use crate::commit::{Core, DataWork};
use crate::ids::{Lsn, TabletId};
use crate::limits;
use crate::mvcc::registry::SnapshotKind;
use crate::tablet::{Frozen, PageStore};
use crate::volume::VolumeState;
use slice::{Slice, SliceError};

/// Why a merge did not go on.
#[derive(Debug)]
pub(crate) enum MergeStop {
    /// The data file has no room: tried again when there is some.
    NoSpace,
    /// The tablet was dropped.
    Gone,
    /// The device failed to read a page: tried again at the next occasion.
    Read(String),
    /// A page of the tree is damaged: this tablet cannot be merged any more.
    Damaged(String),
    /// The store stopped.
    Stopped,
}

/// Merges the tablets of one shard, one at a time.
pub(crate) struct Merger {
    core: Rc<Core>,
    pages: Rc<PageStore>,
    publisher: MailboxSender<PublishRequest>,
    /// Whom what is kept would be blamed on.
    suspect: RefCell<Option<pacing::Suspect>>,
    /// How much the data file had been supplied with when a merge found no room: until there is
    /// more, or pages of these tablets are released, the next would find none either.
    short_at: Cell<Option<u64>>,
}

impl Merger {
    pub(crate) fn new(
        core: Rc<Core>,
        pages: Rc<PageStore>,
        publisher: MailboxSender<PublishRequest>,
    ) -> Merger {
        let (suspect, short_at) = (RefCell::default(), Cell::default());
        Merger { core, pages, publisher, suspect, short_at }
    }

    /// Runs for the life of the store on this shard.
    pub(crate) async fn run(self) {
        self.publish_gauges();
        loop {
            self.core.store.merge_signal(self.core.shard.id()).wait().await;
            loop {
                // Between merges too: under steady load there is always one more to do.
                self.release();
                self.reduce_views().await;
                self.end_old_snapshots();
                if let Err(MergeStop::Stopped) = self.raise_idle().await {
                    return;
                }
                let supplies = self.core.store.volume.supplies();
                if self.short_at.get() == Some(supplies) {
                    break;
                }
                let Some(id) = self.pick() else { break };
                if let Some(stop) = self.merge(id).await.err()
                    && self.is_final(id, stop, supplies)
                {
                    break;
                }
                self.core.store.announce_room();
                self.core.shard.yield_now().await;
            }
        }
    }

    /// Takes note of why a merge stopped; tells whether to wait for the next signal. `supplies` is
    /// what the data file had been supplied with when it began.
    fn is_final(&self, id: TabletId, stop: MergeStop, supplies: u64) -> bool {
        // While the data file can grow it does: the keeper calls again.
        let is_stuck = matches!(stop, MergeStop::NoSpace)
            && self.core.store.volume.state() != VolumeState::Fine;
        self.core.store.set_merge_stuck(self.core.shard.id(), is_stuck);
        let is_short = matches!(stop, MergeStop::NoSpace);
        self.short_at.set(is_short.then(|| self.let_go_of_spare(id, supplies)));
        match stop {
            // A dropped tablet leaves its shard a moment after its keyspace's name.
            MergeStop::NoSpace | MergeStop::Gone | MergeStop::Stopped => true,
            MergeStop::Read(reason) => {
                tracing::warn!(reason, "a merge could not read a page");
                self.core.store.tick_wanted.raise();
                let noted = self.core.with_tablet_mut(id, |tablet| {
                    (tablet.note_failed_read(&reason), tablet.window_bytes())
                });
                if let Some((true, bytes)) = noted {
                    self.core.store.set_damaged(bytes);
                }
                true
            }
            MergeStop::Damaged(reason) => {
                tracing::error!(reason, "a tablet cannot be merged any more");
                let bytes = self.core.with_tablet_mut(id, |tablet| {
                    tablet.set_damage(reason);
                    tablet.window_bytes()
                });
                self.core.store.set_damaged(bytes.unwrap_or(0));
                false
            }
        }
    }

    /// Merges one tablet's window to its end.
    async fn merge(&self, id: TabletId) -> Result<(), MergeStop> {
        let begun = self.core.shard.now();
        let _merging = self.core.store.begin_merging(DataWork::Merge);
        let frozen = self.freeze(id)?;
        let upto = frozen.upto;
        self.wait_settled(frozen.upto).await?;
        let durable = self.core.store.log.durable();
        assert!(upto <= durable, "INV-2: pages up to {upto}, log durable to {durable}");
        let visible = self.core.store.oracle.visible();
        assert!(upto <= visible, "INV-2: pages up to {upto}, commits visible to {visible}");
        self.begin(id)?;
        let mut position: Option<Bytes> = None;
        loop {
            let mut slice = Slice::begin(&self.core, &self.pages, id).ok_or(MergeStop::Gone)?;
            let filled = slice.fill(&frozen.window, &mut position).await;
            let is_whole = match filled {
                Ok(is_whole) => is_whole,
                Err(error) => {
                    slice.abandon().await;
                    self.publish_gauges();
                    return Err(self.stop_of(error));
                }
            };
            let merge_lsn = if is_whole { Some(frozen.upto) } else { None };
            let published = slice.publish(&self.publisher, frozen.upto, merge_lsn).await;
            self.release();
            published.map_err(|error| self.stop_of(error))?;
            if is_whole {
                break;
            }
        }
        self.core.store.set_merge_stuck(self.core.shard.id(), false);
        // The window is the tablet's alone again, unless somebody reads it.
        drop(frozen);
        self.give_back_spare(id);
        let needs_index = self.is_index_needed(upto);
        self.core.with_tablet_mut(id, |tablet| tablet.end_merge(needs_index));
        self.core.tidy(limits::GARBAGE_STEP_MAX);
        self.core.note_merge(self.core.shard.now().saturating_since(begun));
        Ok(())
    }

    fn stop_of(&self, error: SliceError) -> MergeStop {
        match error {
            SliceError::NoSpace => MergeStop::NoSpace,
            SliceError::Gone => MergeStop::Gone,
            SliceError::Read(reason) => MergeStop::Read(reason),
            SliceError::Damaged(reason) => MergeStop::Damaged(reason),
            SliceError::Write(reason) => {
                self.core.store.stop(&reason);
                MergeStop::Stopped
            }
            SliceError::Stopped => MergeStop::Stopped,
        }
    }

    fn freeze(&self, id: TabletId) -> Result<Frozen, MergeStop> {
        let tail = Lsn::new(self.core.store.log.ring().tail());
        let frozen = self.core.with_tablet_mut(id, |tablet| match tablet.frozen() {
            Some(frozen) => frozen.clone(),
            None => tablet.freeze(tail),
        });
        frozen.ok_or(MergeStop::Gone)
    }

    /// Returns when everything at or below `upto` is durable and visible (INV-2).
    async fn wait_settled(&self, upto: Lsn) -> Result<(), MergeStop> {
        let store = &self.core.store;
        self.core.wait_visible(upto).await.map_err(|_| MergeStop::Stopped)?;
        loop {
            if store.poison.reason().is_some() {
                return Err(MergeStop::Stopped);
            }
            if store.log.durable() >= upto {
                return Ok(());
            }
            self.core.start_flights();
            self.core.wait_until(|| store.log.durable() >= upto).await;
        }
    }

    fn begin(&self, id: TabletId) -> Result<(), MergeStop> {
        // Loaded first: a snapshot that the registry does not show yet is at or above it.
        let _visible = self.core.store.oracle.visible();
        let snapshots = self.core.store.registry.active();
        let begun = self.core.with_tablet_mut(id, |tablet| tablet.begin_merge(&snapshots));
        begun.ok_or(MergeStop::Gone)
    }

    fn is_index_needed(&self, upto: Lsn) -> bool {
        let snapshots = self.core.store.registry.active_snapshots();
        snapshots.iter().any(|s| s.kind == SnapshotKind::ReadWrite && s.lsn < upto)
    }
}
