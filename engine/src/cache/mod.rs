//! Immutable pages in memory, one cache per shard.
//!
//! Knows which pages are resident, who reads one at this moment, and which goes next. Must never
//! know what a page means, or where it lies: whoever makes the cache gives it a way to fetch.
//!
//! A page is verified and validated once, when it is fetched; a hit computes no checksum. A page
//! is found only under its address, its checksum and its owner together, so what an address held
//! before it was given away again is never found.

mod flight;
mod frames;
mod ghosts;
mod page;
mod page_cache;

use std::future::Future;

use sombra_runtime::{DmaBuf, IoClass};

use crate::format::page::{PageOwner, PageRef};

#[cfg(test)]
pub(crate) use flight::PageFetch;
pub(crate) use page::Page;
pub(crate) use page_cache::{CacheCounters, CacheParts, PageCache};

/// How a cache gets at pages.
pub(crate) trait FetchPage: 'static {
    /// Everybody who waits for the page gets it, so it is cheap to clone.
    type Error: Clone + 'static;

    /// Fills `buf`, which is one page long and holds old bytes, with the page; verifies it
    /// against its reference and owner, and validates what else readers will rely on (INV-6).
    fn fetch(
        &self,
        page: PageRef,
        owner: PageOwner,
        class: IoClass,
        buf: DmaBuf,
    ) -> impl Future<Output = Result<DmaBuf, Self::Error>> + 'static;
}

#[cfg(test)]
mod tests;
