//! Where a shard's reads find pages: the cache, and the data file behind it.
//!
//! Knows how a page becomes believed: read, verified against its reference, validated, and then
//! immutable. Must never know which tree it belongs to.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sombra_runtime::{DmaBuf, IoClass, PanicSink, Shard};

use crate::btree::{Pages, Value};
use crate::cache::{CacheParts, FetchPage, Page, PageCache};
use crate::error::ReadError;
use crate::format::node::validate_node;
use crate::format::overflow::{OverflowRef, read_overflow};
use crate::format::page::{PageOwner, PageRef, verify_page};
use crate::ids::{PageAddr, TabletId};
use crate::volume::{ReadPageError, Volume};

/// Why a page could not be read; whoever waited for it gets the same reason.
#[derive(Clone, Debug)]
pub(crate) struct PageReadError(Arc<ReadPageError>);

impl fmt::Display for PageReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ReadPageError> for PageReadError {
    fn from(error: ReadPageError) -> PageReadError {
        PageReadError(Arc::new(error))
    }
}

impl PageReadError {
    /// The device failed; the page may be whole.
    pub(crate) fn is_device(&self) -> bool {
        self.0.is_device()
    }

    /// What a caller decides by.
    pub(crate) fn to_read_error(&self) -> ReadError {
        self.0.to_read_error()
    }
}

/// Reads pages of trees out of the data file, verified and validated.
#[derive(Clone)]
pub(crate) struct VolumeFetch {
    shard: Shard,
    volume: Arc<Volume>,
}

impl FetchPage for VolumeFetch {
    type Error = PageReadError;

    fn fetch(
        &self,
        page: PageRef,
        owner: PageOwner,
        class: IoClass,
        buf: DmaBuf,
    ) -> impl Future<Output = Result<DmaBuf, PageReadError>> + 'static {
        let VolumeFetch { shard, volume } = self.clone();
        async move {
            let buf = volume.read_into(&shard, page.addr, buf, class).await?;
            verify_node(&volume, (page, &owner), &buf)?;
            Ok(buf)
        }
    }
}

/// Believes a page when it is what its reference names, its tablet's, and makes sense (INV-6).
fn verify_node(
    volume: &Volume,
    (page, owner): (PageRef, &PageOwner),
    buf: &[u8],
) -> Result<(), ReadPageError> {
    let header = verify_page(buf, page, None, owner);
    let header = header.map_err(|source| volume.damaged(page.addr, source))?;
    let checked = validate_node(buf, &header);
    checked.map_err(|error| volume.broken_node(page.addr, error.to_string()))
}

/// Resident pages of one shard's tablets, and the way to the others.
pub(crate) struct PageStore {
    pub(crate) shard: Shard,
    pub(crate) volume: Arc<Volume>,
    pub(crate) cache: PageCache<VolumeFetch>,
}

impl PageStore {
    /// The pages of one shard's tablets, with `cache_bytes` of memory for them.
    ///
    /// # Errors
    /// The memory cannot be had.
    pub(crate) fn new(
        shard: Shard,
        volume: Arc<Volume>,
        (cache_bytes, on_panic): (u64, PanicSink),
    ) -> std::io::Result<Rc<PageStore>> {
        let source = VolumeFetch { shard: shard.clone(), volume: Arc::clone(&volume) };
        let cache = PageCache::new(CacheParts {
            shard: shard.clone(),
            source,
            pool: shard.add_buffer_pool(cache_bytes as usize)?,
            page_size_bytes: volume.page_size_bytes(),
            budget_bytes: cache_bytes,
            on_panic: Some(on_panic),
        });
        Ok(Rc::new(PageStore { shard, volume, cache }))
    }

    /// The pages of one tablet.
    pub(crate) fn of(self: &Rc<Self>, tablet: TabletId) -> TabletPages {
        TabletPages { owner: self.owner(tablet), store: Rc::clone(self) }
    }

    pub(crate) fn owner(&self, tablet: TabletId) -> PageOwner {
        PageOwner { store_id: self.volume.store_id(), tablet }
    }

    /// A buffer for a page that will be resident.
    pub(crate) fn page_buffer(&self) -> DmaBuf {
        self.cache.page_buffer()
    }

    /// Keeps a page that was just built; it may be read before it is written.
    pub(crate) fn keep(&self, addr: PageAddr, sealed: DmaBuf) -> Page {
        let crc = crate::format::page::sealed_crc(&sealed);
        self.cache.insert(PageRef { addr, crc }, sealed)
    }
}

/// The pages of one tablet, as its readers ask for them.
#[derive(Clone)]
pub(crate) struct TabletPages {
    pub(crate) store: Rc<PageStore>,
    owner: PageOwner,
}

impl TabletPages {
    /// The page, read unless it is resident.
    ///
    /// # Errors
    /// The device failed, or the bytes are not the page that the reference names.
    pub(crate) async fn fetch(&self, page: PageRef, class: IoClass) -> Result<Page, PageReadError> {
        self.store.cache.fetch(page, self.owner, class).await
    }

    /// Starts reading pages that will be asked for.
    pub(crate) fn prefetch(&self, pages: &[PageRef], class: IoClass) {
        self.store.cache.prefetch(pages, self.owner, class);
    }

    /// A value that was found in a leaf, as bytes of its own; reads it when it lies outside.
    ///
    /// # Errors
    /// As [`TabletPages::fetch`].
    pub(crate) async fn value(&self, value: Value<Page>) -> Result<Bytes, PageReadError> {
        match value {
            Value::Inline { page, range } => Ok(Bytes::copy_from_slice(&page[range])),
            Value::Overflow(reference) => self.overflow(reference).await,
        }
    }

    async fn overflow(&self, reference: OverflowRef) -> Result<Bytes, PageReadError> {
        let (volume, shard) = (&self.store.volume, &self.store.shard);
        let (addr, pages) = (reference.addr, reference.pages);
        let run = volume.read_run(shard, addr, pages, IoClass::Read).await?;
        match read_overflow(&run, &reference, &self.owner) {
            Ok(value) => Ok(Bytes::copy_from_slice(value)),
            Err(error) => Err(volume.broken_node(addr, error.to_string()).into()),
        }
    }
}

/// Looks at a tablet's resident pages.
pub(crate) struct Resident<'p> {
    pub(crate) store: &'p PageStore,
    pub(crate) owner: PageOwner,
}

impl Pages for Resident<'_> {
    type Page = Page;

    fn page(&self, page: PageRef) -> Option<Page> {
        self.store.cache.get(page, &self.owner)
    }
}

impl Pages for TabletPages {
    type Page = Page;

    fn page(&self, page: PageRef) -> Option<Page> {
        self.store.cache.get(page, &self.owner)
    }
}
