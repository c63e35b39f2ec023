//! The data file itself: made, opened, read with verification, written, made durable.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use sombra_runtime::{
    Create, DmaBuf, DmaFile, FlushVia, IoBuf, IoClass, OpenHow, Shard, WriteMode,
};

use super::errors::{OpenVolumeError, ReadMapError, ReadPageError, WritePagesError};
use super::flushes::Flushes;
use super::growth::Space;
use crate::format::BLOCK_SIZE_BYTES;
use crate::format::page::{PageError, PageOwner, is_page_size};
use crate::format::root_table::{
    ROOT_COPY_BYTES, ROOT_EXTENTS, ROOT_PAGE_BYTES, RootCopy, RootPlace, TabletSpace,
};
use crate::format::space_map::{
    SpaceMap, SpaceMapBounds, SpaceMapDecoder, SpaceMapIdentity, pages_per_extent,
};
use crate::ids::{PageAddr, StoreId};
use crate::limits::EXTENT_BYTES;
use crate::media::{PastDamage, read_past_damage};
use crate::options::DurabilityMethod;

/// What an opener may do with a store's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

impl Access {
    /// How a file of whole blocks is opened.
    pub(crate) fn open_how(self) -> OpenHow {
        match self {
            Access::ReadWrite => OpenHow::direct_rw(),
            Access::ReadOnly => OpenHow::direct_read(),
        }
    }
}

/// What a data file is, and how far it may grow.
#[derive(Clone, Debug)]
pub(crate) struct VolumeConfig {
    /// The file, or a raw block device.
    pub(crate) path: PathBuf,
    pub(crate) store_id: StoreId,
    pub(crate) access: Access,
    /// 4, 8, 16 or 32 KiB; a property of the store.
    pub(crate) page_size_bytes: u32,
    pub(crate) method: DurabilityMethod,
    /// Bound of the file's length. Merges and deletes beyond it wait, commits get `DiskFull`.
    pub(crate) data_bytes_max: u64,
    /// Length of a raw block device, which neither grows nor shrinks.
    pub(crate) fixed_len_bytes: Option<u64>,
}

/// The data file, shared by all shards.
pub(crate) struct Volume {
    pub(super) config: VolumeConfig,
    pub(super) file: DmaFile,
    pub(super) space: Space,
    pub(super) flushes: Flushes,
    /// Keeps others away from a raw device until the store lets it go.
    claim: Mutex<Option<DmaFile>>,
}

impl Volume {
    /// Makes the file with an empty root table, durably, then gives it its name: a file that
    /// has its name is whole. Of a raw device only the root table is zeroed.
    pub(crate) async fn create(
        shard: &Shard,
        config: &VolumeConfig,
    ) -> Result<(), OpenVolumeError> {
        check_page_size(config)?;
        if let Some(len_bytes) = config.fixed_len_bytes {
            extent_count(config, len_bytes)?;
            return zero_roots(shard, config, &config.path, Create::No).await;
        }
        let preparing = config.path.with_extension("preparing");
        if let Err(error) = zero_roots(shard, config, &preparing, Create::Yes).await {
            // What was written of it is of no use; a failure to remove it changes nothing.
            let _ = shard.unlink(&preparing).await;
            return Err(error);
        }
        shard.rename(&preparing, &config.path).await.map_err(open_error(config, "rename"))
    }

    /// Opens the file. Every extent behind the root table is free until
    /// [`Volume::mark_owned`] says otherwise.
    pub(crate) async fn open(
        shard: &Shard,
        config: VolumeConfig,
    ) -> Result<Volume, OpenVolumeError> {
        check_page_size(&config)?;
        let mut config = config;
        let file = shard.open(&config.path, config.access.open_how()).await;
        let file = file.map_err(open_error(&config, "open"))?;
        let disk = shard.disk_info(&file).await.map_err(open_error(&config, "look"))?;
        let len_bytes = match config.fixed_len_bytes {
            Some(len_bytes) => len_bytes,
            None => shard.file_len(&file).await.map_err(open_error(&config, "look"))?,
        };
        let mut claim = None;
        if disk.is_block_device {
            config.fixed_len_bytes = Some(len_bytes);
            // Readers share the device: the store's lock keeps writers away.
            if config.access == Access::ReadWrite {
                let claimed = shard.open(&config.path, OpenHow::exclusive_read()).await;
                claim = Some(claimed.map_err(open_error(&config, "claim"))?);
            }
        }
        // A crash while the file grew may have left a part of an extent behind the last one.
        let extents = extent_count(&config, len_bytes)?;
        let space = Space::new(&config, extents);
        let (flushes, claim) = (Flushes::default(), Mutex::new(claim));
        Ok(Volume { config, file, space, flushes, claim })
    }

    /// Lets the next opener have a raw device, though somebody may still hold the volume.
    pub(crate) fn release_device(&self) {
        if let Ok(mut claim) = self.claim.lock() {
            drop(claim.take());
        }
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.config.store_id
    }

    pub(crate) fn page_size_bytes(&self) -> usize {
        self.config.page_size_bytes as usize
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.config.path
    }

    /// The error of bytes that are not the page they should be.
    pub(crate) fn damaged(&self, page: PageAddr, source: PageError) -> ReadPageError {
        let (path, offset) = self.place(page);
        ReadPageError::Damaged { path, offset, page, source }
    }

    /// The error of a whole page that makes no sense as a node.
    pub(crate) fn broken_node(&self, page: PageAddr, reason: String) -> ReadPageError {
        let (path, offset) = self.place(page);
        ReadPageError::Node { path, offset, page, reason }
    }

    /// Reads pages that follow each other and believes nothing: the caller verifies the run
    /// before it uses a byte of it (INV-6).
    pub(crate) async fn read_run(
        &self,
        shard: &Shard,
        addr: PageAddr,
        pages: u32,
        class: IoClass,
    ) -> Result<DmaBuf, ReadPageError> {
        self.refuse_outside(addr, pages.into())?;
        let buf = shard.alloc_buffer(pages as usize * self.page_size_bytes());
        self.read_into(shard, addr, buf, class).await
    }

    /// As [`Volume::read_run`], into a buffer of whole pages.
    pub(crate) async fn read_into(
        &self,
        shard: &Shard,
        addr: PageAddr,
        buf: DmaBuf,
        class: IoClass,
    ) -> Result<DmaBuf, ReadPageError> {
        let expected = buf.len();
        self.refuse_outside(addr, (expected / self.page_size_bytes()) as u64)?;
        let (path, page) = (self.config.path.clone(), addr);
        let offset = addr.offset_bytes(self.page_size_bytes());
        match shard.read_at(&self.file, class, offset, buf).await {
            Ok((buf, found)) if found == expected => Ok(buf),
            Ok((_, found)) => Err(ReadPageError::Short { path, offset, page, expected, found }),
            Err(source) => {
                let len_bytes = expected as u64;
                Err(ReadPageError::Device { path, offset, len_bytes, page, source })
            }
        }
    }

    fn refuse_outside(&self, page: PageAddr, pages: u64) -> Result<(), ReadPageError> {
        let first = self.page_number(ROOT_EXTENTS);
        let end = self.page_number(self.space.end());
        if page.as_u64() >= first && (1..=end.saturating_sub(page.as_u64())).contains(&pages) {
            return Ok(());
        }
        Err(ReadPageError::Outside { path: self.config.path.clone(), page, first, end })
    }

    /// Reads and verifies the space map that a tablet's row names.
    pub(crate) async fn read_space_map(
        &self,
        shard: &Shard,
        owner: PageOwner,
        space: &TabletSpace,
    ) -> Result<SpaceMap, ReadMapError> {
        self.read_space_map_as(shard, owner, (space, IoClass::Read)).await
    }

    /// As [`Volume::read_space_map`], in the I/O class of the caller's choice.
    pub(crate) async fn read_space_map_as(
        &self,
        shard: &Shard,
        owner: PageOwner,
        (space, class): (&TabletSpace, IoClass),
    ) -> Result<SpaceMap, ReadMapError> {
        let identity = SpaceMapIdentity { owner, page_size_bytes: self.config.page_size_bytes };
        let bounds = SpaceMapBounds {
            extents: ROOT_EXTENTS..self.space.end(),
            map_pages: space.map_pages,
            live_pages: space.live_pages,
        };
        let refuse = |source| {
            let path = self.config.path.clone();
            ReadMapError::Map { path, tablet: owner.tablet, source }
        };
        let mut decoder = SpaceMapDecoder::new(space.map, identity, bounds);
        while let Some(wanted) = decoder.wanted() {
            let page = self.read_run(shard, wanted.addr, 1, class).await?;
            decoder.push(&page).map_err(refuse)?;
        }
        decoder.finish().map_err(refuse)
    }

    /// Writes whole pages from `addr` on. They are durable after the next [`Volume::barrier`]
    /// that begins when this has returned.
    ///
    /// # Errors
    /// The first failed request: poison (INV-7).
    ///
    /// # Panics
    /// If the pages do not lie in the tablets' extents: an allocator gave the address (INV-5).
    pub(crate) async fn write_pages(
        &self,
        shard: &Shard,
        addr: PageAddr,
        buf: DmaBuf,
        class: IoClass,
    ) -> Result<DmaBuf, WritePagesError> {
        let len = buf.len();
        assert!(len > 0 && len.is_multiple_of(self.page_size_bytes()), "INV-5: {len} bytes");
        let pages = (len / self.page_size_bytes()) as u64;
        let (first, end) = (self.page_number(ROOT_EXTENTS), self.page_number(self.space.end()));
        let is_inside = addr.as_u64() >= first && addr.plus(pages).as_u64() <= end;
        assert!(is_inside, "INV-5: {pages} pages at {addr}, tablets have {first} to {end}");
        let offset = addr.offset_bytes(self.page_size_bytes());
        self.write_at(shard, offset, buf, class).await
    }

    /// Makes durable what was written before this call, by the store's own method.
    ///
    /// # Errors
    /// A failed flush is final: poison (INV-7).
    pub(crate) async fn barrier(&self, shard: &Shard) -> Result<(), WritePagesError> {
        let via = match self.config.method {
            DurabilityMethod::PoolFlush => FlushVia::Pool,
            // A flush costs next to nothing where the cache is write-through.
            DurabilityMethod::RingFlush
            | DurabilityMethod::Dsync
            | DurabilityMethod::WriteThrough => FlushVia::Ring,
        };
        let flushed = self.flushes.flush(shard, &self.file, via).await;
        flushed.map_err(|source| WritePagesError {
            path: self.config.path.clone(),
            operation: "flush",
            offset: 0,
            len_bytes: u64::from(self.space.end()) * EXTENT_BYTES,
            source,
        })
    }

    /// One copy of the root table, as far as the file has it and the device delivers it: what is
    /// unread is numbered as the slots are.
    pub(crate) async fn read_root_copy(
        &self,
        shard: &Shard,
        copy: RootCopy,
    ) -> io::Result<PastDamage> {
        let offset = RootPlace { slot: 0, copy }.offset_bytes();
        let place = (offset, ROOT_COPY_BYTES as usize);
        read_past_damage(shard, &self.file, place, IoClass::Read).await
    }

    /// Neighbouring pages of one copy of the root table, from `first` on, as far as the file has
    /// them. A page that is being written may be torn.
    pub(crate) async fn read_root_pages(
        &self,
        shard: &Shard,
        first: RootPlace,
        pages: usize,
    ) -> io::Result<(DmaBuf, usize)> {
        let buf = shard.alloc_buffer(pages * ROOT_PAGE_BYTES);
        shard.read_at(&self.file, IoClass::Maintenance, first.offset_bytes(), buf).await
    }

    /// Writes one page of the root table. At most one write of a place is in flight.
    pub(super) async fn write_root_page(
        &self,
        shard: &Shard,
        place: RootPlace,
        page: &[u8; ROOT_PAGE_BYTES],
    ) -> Result<(), WritePagesError> {
        let mut buf = shard.alloc_buffer(ROOT_PAGE_BYTES);
        buf.copy_from_slice(page);
        self.write_at(shard, place.offset_bytes(), buf, IoClass::Merge).await.map(drop)
    }

    async fn write_at(
        &self,
        shard: &Shard,
        offset: u64,
        buf: DmaBuf,
        class: IoClass,
    ) -> Result<DmaBuf, WritePagesError> {
        let len_bytes = buf.len() as u64;
        match shard.write_all_at(&self.file, class, offset, buf.into(), WriteMode::Plain).await {
            Ok(IoBuf::Owned(buf)) => Ok(buf),
            Ok(IoBuf::Log(_)) => unreachable!("a write gives back the buffer it was given"),
            Err(source) => {
                let (path, operation) = (self.config.path.clone(), "write");
                Err(WritePagesError { path, operation, offset, len_bytes, source })
            }
        }
    }

    fn page_number(&self, extent: u32) -> u64 {
        u64::from(extent) * u64::from(pages_per_extent(self.config.page_size_bytes))
    }

    fn place(&self, page: PageAddr) -> (PathBuf, u64) {
        (self.config.path.clone(), page.offset_bytes(self.page_size_bytes()))
    }
}

const _: () = assert!(ROOT_PAGE_BYTES == BLOCK_SIZE_BYTES);

/// Writes an empty root table through a plain descriptor and makes it durable.
async fn zero_roots(
    shard: &Shard,
    config: &VolumeConfig,
    path: &std::path::Path,
    create: Create,
) -> Result<(), OpenVolumeError> {
    let how = OpenHow { create, ..OpenHow::buffered_rw() };
    let file = shard.open(path, how).await.map_err(open_error(config, "create"))?;
    let len_bytes = u64::from(ROOT_EXTENTS) * EXTENT_BYTES;
    shard.write_zeroes(&file, 0, len_bytes).await.map_err(open_error(config, "write"))?;
    shard.flush(&file, FlushVia::Pool).await.map_err(open_error(config, "flush"))
}

/// Whole extents of a file, which must hold the root table.
fn extent_count(config: &VolumeConfig, len_bytes: u64) -> Result<u32, OpenVolumeError> {
    let expected = u64::from(ROOT_EXTENTS) * EXTENT_BYTES;
    if len_bytes < expected {
        let path = config.path.clone();
        return Err(OpenVolumeError::TooShort { path, expected, found: len_bytes });
    }
    let found = len_bytes / EXTENT_BYTES;
    u32::try_from(found).map_err(|_| {
        let (path, expected) = (config.path.clone(), u32::MAX.into());
        OpenVolumeError::TooLong { path, expected, found }
    })
}

fn check_page_size(config: &VolumeConfig) -> Result<(), OpenVolumeError> {
    if is_page_size(config.page_size_bytes) {
        return Ok(());
    }
    let (path, found) = (config.path.clone(), config.page_size_bytes);
    Err(OpenVolumeError::PageSize { path, found })
}

fn open_error(
    config: &VolumeConfig,
    operation: &'static str,
) -> impl FnOnce(io::Error) -> OpenVolumeError {
    let path = config.path.clone();
    move |source| OpenVolumeError::Io { path, operation, source }
}
