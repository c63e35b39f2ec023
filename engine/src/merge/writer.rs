//! Where a slice's pages go: allocated in runs, copied into the cache, written in large requests,
//! a bounded number of them in flight.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use futures_channel::oneshot;
use sombra_runtime::{DmaBuf, FaultPoint, IoClass, Shard, TaskClass, TaskSpec};

use super::slice::SliceError;
use crate::btree::PageOut;
use crate::cache::Page;
use crate::format::node::NodeStamp;
use crate::format::overflow::{OverflowRef, encode_overflow, overflow_pages};
use crate::format::page::PageOwner;
use crate::format::root_table::TabletSpace;
use crate::ids::{Lsn, PageAddr};
use crate::limits;
use crate::tablet::{PageStore, ReplacedPages};
use crate::volume::{PageAllocator, PageRun};

/// Bytes that wait for their write.
enum Pending {
    /// A page that is in the cache, and stays there until the write has ended: the device has
    /// older bytes in its place.
    Resident(Page),
    Loose(DmaBuf),
}

impl Pending {
    fn bytes(&self) -> &[u8] {
        match self {
            Pending::Resident(page) => page,
            Pending::Loose(buffer) => buffer,
        }
    }
}

/// Consecutive pages that are written in one request.
struct Run {
    first: PageAddr,
    pages: usize,
    parts: Vec<Pending>,
}

impl Run {
    /// The bytes of all its pages, and the cached pages among them.
    fn into_buffer(mut self, shard: &Shard) -> (DmaBuf, Vec<Page>) {
        if let [Pending::Loose(_)] = self.parts[..]
            && let Some(Pending::Loose(buffer)) = self.parts.pop()
        {
            return (buffer, Vec::new());
        }
        let len_bytes = self.parts.iter().map(|part| part.bytes().len()).sum();
        let mut buffer = shard.alloc_buffer(len_bytes);
        let (mut at, mut resident) = (0, Vec::new());
        for part in self.parts {
            let bytes = part.bytes();
            buffer[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
            if let Pending::Resident(page) = part {
                resident.push(page);
            }
        }
        (buffer, resident)
    }
}

/// Pages of a slice whose write has not ended, whatever the cache has room for: the device has
/// older bytes in their place.
pub(super) type Unwritten = Rc<RefCell<BTreeMap<PageAddr, Page>>>;

/// A write on its way, and the pages that are on the device when it has ended.
struct InFlight {
    ended: oneshot::Receiver<Result<(), String>>,
    first: PageAddr,
    pages: usize,
}

/// Allocates, keeps and writes the pages of one slice.
pub(super) struct SliceWriter {
    store: Rc<PageStore>,
    allocator: Rc<RefCell<PageAllocator>>,
    run: Option<Run>,
    full: VecDeque<Run>,
    in_flight: VecDeque<InFlight>,
    unwritten: Unwritten,
    /// Everything this slice took, for giving it back.
    taken: Vec<PageRun>,
    obsolete: Vec<PageRun>,
    /// Pages of the map that this slice has replaced.
    map_before: Option<Vec<PageAddr>>,
    written_pages: u64,
}

impl SliceWriter {
    pub(super) fn new(store: Rc<PageStore>, allocator: Rc<RefCell<PageAllocator>>) -> SliceWriter {
        SliceWriter {
            store,
            allocator,
            run: None,
            full: VecDeque::new(),
            in_flight: VecDeque::new(),
            unwritten: Unwritten::default(),
            taken: Vec::new(),
            obsolete: Vec::new(),
            map_before: None,
            written_pages: 0,
        }
    }

    pub(super) fn written_pages(&self) -> u64 {
        self.written_pages
    }

    pub(super) fn unwritten(&self) -> Unwritten {
        Rc::clone(&self.unwritten)
    }

    pub(super) fn take_replaced(&mut self) -> ReplacedPages {
        let (taken, obsolete) = (&mut self.taken, &mut self.obsolete);
        ReplacedPages { taken: std::mem::take(taken), obsolete: std::mem::take(obsolete) }
    }

    fn page_size(&self) -> usize {
        self.store.volume.page_size_bytes()
    }

    fn run_pages_max(&self) -> usize {
        limits::MERGE_WRITE_BYTES / self.page_size()
    }

    /// No pages for a simulation's reason: the same to a merge as a full data file.
    fn refuse_if_planned(&self) -> Result<(), SliceError> {
        if !self.store.shard.refuses(FaultPoint::PageAllocation) {
            return Ok(());
        }
        self.store.volume.want_extents(1);
        Err(SliceError::NoSpace)
    }

    /// Takes extents until `pages` single pages can be allocated.
    pub(super) fn ensure_room(&mut self, pages: u64) -> Result<(), SliceError> {
        self.refuse_if_planned()?;
        let per_extent = limits::EXTENT_BYTES / self.page_size() as u64;
        loop {
            let free = self.allocator.borrow().free_pages();
            if free >= pages {
                return Ok(());
            }
            self.add_extents((pages - free).div_ceil(per_extent) as u32)?;
        }
    }

    fn add_extents(&mut self, count: u32) -> Result<(), SliceError> {
        let extents = self.take_extents(count, false)?;
        self.allocator.borrow_mut().add_extents(&extents);
        Ok(())
    }

    fn take_extents(&mut self, count: u32, contiguous: bool) -> Result<Vec<u32>, SliceError> {
        self.store.volume.take_extents(count, contiguous).ok_or(SliceError::NoSpace)
    }

    /// Writes a value that no leaf holds; returns the reference that its leaf will hold.
    pub(super) async fn write_overflow(
        &mut self,
        (owner, page_lsn): (PageOwner, Lsn),
        value: &Bytes,
    ) -> Result<OverflowRef, SliceError> {
        let page_size = self.page_size();
        let pages = overflow_pages(value.len(), page_size);
        let first = self.take_run(pages)?;
        self.taken.push(PageRun { addr: first, pages });
        let mut buffer = self.store.shard.alloc_buffer(pages as usize * page_size);
        let stamp = NodeStamp { addr: first, owner, page_lsn };
        let reference = encode_overflow(&mut buffer, page_size, &stamp, value);
        self.written_pages += u64::from(pages);
        let (pages, parts) = (pages as usize, vec![Pending::Loose(buffer)]);
        self.full.push_back(Run { first, pages, parts });
        self.drain().await?;
        Ok(reference)
    }

    fn take_run(&mut self, pages: u32) -> Result<PageAddr, SliceError> {
        self.refuse_if_planned()?;
        let per_extent = (limits::EXTENT_BYTES / self.page_size() as u64) as u32;
        if pages >= per_extent {
            let extents = self.take_extents(pages.div_ceil(per_extent), true)?;
            return Ok(self.allocator.borrow_mut().alloc_big(&extents, pages));
        }
        let found = self.allocator.borrow_mut().alloc_run(pages);
        if let Some(first) = found {
            return Ok(first);
        }
        self.add_extents(1)?;
        let found = self.allocator.borrow_mut().alloc_run(pages);
        Ok(found.expect("INV-9: a fresh extent holds any shorter run"))
    }

    /// Writes the map of everything the new root reaches, the map's own pages included.
    pub(super) fn write_map(
        &mut self,
        owner: PageOwner,
        (has_root, lsn): (bool, Lsn),
    ) -> Result<Option<TabletSpace>, SliceError> {
        if !has_root {
            let replaced = self.allocator.borrow_mut().drop_map();
            self.note_replaced_map(replaced);
            return Ok(None);
        }
        self.refuse_if_planned()?;
        loop {
            let planned = self.allocator.borrow_mut().encode_map(owner, lsn);
            let Some(map) = planned else {
                self.add_extents(1)?;
                continue;
            };
            self.note_replaced_map(map.replaced);
            for (addr, bytes) in &map.pages {
                self.taken.push(PageRun { addr: *addr, pages: 1 });
                let mut page = self.store.shard.alloc_buffer(bytes.len());
                page.copy_from_slice(bytes);
                self.append(*addr, Pending::Loose(page));
            }
            return Ok(Some(map.space));
        }
    }

    fn note_replaced_map(&mut self, replaced: Vec<PageAddr>) {
        self.obsolete.extend(replaced.iter().map(|&addr| PageRun { addr, pages: 1 }));
        self.map_before = Some(replaced);
    }

    fn append(&mut self, addr: PageAddr, page: Pending) {
        let run_pages_max = self.run_pages_max();
        let continues = self.run.as_ref().is_some_and(|run| {
            run.first.plus(run.pages as u64) == addr && run.pages < run_pages_max
        });
        if !continues {
            self.full.extend(self.run.take());
        }
        let new = || Run { first: addr, pages: 0, parts: Vec::new() };
        let run = self.run.get_or_insert_with(new);
        run.parts.push(page);
        run.pages += 1;
        self.written_pages += 1;
    }

    /// Starts the writes of full runs; waits while too many are in flight.
    pub(super) async fn drain(&mut self) -> Result<(), SliceError> {
        while let Some(run) = self.full.pop_front() {
            while self.in_flight.len() >= limits::MERGE_WRITES_IN_FLIGHT {
                self.wait_oldest().await?;
            }
            self.start(run);
        }
        Ok(())
    }

    fn start(&mut self, run: Run) {
        let (done, ended) = oneshot::channel();
        let store = Rc::clone(&self.store);
        let (first, pages) = (run.first, run.pages);
        let spec = TaskSpec { name: "merge write", class: TaskClass::Merge, on_panic: None };
        self.store.shard.spawn(spec, async move {
            let (buffer, resident) = run.into_buffer(&store.shard);
            let class = IoClass::Merge;
            let written = store.volume.write_pages(&store.shard, first, buffer, class).await;
            drop(resident);
            // A slice that was dropped does not want the answer.
            let _ = done.send(written.map(drop).map_err(|error| error.to_string()));
        });
        self.in_flight.push_back(InFlight { ended, first, pages });
    }

    async fn wait_oldest(&mut self) -> Result<(), SliceError> {
        let Some(InFlight { ended, first, pages }) = self.in_flight.pop_front() else {
            return Ok(());
        };
        match ended.await {
            Ok(Ok(())) => {
                let mut unwritten = self.unwritten.borrow_mut();
                (0..pages as u64).for_each(|at| drop(unwritten.remove(&first.plus(at))));
                Ok(())
            }
            Ok(Err(reason)) => Err(SliceError::Write(reason)),
            Err(_) => Err(SliceError::Stopped),
        }
    }

    /// Returns when everything is written; not yet durable.
    pub(super) async fn finish(&mut self) -> Result<(), SliceError> {
        self.full.extend(self.run.take());
        self.drain().await?;
        while !self.in_flight.is_empty() {
            self.wait_oldest().await?;
        }
        Ok(())
    }

    /// Gives back what was taken, once no write of it is in flight any more.
    pub(super) async fn abandon(mut self) {
        while !self.in_flight.is_empty() {
            // The pages are given up either way; a failed write was or will be reported.
            let _ = self.wait_oldest().await;
        }
        let mut allocator = self.allocator.borrow_mut();
        allocator.revive(&self.obsolete);
        if let Some(before) = self.map_before.take() {
            allocator.restore_map(before);
        }
        for run in &self.taken {
            allocator.unalloc(run.addr, run.pages);
            (0..u64::from(run.pages)).for_each(|at| self.store.cache.forget(run.addr.plus(at)));
        }
    }
}

impl PageOut for SliceWriter {
    fn alloc(&mut self) -> PageAddr {
        let addr = self.allocator.borrow_mut().alloc();
        let addr = addr.expect("INV-9: room was made before the unit began");
        self.taken.push(PageRun { addr, pages: 1 });
        addr
    }

    fn write(&mut self, addr: PageAddr, fill: &mut dyn FnMut(&mut [u8])) {
        let mut page = self.store.page_buffer();
        fill(&mut page);
        let page = self.store.keep(addr, page);
        self.unwritten.borrow_mut().insert(addr, page.clone());
        self.append(addr, Pending::Resident(page));
    }

    fn obsolete(&mut self, addr: PageAddr, pages: u32) {
        self.allocator.borrow_mut().obsolete(addr, pages);
        self.obsolete.push(PageRun { addr, pages });
    }
}
