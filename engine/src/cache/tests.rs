//! The cache over a disk that the tests hold in memory, in a simulated world.

mod eviction;
mod fetching;
mod model;
mod prefetching;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sombra_runtime::sim::{RunEnd, SimDisk, SimDiskOptions, SimOptions, SimWorld};
use sombra_runtime::{DmaBuf, IoClass, Shard, ShardId, TaskClass, TaskSpec};

use super::frames::frame_bytes;
use super::*;
use crate::format::page::{PageError, PageHeader, PageKind, seal_page, verify_page};
use crate::ids::{KeyspaceId, Lsn, PageAddr, StoreId, TabletId};

const PAGE_BYTES: usize = 4096;
const FRAME_BYTES: u64 = frame_bytes(PAGE_BYTES);

fn owner(tablet: u32) -> PageOwner {
    let tablet = TabletId { keyspace: KeyspaceId::new(7), index: tablet };
    PageOwner { store_id: StoreId::from_bytes([3; 16]), tablet }
}

fn addr(number: u64) -> PageAddr {
    PageAddr::new(number)
}

/// The byte that fills a version of a page.
fn filling(page: PageAddr, version: u64) -> u8 {
    (page.as_u64() * 31 + version * 7) as u8
}

fn seal(buf: &mut [u8], page: PageAddr, level: u8, version: u64) -> PageRef {
    buf.fill(filling(page, version));
    let header = PageHeader {
        kind: if level == 0 { PageKind::Leaf } else { PageKind::Inner },
        level,
        count: 1,
        addr: page,
        owner: owner(0),
        page_lsn: Lsn::new(version),
        used_bytes: PAGE_BYTES as u32,
        prefix_len_bytes: 0,
    };
    PageRef { addr: page, crc: seal_page(buf, &header) }
}

/// The page's version, after a look at all of its bytes.
fn version_of(page: &Page) -> u64 {
    let version = page.header().page_lsn.as_u64();
    let expected = filling(page.reference().addr, version);
    assert!(page[64..].iter().all(|byte| *byte == expected), "{page:?} has foreign bytes");
    version
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum ReadError {
    Damaged(PageError),
    Device,
    /// The disk knows no such page.
    Nothing,
}

struct DiskState {
    shard: Shard,
    pages: RefCell<BTreeMap<PageAddr, Vec<u8>>>,
    /// Reads started, and how many of the next ones fail or panic.
    reads: Cell<u64>,
    failing: Cell<u64>,
    panicking: Cell<u64>,
    /// Each read takes up to this long.
    latency_us_max: Cell<u64>,
}

/// Pages in memory; a read sees the page of a random moment of its duration.
#[derive(Clone)]
struct TestDisk(Rc<DiskState>);

impl TestDisk {
    fn new(shard: &Shard) -> TestDisk {
        TestDisk(Rc::new(DiskState {
            shard: shard.clone(),
            pages: RefCell::default(),
            reads: Cell::new(0),
            failing: Cell::new(0),
            panicking: Cell::new(0),
            latency_us_max: Cell::new(50),
        }))
    }

    fn write(&self, number: u64, level: u8, version: u64) -> PageRef {
        let mut bytes = vec![0; PAGE_BYTES];
        let page = seal(&mut bytes, addr(number), level, version);
        self.0.pages.borrow_mut().insert(page.addr, bytes);
        page
    }

    /// Leaves of version 1 with these numbers.
    fn leaves(&self, numbers: std::ops::Range<u64>) -> Vec<PageRef> {
        numbers.map(|number| self.write(number, 0, 1)).collect()
    }

    fn reads(&self) -> u64 {
        self.0.reads.get()
    }
}

impl FetchPage for TestDisk {
    type Error = ReadError;

    fn fetch(
        &self,
        page: PageRef,
        owner: PageOwner,
        _class: IoClass,
        mut buf: DmaBuf,
    ) -> impl Future<Output = Result<DmaBuf, ReadError>> + 'static {
        let disk = Rc::clone(&self.0);
        disk.reads.set(disk.reads.get() + 1);
        async move {
            assert_eq!(buf.len(), PAGE_BYTES);
            for _ in 0..2 {
                let us = disk.shard.random_u64() % (disk.latency_us_max.get() + 1);
                disk.shard.sleep(Duration::from_micros(us)).await;
                if let Some(bytes) = disk.pages.borrow().get(&page.addr) {
                    buf.copy_from_slice(bytes);
                } else {
                    return Err(ReadError::Nothing);
                }
            }
            assert!(!take_one(&disk.panicking), "a planned panic");
            if take_one(&disk.failing) {
                return Err(ReadError::Device);
            }
            verify_page(&buf, page, None, &owner).map_err(ReadError::Damaged)?;
            Ok(buf)
        }
    }
}

fn take_one(counter: &Cell<u64>) -> bool {
    let before = counter.get();
    counter.set(before.saturating_sub(1));
    before > 0
}

type TestCache = PageCache<TestDisk>;

fn cache(shard: &Shard, disk: &TestDisk, frames: u64) -> TestCache {
    let budget_bytes = frames * FRAME_BYTES;
    PageCache::new(CacheParts {
        shard: shard.clone(),
        source: disk.clone(),
        pool: shard.add_buffer_pool(budget_bytes as usize).expect("address space"),
        page_size_bytes: PAGE_BYTES,
        budget_bytes,
        on_panic: None,
    })
}

fn fetch(cache: &TestCache, page: PageRef) -> PageFetch<TestDisk> {
    cache.fetch(page, owner(0), IoClass::Read)
}

/// Runs `body` as a task of a shard in a world of its own.
fn simulate<Fut: Future<Output = ()> + 'static>(
    seed: u64,
    body: impl FnOnce(Shard, TestDisk) -> Fut + Send + 'static,
) {
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    let mut world = SimWorld::new(SimOptions::new(seed, 1, disk));
    let done = Arc::new(AtomicBool::new(false));
    let finished = Arc::clone(&done);
    world.runtime().run_on(ShardId::new(0), move |shard| {
        let future = body(shard.clone(), TestDisk::new(shard));
        shard.spawn(TaskSpec::new("test", TaskClass::Foreground), async move {
            future.await;
            finished.store(true, Ordering::Relaxed);
        });
    });
    let end = world.run(10_000_000, || done.load(Ordering::Relaxed));
    assert_eq!(end, RunEnd::Done, "{}", world.describe());
}

/// Waits for all, polling them together.
async fn join_all<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut slots: Vec<_> = futures.into_iter().map(|future| (Some(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (waiting, output) in &mut slots {
            if let Some(future) = waiting
                && let Poll::Ready(value) = Pin::new(future).poll(cx)
            {
                (*waiting, *output) = (None, Some(value));
            }
        }
        let pending = slots.iter().any(|(waiting, _)| waiting.is_some());
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    slots.into_iter().filter_map(|(_, output)| output).collect()
}

/// Polls once, without anybody to be woken.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
