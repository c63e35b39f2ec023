//! Worlds whose programs run on shards, beside the volume they test.

use std::future::Future;
use std::sync::{Arc, Mutex};

use sombra_runtime::sim::{RunEnd, SimDisk, SimDiskOptions, SimOptions, SimWorld};
use sombra_runtime::{DmaBuf, IoClass, Shard, ShardId, TaskClass, TaskSpec};

use crate::format::page::{PageHeader, PageKind, PageOwner, PageRef, seal_page, verify_page};
use crate::format::root_table::{RootRow, TabletRow, TabletSpace};
use crate::ids::{KeyspaceId, Lsn, PageAddr, StoreId, TabletId};
use crate::options::DurabilityMethod;
use crate::volume::errors::{ReadPageError, WritePagesError};
use crate::volume::{Access, Volume, VolumeConfig};

pub(crate) const STORE: StoreId = StoreId::from_bytes(*b"0123456789abcdef");
pub(crate) const PATH: &str = "/store/pages.sombra";
pub(crate) const STEPS_MAX: u64 = 2_000_000;
pub(crate) const OWNER: PageOwner =
    PageOwner { store_id: STORE, tablet: TabletId { keyspace: KeyspaceId::new(1), index: 0 } };

pub(crate) fn tablet_owner(index: u32) -> PageOwner {
    PageOwner { store_id: STORE, tablet: TabletId { keyspace: KeyspaceId::new(1), index } }
}

pub(crate) fn config() -> VolumeConfig {
    VolumeConfig {
        access: Access::ReadWrite,
        path: PATH.into(),
        store_id: STORE,
        page_size_bytes: 4096,
        method: DurabilityMethod::RingFlush,
        data_bytes_max: 64 << 20,
        fixed_len_bytes: None,
    }
}

pub(crate) fn disk(seed: u64) -> SimDisk {
    disk_with(SimDiskOptions::new(seed))
}

pub(crate) fn disk_with(options: SimDiskOptions) -> SimDisk {
    let disk = SimDisk::new(options);
    disk.create_dir("/store");
    disk
}

/// A task of a shard and what it answered.
pub(crate) struct Answer<T>(Arc<Mutex<Option<T>>>);

impl<T> Answer<T> {
    pub(crate) fn is_there(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    pub(crate) fn take(&self) -> T {
        self.0.lock().unwrap().take().unwrap()
    }
}

pub(crate) fn world(seed: u64, disk: &SimDisk) -> SimWorld {
    SimWorld::new(SimOptions::new(seed, 2, disk.clone()))
}

pub(crate) fn spawn<T, F, P>(world: &SimWorld, shard: usize, program: P) -> Answer<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    P: FnOnce(Shard) -> F + Send + 'static,
{
    let slot = Arc::new(Mutex::new(None));
    let answer = Answer(Arc::clone(&slot));
    world.runtime().run_on(ShardId::new(shard as u16), move |shard| {
        let future = program(shard.clone());
        shard.spawn(TaskSpec::new("test", TaskClass::Foreground), async move {
            let value = future.await;
            *slot.lock().unwrap() = Some(value);
        });
    });
    answer
}

/// Runs a program of shard 0 to its end in a world of its own; the process dies afterwards.
pub(crate) fn run<T, F, P>(seed: u64, disk: &SimDisk, program: P) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    P: FnOnce(Shard) -> F + Send + 'static,
{
    let mut world = world(seed, disk);
    let answer = spawn(&world, 0, program);
    let end = world.run(STEPS_MAX, || answer.is_there());
    assert_eq!(end, RunEnd::Done, "{}", world.describe());
    let value = answer.take();
    world.kill();
    value
}

/// A leaf page whose content says which version it is.
pub(crate) fn leaf(addr: PageAddr, version: u64) -> (PageRef, Vec<u8>) {
    let mut page = vec![0; 4096];
    page[64..72].copy_from_slice(&version.to_le_bytes());
    let header = PageHeader {
        kind: PageKind::Leaf,
        level: 0,
        count: 0,
        addr,
        owner: OWNER,
        page_lsn: Lsn::new(version),
        used_bytes: 72,
        prefix_len_bytes: 0,
    };
    let crc = seal_page(&mut page, &header);
    (PageRef { addr, crc }, page)
}

/// A tablet's row as a merge up to `lsn` leaves it.
pub(crate) fn tablet_row(index: u32, lsn: u64) -> RootRow {
    let page = |addr| PageRef { addr: PageAddr::new(addr), crc: lsn as u32 };
    RootRow::Tablet(TabletRow {
        id: TabletId { keyspace: KeyspaceId::new(1), index },
        lower_boundary: vec![b'k'; index as usize % 1000],
        merge_lsn: Lsn::new(lsn),
        tree_lsn: Lsn::new(lsn),
        root: Some(page(600 + lsn)),
        root_level: 1,
        row_count: lsn,
        space: Some(TabletSpace { map: page(700), map_pages: 1, live_pages: 9 }),
    })
}

/// Most bytes of one request; the runtime splits longer ones.
const REQUEST_BYTES: usize = 512 << 10;

impl Volume {
    /// Reads one page and verifies it against its reference and owner (INV-6).
    pub(crate) async fn read_page(
        &self,
        shard: &Shard,
        reference: PageRef,
        owner: &PageOwner,
        class: IoClass,
    ) -> Result<DmaBuf, ReadPageError> {
        let page = reference.addr;
        let buf = self.read_run(shard, page, 1, class).await?;
        match verify_page(&buf, reference, None, owner) {
            Ok(_) => Ok(buf),
            Err(source) => Err(self.damaged(page, source)),
        }
    }

    /// Writes pages in the given order, neighbours in one request.
    ///
    /// # Errors
    /// As [`Volume::write_pages`].
    pub(crate) async fn write_page_list(
        &self,
        shard: &Shard,
        pages: &[(PageAddr, Vec<u8>)],
        class: IoClass,
    ) -> Result<(), WritePagesError> {
        let most = REQUEST_BYTES / self.page_size_bytes();
        let mut rest = pages;
        while let Some(&(addr, _)) = rest.first() {
            let is_next = |(at, page): (usize, &(PageAddr, Vec<u8>))| {
                at < most && page.0 == addr.plus(at as u64)
            };
            let count = rest.iter().enumerate().take_while(|&place| is_next(place)).count();
            let (run, others) = rest.split_at(count);
            let mut buf = shard.alloc_buffer(count * self.page_size_bytes());
            for (room, (_, page)) in buf.chunks_exact_mut(self.page_size_bytes()).zip(run) {
                room.copy_from_slice(page);
            }
            self.write_pages(shard, addr, buf, class).await?;
            rest = others;
        }
        Ok(())
    }
}
