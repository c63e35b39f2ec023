use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use sombra_runtime::DmaBuf;

use crate::format::page::{PageHeader, PageOwner, PageRef, peek_page};

/// A page that never changes. Clones share it; while one of them exists, its frame stays.
#[derive(Clone)]
pub(crate) struct Page(Rc<PageFrame>);

struct PageFrame {
    reference: PageRef,
    header: PageHeader,
    buf: DmaBuf,
}

impl Page {
    /// Takes bytes that were verified, or sealed by us, under `reference`.
    ///
    /// # Panics
    /// If the header contradicts the reference: such bytes were never verified against it.
    pub(super) fn believe(reference: PageRef, buf: DmaBuf) -> Page {
        let header = peek_page(&buf).expect("INV-6: a page in the cache has a valid header");
        let (expected, found) = (reference.addr, header.addr);
        assert!(expected == found, "INV-6: page {found} came as page {expected}");
        let crc = buf.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        assert_eq!(crc, Some(reference.crc), "INV-6: page {expected} came as another version");
        Page(Rc::new(PageFrame { reference, header, buf }))
    }

    #[must_use]
    pub(crate) fn header(&self) -> &PageHeader {
        &self.0.header
    }

    #[must_use]
    pub(crate) fn reference(&self) -> PageRef {
        self.0.reference
    }

    pub(super) fn is(&self, reference: PageRef, owner: &PageOwner) -> bool {
        self.0.reference == reference && self.0.header.owner == *owner
    }

    /// Somebody beside the cache holds the page.
    pub(super) fn is_pinned(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    /// The page's buffer, if nobody else holds the page.
    pub(super) fn into_buf(self) -> Option<DmaBuf> {
        Rc::into_inner(self.0).map(|frame| frame.buf)
    }
}

impl Deref for Page {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.buf
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Page").field(&self.0.reference).finish()
    }
}
