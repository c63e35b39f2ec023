//! One page of the data file as it lies there, believed or not.

use std::path::Path;

use sombra_runtime::{DmaBuf, IoClass, Runtime, Shard};

use super::{on_shard, opened_volume};
use crate::check::{CheckProblem, ProblemPlace, problem};
use crate::error::OpenError;
use crate::format::node::{ChildRef, Inner, Leaf, LeafValue, validate_node};
use crate::format::overflow::{OverflowRef, overflow_pages};
use crate::format::page::{
    PAGE_HEADER_BYTES, PageHeader, PageKind, PageOwner, PageRef, peek_page, sealed_crc, verify_page,
};
use crate::format::root_table::ROOT_EXTENTS;
use crate::format::space_map::{SpaceMapPage, peek_map_page};
use crate::format::superblock::Superblock;
use crate::ids::{PageAddr, TabletId};
use crate::keyspace::HASH_BYTES;
use crate::limits::{EXTENT_BYTES, OVERFLOW_VALUE_BYTES_MAX};
use crate::options::{Options, Routing};
use crate::recovery;
use crate::volume::{Access, Volume};

/// One page, what it says of itself, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct PageReport {
    /// Number of the page in the data file.
    pub page: u64,
    pub offset_bytes: u64,
    pub page_size_bytes: u32,
    pub usage: PageUsage,
    /// The page's own words, believed or not; of an overflow run's later page, the run's.
    pub header: Option<PageHeader>,
    pub content: PageContent,
    /// The bytes of the page.
    pub bytes: Vec<u8>,
    pub problems: Vec<CheckProblem>,
}

/// Who needs a page, as the space maps in force have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageUsage {
    /// The root table or a space map cannot be read.
    Unknown { reason: String },
    /// Nobody's extent, or a free page of a tablet's extent.
    Free { tablet: Option<TabletId> },
    /// The root in force reaches it.
    Live { tablet: TabletId, keyspace: String },
    /// Only the older copy of the tablet's root reaches it.
    Pinned { tablet: TabletId, keyspace: String },
}

/// What a page holds, as far as it can be read.
#[derive(Clone, Debug)]
pub enum PageContent {
    /// Nothing but zeros.
    Blank,
    /// Neither header nor content make sense.
    Unreadable,
    Leaf(Vec<LeafRow>),
    Inner(Vec<InnerChild>),
    /// Page `place` of the run of `pages` that begins at page `first`.
    Overflow {
        first: u64,
        place: u32,
        pages: u32,
        value_len_bytes: u64,
    },
    SpaceMap(SpaceMapPage),
}

/// A row of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRow {
    /// Routing hash that precedes the key in the tree of a hash keyspace; else empty.
    pub hash: Vec<u8>,
    pub key: Vec<u8>,
    pub value: RowValue,
}

/// Where the value of a row lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowValue {
    Inline(Vec<u8>),
    Overflow(OverflowRef),
}

/// A child of an inner node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerChild {
    /// No key below it in this child or the ones behind; `None` for the first. In a hash
    /// keyspace it begins with (a part of) a routing hash.
    pub separator: Option<Vec<u8>>,
    pub child: ChildRef,
    pub is_sparse: bool,
}

/// Reads page `page` of the closed store in `dir`.
///
/// # Errors
/// The store or the place cannot be read; what is wrong with the bytes is in the report.
pub async fn page(runtime: &Runtime, dir: &Path, page: u64) -> Result<PageReport, OpenError> {
    let dir = dir.to_owned();
    on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadOnly).await?;
        let (superblock, volume) = opened_volume(shard, &dir).await?;
        let pages_per_extent = EXTENT_BYTES / volume.page_size_bytes() as u64;
        if page < u64::from(ROOT_EXTENTS) * pages_per_extent {
            let path = volume.path().display();
            let first = u64::from(ROOT_EXTENTS) * pages_per_extent;
            let reason = format!(
                "{path}: expected a page of a tablet (from {first} on), found page {page} of the \
                 root table, which `dump root` prints"
            );
            return Err(OpenError::DataFile { reason });
        }
        let (usage, hash_bytes) = usage(shard, &dir, &superblock, PageAddr::new(page)).await;
        let look = Look { shard, volume: &volume, hash_bytes };
        look.report(PageAddr::new(page), usage).await
    })
    .await
}

/// Who needs the page, and the bytes of a routing hash before each key of its tablet.
async fn usage(
    shard: &Shard,
    dir: &Path,
    superblock: &Superblock,
    addr: PageAddr,
) -> (PageUsage, usize) {
    let data = match recovery::look_at_data(shard, dir, superblock, &Options::default()).await {
        Ok(Some(data)) => data,
        Ok(None) => return (PageUsage::Free { tablet: None }, 0),
        Err(error) => return (PageUsage::Unknown { reason: error.to_string() }, 0),
    };
    let pages_per_extent = EXTENT_BYTES / data.volume.page_size_bytes() as u64;
    let extent = u32::try_from(addr.as_u64() / pages_per_extent).unwrap_or(u32::MAX);
    for (&tablet, loaded) in &data.tablets {
        let allocator = &loaded.parts.allocator;
        if !allocator.extents().any(|own| own == extent) {
            continue;
        }
        let found = data.keyspaces.iter().find(|keyspace| keyspace.def.id == tablet.keyspace);
        let keyspace = found.map_or_else(String::new, |found| found.def.name.clone());
        let is_hashed =
            found.is_some_and(|found| matches!(found.def.routing, Routing::Hash { .. }));
        let usage = match (allocator.is_live(addr), allocator.is_held(addr)) {
            (true, _) => PageUsage::Live { tablet, keyspace },
            (false, true) => PageUsage::Pinned { tablet, keyspace },
            (false, false) => PageUsage::Free { tablet: Some(tablet) },
        };
        return (usage, if is_hashed { HASH_BYTES } else { 0 });
    }
    let damaged = data.tablets.values().find_map(|loaded| loaded.damage.clone());
    let free = PageUsage::Free { tablet: None };
    (damaged.map_or(free, |reason| PageUsage::Unknown { reason }), 0)
}

struct Look<'s> {
    shard: &'s Shard,
    volume: &'s Volume,
    hash_bytes: usize,
}

impl Look<'_> {
    async fn read(&self, addr: PageAddr, pages: u32) -> Result<DmaBuf, OpenError> {
        let read = self.volume.read_run(self.shard, addr, pages, IoClass::Maintenance).await;
        read.map_err(OpenError::from)
    }

    async fn report(&self, addr: PageAddr, usage: PageUsage) -> Result<PageReport, OpenError> {
        let page_size = self.volume.page_size_bytes();
        let bytes = self.read(addr, 1).await?;
        let mut report = PageReport {
            page: addr.as_u64(),
            offset_bytes: addr.offset_bytes(page_size),
            page_size_bytes: page_size as u32,
            usage,
            header: peek_page(&bytes),
            content: PageContent::Unreadable,
            bytes: bytes.to_vec(),
            problems: Vec::new(),
        };
        let says_so = report.header.is_some_and(|header| header.addr == addr);
        if !says_so && let Some((first, header)) = self.run_around(addr).await {
            report.header = Some(header);
            self.overflow(&mut report, (first, header)).await;
            return Ok(report);
        }
        if bytes.iter().all(|&byte| byte == 0) {
            report.content = PageContent::Blank;
            if matches!(report.usage, PageUsage::Live { .. } | PageUsage::Pinned { .. }) {
                self.note(&mut report, "a page in use", "nothing but zeros");
            }
            return Ok(report);
        }
        let Some(header) = report.header else {
            let kind = format!("kind {}", bytes[4]);
            self.note(&mut report, "a page's header (kind 1 to 4)", &kind);
            return Ok(report);
        };
        if header.kind == PageKind::Overflow {
            self.overflow(&mut report, (addr, header)).await;
            return Ok(report);
        }
        self.verify(&mut report, addr, (&bytes, header));
        self.decode(&mut report, &bytes, &header);
        Ok(report)
    }

    fn note(&self, report: &mut PageReport, expected: &str, found: &str) {
        let (path, page) = (self.volume.path(), PageAddr::new(report.page));
        let place = ProblemPlace::page(path, page, self.volume.page_size_bytes());
        report.problems.push(problem(place, expected, found));
    }

    /// What the header says is compared with the content, the place, the store and the tablet.
    fn verify(&self, report: &mut PageReport, addr: PageAddr, (run, header): (&[u8], PageHeader)) {
        let tablet = match &report.usage {
            PageUsage::Live { tablet, .. } | PageUsage::Pinned { tablet, .. } => *tablet,
            PageUsage::Unknown { .. } | PageUsage::Free { .. } => header.owner.tablet,
        };
        let owner = PageOwner { store_id: self.volume.store_id(), tablet };
        let reference = PageRef { addr, crc: sealed_crc(run) };
        if let Err(error) = verify_page(run, reference, None, &owner) {
            self.note(report, "a whole page of this store", &error.to_string());
        }
    }

    fn decode(&self, report: &mut PageReport, page: &[u8], header: &PageHeader) {
        if header.kind == PageKind::SpaceMap {
            match peek_map_page(page, header) {
                Some(map) => report.content = PageContent::SpaceMap(map),
                None => {
                    let found = format!("{} entries", header.count);
                    self.note(report, "entries that fit into the page", &found);
                }
            }
            return;
        }
        // The readers of nodes rely on this look, whatever the checksum says.
        if let Err(error) = validate_node(page, header) {
            self.note(report, "a node of a tree", &error.to_string());
            return;
        }
        report.content = match header.kind {
            PageKind::Leaf => PageContent::Leaf(self.rows(page)),
            _ => PageContent::Inner(children(page)),
        };
    }

    fn rows(&self, page: &[u8]) -> Vec<LeafRow> {
        let leaf = Leaf::new(page);
        let row = |index| {
            let mut hash = leaf.key(index);
            let key = hash.split_off(self.hash_bytes.min(hash.len()));
            let value = match leaf.value(index) {
                LeafValue::Inline(range) => RowValue::Inline(page[range].to_vec()),
                LeafValue::Overflow(reference) => RowValue::Overflow(reference),
            };
            LeafRow { hash, key, value }
        };
        (0..leaf.len()).map(row).collect()
    }

    /// The overflow run that the page lies inside of: only its first page has a header.
    async fn run_around(&self, addr: PageAddr) -> Option<(PageAddr, PageHeader)> {
        let page_size = self.volume.page_size_bytes();
        let most = u64::from(overflow_pages(OVERFLOW_VALUE_BYTES_MAX, page_size));
        for back in 1..most {
            let first = PageAddr::new(addr.as_u64().checked_sub(back)?);
            let bytes = self.read(first, 1).await.ok()?;
            let Some(header) = peek_page(&bytes).filter(|header| header.addr == first) else {
                continue;
            };
            if header.owner.store_id != self.volume.store_id() {
                continue;
            }
            let is_run = header.kind == PageKind::Overflow;
            return (is_run && back < u64::from(run_pages(&header, page_size)))
                .then_some((first, header));
        }
        None
    }

    async fn overflow(&self, report: &mut PageReport, (first, header): (PageAddr, PageHeader)) {
        let page_size = self.volume.page_size_bytes();
        let pages = run_pages(&header, page_size);
        report.content = PageContent::Overflow {
            first: first.as_u64(),
            place: (report.page - first.as_u64()) as u32,
            pages,
            value_len_bytes: u64::from(header.used_bytes).saturating_sub(PAGE_HEADER_BYTES as u64),
        };
        if pages > overflow_pages(OVERFLOW_VALUE_BYTES_MAX, page_size) {
            let found = format!("{} bytes", header.used_bytes);
            return self.note(report, "a run of at most 16 MiB and a header", &found);
        }
        match self.read(first, pages).await {
            Ok(run) => self.verify(report, first, (&run, header)),
            Err(error) => self.note(report, "a value's pages", &error.to_string()),
        }
    }
}

fn run_pages(header: &PageHeader, page_size_bytes: usize) -> u32 {
    (header.used_bytes as usize).div_ceil(page_size_bytes).max(1) as u32
}

fn children(page: &[u8]) -> Vec<InnerChild> {
    let inner = Inner::new(page);
    let child = |index| InnerChild {
        separator: (index > 0).then(|| inner.separator(index)),
        child: inner.child(index),
        is_sparse: inner.is_sparse(index),
    };
    (0..inner.len()).map(child).collect()
}
