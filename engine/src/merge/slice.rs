//! One slice of a merge: a part of the window goes into the tree, then the new root is published
//! behind one data barrier and one root barrier.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use futures_channel::oneshot;
use sombra_runtime::IoClass;
use sombra_runtime::sync::MailboxSender;

use super::publisher::{PublishRequest, TabletRoot};
use super::writer::{SliceWriter, Unwritten};
use crate::btree::{BatchEntry, BatchValue, Pages, Rebuild, RebuildConfig, RebuildStep, TreeRoot};
use crate::cache::Page;
use crate::commit::Core;
use crate::format::node::must_overflow;
use crate::format::page::{PageOwner, PageRef};
use crate::ids::{Lsn, PageAddr, TabletId};
use crate::limits;
use crate::tablet::{PageReadError, PageStore, SharedWindow, TabletPages};

/// Why a slice did not come about.
#[derive(Debug)]
pub(super) enum SliceError {
    NoSpace,
    Gone,
    Read(String),
    Damaged(String),
    /// A failed data write: stops the store (INV-7).
    Write(String),
    Stopped,
}

impl From<PageReadError> for SliceError {
    fn from(error: PageReadError) -> SliceError {
        let reason = error.to_string();
        if error.is_device() { SliceError::Read(reason) } else { SliceError::Damaged(reason) }
    }
}

/// A root under construction, which nobody sees yet.
pub(super) struct Slice {
    core: Rc<Core>,
    pages: Rc<PageStore>,
    id: TabletId,
    owner: PageOwner,
    root: Option<TreeRoot>,
    writer: SliceWriter,
}

/// Pages that the running unit of a rebuild needs, and those that the slice has built, on top of
/// the cache.
struct Pinned<'p> {
    pages: &'p TabletPages,
    held: BTreeMap<PageAddr, Page>,
    unwritten: Unwritten,
}

impl Pages for Pinned<'_> {
    type Page = Page;

    fn page(&self, page: PageRef) -> Option<Page> {
        let held = self.held.get(&page.addr).cloned();
        let built = || self.unwritten.borrow().get(&page.addr).cloned();
        held.or_else(built).or_else(|| self.pages.page(page))
    }
}

impl Slice {
    /// A slice on top of the tablet's present root. `None`: the tablet was dropped.
    pub(super) fn begin(core: &Rc<Core>, pages: &Rc<PageStore>, id: TabletId) -> Option<Slice> {
        let (root, allocator) = core.with_tablet(id, |tablet| {
            (tablet.tree.current().root, Rc::clone(&tablet.tree.allocator))
        })?;
        let owner = pages.owner(id);
        let writer = SliceWriter::new(Rc::clone(pages), allocator);
        let (core, pages) = (Rc::clone(core), Rc::clone(pages));
        Some(Slice { core, pages, id, owner, root, writer })
    }

    /// Merges the window's keys behind `position` until the slice is full; moves `position`.
    /// Tells whether the window's end was reached.
    pub(super) async fn fill(
        &mut self,
        window: &SharedWindow,
        position: &mut Option<Bytes>,
    ) -> Result<bool, SliceError> {
        loop {
            let rows = window.with(|window| {
                let (keys, bytes) = (limits::MERGE_BATCH_KEYS, limits::MERGE_BATCH_BYTES);
                window.batch_after(position.as_deref(), keys, bytes)
            });
            let Some((last, _, _)) = rows.last() else { return Ok(true) };
            let last = last.clone();
            let mut batch = Vec::with_capacity(rows.len());
            for (key, lsn, value) in rows {
                let value = self.batch_value(&key, lsn, value).await?;
                batch.push(BatchEntry { key, lsn, value });
            }
            self.rebuild(batch).await?;
            *position = Some(last);
            if self.writer.written_pages() >= self.slice_pages() {
                return Ok(false);
            }
        }
    }

    fn slice_pages(&self) -> u64 {
        let share = self.core.store.memory.max_bytes() / limits::MERGE_SLICE_SHARE;
        limits::MERGE_SLICE_BYTES.min(share) / self.pages.volume.page_size_bytes() as u64
    }

    async fn batch_value(
        &mut self,
        key: &[u8],
        lsn: Lsn,
        value: Option<Bytes>,
    ) -> Result<BatchValue, SliceError> {
        let Some(value) = value else { return Ok(BatchValue::Delete) };
        let page_size = self.pages.volume.page_size_bytes();
        if !must_overflow(key.len(), value.len(), page_size) {
            return Ok(BatchValue::Inline(value));
        }
        let written = self.writer.write_overflow((self.owner, lsn), &value).await?;
        Ok(BatchValue::Overflow(written))
    }

    async fn rebuild(&mut self, batch: Vec<BatchEntry>) -> Result<(), SliceError> {
        let page_size = self.pages.volume.page_size_bytes();
        let config = RebuildConfig { page_size, owner: self.owner, root: self.root };
        let mut rebuild = Rebuild::new(config, batch);
        let pages = self.pages.of(self.id);
        let (held, unwritten) = (BTreeMap::new(), self.writer.unwritten());
        let mut pinned = Pinned { pages: &pages, held, unwritten };
        loop {
            self.writer.ensure_room(limits::REBUILD_UNIT_PAGES_MAX as u64)?;
            match rebuild.advance(&pinned, &mut self.writer) {
                RebuildStep::NeedPages(wanted) => {
                    pages.prefetch(&wanted, IoClass::Merge);
                    for page in wanted {
                        let read = pages.fetch(page, IoClass::Merge).await?;
                        pinned.held.insert(page.addr, read);
                    }
                }
                RebuildStep::Progress => {
                    pinned.held.clear();
                    self.writer.drain().await?;
                    self.refuse_if_stopped()?;
                    self.core.shard.yield_if_needed().await;
                }
                RebuildStep::Done(root) => {
                    self.root = root;
                    return self.writer.drain().await;
                }
            }
        }
    }

    fn refuse_if_stopped(&self) -> Result<(), SliceError> {
        let store = &self.core.store;
        if store.poison.reason().is_some() || store.is_closing() {
            return Err(SliceError::Stopped);
        }
        match self.core.with_tablet(self.id, |_| ()) {
            Some(()) => Ok(()),
            None => Err(SliceError::Gone),
        }
    }

    /// Gives back the pages of a slice that nobody will see, once their writes have ended.
    pub(super) async fn abandon(self) {
        self.writer.abandon().await;
    }

    /// Makes the pages durable, then the root that reaches them, then puts it in force.
    /// `tree_lsn` bounds what the tree may hold; `merge_lsn` is set when it holds all up to it.
    pub(super) async fn publish(
        mut self,
        publisher: &MailboxSender<PublishRequest>,
        tree_lsn: Lsn,
        merge_lsn: Option<Lsn>,
    ) -> Result<(), SliceError> {
        let merged = self.core.with_tablet(self.id, |tablet| tablet.tree.merge_lsn());
        let Some(older) = merged else {
            self.writer.abandon().await;
            return Err(SliceError::Gone);
        };
        let merge_lsn = merge_lsn.unwrap_or(older);
        let space = match self.writer.write_map(self.owner, (self.root.is_some(), tree_lsn)) {
            Ok(space) => space,
            Err(error) => {
                self.writer.abandon().await;
                return Err(error);
            }
        };
        self.writer.finish().await?;
        let durable = self.core.store.log.durable();
        assert!(tree_lsn <= durable, "INV-2: pages up to {tree_lsn}, log durable to {durable}");
        let barrier = self.pages.volume.barrier(&self.core.shard).await;
        barrier.map_err(|error| SliceError::Write(error.to_string()))?;
        let root = TabletRoot { tablet: self.id, merge_lsn, tree_lsn, root: self.root, space };
        let (reply, published) = oneshot::channel();
        let sent = publisher.send(PublishRequest::Roots { roots: vec![root], reply }).await;
        sent.map_err(|_| SliceError::Stopped)?;
        let published = published.await.map_err(|_| SliceError::Stopped)?;
        let Some(write) = published.places.first().copied().flatten() else {
            // Dropped meanwhile: no copy of the root table will ever name these pages.
            self.writer.abandon().await;
            return Err(SliceError::Gone);
        };
        let replaced = self.writer.take_replaced();
        self.core.with_tablet_mut(self.id, |tablet| {
            tablet.tree.replace_root(self.root, replaced, (space, write));
            tablet.tree.raise_merge_lsn(merge_lsn);
        });
        Ok(())
    }
}
